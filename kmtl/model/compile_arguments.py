"""What `compile` accepts, by task: losses, weights, metrics."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from kmtl._checks import Refusals, known_keys, near, words
from kmtl.losses import TaskGroup
from kmtl.metrics import Reported, TaskMetrics, reported, resolve
from kmtl.tasks import Task
from kmtl.tasks.keras_losses import loss_name, loss_values, serialized_loss
from kmtl.tasks.labels import known_shape
from kmtl.tasks.measures import check_metric
from kmtl.tasks.metric_directions import metric_name

_OWNER = "compile"


class Settings(NamedTuple):
    """The compiled settings of every task, by name.

    Attributes:
        losses: Loss objects or functions.
        weights: Static loss weights.
        reported: Every metric to report, in task order, under its log key.
    """

    losses: dict[str, Any]
    weights: dict[str, float]
    reported: list[Reported]


def settings(tasks: Mapping[str, Task], loss: Any, loss_weights: Any, metrics: Any, weighted_metrics: Any) -> Settings:
    """Resolves what `compile` was given; what is left out comes from the tasks.

    Args:
        tasks: The tasks by name.
        loss: None, one loss for all tasks, or `{task: loss}`.
        loss_weights: None or `{task: weight}`; a task left out weighs 1.
        metrics: None or `{task: metric or list of them}`.
        weighted_metrics: The same, under sample weights.

    Raises:
        ValueError: With all offenders.
    """
    with Refusals(_OWNER) as refusals:
        losses = _losses(refusals, tasks, loss)
        weights = checked_weights(refusals, tasks, loss_weights)
        own = {name: task.metrics for name, task in tasks.items()}
        plain = {**_metrics(refusals, "metrics", tasks, own), **_metrics(refusals, "metrics", tasks, metrics)}
        weighted = _metrics(refusals, "weighted_metrics", tasks, weighted_metrics)
    return Settings(losses, weights, reported(list(tasks.values()), plain, weighted))


def refuse_overrides(model: type, own: type) -> None:
    """Refuses a subclass whose method nothing would call.

    Args:
        model: The class of the model.
        own: The class whose methods count.

    Raises:
        ValueError: With all offenders.
    """
    with Refusals(_OWNER) as refusals:
        for name, fix in _UNCALLED.items():
            if getattr(model, name) is not getattr(own, name):
                refusals.add(name, "must not be overridden: the step does not call it", words(model.__name__), fix)


_UNCALLED = {
    "compute_loss": "Give a task its `loss`, call `add_loss` in a layer, or override `extra_losses` of "
    "kmtl.model.step.Step and set `model.step`.",
    "compute_metrics": "Give a task its `metrics`.",
}


def _as_mapping(refusals: Refusals, argument: str, given: Any, tasks: Mapping[str, Task]) -> Mapping[str, Any]:
    """Returns the dict, or records a list or another thing in its place."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        fix = f"Pass a dict, as {{{next(iter(tasks))!r}: ...}}; Keras would assign a list by sorted name."
        refusals.add(argument, "must be a dict keyed by task name", given, fix)
        return {}
    known_keys(refusals, argument, given, tasks)
    return given


def _losses(refusals: Refusals, tasks: Mapping[str, Task], given: Any) -> dict[str, Any]:
    """One loss a task."""
    if isinstance(given, str) or (callable(given) and not isinstance(given, Mapping)):
        given = dict.fromkeys(tasks, given)
    given = _as_mapping(refusals, "loss", given, tasks)
    losses = {}
    for name, task in tasks.items():
        chosen = given.get(name)
        try:
            losses[name] = task.resolved_loss() if chosen is None else keras.losses.get(chosen)
        except (ValueError, TypeError):
            refusals.add("loss", f"of {name!r} must be a Keras loss", chosen, near(str(chosen), _LOSSES))
            continue
        if chosen is not None or task.loss is not None:
            _try_loss(refusals, task, losses[name])
    return losses


_LOSSES = ("mse", "mae", "huber", "sparse_categorical_crossentropy", "binary_crossentropy", "categorical_crossentropy")


# What a function raises that cannot be traced, or not with these shapes.
_FAILURES = (ValueError, TypeError, ArithmeticError, AttributeError, NotImplementedError)


class _Trial(keras.layers.Layer):
    """Runs a function on symbolic labels and predictions: whatever its shapes allow or not shows without data."""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        super().__init__(dtype="float32")
        self.function = function

    def call(self, labels: Any, predictions: Any) -> Any:
        """Calls it."""
        return self.function(labels, predictions)


def _outcome(task: Task, function: Callable[[Any, Any], Any]) -> Any:
    """What a function makes of a task's labels, as the loss sees them, and predictions; symbolic."""
    batch = _batch_of(task)
    labels = task.shaped(keras.KerasTensor((batch, *known_shape(task.label_shape)), dtype=task.label_dtype))
    return _Trial(function)(labels, keras.KerasTensor((batch, *known_shape(task.output_shape))))


def _batch_of(task: Task) -> int:
    """A batch that broadcasts with no other size: labels and predictions of unlike shapes must not pass by chance."""
    return 1 + max(known_shape((*task.output_shape, *task.label_shape)))


def _try_loss(refusals: Refusals, task: Task, loss: Any) -> None:
    """Records a loss that cannot be taken of the task's labels, or is not one value a label."""
    rule = f"of {task.name!r} must take {_labels_of(task)} and predictions {_shape_of(task.output_shape)}"
    try:
        result = _outcome(
            task, lambda labels, predictions: loss_values(loss, task.labels_for(loss, labels), predictions)
        )
    except _FAILURES as error:
        refusals.add("loss", rule, loss_name(loss), f"It says: {_first_line(error)}")
        return
    shape, batch = tuple(getattr(result, "shape", ())), _batch_of(task)
    if shape != (batch, *known_shape(task.label_shape[: task.dense_axes])):
        fix = "Keep the batch axis and reduce the others."
        what = "an example"
        if task.dense_axes:
            fix, what = "Keep the axes of the places and reduce the others.", "a place of each example"
        got = words(f"shape {shape} for {batch} examples")
        refusals.add("loss", f"of {task.name!r} must return one value {what}", got, fix)


def _labels_of(task: Task) -> str:
    """Tells what labels a task has."""
    kind = "integer labels" if task.label_dtype == "int32" else "float labels"
    return f"{kind} {_shape_of(task.label_shape)}"


def _shape_of(shape: tuple[int | None, ...]) -> str:
    """A shape of a batch in words."""
    return f"(batch{''.join(f', {size}' for size in shape)})"


def _first_line(error: Exception) -> str:
    """What an error says first, without Keras's preamble and colours."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines() if line.strip()]
    found = [line for line in lines if not line.startswith(("Exception encountered", "Could not automatically infer"))]
    return (found or lines or [type(error).__name__])[0].partition(" for '{{node")[0]


def serialized_losses(given: Any) -> Any:
    """Serializes the Keras losses in what `compile` was given as `loss`, with all of their options.

    >>> serialized_losses({"age": keras.losses.Huber(delta=0.5), "box": "mae"})["age"]["config"]["delta"]
    0.5
    """
    if isinstance(given, Mapping):
        return {name: serialized_losses(loss) for name, loss in given.items()}
    return serialized_loss(given) if isinstance(given, keras.losses.Loss) else given


def checked_weights(refusals: Refusals, tasks: Mapping[str, Task], given: Any) -> dict[str, float]:
    """One weight a task, 1 where none is given; records what is not a finite number of at least 0."""
    given = _as_mapping(refusals, "loss_weights", given, tasks)
    weights = dict.fromkeys(tasks, 1.0)
    for name, value in given.items():
        if isinstance(value, keras.Variable):
            fix = "Pass its number, and move it during training with kmtl.callbacks.LossWeightScheduler."
            refusals.add("loss_weights", f"of {name!r} must be a number", words("a keras.Variable"), fix)
        elif not _is_weight(value):
            refusals.add("loss_weights", f"of {name!r} must be a finite number of at least 0", value)
        elif name in weights:
            weights[name] = float(value)
    if given and all(weight == 0 for weight in weights.values()):
        refusals.add("loss_weights", "must leave at least one task above 0", dict(given))
    return weights


def _is_weight(value: Any) -> bool:
    """Whether it is a finite number of at least 0."""
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return number and 0 <= float(value) < float("inf")


def _metrics(refusals: Refusals, argument: str, tasks: Mapping[str, Task], given: Any) -> dict[str, list[Any]]:
    """A list of metrics for each task that is named."""
    given = _as_mapping(refusals, argument, given, tasks)
    result = {}
    for name, value in given.items():
        if name in tasks:
            listed = list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
            result[name] = [item for item in listed if _is_metric(refusals, argument, tasks[name], item)]
    return result


def _is_metric(refusals: Refusals, argument: str, task: Task, metric: Any) -> bool:
    """Whether it is a metric that can be taken of the task's labels; records it if not."""
    if isinstance(metric, str) and metric in task.default_metrics:
        return True
    try:
        resolved = resolve(task, metric)
    except (ValueError, TypeError):
        refusals.add(
            argument, f"of {task.name!r} must be Keras metrics", metric, near(str(metric), task.metric_names())
        )
        return False
    if not check_metric(refusals, argument, task, resolved):
        return False
    try:
        value = _outcome(task, _trial_of_metric(task, metric))
    except _FAILURES as error:
        rule = f"of {task.name!r} must take {_labels_of(task)} and predictions {_shape_of(task.output_shape)}"
        refusals.add(argument, rule, metric_name(metric), f"It says: {_first_line(error)}")
        return False
    if tuple(value.shape):
        got = words(f"{tuple(value.shape)} of {metric_name(metric)}")
        refusals.add(argument, f"of {task.name!r} must give one number", got, "For example average='macro'.")
        return False
    return True


def _trial_of_metric(task: Task, metric: Any) -> Callable[[Any, Any], Any]:
    """A function that updates a metric once, on a copy: some metrics make their state in the first update."""
    if isinstance(metric, keras.metrics.Metric):
        metric = type(metric).from_config(metric.get_config())
    group = TaskGroup([task], None)
    trial = TaskMetrics([group], [Reported(task, "trial", metric, False)])

    def call(labels: Any, predictions: Any) -> Any:
        trial.update_state([group.examples({task.name: labels}, {task.name: predictions})])
        return trial.result()["trial"]

    return call
