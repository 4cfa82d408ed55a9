"""What is asked of every batch of a `tf.data.Dataset` that nobody has looked at: in its graph, as the batch comes."""

import re
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from kmtl._checks import Refusals, words
from kmtl.feeding.label_statistics import INPUT_FIX, INPUT_RULE, path_of
from kmtl.tasks import Task


def refuse_bad_batches(batches: Any, tasks: Mapping[str, Task]) -> Any:
    """Lets a dataset stop at inputs that are not finite and at labels that no label of their task can be.

    Args:
        batches: A `tf.data.Dataset` of `(x, {task: label})`, with or without weights, its labels complete.
        tasks: The tasks by name.
    """
    mark = _mark(batches)

    def checked(*batch: Any) -> Any:
        good = [tf.reduce_all(tf.math.is_finite(tf.cast(one, tf.float32))) for one in _float_inputs(batch[0]).values()]
        good += [tf.reduce_all(task.possible(batch[1][name])) for name, task in tasks.items()]
        places = tf.reshape(tf.where(~tf.stack(good)), (-1,))
        with tf.control_dependencies([tf.debugging.Assert(tf.size(places) == 0, [mark, places], len(good))]):
            return tf.nest.map_structure(tf.identity, batch)

    return batches.map(checked, num_parallel_calls=tf.data.AUTOTUNE)


def refused(error: BaseException, batches: Any, tasks: Mapping[str, Task], owner: str) -> ValueError | None:
    """What such a dataset stopped at, in the one form; None if the error is another.

    Args:
        error: What was raised where the dataset was read.
        batches: The dataset that was given to `refuse_bad_batches`.
        tasks: The tasks by name.
        owner: Who read it, for the message.
    """
    found = re.search(rf"{_mark(batches)}\]\s*\[([\d ]+)", str(error))
    if found is None:
        return None
    bad, refusals = set(map(int, found[1].split())), Refusals(owner)
    paths = list(_float_inputs(batches.element_spec[0]))
    for place, path in enumerate(paths):
        if place in bad:
            refusals.add(path, INPUT_RULE, words("NaN or infinity in a batch"), INPUT_FIX)
    for place, (name, task) in enumerate(tasks.items(), start=len(paths)):
        if place in bad:
            rule, fix = task.statistics().rule_of_values()
            refusals.add(f"y[{name!r}]", rule, words("a batch with labels that do not"), fix)
    return ValueError("\n".join(refusals.messages))


def _mark(batches: Any) -> str:
    """Stands in the error before the places of what is wrong in a batch, and tells one dataset from another."""
    return f"refused by kmtl {id(batches):x}"


def _float_inputs(inputs: Any) -> dict[str, Any]:
    """The dense inputs, tensors or their specs, that may hold what is not finite, by their place."""
    found = {path_of(path): value for path, value in keras.tree.flatten_with_path(inputs)}
    dense = {path: value for path, value in found.items() if isinstance(value, tf.Tensor | tf.TensorSpec)}
    return {path: value for path, value in dense.items() if value.dtype.is_floating}
