"""What kind of data `fit`, `evaluate` and their kin were given."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from kmtl._checks import refusal, words
from kmtl.feeding.arrays import Feed, PassedFeed, arrays_feed
from kmtl.feeding.batches import as_mapping
from kmtl.feeding.datasets import DatasetFeed, is_dataset, is_distributed
from kmtl.feeding.generators import GeneratorFeed, PyDatasetFeed
from kmtl.feeding.inputs import InputForm
from kmtl.feeding.loaders import LoaderFeed, is_loader
from kmtl.tasks import Task

_STREAMS: tuple[tuple[Callable[[Any], bool], Any], ...] = (
    (is_dataset, DatasetFeed),
    (lambda given: isinstance(given, keras.utils.PyDataset), PyDatasetFeed),
    (is_loader, LoaderFeed),
    (lambda given: hasattr(given, "__next__"), GeneratorFeed),
)


def is_stream(x: Any) -> bool:
    """Whether it is batches rather than arrays."""
    return is_distributed(x) or any(is_kind(x) for is_kind, _ in _STREAMS)


def feed(
    x: Any,
    y: Any,
    sample_weight: Any,
    tasks: Mapping[str, Task],
    owner: str,
    *,
    all_needed: bool,
    form: InputForm | None = None,
    values: bool = False,
) -> Feed:
    """Finds out what kind of data was given, checks its structure and completes its labels.

    Args:
        x: Inputs (arrays, a dict of them, a frame), or a stream of batches.
        y: `{task: labels}` or a frame of them; None for a stream.
        sample_weight: None, one array, or `{task: array}`.
        tasks: The tasks by name.
        owner: For the messages.
        all_needed: Whether every task must have labels.
        form: What the model takes; None leaves the inputs unchecked.
        values: Whether arrays' values are checked here, and a stream's as they come: nobody looks at them before.

    Raises:
        ValueError: If structure, keys, dtypes or shapes are wrong; all offenders at once.
        TypeError: If the data is of no kind that Keras takes.
    """
    if is_distributed(x):
        return PassedFeed(x, source=x)
    for is_kind, kind in _STREAMS:
        if is_kind(x):
            _refuse_beside_stream(y, sample_weight, owner)
            return kind.checked(x, tasks, owner, all_needed=all_needed, form=form, values=values)
    if x is None or as_mapping(y) is None:
        got = words(f"x of type {type(x).__name__} and no y")
        fix = "Pass arrays as x and a dict {task: labels} as y, or a tf.data.Dataset of (x, {task: labels})."
        raise TypeError(refusal(owner, "y", "must be given unless x is a dataset, PyDataset or generator", got, fix))
    return arrays_feed(x, y, sample_weight, tasks, owner, all_needed=all_needed, form=form, values=values)


def _refuse_beside_stream(y: Any, sample_weight: Any, owner: str) -> None:
    """Refuses labels or weights beside a stream that carries its own."""
    for argument, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            fix = "Let the stream yield (x, {task: label}) or (x, {task: label}, {task: weight})."
            got = words(type(value).__name__)
            raise ValueError(refusal(owner, argument, "must not be given beside a stream of batches", got, fix))
