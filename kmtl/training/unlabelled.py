"""Rows without labels, and how they join the batches of those with labels."""

import zlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kmtl._checks import Refusals, words
from kmtl.feeding.datasets import is_dataset
from kmtl.feeding.order import stream_rows
from kmtl.feeding.resume import register_restart, stream_from
from kmtl.tasks import Task

_RULE = "must be inputs as those of `train`"
_FIX = "Give x alone, arrays or a tf.data.Dataset of them, of the form that `train` has."


class Unlabelled:
    """Rows `x` alone.

    Args:
        data: Arrays, a `tf.data.Dataset` of examples or batches, or either as `(x, labels)`: the labels are never read.

    >>> Unlabelled((np.ones((5, 2)), {"age": "garbage"}))
    5 rows
    """

    def __init__(self, data: Any) -> None:
        self.is_dataset = is_dataset(data)
        if self.is_dataset:
            spec = data.element_spec
            alone = _is_labelled(spec)
            self.x: Any = data.map(lambda x, *_: x) if alone else data
        else:
            self.x = keras.tree.map_structure(np.asarray, data[0] if _is_labelled(data) else data)

    @property
    def spec(self) -> Any:
        """Specs of one element of a dataset, of arrays those of all rows."""
        if self.is_dataset:
            return self.x.element_spec
        return keras.tree.map_structure(lambda array: tf.TensorSpec(array.shape, array.dtype), self.x)

    def check(self, refusals: Refusals, wanted: Any) -> None:
        """Records rows that cannot stand in one batch with others.

        Args:
            refusals: Where to record.
            wanted: Specs of a batch of inputs.
        """
        try:
            pairs = list(zip(keras.tree.flatten(self.spec), keras.tree.flatten(wanted), strict=True))
            keras.tree.assert_same_structure(self.spec, wanted)
        except (TypeError, ValueError):
            refusals.add("unlabelled", _RULE, words(str(self.spec)), _FIX)
            return
        for own, other in pairs:
            shape = own.shape if own.shape.rank == other.shape.rank else tf.TensorShape([None, *own.shape])
            rows = shape[0] if shape.rank else None
            if not shape[1:].is_compatible_with(other.shape[1:]) or (rows == 0 and not self.is_dataset):
                got = words(f"{tuple(own.shape)} for {tuple(other.shape)}")
                refusals.add("unlabelled", _RULE, got, _FIX)

    def batches(self, wanted: Any, size: int, seed: int) -> Any:
        """Batches without end; of arrays and single examples of a size, of a batched dataset as they are.

        Args:
            wanted: Specs of a batch of inputs.
            size: Rows a batch.
            seed: Of the order of arrays.
        """
        if not self.is_dataset:
            return lambda first: stream_rows(first, (self.x,), size, True, seed).map(lambda x: x)
        first, other = keras.tree.flatten(self.spec)[0], keras.tree.flatten(wanted)[0]
        if first.shape.rank == other.shape.rank:
            return lambda first: stream_from(self.x, first)
        return lambda first: stream_from(self.x, first * size).batch(size)

    def get_config(self) -> dict[str, Any]:
        """What tells one set of rows from another."""
        if self.is_dataset:
            return {"spec": str(self.spec), "batches": int(self.x.cardinality())}
        arrays = keras.tree.flatten(self.x)
        return {"rows": len(arrays[0]), "sums": [zlib.crc32(np.ascontiguousarray(array).tobytes()) for array in arrays]}

    def __repr__(self) -> str:
        if self.is_dataset:
            return "a dataset"
        return f"{len(keras.tree.flatten(self.x)[0])} rows"


def _is_labelled(parts: Any) -> bool:
    """Whether labels by task come along."""
    return isinstance(parts, tuple) and len(parts) in (2, 3) and isinstance(parts[1], Mapping)


def joined(train: Any, batches: Any, tasks: Mapping[str, Task]) -> Any:
    """A dataset without end of labelled batches with rows among them that have no label.

    Rows of both kinds alternate evenly, so that each replica gets its part of both.

    Args:
        train: A dataset of batches `(x, {task: label})`, with or without weights.
        batches: From the number of a batch to batches of inputs without end from there on.
        tasks: The tasks by name.
    """

    def join(given: Any, more: Any) -> Any:
        x, labels, *weights = given
        counts = [tf.shape(keras.tree.flatten(part)[0])[0] for part in (x, more)]
        order = tf.argsort(tf.concat([(tf.range(n) + 1) / (n + 1) for n in counts], 0), stable=True)

        def both(one: Any, other: Any) -> Any:
            return tf.gather(tf.concat([one, tf.cast(other, one.dtype)], 0), order)

        def missing(name: str, label: Any) -> Any:
            absent = tasks[name].absent_label_tensor(1)
            shape = tf.concat([counts[1:], tf.shape(label)[1:]], 0)
            return tf.broadcast_to(tf.reshape(absent, (-1,))[0], shape)

        cast = {name: tasks[name].cast_label_tensor(label) for name, label in labels.items() if name in tasks}
        made = {name: both(label, missing(name, label)) for name, label in cast.items()}
        weighed = keras.tree.map_structure(
            lambda one: both(one, tf.ones(tf.concat([counts[1:], tf.shape(one)[1:]], 0), one.dtype)), tuple(weights)
        )
        return (keras.tree.map_structure(both, x, more), made, *weighed)

    def later(first: Any) -> Any:
        return tf.data.Dataset.zip((stream_from(train, first), batches(first))).map(
            join, num_parallel_calls=tf.data.AUTOTUNE
        )

    return register_restart(later(0), later)
