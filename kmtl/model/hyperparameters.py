"""What decides how a model is trained, flat, as experiment trackers take it; and the table of it behind `summary`."""

from collections.abc import Mapping
from typing import Any

from kmtl._checks import is_number
from kmtl._table import Table


def hyperparameters(model: Any) -> dict[str, Any]:
    """The settings of a compiled model as text and numbers.

    Args:
        model: A compiled `MultiTaskModel`.

    Returns:
        The balancer and its options, the loss weights as they are now, the optimizer and its options, and what
        multiplies its rate.
    """
    balancer, optimizer = model.balancer, model.optimizer
    weights = {f"loss_weight_{name}": weight for name, weight in model.loss_weights.items()}
    rates = model.get_compile_config().get("learning_rate_multipliers") or {}
    return {
        "tasks": ", ".join(model.tasks),
        "balancer": type(balancer).__name__,
        **_options("balancer", balancer.get_config()),
        **weights,
        "optimizer": type(optimizer).__name__,
        **_options("optimizer", optimizer.get_config()),
        **{f"learning_rate_multiplier_{name}": rate for name, rate in rates.items()},
    }


def _options(owner: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a config that are single values, and those of objects in it: a schedule, a task's optimizer."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{owner}_{key}"
        if key != "name" and (isinstance(value, str | bool) or is_number(value)):
            found[name] = value
        elif isinstance(value, Mapping) and "class_name" in value:
            found |= {name: value["class_name"], **_options(name, value.get("config") or {})}
        elif isinstance(value, Mapping):
            found |= _options(owner, value)
    return found


def task_table(model: Any) -> str:
    """The tasks of a model and, of a compiled one, how they are weighed; the lines behind Keras's own summary.

    Args:
        model: A `MultiTaskModel` with tasks.
    """
    weights = model.loss_weights if model.compiled else {}
    rows = [
        {"task": name, "kind": type(task).__name__, "output": str(tuple(model.output[name].shape[1:]))}
        | ({"loss weight": weights[name]} if weights else {})
        for name, task in model.tasks.items()
    ]
    lines = [str(Table(rows, {"loss weight": "g"}))]
    if model.compiled:
        lines.append(f"balancer: {type(model.balancer).__name__}, optimizer: {type(model.optimizer).__name__}")
    return "\n".join(lines)
