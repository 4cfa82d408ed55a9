"""What `compile` accepts, by task: losses, weights, metrics."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import keras

from kmtl._checks import Refusals, is_weight, known_keys, near, words
from kmtl.joint_terms import JointLoss, JointMetric
from kmtl.losses import TaskGroup
from kmtl.metrics import Reported, TaskMetrics, reported, resolve
from kmtl.model.joint_arguments import check_log_keys, joint_terms
from kmtl.model.symbolic_trial import FAILURES, Trial, first_line, shape_of
from kmtl.tasks import Task
from kmtl.tasks.keras_losses import loss_name, loss_values, serialized_loss, summed
from kmtl.tasks.measures import check_metric
from kmtl.tasks.metric_directions import metric_name
from kmtl.tasks.several_losses import SeveralLosses
from kmtl.tasks.shapes import known_shape

_OWNER = "compile"
_WEIGHT = "must be a number of at least 0 that is finite in float32"


class Settings(NamedTuple):
    """The compiled settings of every task, by name.

    Attributes:
        losses: Loss objects or functions, or `SeveralLosses`.
        weights: Static loss weights, of the tasks first, then of the joint losses.
        reported: Every metric to report, in task order, under its log key.
        joint_losses: Losses over several outputs, those that are balanced first.
        joint_metrics: Metrics over several outputs.
    """

    losses: dict[str, Any]
    weights: dict[str, float]
    reported: list[Reported]
    joint_losses: Sequence[JointLoss] = ()
    joint_metrics: Sequence[JointMetric] = ()


def settings(
    tasks: Mapping[str, Task],
    loss: Any,
    loss_weights: Any,
    metrics: Any,
    weighted_metrics: Any,
    joint_losses: Any = None,
    joint_metrics: Any = None,
) -> Settings:
    """Resolves what `compile` was given; what is left out comes from the tasks.

    Args:
        tasks: The tasks by name.
        loss: None, one loss for all tasks, or `{task: loss}`; a dict of losses for several of one task.
        loss_weights: None or `{task: weight}`; a task left out weighs 1. Of several losses `{task: {loss: weight}}`.
        metrics: None or `{task: metric or list of them}`.
        weighted_metrics: The same, under sample weights.
        joint_losses: None or losses over several outputs.
        joint_metrics: None or metrics over several outputs.

    Raises:
        ValueError: With all offenders.
    """
    with Refusals(_OWNER) as refusals:
        joint = joint_terms(refusals, "joint_losses", JointLoss, tasks, joint_losses)
        measured = joint_terms(refusals, "joint_metrics", JointMetric, tasks, joint_metrics)
        joint.sort(key=lambda term: not term.balanced)
        losses, loss_weights = _weighed(refusals, _losses(refusals, tasks, loss), loss_weights)
        defaults = {**dict.fromkeys(tasks, 1.0), **{term.name: term.weight for term in joint}}
        weights = checked_weights(refusals, defaults, loss_weights)
        own = {name: task.metrics for name, task in tasks.items()}
        plain = {**_metrics(refusals, "metrics", tasks, own), **_metrics(refusals, "metrics", tasks, metrics)}
        weighted = _metrics(refusals, "weighted_metrics", tasks, weighted_metrics)
    rows = reported(list(tasks.values()), plain, weighted)
    check_log_keys(tasks, losses, [row.key for row in rows], joint, measured)
    return Settings(losses, weights, rows, joint, measured)


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
    "compute_loss": "Give a task its `loss`, compile(joint_losses=[...]), call `add_loss` in a layer, or override "
    "`extra_losses` of kmtl.model.step.Step and set `model.step`.",
    "compute_metrics": "Give a task its `metrics`, or compile(joint_metrics=[...]).",
}


def _as_mapping(refusals: Refusals, argument: str, given: Any, tasks: Mapping[str, Any]) -> Mapping[str, Any]:
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
        found = _resolved(refusals, task, chosen)
        if found is None:
            continue
        losses[name] = found
        for one in found.losses.values() if isinstance(found, SeveralLosses) else [found]:
            if wrong := summed(one):
                refusals.add("loss", f"of {name!r} {wrong[0]}", wrong[1], wrong[2])
            if chosen is not None or task.loss is not None or task.losses is not None:
                _try_loss(refusals, task, one)
    return losses


def _resolved(refusals: Refusals, task: Task, chosen: Any) -> Any:
    """The loss or the several losses of a task; None where what was chosen is refused."""
    argument = f"of {task.name!r}"
    if chosen is not None and task.keeps_loss:
        fix = "Give a dict {task: loss} of the others."
        refusals.add("loss", f"{argument} must be left out: its kind has one of its own", words(task.owner), fix)
        return None
    try:
        if chosen is None:
            return task.resolved_loss()
        if isinstance(chosen, Mapping) and "class_name" not in chosen:
            return SeveralLosses(task.checked_losses(chosen) or {})
        return keras.losses.get(chosen)
    except (ValueError, TypeError) as error:
        if isinstance(chosen, Mapping):
            refusals.add("loss", f"{argument} must be losses by name", list(chosen), f"It says: {error}")
        else:
            refusals.add("loss", f"{argument} must be a Keras loss", chosen, near(str(chosen), _LOSSES))
        return None


def _weighed(refusals: Refusals, losses: dict[str, Any], given: Any) -> tuple[dict[str, Any], Any]:
    """Gives several losses of one task their weights; returns the losses, and the weights of the tasks."""
    if not isinstance(given, Mapping):
        return losses, given
    nested = {name: value for name, value in given.items() if isinstance(value, Mapping)}
    for name, weights in nested.items():
        several = losses.get(name)
        if not isinstance(several, SeveralLosses):
            fix = "Give its task several: `losses={name: loss}`."
            refusals.add("loss_weights", f"of {name!r} must be a number: it has one loss", weights, fix)
            continue
        for part, weight in weights.items():
            if part not in several.losses:
                fix = near(str(part), several.losses)
                refusals.add("loss_weights", f"of {name!r} must use names of its losses as keys", part, fix)
            elif not is_weight(weight):
                refusals.add("loss_weights", f"of {part!r} of {name!r} {_WEIGHT}", weight)
        if all(is_weight(weight) for weight in weights.values()):
            losses[name] = several.weighed(weights)
    return losses, {**given, **dict.fromkeys(nested, 1.0)}


_LOSSES = ("mse", "mae", "huber", "sparse_categorical_crossentropy", "binary_crossentropy", "categorical_crossentropy")


def _outcome(task: Task, function: Callable[[Any, Any], Any]) -> Any:
    """What a function makes of a task's labels, as the loss sees them, and predictions; symbolic."""
    batch = _batch_of(task)
    labels = task.shaped(keras.KerasTensor((batch, *known_shape(task.label_shape)), dtype=task.label_dtype))
    return Trial(function)(labels, keras.KerasTensor((batch, *known_shape(task.output_shape))))


def _batch_of(task: Task) -> int:
    """A batch that broadcasts with no other size: labels and predictions of unlike shapes must not pass by chance."""
    return 1 + max(known_shape((*task.output_shape, *task.label_shape)))


def _try_loss(refusals: Refusals, task: Task, loss: Any) -> None:
    """Records a loss that cannot be taken of the task's labels, or is not one value a label."""
    rule = f"of {task.name!r} must take {_labels_of(task)} and predictions {shape_of(task.output_shape)}"
    try:
        result = _outcome(
            task, lambda labels, predictions: loss_values(loss, task.labels_for(loss, labels), predictions)
        )
    except FAILURES as error:
        refusals.add("loss", rule, loss_name(loss), f"It says: {first_line(error)}")
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
    return f"{kind} {shape_of(task.label_shape)}"


def serialized_losses(given: Any) -> Any:
    """Serializes the Keras losses in what `compile` was given as `loss`, with all of their options.

    >>> serialized_losses({"age": keras.losses.Huber(delta=0.5), "box": "mae"})["age"]["config"]["delta"]
    0.5
    """
    if isinstance(given, Mapping):
        return {name: serialized_losses(loss) for name, loss in given.items()}
    return serialized_loss(given) if isinstance(given, keras.losses.Loss) else given


def checked_weights(refusals: Refusals, defaults: Mapping[str, float], given: Any) -> dict[str, float]:
    """One weight a task or joint loss, the default where none is given; records what is no finite number from 0 on."""
    given = _as_mapping(refusals, "loss_weights", given, defaults)
    weights = dict(defaults)
    for name, value in given.items():
        if isinstance(value, keras.Variable):
            fix = "Pass its number, and move it during training with kmtl.callbacks.LossWeightScheduler."
            refusals.add("loss_weights", f"of {name!r} must be a number", words("a keras.Variable"), fix)
        elif not is_weight(value):
            refusals.add("loss_weights", f"of {name!r} {_WEIGHT}", value)
        elif name in weights:
            weights[name] = float(value)
    if given and all(weight == 0 for weight in weights.values()):
        refusals.add("loss_weights", "must leave at least one task above 0", dict(given))
    return weights


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
    if isinstance(metric, str) and (metric in task.default_metrics or task.metric_of_outputs(metric)):
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
    except FAILURES as error:
        rule = f"of {task.name!r} must take {_labels_of(task)} and predictions {shape_of(task.output_shape)}"
        refusals.add(argument, rule, metric_name(metric), f"It says: {first_line(error)}")
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
