"""A learning rate of its own for what tasks share, for a head, for a layer: multiples of the optimizer's."""

from collections.abc import Mapping
from typing import Any

from kmtl._checks import Refusals, is_number, near, words
from kmtl._keras_private import scale_rates
from kmtl.model.graph import TaskGraph, every_layer
from kmtl.model.optimizers import SHARED, assign_owners


def checked_multipliers(model: TaskGraph, given: Any) -> None:
    """Refuses learning-rate multipliers that cannot be followed.

    Args:
        model: The model.
        given: None, or a number by `"shared"`, name of a task, or name of a layer.

    Raises:
        ValueError: With all offenders.
    """
    argument = "learning_rate_multipliers"
    with Refusals("compile") as refusals:
        if given is not None and not isinstance(given, Mapping):
            fix = "Pass a dict, as {'shared': 0.1}; the optimizer's own rate is that of all."
            refusals.add(argument, "must be a dict keyed by 'shared', task or layer", given, fix)
            return
        layers = {layer.name: layer for layer in every_layer(model)}
        for key, value in (given or {}).items():
            if key != SHARED and key not in model.tasks and key not in layers:
                fix = near(str(key), [SHARED, *model.tasks, *layers])
                refusals.add(argument, "must use 'shared', names of tasks or of layers as keys", key, fix)
            elif key != SHARED and key not in model.tasks and not layers[key].weights:
                refusals.add(argument, "must be of layers that have weights", key, "Leave it out.")
            if not is_number(value) or value < 0:
                refusals.add(argument, f"of {key!r} must be a finite number of at least 0", value)
        if SHARED in (given or {}) and SHARED in model.tasks:
            refusals.add(argument, "cannot tell what is shared while a task is named", SHARED, "Rename the task.")
        _check_fused(refusals, model, given or {})


def _check_fused(refusals: Refusals, model: TaskGraph, given: Mapping[str, Any]) -> None:
    """Records tasks whose heads are slices of one kernel, and are not to move at one rate."""
    for layer in every_layer(model):
        if getattr(layer, "serves_outputs_apart", False):
            inside = [name for name in layer.names if name in given]
            if inside and len({given.get(name) for name in layer.names}) > 1:
                fix = "Name all of its tasks with one number, or build the heads apart: from_features(..., fuse=False)."
                got = words(f"{inside} in the fused head {layer.name!r}")
                refusals.add("learning_rate_multipliers", "must be one for tasks that share a kernel", got, fix)


def assign_parts(model: TaskGraph, optimizer: Any, given: Mapping[str, float] | None) -> None:
    """Tells an optimizer which weights move by which rule and at which multiple of the rate.

    What is named twice moves as its layer says.

    Args:
        model: The model.
        optimizer: Its optimizer.
        given: As `checked_multipliers` found it good.
    """
    assign_owners(model, optimizer)
    given = given or {}
    factors: dict[int, float] = {}
    if SHARED in given:
        factors.update((id(variable), float(given[SHARED])) for variable in model.shared_variables)
    for name in model.tasks:
        if name in given:
            factors.update((id(variable), float(given[name])) for variable in model.task_variables(name))
    for layer in every_layer(model):
        # A layer within another comes after it.
        if layer.name in given and layer.name not in model.tasks:
            factors.update((id(variable), float(given[layer.name])) for variable in layer.weights)
    scale_rates(optimizer, factors)
