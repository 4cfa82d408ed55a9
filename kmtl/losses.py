"""From labels and predictions to one masked mean a task.

An example without a task's label reaches neither its loss nor its gradient:
its label is replaced by a harmless one before the loss sees it (NaN times 0
is NaN), its value is replaced by 0, and it is not counted in the denominator.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from kmtl._checks import refusal
from kmtl._keras_private import loss_arguments
from kmtl.tasks import Task, Unstandardize
from kmtl.tasks.base import serialized_loss

# From this many alike tasks on, one loss call on stacked labels is cheaper than one call a task.
_STACK_FROM = 4
# Keras's losses that reduce the last axis and no other, so that a group axis goes through them untouched.
_STACKABLE = frozenset(
    {"sparse_categorical_crossentropy", "binary_crossentropy", "binary_focal_crossentropy", "cosine_similarity"}
    | {"mean_squared_error", "mean_absolute_error", "mean_absolute_percentage_error", "huber", "log_cosh"}
    | {"mean_squared_logarithmic_error", "hinge", "squared_hinge", "poisson"}
)


class Examples(NamedTuple):
    """What the losses and metrics of one group of tasks look at.

    With G alike tasks stacked, a group axis of size G follows the batch axis.

    Attributes:
        labels: Labels with every missing element replaced by a harmless one,
            `(batch, [G,] units)`, or `(batch, [G])` for a classification.
        predictions: `(batch, [G,] units)`, float32.
        present: True where an element of the label is there; shape of `labels`.
        weight: Sample weights `(batch, [G])`, or None where all weigh 1.
    """

    labels: Any
    predictions: Any
    present: Any
    weight: Any


class TaskGroup:
    """Tasks alike in kind, width and loss, computed by one loss call.

    Args:
        tasks: One task, or several alike.
        loss: Their loss, a Keras loss object or function; its reduction is not used.
        scalers: The `Unstandardize` layer of each task that has one, by name.

    >>> from kmtl.tasks import Regression
    >>> group = TaskGroup([Regression("age")], keras.losses.get("mse"))
    >>> labels = {"age": ops.array([3.0, float("nan")])}
    >>> sums, counts = group.sums(group.examples(labels, {"age": ops.array([[1.0], [7.0]])}))
    >>> float(sums[0]), float(counts[0])
    (4.0, 1.0)
    """

    def __init__(self, tasks: Sequence[Task], loss: Any, scalers: Mapping[str, Unstandardize] | None = None) -> None:
        self.tasks = list(tasks)
        self.names = [task.name for task in tasks]
        self.first = self.tasks[0]
        self.loss = loss
        self.scalers = [(scalers or {}).get(name) for name in self.names]
        self.elementwise = self.first.units > 1 and _is_own(loss) and loss_name(loss) in self.first.elementwise_losses

    def _stack(self, tensors: list[Any]) -> Any:
        """Puts alike tasks side by side on axis 1; one task stays as it is."""
        return tensors[0] if len(tensors) == 1 else ops.stack(tensors, axis=1)

    def examples(
        self, labels: Mapping[str, Any], predictions: Mapping[str, Any], weights: Mapping[str, Any] | None = None
    ) -> Examples:
        """Gathers the group's part of a batch.

        Args:
            labels: `{task: label}`, each `(batch, ...)`; a missing one is NaN or -1.
            predictions: `{task: output}`, each `(batch, units)`.
            weights: `{task: sample weight}`, each `(batch,)`; a task left out weighs 1.
        """
        shaped = [task.shaped(ops.cast(labels[task.name], task.label_dtype)) for task in self.tasks]
        truth = self._stack(shaped)
        present = self.first.present(truth)
        outputs = self._stack([ops.cast(predictions[name], "float32") for name in self.names])
        safe = ops.where(present, truth, self._stand_in(truth, outputs))
        return Examples(safe, outputs, present, self._weights(weights or {}, outputs))

    def _stand_in(self, truth: Any, outputs: Any) -> Any:
        """Labels at which a loss and its slope are finite: class 0, or a number near the prediction.

        A relative error is infinite at 0, a distance has no slope at the prediction itself.
        """
        return ops.stop_gradient(outputs) + 1.0 if self.first.label_dtype == "float32" else ops.zeros_like(truth)

    def _weights(self, weights: Mapping[str, Any], outputs: Any) -> Any:
        """Stacks the sample weights of the group; None if no task has any."""
        given = [weights.get(name) for name in self.names]
        if all(item is None for item in given):
            return None
        batch = ops.shape(outputs)[0]
        filled = [
            ops.ones((batch,)) if item is None else ops.reshape(ops.cast(item, "float32"), (-1,)) for item in given
        ]
        return self._stack(filled)

    def sums(self, examples: Examples) -> tuple[Any, Any]:
        """Adds up the losses of the labelled examples and counts them.

        A sample weight multiplies an example's loss and leaves the count alone,
        as in Keras.

        Returns:
            Sums and counts, `(G,)` each.
        """
        values, labelled = self.per_example(examples)
        # Value and weight may be NaN or infinite where the label is missing.
        known = ops.where(labelled, values, 0.0)
        if examples.weight is not None:
            known = known * ops.where(labelled, examples.weight, 0.0)
        counted = ops.cast(labelled, "float32")
        return ops.reshape(ops.sum(known, axis=0), (-1,)), ops.reshape(ops.sum(counted, axis=0), (-1,))

    def per_example(self, examples: Examples) -> tuple[Any, Any]:
        """Computes one loss an example, and tells which examples are labelled.

        Returns:
            Losses and booleans, `(batch, [G])` each.
        """
        truth, outputs = self._standardized(examples)
        if self.elementwise:
            values = loss_values(self.loss, ops.expand_dims(truth, -1), ops.expand_dims(outputs, -1))
            return _mean_of_present(values, examples.present)
        values = loss_values(self.loss, truth, outputs)
        labelled = examples.present
        if len(labelled.shape) == len(outputs.shape):
            labelled = ops.all(labelled, axis=-1)
        self._check_rank(values, labelled)
        return values, labelled

    def _check_rank(self, values: Any, labelled: Any) -> None:
        """Refuses a loss that has already reduced over the examples."""
        if len(values.shape) != len(labelled.shape):
            fix = "Return one value an example: keep the batch axis and reduce the others."
            rule = "must return values of shape (batch,)"
            raise ValueError(refusal(self.first.owner, "loss", rule, tuple(values.shape), fix))

    @staticmethod
    def _stack_values(variables: list[Any]) -> Any:
        """Puts the variables of alike tasks side by side; one stays as it is."""
        # TensorFlow stacks no Keras variables.
        values = [variable.value for variable in variables]
        return values[0] if len(values) == 1 else ops.stack(values)

    def _standardized(self, examples: Examples) -> tuple[Any, Any]:
        """Puts labels and predictions of a regression on the scale that its loss is taken on."""
        scaler = self.scalers[0]
        if scaler is None:
            return examples.labels, examples.predictions
        layers = [layer for layer in self.scalers if layer is not None]
        mean = self._stack_values([layer.mean for layer in layers])
        scale = self._stack_values([layer.scale for layer in layers])
        return (examples.labels - mean) / scale, (examples.predictions - mean) / scale


def loss_values(loss: Any, labels: Any, predictions: Any) -> Any:
    """Calls a loss object or function without its reduction, with float labels, as Keras's own `Loss` does.

    >>> loss_values(keras.losses.MeanSquaredError(), ops.array([[1], [3]]), ops.array([[1.0], [1.0]])).numpy().tolist()
    [0.0, 4.0]
    """
    call = loss.call if isinstance(loss, keras.losses.Loss) else loss
    return ops.cast(call(ops.cast(labels, "float32"), predictions), "float32")


def _mean_of_present(values: Any, present: Any) -> tuple[Any, Any]:
    """Averages each example's elements that are there; an example with none is unlabelled."""
    count = ops.sum(ops.cast(present, "float32"), axis=-1)
    total = ops.sum(ops.where(present, values, 0.0), axis=-1)
    return total / ops.maximum(count, 1.0), ops.greater(count, 0.0)


def loss_name(loss: Any) -> str:
    """Names a loss by its function, whatever form it comes in.

    >>> loss_name(keras.losses.MeanSquaredError()), loss_name(keras.losses.get("mse"))
    ('mean_squared_error', 'mean_squared_error')
    """
    function = getattr(loss, "fn", loss)
    return getattr(function, "__name__", type(function).__name__)


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
    alike: dict[tuple[object, ...], list[Task]] = {}
    for task in tasks:
        loss = losses[task.name]
        form = (type(task), task.units, _identity(loss), task.name in scalers, _is_stackable(loss) or task.name)
        alike.setdefault(form, []).append(task)
    parts = [
        part for found in alike.values() for part in ([found] if len(found) >= _STACK_FROM else [[t] for t in found])
    ]
    return [TaskGroup(part, losses[part[0].name], scalers) for part in parts]


def _is_own(loss: Any) -> bool:
    """Whether it is one of Keras's own losses, on the last axis, and not a user's under the same name."""
    by_keras = not isinstance(loss, keras.losses.Loss) or type(loss).__module__.startswith("keras.")
    last_axis = loss_arguments(loss).get("axis", -1) == -1
    return by_keras and last_axis and getattr(loss, "fn", loss) is getattr(keras.losses, loss_name(loss), None)


def _is_stackable(loss: Any) -> bool:
    """Whether it leaves every axis but the last alone, for sure."""
    return _is_own(loss) and loss_name(loss) in _STACKABLE


def _identity(loss: Any) -> object:
    """What makes two losses the same: the settings of one of Keras's own, any other only itself."""
    if isinstance(loss, keras.losses.Loss) and _is_stackable(loss):
        config = serialized_loss(loss)["config"]
        return (type(loss), repr(sorted((key, config[key]) for key in config if key not in {"name", "reduction"})))
    return loss
