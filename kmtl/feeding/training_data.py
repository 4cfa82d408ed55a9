"""What every door takes that trains more than once: the data of `fit`, as a dataset that may be gone through again."""

from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kmtl._checks import Refusals, words
from kmtl.feeding.arrays import arrays_feed
from kmtl.feeding.datasets import is_dataset, refuse_single
from kmtl.feeding.feed import feed
from kmtl.feeding.label_statistics import DataStatistics, check_statistics
from kmtl.feeding.loaders import is_loader, loader_dataset
from kmtl.feeding.order import Order, stream_rows
from kmtl.feeding.resume import register_restart
from kmtl.tasks import Task

_RULE = "must be what fit takes: (x, y) of arrays, a tf.data.Dataset of batches, a PyDataset or a loader"


def unpacked(data: Any, y: Any = None) -> tuple[Any, Any, Any]:
    """Inputs, labels and sample weights, of which the latter two may come in one tuple with the inputs.

    >>> unpacked(([1.0], {"digit": [7]}))
    ([1.0], {'digit': [7]}, None)
    """
    if y is None and isinstance(data, tuple | list) and len(data) in (2, 3):
        x, y, weights = (*data, None)[:3]
        return x, y, weights
    return data, y, None


def as_dataset(
    refusals: Refusals,
    argument: str,
    data: Any,
    tasks: Mapping[str, Task],
    *,
    batch_size: int = 32,
    shuffle: bool = False,
    is_reshuffled: bool = True,
) -> Any:
    """Returns data of any form that `fit` takes as a `tf.data.Dataset` of batches `(x, {task: label})`.

    A dataset stays what it is, and a loader of Grain or torch is read by one. Arrays are checked as `fit` checks them;
    a task that they do not name is missing.

    Args:
        refusals: Where what is no data is recorded; of arrays what is wrong in them is raised.
        argument: What the user calls the data.
        data: `(x, y)` or `(x, y, sample_weight)` of arrays, frames or dicts of them; a dataset; a PyDataset.
        tasks: The tasks by name.
        batch_size: Of arrays.
        shuffle: Whether arrays, or the batches of a PyDataset, come in an order of their own, as in `fit`.
        is_reshuffled: Whether that order changes from pass to pass.

    Returns:
        The dataset; None if it was refused.

    >>> from kmtl.tasks import Regression
    >>> refusals = Refusals("compare")
    >>> rows = (np.ones((3, 2)), {"age": np.arange(3.0)})
    >>> data = as_dataset(refusals, "train", rows, {"age": Regression("age")}, batch_size=2)
    >>> [y["age"].tolist() for _, y in data.as_numpy_iterator()]
    [[0.0, 1.0], [2.0]]
    """
    if is_dataset(data):
        return None if refuse_single(refusals, argument, data, tasks) else data
    owner = f"{refusals.owner}({argument})"
    if is_loader(data):
        return loader_dataset(data, owner)
    if isinstance(data, keras.utils.PyDataset):
        return _of_py_dataset(refusals, argument, data, tasks, shuffle)
    x, y, weights = unpacked(data)
    if y is None or hasattr(x, "__next__"):
        fix = "A generator is empty after one training: give arrays, or kmtl.data.from_arrays(...)."
        got = words("a generator") if hasattr(x, "__next__") else words(type(data).__name__)
        refusals.add(argument, _RULE, got, fix if hasattr(x, "__next__") else "")
        return None
    given = arrays_feed(x, y, weights, tasks, owner, all_needed=False, values=True)
    # What tf.data makes of a list is one tensor.
    inputs = keras.tree.lists_to_tuples(given.x)
    parts = tuple(part for part in (inputs, given.y, given.sample_weight) if part is not None)
    rows = len(keras.tree.flatten(given.x)[0])
    if shuffle and not is_reshuffled:
        places = np.random.default_rng(0).permutation(rows)
        parts = keras.tree.map_structure(lambda array: _taken(array, places), parts)
    return _batches(parts, rows, batch_size, shuffle and is_reshuffled)


def look_at(data: Any, tasks: Mapping[str, Task], owner: str) -> DataStatistics:
    """Returns the statistics of a dataset's labels.

    Args:
        data: A dataset of batches `(x, {task: label})` that ends.
        tasks: The tasks by name.
        owner: For the message, with what the user calls the data.

    Raises:
        ValueError: If a task has no label in it, or an input is not finite.
    """
    found = DataStatistics.of(tasks, ((x, _labels(tasks, x, y)) for x, y, *_ in data.as_numpy_iterator()))
    check_statistics(found, (), owner)
    return found


def _labels(tasks: Mapping[str, Task], inputs: Any, labels: Mapping[str, Any]) -> dict[str, Any]:
    """Labels in the tasks' dtypes, all missing where there are none."""
    count = len(keras.tree.flatten(inputs)[0])
    return {
        name: task.cast_labels(labels[name]) if name in labels else task.absent_labels(count)
        for name, task in tasks.items()
    }


def _taken(array: Any, places: Any) -> Any:
    """Rows of an array, or of what is a tensor already, as text is."""
    return tf.gather(array, places) if tf.is_tensor(array) else array[places]


def _batches(parts: Any, rows: int, batch_size: int, shuffle: bool) -> Any:
    """Batches of arrays, which begin anywhere in their order."""
    with tf.device("CPU"):
        held = keras.tree.map_structure(tf.constant, parts)
    order = Order(rows, shuffle, 0)

    def take(numbers: Any) -> Any:
        return keras.tree.map_structure(lambda tensor: tf.gather(tensor, numbers), held)

    batches = order.once(batch_size).map(take).prefetch(tf.data.AUTOTUNE)
    return register_restart(batches, lambda first: stream_rows(first, parts, batch_size, shuffle, 0))


def _of_py_dataset(refusals: Refusals, argument: str, data: Any, tasks: Mapping[str, Task], shuffle: bool) -> Any:
    """The batches of a PyDataset, each completed."""
    given = feed(data, None, None, tasks, f"{refusals.owner}({argument})", all_needed=False)
    count = given.x.num_batches
    if not count:
        refusals.add(argument, _RULE, words("a PyDataset without end or without a batch"), "Give it a length.")
        return None
    generator = np.random.default_rng(0)

    def one_pass() -> Iterator[Any]:
        for place in generator.permutation(count) if shuffle else range(count):
            yield given.x[int(place)]
        given.x.on_epoch_end()

    spec = keras.tree.map_structure(lambda array: tf.TensorSpec((None, *array.shape[1:]), array.dtype), given.x[0])
    found = tf.data.Dataset.from_generator(one_pass, output_signature=spec)
    return found.apply(tf.data.experimental.assert_cardinality(count)).prefetch(2)
