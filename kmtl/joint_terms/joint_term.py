"""A function over the outputs of several tasks, and the rows that it counts."""

import functools
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kmtl._checks import near, refusal, require, task_name, words
from kmtl._keras_private import logits_behind, put_logits_behind
from kmtl.losses import Examples, TaskGroup
from kmtl.tasks import Task, TaskSpace

#: Key among a batch's labels that tells which rows are examples; a replica that none is left for gets one that is not.
REAL = "rows that are examples"


class JointTerm:
    """What a joint loss and a joint metric have in common: a function over the outputs of several tasks.

    Args:
        name: Its name in the logs.
        fn: A function `fn(labels, outputs)` that returns one value an example, `(batch,)`. Both are dicts by task:
            `outputs` of every task in `tasks`, `(batch, ...)`, float32, in the label's unit; `labels` of those whose
            label it needs, in the shape in which losses see them (of a number `(batch, 1)`, as its output).
        tasks: Names of the tasks whose outputs it takes.
        needs_labels: The tasks of which a row must have the label to count: True for all of `tasks`, False for none,
            or a list of names.
        partial: False counts rows that have every element of every label it needs. True counts those that have
            some of each, and `fn(labels, outputs, present)` gets a third dict that tells which elements are there.

    Raises:
        ValueError: If a name, the function or the tasks are not fit.
    """

    def __init__(
        self,
        name: str,
        fn: Callable[..., Any],
        tasks: Sequence[str],
        *,
        needs_labels: bool | Sequence[str] = True,
        partial: bool = False,
    ) -> None:
        kind = type(self).__name__
        self.name = task_name(kind, name)
        self.owner = f"{kind}({name!r})"
        self.fn = _checked_function(self.owner, fn)
        self.tasks = _checked_tasks(self.owner, "tasks", tasks)
        require(len(self.tasks) > 0, self.owner, "tasks", "must name the tasks whose outputs it takes", tasks)
        listed = self.tasks if needs_labels is True else [] if needs_labels is False else needs_labels
        self.needs_labels = _checked_tasks(self.owner, "needs_labels", listed)
        for task in self.needs_labels:
            fix = near(task, self.tasks)
            require(task in self.tasks, self.owner, "needs_labels", "must name some of its `tasks`", task, fix)
        self.partial = bool(partial)

    def values(
        self,
        tasks: Mapping[str, Task],
        labels: Mapping[str, Any],
        outputs: Mapping[str, Any],
        weights: Mapping[str, Any] | None = None,
    ) -> tuple[Any, Any, Any]:
        """Computes one value an example.

        A row that does not count sends no gradient back, whatever the slope of the function there.

        Args:
            tasks: The model's tasks by name.
            labels: `{task: label}`, a missing one NaN or -1; where its task does not count, a label is missing too.
            outputs: `{task: output}`.
            weights: `{task: sample weight}`.

        Returns:
            Values, `(batch,)`; which of them count, None for all; and what they weigh, None for 1: the least of the
            sample weights that the tasks whose label it needs have.
        """
        space = TaskSpace(tasks.values())
        groups = {name: TaskGroup([tasks[name]], None, space=space) for name in self.needs_labels}
        seen = {name: group.examples(labels, outputs, weights) for name, group in groups.items()}
        counted = None
        for examples in seen.values():
            there = _of_rows(ops.any if self.partial else ops.all, examples.present)
            counted = there if counted is None else counted & there
        given = {name: _only(ops.cast(outputs[name], "float32"), counted) for name in self.tasks}
        dicts = [{name: examples.labels for name, examples in seen.items()}, given]
        dicts += [{name: examples.present for name, examples in seen.items()}] if self.partial else []
        weighed = [_example_weights(tasks[name], examples) for name, examples in seen.items()]
        weighed = [weight for weight in weighed if weight is not None]
        return self.fn(*dicts), counted, functools.reduce(ops.minimum, weighed) if weighed else None

    def sums(
        self,
        tasks: Mapping[str, Task],
        labels: Mapping[str, Any],
        outputs: Mapping[str, Any],
        weights: Mapping[str, Any] | None = None,
    ) -> tuple[Any, Any]:
        """Adds up the values of the rows that count, under the sample weights, and counts them; as `values` takes."""
        values, counted, weight = self.values(tasks, labels, outputs, weights)
        values = ops.cast(values, "float32")
        counted = labels.get(REAL) if counted is None else counted
        counted = ops.ones_like(values, dtype="bool") if counted is None else counted
        known = ops.where(counted, values, 0.0)
        if weight is not None:
            known = known * ops.where(counted, weight, 0.0)
        return ops.sum(known), ops.sum(ops.cast(counted, "float32"))

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        function = keras.saving.serialize_keras_object(self.fn)
        own = {"needs_labels": list(self.needs_labels), "partial": self.partial}
        return {"name": self.name, "fn": function, "tasks": list(self.tasks), **own}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "JointTerm":
        """Makes it again; the function is found by the name that it was registered under."""
        return cls(**{**config, "fn": keras.saving.deserialize_keras_object(config["fn"])})

    def __repr__(self) -> str:
        return self.owner


def _checked_function(owner: str, function: Any) -> Any:
    """Returns the function, or refuses one that no file could name."""
    named = isinstance(function, types.FunctionType) and function.__name__ != "<lambda>"
    if named or (callable(function) and hasattr(function, "get_config")):
        return function
    fix = "Write it with `def` and decorate it: @keras.saving.register_keras_serializable()."
    got = words("a lambda") if isinstance(function, types.FunctionType) else function
    raise ValueError(refusal(owner, "fn", "must be a function with a name, by which a file can tell it", got, fix))


def _checked_tasks(owner: str, argument: str, names: Any) -> list[str]:
    """Returns names of tasks as a list, or refuses what is none."""
    listed = isinstance(names, list | tuple) and all(isinstance(name, str) for name in names)
    require(listed and len(set(names)) == len(names), owner, argument, "must be a list of different task names", names)
    return list(names)


def _of_rows(reduce: Callable[..., Any], present: Any) -> Any:
    """Reduces booleans to one a row, `(batch,)`."""
    axes = tuple(range(1, len(present.shape)))
    return reduce(present, axis=axes) if axes else present


def _only(output: Any, counted: Any) -> Any:
    """The output, through which rows that do not count send no gradient back."""
    if counted is None:
        return output

    def stopped(value: Any) -> Any:
        shape = (-1, *[1] * (len(value.shape) - 1))
        return ops.where(ops.reshape(counted, shape), value, ops.stop_gradient(value))

    through, logits = stopped(output), logits_behind(output)
    if logits is not None:
        # Keras takes a cross-entropy from the logits that it finds behind a probability.
        put_logits_behind(through, stopped(logits))
    return through


def _example_weights(task: Task, seen: Examples) -> Any:
    """One weight an example, `(batch,)`; of weights a place the mean over the labelled ones. None where all weigh 1."""
    if seen.weight is None or len(seen.weight.shape) == 1:
        return seen.weight
    there = seen.present
    while len(there.shape) > 1 + task.dense_axes:
        there = ops.any(there, axis=-1)
    axes = tuple(range(1, len(there.shape)))
    total = ops.sum(ops.where(there, seen.weight, 0.0), axis=axes)
    return total / ops.maximum(ops.sum(ops.cast(there, "float32"), axis=axes), 1.0)
