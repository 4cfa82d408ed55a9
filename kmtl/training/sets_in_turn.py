"""Datasets of one task each as one stream of batches, each of the task whose turn it is."""

from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf

from kmtl.data import only
from kmtl.data.mixing.stream_form import common_form
from kmtl.feeding.order import LAST, element_options
from kmtl.feeding.resume import register_restart, stream_from, transform_stream
from kmtl.tasks import Task
from kmtl.training.turns import Turns


def check_alike(owner: str, sets: Mapping[str, Any], tasks: Mapping[str, Task]) -> None:
    """Refuses sets whose inputs or labels cannot stand in one stream.

    Raises:
        ValueError: With all offenders.
    """
    common_form(owner, {name: only(data, [name]).unbatch() for name, data in sets.items()}, list(tasks.values()))


def sets_in_turn(sets: Mapping[str, Any], tasks: Mapping[str, Task], turns: Turns) -> Any:
    """Makes the stream; step `n` of it is a function of `n` alone, as far as each set's own stream is.

    Args:
        sets: `{task: batches (x, {task: label})}`, with or without weights; further labels are not read.
        tasks: The tasks by name, in order.
        turns: Whose turn each step is.

    Returns:
        An endless dataset of batches `(x, {every task: label})`.
    """
    weighted = any(len(data.element_spec) == 3 for data in sets.values())
    filled = [_filled(sets[name], name, tasks, weighted) for name in tasks]

    def later(first: int) -> Any:
        used = turns.counts(first)
        sources = [stream_from(data, count) for data, count in zip(filled, used, strict=True)]
        drawn = tf.data.Dataset.range(first, LAST).map(turns.at)
        return tf.data.Dataset.choose_from_datasets(sources, drawn).with_options(element_options())

    return register_restart(later(0), later)


def _filled(data: Any, name: str, tasks: Mapping[str, Task], weighted: bool) -> Any:
    """One task's batches with the labels of all, those of the others missing."""

    def complete(x: Any, y: Any, given: Any = None) -> Any:
        size = tf.shape(keras.tree.flatten(x)[0])[0]
        labels = {
            key: task.cast_label_tensor(y[key]) if key == name else task.absent_label_tensor(size)
            for key, task in tasks.items()
        }
        if not weighted:
            return x, labels
        own = given[name] if isinstance(given, Mapping) else given
        own = tf.ones([size]) if own is None else tf.cast(own, tf.float32)
        return x, labels, {key: own if key == name else tf.ones([size]) for key in tasks}

    return transform_stream(data, lambda batches: batches.map(complete))
