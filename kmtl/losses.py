"""From labels and predictions to one masked mean a task.

An example without a task's label reaches neither its loss nor its gradient:
its label is replaced by a harmless one before the loss sees it (NaN times 0
is NaN), its value is replaced by 0, and it is not counted in the denominator.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from keras import ops

from kmtl.tasks import Task, TaskSpace, Unstandardize
from kmtl.tasks.several_losses import SeveralLosses
from kmtl.tasks.standardization import standardized, standardized_labels

# From this many alike tasks on, one loss call on stacked labels is cheaper than one call a task.
_STACK_FROM = 4


class Examples(NamedTuple):
    """What the losses and metrics of one group of tasks look at.

    With G alike tasks stacked, a group axis of size G follows the batch axis.

    Attributes:
        labels: Labels with every missing element replaced by a harmless one,
            `(batch, [G,] *loss_shape)` of the tasks.
        predictions: `(batch, [G,] *output_shape)`, float32.
        present: True where an element of the label is there; shape of `labels`.
        weight: Sample weights `(batch, [G])`, with an axis a place for a dense task; None where all weigh 1.
    """

    labels: Any
    predictions: Any
    present: Any
    weight: Any


class TaskGroup:
    """Tasks alike in kind, shape and loss, computed by one loss call.

    Args:
        tasks: One task, or several alike.
        loss: Their loss, a Keras loss object or function; its reduction is not used. Of one task also `SeveralLosses`.
        scalers: The `Unstandardize` layer of each task that has one, by name.
        space: The examples that each task counts on; None for all.

    >>> import keras
    >>> from kmtl.tasks import Regression
    >>> group = TaskGroup([Regression("age")], keras.losses.get("mse"))
    >>> labels = {"age": ops.array([3.0, float("nan")])}
    >>> sums, counts = group.sums(group.examples(labels, {"age": ops.array([[1.0], [7.0]])}))
    >>> float(sums[0]), float(counts[0])
    (4.0, 1.0)
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        loss: Any,
        scalers: Mapping[str, Unstandardize] | None = None,
        space: TaskSpace | None = None,
    ) -> None:
        self.tasks = list(tasks)
        self.names = [task.name for task in tasks]
        self.first = self.tasks[0]
        self.loss = loss
        self.scalers = [(scalers or {}).get(name) for name in self.names]
        self.space = space

    def _stack(self, tensors: list[Any]) -> Any:
        """Puts alike tasks side by side on axis 1; one task stays as it is."""
        return tensors[0] if len(tensors) == 1 else ops.stack(tensors, axis=1)

    def examples(
        self, labels: Mapping[str, Any], predictions: Mapping[str, Any], weights: Mapping[str, Any] | None = None
    ) -> Examples:
        """Gathers the group's part of a batch.

        Args:
            labels: `{task: label}`, each `(batch, ...)`; a missing one is NaN or -1.
            predictions: `{task: output}`, each `(batch, ...)`.
            weights: `{task: sample weight}`, each `(batch,)` or one a place; a task left out weighs 1.
        """
        outputs = [ops.cast(predictions[name], "float32") for name in self.names]
        labels = labels if self.space is None else self.space.mask(labels, self.names)
        shaped = [
            task.shaped(ops.cast(labels[task.name], task.label_dtype), output)
            for task, output in zip(self.tasks, outputs, strict=True)
        ]
        truth, guess = self._stack(shaped), self._stack(outputs)
        present = self.first.present(truth)
        safe = ops.where(present, truth, self.first.stand_in(truth, guess))
        return Examples(safe, guess, present, self._weights(weights or {}, guess))

    def _weights(self, weights: Mapping[str, Any], outputs: Any) -> Any:
        """Stacks the sample weights of the group; None if no task has any."""
        given = [weights.get(name) for name in self.names]
        if all(item is None for item in given):
            return None
        batch = ops.shape(outputs)[0]
        filled = [
            ops.ones((batch,)) if item is None else self.first.shaped_weights(ops.cast(item, "float32"))
            for item in given
        ]
        return self._stack(filled)

    @property
    def parts(self) -> list[str]:
        """Names of the several losses of its task; none where there is one loss."""
        return list(self.loss.losses) if isinstance(self.loss, SeveralLosses) else []

    def sums(self, examples: Examples) -> tuple[Any, Any]:
        """Adds up the losses of the labels that are there and counts them.

        A sample weight multiplies a label's loss and leaves the count alone, as in Keras.

        Returns:
            Sums and counts, `(G,)` each.
        """
        return self.sums_with_parts(examples)[:2]

    def sums_with_parts(self, examples: Examples) -> tuple[Any, Any, list[Any]]:
        """The same, and the sum of each of several losses, `(1,)`, before its weight."""
        values, labelled = self.per_label(examples)
        if not isinstance(values, Mapping):
            return self._known_sum(values, labelled, examples), self._sum(ops.cast(labelled, "float32")), []
        parts = {name: self._known_sum(value, labelled, examples) for name, value in values.items()}
        whole = sum(self.loss.weights[name] * part for name, part in parts.items())
        return whole, self._sum(ops.cast(labelled, "float32")), list(parts.values())

    def _known_sum(self, values: Any, labelled: Any, examples: Examples) -> Any:
        """Sum of the losses of the labels that are there, under the sample weights."""
        # Value and weight may be NaN or infinite where the label is missing.
        known = ops.where(labelled, values, 0.0)
        if examples.weight is not None:
            known = known * ops.where(labelled, examples.weight, 0.0)
        return self._sum(known)

    def _sum(self, values: Any) -> Any:
        """Sums over all axes but the group's, `(G,)`."""
        places = 1 if len(self.tasks) == 1 else 2
        axes = (0, *range(places, len(values.shape)))
        return ops.reshape(ops.sum(values, axis=axes if len(axes) > 1 else 0), (-1,))

    def per_label(self, examples: Examples) -> tuple[Any, Any]:
        """Computes one loss a label, and tells which labels count.

        Returns:
            Losses and booleans, `(batch, [G])` each, with an axis a place for a dense task; of several losses a dict
            of such losses.
        """
        truth, outputs = examples.labels, examples.predictions
        layers = [layer for layer in self.scalers if layer is not None]
        if layers:
            truth, (outputs,) = standardized_labels(layers, truth), standardized(layers, outputs)
        if not isinstance(self.loss, SeveralLosses):
            return self.first.label_losses(self.loss, truth, outputs, examples.present)
        found = {
            name: self.first.label_losses(loss, truth, outputs, examples.present)
            for name, loss in self.loss.losses.items()
        }
        counted = functools.reduce(ops.logical_and, [labelled for _, labelled in found.values()])
        return {name: values for name, (values, _) in found.items()}, counted


def group_sums(groups: Sequence[TaskGroup], examples: Sequence[Examples]) -> tuple[Any, Any, Any]:
    """Adds up the losses of all groups.

    Args:
        groups: The groups.
        examples: What each looks at.

    Returns:
        Sums and counts of labels, `(K,)` each, in the order of the groups; and the sums of several losses of one task,
        `(P,)`, None without any.
    """
    found = [group.sums_with_parts(seen) for group, seen in zip(groups, examples, strict=True)]
    sums, counts = (ops.concatenate([one[place] for one in found], axis=0) for place in (0, 1))
    parts = [part for one in found for part in one[2]]
    return sums, counts, ops.concatenate(parts, axis=0) if parts else None


def group_tasks(
    tasks: Sequence[Task], losses: Mapping[str, Any], scalers: Mapping[str, Unstandardize]
) -> list[TaskGroup]:
    """Groups tasks that one loss call can serve; fewer than four alike stay single.

    A loss of the user's own may reduce any axis but the first, so its tasks stay single too.

    Args:
        tasks: All tasks, in order.
        losses: Loss object or function of each, by name.
        scalers: The `Unstandardize` layer of each task that has one.
    """
    alike: dict[object, list[Task]] = {}
    for task in tasks:
        loss = losses[task.name]
        form = None if isinstance(loss, SeveralLosses) else task.loss_form(loss)
        alike.setdefault(("own", task.name) if form is None else (form, task.name in scalers), []).append(task)
    parts = [
        part for found in alike.values() for part in ([found] if len(found) >= _STACK_FROM else [[t] for t in found])
    ]
    space = TaskSpace(tasks)
    return [TaskGroup(part, losses[part[0].name], scalers, space) for part in parts]


def possible_labels(labels: Mapping[str, Any], tasks: Mapping[str, Task]) -> tuple[dict[str, Any], Any]:
    """Replaces labels that no label of their task can be by missing ones.

    Args:
        labels: `{task: label}`.
        tasks: The tasks by name.

    Returns:
        The labels, and how many elements of each task's were replaced, `(K,)`, in task order.

    >>> from kmtl.tasks import Classification
    >>> labels, counts = possible_labels({"digit": ops.array([3, -2, 10, -1])}, {"digit": Classification("digit", 10)})
    >>> labels["digit"].numpy().tolist(), counts.numpy().tolist()
    ([3, -1, -1, -1], [2.0])
    """
    given = {name: ops.cast(labels[name], task.label_dtype) for name, task in tasks.items()}
    kept = {name: task.possible(given[name]) for name, task in tasks.items()}
    replaced = {name: ops.where(kept[name], given[name], task.missing) for name, task in tasks.items()}
    return {**labels, **replaced}, ops.stack([ops.sum(ops.cast(~kept[name], "float32")) for name in tasks])
