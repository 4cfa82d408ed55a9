"""From a prepared TFDS set to examples `(image, {task: label})`."""

import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from kmtl.data.built_in.preparing import prepare
from kmtl.data.built_in.rows import Row
from kmtl.tasks import Task

_WHITE = 255


def examples(
    row: Row,
    labels: Sequence[str],
    splits: Sequence[str],
    size: tuple[int, int] | None,
    data_dir: str | os.PathLike[str] | None,
) -> list[tf.data.Dataset]:
    """Reads splits of a set, unbatched, in the order in which they lie on disk.

    Args:
        row: The set.
        labels: Its labels to read, in order.
        splits: TFDS split expressions.
        size: Height and width to resize to, or None.
        data_dir: Where prepared sets live, or None.

    Returns:
        For each split a dataset of images `(height, width, channels)`, uint8, and
        labels in the dtype and the shape that their tasks say.
    """
    import tensorflow_datasets as tfds

    prepare(row.name, data_dir)
    config = tfds.ReadConfig(try_autocache=False)
    read = tfds.load(row.name, split=list(splits), data_dir=data_dir, read_config=config)
    wanted = row.tasks(labels)

    def example(raw: Any) -> tuple[Any, dict[str, Any]]:
        return _image(row, raw[row.image], size), {task.name: _label(row, raw, task) for task in wanted}

    return [dataset.map(example, num_parallel_calls=tf.data.AUTOTUNE) for dataset in read]


def column(row: Row, key: str, split: str, data_dir: str | os.PathLike[str] | None) -> Any:
    """Reads one feature of a whole split as an array, without decoding the images."""
    import tensorflow_datasets as tfds

    prepare(row.name, data_dir)
    decoders = {row.image: tfds.decode.SkipDecoding()}
    read = tfds.load(row.name, split=split, data_dir=data_dir, decoders=decoders, batch_size=-1)
    return read[key].numpy()


def resize(image: Any, size: tuple[int, int]) -> Any:
    """Resizes an image or a batch, bilinear, smoothed where it shrinks; float32 in the image's own range."""
    return tf.image.resize(image, size, antialias=True)


def _image(row: Row, image: Any, size: tuple[int, int] | None) -> Any:
    """Brings an image to the range of uint8 and to its size."""
    image = image * tf.constant(_WHITE // row.white, tf.uint8)
    return image if size is None else tf.cast(tf.round(resize(image, size)), tf.uint8)


def _label(row: Row, raw: Any, task: Task) -> Any:
    """Takes one label out of a TFDS example."""
    return tf.ensure_shape(task.cast_label_tensor(row.labels[task.name].read(raw)), task.label_shape)
