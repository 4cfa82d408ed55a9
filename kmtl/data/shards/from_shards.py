"""Datasets out of shards: streams of data larger than memory."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import tensorflow as tf

from kmtl._checks import Refusals, is_whole, known_keywords, words
from kmtl.data.folders import check_image, decode_image
from kmtl.data.pipelines import check_batches
from kmtl.data.shards.manifests import Manifest, add_faults, read_manifest, shard_faults
from kmtl.data.shards.record_files import record_files
from kmtl.data.shards.records import of_tasks, parser
from kmtl.data.shards.verifying import explanation
from kmtl.data.task_names import task_list
from kmtl.feeding.errors import register_explanation
from kmtl.feeding.order import element_options, endless, one_pass
from kmtl.feeding.resume import register_restart
from kmtl.tasks import Task

_OWNER = "from_shards"
# Batches made ahead. A fixed number, because tf.data's own choice may grow to hundreds.
_AHEAD = 4
# Examples parsed at a time where no batches are asked for.
_CHUNK = 64


@known_keywords
def from_shards(
    directory: str | PathLike[str],
    tasks: Iterable[Task],
    *,
    batch_size: int | None = 64,
    shuffle: bool | int = 0,
    seed: int = 0,
    image_size: int | tuple[int, int] | None = None,
    channels: int = 3,
) -> Any:
    """Makes a dataset that streams the shards which `write_shards` wrote.

    Memory holds the shuffle buffer and a few batches, however many examples and passes there are. Files
    are read in parallel; the order is the same on every machine.

    The order of pass `p` of the stream that resumed training reads (`kmtl.feeding.resume.stream_from`) is a
    function of `(seed, p)` alone. In plain iteration tf.data's own state numbers the passes.

    Args:
        directory: The folder.
        tasks: The tasks. One without labels in the shards is missing in every example, labels of no task are left
            unread.
        batch_size: Examples a batch; the last one may be shorter. None gives single examples, as `mix` takes them.
        shuffle: False or 0 keeps the order in which the examples were written. TFRecord shards are read in a new order
            every pass, up to 16 at a time, through a buffer of so many examples; True takes as many as 256 MiB
            hold. ArrayRecord shards need no buffer: any other value shuffles the whole set.
        seed: Seed of the order; as in tf.data, TensorFlow's global seed counts too in plain iteration.
        image_size: Height and width in pixels, or one number for both, if the input holds the bytes of PNG or JPEG
            files: it then becomes images as in `from_folder`. None leaves the bytes.
        channels: Of such images: 1 for grey, 3 for colour, 4 with alpha.

    Returns:
        A `tf.data.Dataset` as `from_arrays` gives it; inputs in the dtype in which they were written.

    Raises:
        ValueError: If the manifest is absent, damaged or newer, a shard is absent or not of its size, or a label does
            not fit its task. All offenders at once.

    >>> import tempfile
    >>> from kmtl.data.shards.writing import write_shards
    >>> from kmtl.tasks import Classification, Regression
    >>> rows = tf.data.Dataset.from_tensor_slices(([[0.0], [1.0], [2.0]], {"digit": [7, -1, 3]}))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = write_shards(rows, f"{folder}/digits")
    ...     dataset = from_shards(written, [Classification("digit", classes=10), Regression("angle")], batch_size=2)
    ...     [(x.ravel().tolist(), y["digit"].tolist(), y["angle"].tolist()) for x, y in dataset.as_numpy_iterator()]
    [([0.0, 1.0], [7, -1], [nan, nan]), ([2.0], [3], [nan])]
    """
    folder = Path(directory).absolute()
    manifest = read_manifest(_OWNER, folder)
    with Refusals(_OWNER) as refusals:
        listed = task_list(refusals, tasks)
        check_batches(refusals, batch_size, seed)
        _check_shuffle(refusals, shuffle)
        _check_labels(refusals, manifest, listed)
        decode = _decoder(refusals, manifest, image_size, channels)
        add_faults(refusals, shard_faults(folder, manifest))
    carried = [task.name for task in listed if task.name in manifest.labels]
    parse, complete = parser(manifest, carried), of_tasks(listed, carried, bool(manifest.weights))
    files = record_files(folder, manifest, shuffle, seed, _OWNER)
    dataset = _dataset(files, lambda records: decode(complete(*parse(records))), manifest, batch_size, (shuffle, seed))
    return register_explanation(dataset, partial(explanation, folder))


def _dataset(
    files: Any, example: Callable[[Any], Any], manifest: Manifest, batch_size: int | None, order: tuple[Any, int]
) -> Any:
    """The dataset of one pass, with its stream."""
    steps = -(-manifest.examples // (batch_size or 1))
    one = partial(files.one, batch_size=batch_size)

    def finish(elements: Any) -> Any:
        records = files.read(elements if batch_size else elements.batch(_CHUNK))
        batches = records.map(example, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        ready = batches.prefetch(_AHEAD) if batch_size else batches.unbatch()
        return ready.with_options(_options())

    once = finish(one_pass(one, bool(order[0]), order[1])).apply(tf.data.experimental.assert_cardinality(steps))
    return register_restart(once, lambda n: finish(endless(one, steps, n)))


def _options() -> Any:
    """The same order everywhere, and no buffers but those that are asked for."""
    options = element_options()
    # It would be one of tf.data's own size.
    options.experimental_optimization.inject_prefetch = False
    return options


def _check_shuffle(refusals: Refusals, shuffle: Any) -> None:
    """Records a shuffle that is neither a yes or no nor a number of examples."""
    if not isinstance(shuffle, bool) and (not is_whole(shuffle) or shuffle < 0):
        refusals.add("shuffle", "must be True, False or a number of examples of at least 0", shuffle)


def _check_labels(refusals: Refusals, manifest: Manifest, tasks: Sequence[Task]) -> None:
    """Records labels that do not fit their task, and shards with labels of no task at all."""
    for task in tasks:
        if task.name in manifest.labels:
            spec = manifest.labels[task.name]
            task.check_labels(refusals, "labels", spec.dtype, (None, *spec.shape))
    names = [task.name for task in tasks]
    if not any(name in manifest.labels for name in names):
        refusals.add("tasks", f"must name at least one label of the shards, {list(manifest.labels)}", names)


def _decoder(refusals: Refusals, manifest: Manifest, image_size: Any, channels: Any) -> Callable[[Any], Any]:
    """A function that makes images of the one input that holds files' bytes, or changes nothing."""
    if image_size is None:
        return lambda element: element
    size = check_image(refusals, image_size, channels)
    texts = [name for name, spec in manifest.inputs.items() if spec.dtype == "string" and spec.shape == ()]
    if len(texts) != 1:
        got = words(f"{len(texts)} such inputs")
        refusals.add("image_size", "must be None unless exactly one input holds the bytes of image files", got)
    name = (texts or [""])[0]

    def decode(element: tuple[Any, ...]) -> tuple[Any, ...]:
        x, *rest = element
        files = x[name] if name else x
        form = tf.TensorSpec((*size, channels), tf.float32)
        images = tf.map_fn(lambda file: decode_image(file, size, channels), files, fn_output_signature=form)
        return ({**x, name: images} if name else images, *rest)

    return decode
