"""What a compiled model has learned beside its weights, given to one that was made from it for other tasks."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras

from kmtl import balancers
from kmtl._keras_private import Origin, built_variables, copy_slots
from kmtl.model.optimizers import SHARED, OptimizerByTask


class Names(NamedTuple):
    """What is called otherwise in the new model.

    Attributes:
        tasks: Of the tasks that stay, the old name and the new one, in order.
        layers: Of the layers that changed theirs, the same.
    """

    tasks: Mapping[str, str]
    layers: Mapping[str, str]


def carried_arguments(arguments: Mapping[str, Any], names: Names, known: Any) -> dict[str, Any]:
    """The arguments of `compile` for the tasks that stay; what moves is no object of both models.

    Args:
        arguments: As the model was compiled with.
        names: What is called otherwise.
        known: The model's tasks.
    """
    given = dict(arguments)
    for key in ("loss", "loss_weights"):
        given[key] = _by_task(given[key], names)
    for key in ("metrics", "weighted_metrics"):
        given[key] = keras.tree.map_structure(_own_metric, _by_task(given[key], names))
    rates = given.get("learning_rate_multipliers")
    if rates:
        stay = {key: value for key, value in rates.items() if key not in known or key in names.tasks}
        renamed = {**names.layers, **names.tasks}
        given["learning_rate_multipliers"] = {renamed.get(key, key): value for key, value in stay.items()}
    return given


def _by_task(given: Any, names: Names) -> Any:
    """What is keyed by task, for the tasks that stay."""
    if not isinstance(given, Mapping):
        return given
    return {names.tasks[name]: value for name, value in given.items() if name in names.tasks} or None


def _own_metric(metric: Any) -> Any:
    """A metric that counts on its own."""
    return type(metric).from_config(metric.get_config()) if isinstance(metric, keras.metrics.Metric) else metric


# The optimizer.


def carried_optimizer(optimizer: Any, names: Names) -> Any:
    """An optimizer of the same settings, its parts those of the tasks that stay; without state.

    Args:
        optimizer: As a model was compiled with.
        names: What is called otherwise.
    """
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        options = {key: value for key, value in optimizer.get_config().items() if key != "inner_optimizer"}
        return keras.optimizers.LossScaleOptimizer(carried_optimizer(optimizer.inner_optimizer, names), **options)
    if isinstance(optimizer, OptimizerByTask):
        kept = {SHARED: SHARED, **names.tasks}
        parts = {kept[key]: carried_optimizer(part, names) for key, part in optimizer.parts.items() if key in kept}
        return OptimizerByTask(parts, name=optimizer.name)
    return type(optimizer).from_config(optimizer.get_config())


def carry_optimizer(old: Any, new: Any, names: Names, origins: Mapping[int, Origin]) -> None:
    """Gives an optimizer all that the other holds of the variables that stay.

    Args:
        old: A built optimizer.
        new: What `carried_optimizer` made of it, built.
        names: What is called otherwise.
        origins: By id of a variable of the new one, where it comes from.
    """
    copy_slots(old, new, origins)
    if isinstance(old, keras.optimizers.LossScaleOptimizer):
        carry_optimizer(old.inner_optimizer, new.inner_optimizer, names, origins)
    elif isinstance(old, OptimizerByTask):
        for key, part in old.parts.items():
            other = new.parts.get(names.tasks.get(key, key) if key != SHARED else SHARED)
            if other is not None and part.built and other.built:
                copy_slots(part, other, origins)


def known_variables(optimizer: Any, origins: Mapping[int, Origin], variables: Any) -> list[Any]:
    """Variables of a new model that stand for those an old optimizer holds something of, frozen ones among them.

    Args:
        optimizer: The old one.
        origins: By id of a variable of the new model, where it comes from.
        variables: All of the new model.
    """
    held = {id(variable) for variable in built_variables(getattr(optimizer, "inner_optimizer", optimizer))}
    return [variable for variable in variables if id(origins.get(id(variable), (None,))[0]) in held]


# The balancer.


def carry_balancers(old: Any, new: Any, names: Mapping[str, str]) -> None:
    """Gives the balancers of a setup the state of another's: each that of the one which served the same tasks.

    Args:
        old: What the old model's `compile` decided.
        new: The same of the new one.
        names: Of the tasks that stay, the old name and the new one.
    """
    waiting = [old.balancer, *old.other_balancers]
    for balancer in (new.balancer, *new.other_balancers):
        served = {task.name for task in balancer.tasks} & set(names.values())
        for other in waiting:
            stay = {names[task.name] for task in other.tasks if task.name in names}
            if stay == served and type(other) is type(balancer):
                balancers.carry_state(other, balancer, names)
                waiting.remove(other)
                break
