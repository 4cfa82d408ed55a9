"""`load`: a dataset by name, ready for `model.fit`."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from kmtl._checks import Refusals, sizes
from kmtl.data.built_in.catalogue import choose_labels, find
from kmtl.data.built_in.examples import column, examples, resize
from kmtl.data.built_in.fresh import fresh_batches
from kmtl.data.built_in.rows import Row
from kmtl.data.hiding import check_share, hidden_rows, hide_labels
from kmtl.feeding.order import element_options, endless, key_of, shuffle_by_key
from kmtl.feeding.resume import register_restart, transform_stream

_OWNER = "load"
_MEBIBYTE = 2**20
# Decoded images up to this are read when loading, so that the first epoch is as fast as the others.
_READ_AT_ONCE = 64 * _MEBIBYTE
# Decoded images up to this stay in memory, and are shuffled as a whole.
_KEPT = 1024 * _MEBIBYTE


def load(
    name: str,
    *,
    labels: Sequence[str] | None = None,
    batch_size: int = 64,
    shuffle: bool = True,
    seed: int = 0,
    hide: float | Mapping[str, float] | None = None,
    fresh: bool = False,
    image_size: int | tuple[int, int] | None = None,
    splits: Sequence[str] | None = None,
    data_dir: str | os.PathLike[str] | None = None,
) -> tuple[tf.data.Dataset, tf.data.Dataset, tf.data.Dataset]:
    """Loads a dataset of images with several labels each, as train, validation and test.

    `digit_poses`, `multi_digits` and `digit_scenes` come with kmtl and are made on the spot, in a
    few seconds and once. The others are downloaded by TensorFlow Datasets when first asked for,
    which for `celeb_a` and `shapes3d` means gigabytes. `kmtl.data.tasks(name)` gives the
    tasks that fit.

    Images of up to 1 GiB a split are kept in memory and shuffled as a whole;
    larger splits are read from disk every epoch and shuffled within 1 GiB.

    Args:
        name: One of `kmtl.data.names()`.
        labels: Which labels, in which order; None takes the set's usual ones, which
            for `digit_poses` are digit, angle and position, without scale.
        batch_size: Examples a batch; the last batch may be smaller.
        shuffle: Whether the training examples come in a new order every epoch.
        seed: Of the order, of what is hidden and of fresh images. A global seed of TensorFlow
            (`keras.utils.set_random_seed`) changes the order and the fresh images too, but not those of
            the stream that resumed training reads, `kmtl.feeding.resume.stream_from`.
        hide: Share in 0..1 of each task's training labels that goes missing, or a
            share by task. Each task loses others, and the same ones every epoch.
            Validation and test keep all labels.
        fresh: Draw the training images anew every epoch from the same source
            digits; only for `digit_poses`.
        image_size: Resize the images to this height and width. Labels in pixels, masks among them,
            stay in pixels of the original.
        splits: TFDS split expressions of train, validation and test in place of
            the set's own, such as `("train[:1000]", "validation", "test")`. Sets with a
            training split only are by default cut 80 : 10 : 10.
        data_dir: Where prepared sets live; None is TFDS's own place, `TFDS_DATA_DIR`
            or `~/tensorflow_datasets`.

    Returns:
        Three `tf.data.Dataset` of `(images, {task: labels})`: images
        `(batch, height, width, channels)`, float32 in 0..1; integer labels `(batch,)`, int32;
        numbers `(batch,)` or `(batch, n)`, float32; a mask `(batch, height, width)`, int32.
        `len` gives the number of batches.

    Raises:
        ValueError: If the set, a label, a share or another argument is not as said above.

    Example:
        >>> train, validation, test = load("digit_poses", batch_size=100)  # doctest: +SKIP
        >>> len(train), len(validation), len(test)  # doctest: +SKIP
        (100, 20, 20)
        >>> load("digit_pose", hide=0.5)
        Traceback (most recent call last):
        ...
        ValueError: load: `name` must be a dataset of kmtl.data.names(), got 'digit_pose'. Did you mean 'digit_poses'?
    """
    row = find(name, _OWNER)
    wanted = choose_labels(row, labels, _OWNER)
    with Refusals(_OWNER) as refusals:
        _check_numbers(refusals, batch_size, seed)
        _check_choices(refusals, row, fresh, splits)
        check_share(refusals, "hide", hide or 0.0, wanted)
        size = _size(refusals, image_size)
    data_dir = None if data_dir is None else os.path.expanduser(data_dir)
    parts = examples(row, wanted, splits or row.splits, size or row.image_size, data_dir)
    if fresh:
        sources = column(row, "source", (splits or row.splits)[0], data_dir)
        hidden = hidden_rows(len(sources), hide or 0.0, wanted, seed)
        train = fresh_batches(sources, wanted, hidden, batch_size=batch_size, shuffle=shuffle, seed=seed)
        train = transform_stream(train, lambda batches: _resize(batches, size).prefetch(tf.data.AUTOTUNE))
    else:
        train = _batches(hide_labels(parts[0], hide or 0.0, seed=seed), batch_size, seed if shuffle else None)
    return train, _batches(parts[1], batch_size), _batches(parts[2], batch_size)


def _check_numbers(refusals: Refusals, batch_size: Any, seed: Any) -> None:
    """Records a batch size below 1 and a negative seed."""
    for argument, value, least in [("batch_size", batch_size, 1), ("seed", seed, 0)]:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            refusals.add(argument, f"must be a whole number of at least {least}", value)


def _check_choices(refusals: Refusals, row: Row, fresh: bool, splits: Any) -> None:
    """Records `fresh` where nothing can be drawn anew, and splits that are not three expressions."""
    if fresh and not row.redraws:
        refusals.add("fresh", f"must be False for {row.name!r}", fresh, "Only 'digit_poses' can draw new images.")
    if splits is not None and (isinstance(splits, str) or [type(item) for item in splits] != [str] * 3):
        fix = "Example: ('train[:1000]', 'validation', 'test')."
        refusals.add("splits", "must be three TFDS split expressions", splits, fix)


def _size(refusals: Refusals, image_size: Any) -> tuple[int, int] | None:
    """Returns height and width, or records why not."""
    if image_size is None:
        return None
    try:
        given = sizes(_OWNER, "image_size", image_size)
    except ValueError as error:
        refusals.messages.append(str(error))
        return None
    if len(given) > 2 or not given:
        refusals.add("image_size", "must be one number or (height, width)", image_size)
    return (given[0], given[-1])


def _batches(dataset: tf.data.Dataset, batch_size: int, seed: int | None = None) -> tf.data.Dataset:
    """Keeps examples in memory if they fit, shuffles them if there is a seed, and batches them."""
    count = int(dataset.cardinality())
    image = max(1, dataset.element_spec[0].shape.num_elements())
    if count * image <= _KEPT:
        dataset = dataset.cache()
    if count * image <= _READ_AT_ONCE:
        dataset.reduce(0, lambda seen, _: seen + 1)
    buffer = max(1, min(count, _KEPT // image))

    def one(index: Any, skipped: Any) -> Any:
        order = dataset if seed is None else shuffle_by_key(dataset, buffer, key_of(seed, 0, index))
        return order.skip(skipped * batch_size).batch(batch_size)

    def restart(n: int) -> Any:
        return _finish(endless(one, -(-count // batch_size), n))

    once = dataset if seed is None else dataset.shuffle(buffer, seed=seed, reshuffle_each_iteration=True)
    return register_restart(_finish(once.batch(batch_size)), restart)


def _finish(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Batches of images in 0..1, made ahead of the training."""
    ready = batches.map(_to_unit, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)
    return ready.with_options(element_options())


def _to_unit(images: Any, labels: Any) -> tuple[Any, Any]:
    """Brings uint8 images to 0..1; done by the batch, and after the cache, which so takes a quarter."""
    return tf.cast(images, tf.float32) / 255.0, labels


def _resize(batches: tf.data.Dataset, size: tuple[int, int] | None) -> tf.data.Dataset:
    """Resizes batches of float images, if a size is given."""
    if size is None:
        return batches
    return batches.map(lambda images, labels: (resize(images, size), labels), num_parallel_calls=tf.data.AUTOTUNE)
