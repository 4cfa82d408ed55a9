"""Many datasets, one a task or a group of tasks, into one stream of examples with every label."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from kmtl._checks import Refusals, known_keywords
from kmtl.data.mixing.batched_sources import unbatched
from kmtl.data.mixing.choices import choices, count_choices, shuffled_passes
from kmtl.data.mixing.proportions import HOW_TO_COUNT, check_counted, counts, is_whole, probabilities
from kmtl.data.mixing.stream_form import StreamForm, common_form
from kmtl.data.task_names import listed_tasks
from kmtl.feeding.order import element_options
from kmtl.feeding.resume import register_restart, restart_of, stream_from, transform_stream
from kmtl.tasks import Task


@dataclass(frozen=True)
class _Draw:
    """Which source is drawn when, and where a stream begins."""

    probabilities: Any
    examples_per_epoch: int
    seed: int
    start: int
    shuffle: int


@known_keywords
def mix(
    datasets: Mapping[Any, Any],
    *,
    tasks: Iterable[Task] | None = None,
    sampling: str | Mapping[Any, float] = "proportional",
    batch_size: int | None = None,
    seed: int = 0,
    start: int = 0,
    shuffle: int = 0,
    exponent: float = 1.0,
    epochs: int | None = None,
    steps_per_epoch: int | None = None,
) -> Any:
    """Mixes datasets with different labels into one endless stream with all of them.

    Every example gets every task's label; one that its source does not carry is
    missing (-1 or NaN). Each source repeats without end, so `fit` needs
    `steps_per_epoch`: the function of that name counts one.

    The source of the example numbered `n` is a function of `(seed, n)` alone, so
    `mix(..., start=n)` goes on exactly where a stream of the same arguments stood
    after `n` examples (`n = steps * batch_size`), in another process too. That holds for
    sources of `kmtl.data` (`batch_size=None`), shuffled or not, and for those that yield the same
    examples in the same order on every pass. Another one that reshuffles by tf.data's own
    state cannot be resumed exactly: leave its shuffle out and pass `shuffle` here, which
    seeds each pass by `(seed, source, pass)`. Resuming reads and drops what such a source gave in
    its current pass, or in all passes where its cardinality is unknown.

    Args:
        datasets: Maps a task's name to a `tf.data.Dataset` of `(x, label)` or `(x, {task: label})`, or a tuple of names
            to one of `(x, {task: label})`; a third part may hold weights. The empty tuple maps to one of `x` alone, or
            of `(x, {})`: every label is missing. Inputs must agree. Batches are taken apart, which reads such a set
            once to count it.
        tasks: The tasks, which give the labels' form and order. Left out, whole numbers become int32 labels,
            others float32.
        sampling: How often each source is drawn. `"proportional"`: by its number of examples to the power
            `exponent`; `"uniform"`: equally; `"annealed"`: from proportional towards uniform over `epochs`
            (see `kmtl.data.mixing.proportions.annealed`); or a weight of at least 0 for every key of `datasets`.
        batch_size: Examples a batch, which mixes tasks; None for batches of the size of those of the first batched
            dataset, or for single examples if there is none.
        seed: Another seed is another stream.
        start: Number of examples that the stream has given already.
        shuffle: Examples of each source that its shuffle holds in memory; 0 keeps the source's order.
        exponent: For proportional sampling: 1 by size, 0.5 square-root sampling, 0 uniform.
        epochs: For annealed sampling: epochs until it ends; the last probabilities then stay.
        steps_per_epoch: For annealed sampling: batches an epoch, as given to `fit`. Left out, what the function
            `steps_per_epoch` counts.

    Returns:
        An endless `tf.data.Dataset` of `(x, {task: label})`, or of `(x, {task: label}, {task: weight})` if any source
        has weights; what has none weighs 1.

    Raises:
        ValueError: If keys are no tasks, a dataset is empty or unlike the others, weights do not
            fit the keys, or a size is needed that tf.data does not know. All offenders at once.

    >>> digits = tf.data.Dataset.from_tensor_slices(([[0.0], [1.0]], [7, 3]))
    >>> angles = tf.data.Dataset.from_tensor_slices(([[2.0], [3.0]], [12.5, 40.0]))
    >>> stream = mix({"digit": digits, "angle": angles}, sampling="uniform", seed=2)
    >>> [(int(y["digit"]), float(y["angle"])) for _, y in stream.take(4)]
    [(7, nan), (-1, 12.5), (3, nan), (-1, 40.0)]
    """
    tasks = None if tasks is None else listed_tasks(tasks)
    datasets, own_size = unbatched(_with_bare_rows(datasets), tasks)
    batch_size = own_size if batch_size is None else batch_size
    form = common_form("mix", datasets, tasks)
    _check_numbers(batch_size, seed, start, shuffle)
    table = probabilities(datasets, sampling, exponent, epochs, steps_per_epoch)
    if sampling == "annealed" and steps_per_epoch is None:
        steps_per_epoch = _steps(datasets, batch_size or 1)
    draw = _Draw(table, (steps_per_epoch or 1) * (batch_size or 1), seed, start, shuffle)

    def later(n: int) -> Any:
        at = replace(draw, start=start + n * (batch_size or 1))
        return _batch(_stream(datasets, form, at), batch_size)

    return register_restart(later(0), later)


def _with_bare_rows(datasets: Any) -> Any:
    """The same, inputs alone with an empty dict of labels."""
    bare = datasets.get(()) if isinstance(datasets, Mapping) else None
    if not isinstance(bare, tf.data.Dataset) or isinstance(bare.element_spec, tuple):
        return datasets
    return {**datasets, (): transform_stream(bare, lambda given: given.map(lambda x: (x, {})))}


def _batch(stream: Any, batch_size: int | None) -> Any:
    """The stream in whole batches, or as it is."""
    return stream if batch_size is None else stream.batch(batch_size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def steps_per_epoch(datasets: Mapping[Any, Any], batch_size: int) -> int:
    """Batches in which a mixed stream gives as many examples as its sources hold together.

    Args:
        datasets: The datasets given to `mix`.
        batch_size: Examples a batch.

    Returns:
        The sum of the cardinalities over the batch size, rounded up.

    Raises:
        ValueError: If tf.data does not know a cardinality or it is infinite.

    >>> steps_per_epoch({"digit": tf.data.Dataset.range(70), "angle": tf.data.Dataset.range(31)}, batch_size=10)
    11
    """
    with Refusals("steps_per_epoch") as refusals:
        if not is_whole(batch_size, 1):
            refusals.add("batch_size", "must be a whole number of at least 1", batch_size)
        datasets, _ = unbatched(_with_bare_rows(datasets))
        check_counted(refusals, datasets, f"{HOW_TO_COUNT}.")
    return _steps(datasets, batch_size)


def _steps(datasets: Mapping[Any, Any], batch_size: int) -> int:
    """Batches an epoch of sources whose cardinality is known."""
    return -(-sum(counts(datasets)) // batch_size)


def _check_numbers(batch_size: Any, seed: Any, start: Any, shuffle: Any) -> None:
    """Refuses numbers that are not whole or too small."""
    with Refusals("mix") as refusals:
        if batch_size is not None and not is_whole(batch_size, 1):
            refusals.add("batch_size", "must be a whole number of at least 1, or None", batch_size)
        for name, value in (("seed", seed), ("start", start)):
            if not is_whole(value, 0):
                refusals.add(name, "must be a whole number of at least 0", value)
        if not is_whole(shuffle, 0):
            fix = "It is the number of examples that a source's shuffle holds, for example 10_000."
            refusals.add("shuffle", "must be a whole number of at least 0", shuffle, fix)


def _stream(datasets: Mapping[Any, Any], form: StreamForm, draw: _Draw) -> Any:
    """The endless stream of filled examples, from `draw.start` on."""
    table, seed, length = draw.probabilities, draw.seed, draw.examples_per_epoch
    used = count_choices(table, seed, start=draw.start, examples_per_epoch=length)
    sources = [
        form.fill(_endless(dataset, draw, number, used[number]), key)
        for number, (key, dataset) in enumerate(datasets.items())
    ]
    drawn = choices(table, seed, start=draw.start, examples_per_epoch=length)
    stream = tf.data.Dataset.choose_from_datasets(sources, drawn, stop_on_empty_dataset=True)
    return stream.with_options(element_options())


def _endless(dataset: Any, draw: _Draw, number: int, used: int) -> Any:
    """One source without end, from its example numbered `used` on."""
    restart = restart_of(dataset)
    if restart is not None and not draw.shuffle:
        return stream_from(dataset, used)
    count = int(dataset.cardinality())
    first_pass, position = divmod(used, count) if count > 0 else (0, used)
    if draw.shuffle:
        # Plain passes of a set that shuffles itself are ordered by tf.data's own state; those of its stream are not.
        source = dataset if restart is None or count < 0 else lambda index: restart(index * count).take(count)
        return shuffled_passes(source, draw.shuffle, draw.seed, number, first_pass).skip(position)
    return dataset.repeat().skip(position)
