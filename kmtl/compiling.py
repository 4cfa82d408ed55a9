"""What `compile` accepts, by task: losses, weights, metrics."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from kmtl._checks import Refusals, known_keys, near, words
from kmtl.metrics import resolve
from kmtl.tasks import Task

_OWNER = "compile"


class Settings(NamedTuple):
    """The compiled settings of every task, by name.

    Attributes:
        losses: Loss objects or functions.
        weights: Static loss weights.
        metrics: Metrics, unweighted.
        weighted_metrics: Metrics under the sample weights.
    """

    losses: dict[str, Any]
    weights: dict[str, float]
    metrics: dict[str, list[Any]]
    weighted_metrics: dict[str, list[Any]]


def settings(
    tasks: Mapping[str, Task], loss: Any, loss_weights: Any, metrics: Any, weighted_metrics: Any
) -> Settings:
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
        chosen = _metrics(refusals, "metrics", tasks, metrics)
        weighted = _metrics(refusals, "weighted_metrics", tasks, weighted_metrics)
    plain = {name: chosen.get(name, task.metrics) for name, task in tasks.items()}
    return Settings(losses, weights, plain, weighted)


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
        if chosen is not None or not isinstance(task.loss, str | None):
            _check_loss(refusals, task, losses[name])
    return losses


_LOSSES = ("mse", "mae", "huber", "sparse_categorical_crossentropy", "binary_crossentropy", "categorical_crossentropy")


def _check_loss(refusals: Refusals, task: Task, loss: Any) -> None:
    """Tries a loss on two examples: it must give one value each."""
    integer = task.label_dtype == "int32"
    labels = task.shaped(ops.zeros((2, *task.label_shape), dtype="int32" if integer else "float32"))
    predictions = ops.full((2, task.units), 0.5)
    call = loss.call if isinstance(loss, keras.losses.Loss) else loss
    try:
        shape = tuple(call(labels, predictions).shape)
    except (ValueError, TypeError, ArithmeticError) as error:
        rule = f"of {task.name!r} must take labels {tuple(labels.shape)} and predictions {tuple(predictions.shape)}"
        refusals.add("loss", rule, words(f"{type(error).__name__}: {str(error).splitlines()[0]}"))
        return
    if shape != (2,):
        fix = "Keep the batch axis and reduce the others."
        refusals.add("loss", f"of {task.name!r} must return one value an example", words(f"shape {shape} for 2"), fix)


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
    """Whether Keras knows the metric; records it if not."""
    try:
        resolve(task, metric)
    except (ValueError, TypeError):
        refusals.add(argument, f"of {task.name!r} must be Keras metrics", metric, near(str(metric), task.metric_names()))
        return False
    return True
