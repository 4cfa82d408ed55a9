"""A model compiled as others are, whose tasks it has."""

from collections.abc import Mapping
from typing import Any

from kmtl.model.carried_training import Names, carried_arguments, carried_optimizer
from kmtl.model.optimizers import SHARED, OptimizerByTask

_BY_TASK = ("loss", "loss_weights", "metrics", "weighted_metrics")


def compile_like(
    model: Any, others: Any, *, optimizer: Any = None, balancer: Any = "equal", rates: float | Mapping[str, float] = 1.0
) -> Any:
    """Compiles a model with what others were compiled with, for the tasks that it has; no state is taken along.

    Losses, their weights and metrics are those of each task's own model; what belongs to no task, as
    `steps_per_execution`, is the first one's. Learning rate multipliers of layers stay behind with the layers.

    Args:
        model: A `MultiTaskModel`.
        others: A compiled `MultiTaskModel`, or `{task: such a model}`.
        optimizer: As in `compile`; None makes one of the first model's settings; `"by_task"` makes one a task, each of
            its own model's settings, as if they were trained apart.
        balancer: As in `compile`.
        rates: What learning rates are multiplied by, beside the multipliers of the others: one number, or by key as
            in `compile`. A schedule follows.

    Returns:
        The model.

    >>> import keras
    >>> from kmtl.model.model import MultiTaskModel
    >>> from kmtl.tasks import Regression
    >>> row = keras.Input((2,))
    >>> one, other = (MultiTaskModel.from_features(row, row, [Regression("age")]) for _ in range(2))
    >>> one.compile(keras.optimizers.SGD(0.5), loss_weights={"age": 3.0})
    >>> compile_like(other, one).loss_weights
    {'age': 3.0}
    """
    owners = others if isinstance(others, Mapping) else dict.fromkeys(model.tasks, others)
    first = next(iter(owners.values()))
    known = [name for name in model.tasks if name in owners]
    apart = {name: _of_task(owners[name], name) for name in known}
    given = dict(apart[known[0]])
    for key in _BY_TASK:
        given[key] = {name: apart[name][key][name] for name in known if name in (apart[name][key] or {})} or None
    if isinstance(others, Mapping):
        given["joint_losses"] = given["joint_metrics"] = None
    given["learning_rate_multipliers"] = _multiplied(given.get("learning_rate_multipliers"), rates, list(model.tasks))
    if optimizer is None:
        optimizer = carried_optimizer(first.optimizer, Names({name: name for name in known}, {}))
    elif isinstance(optimizer, str) and optimizer == "by_task":
        optimizer = _apart(owners, known)
    model.compile(optimizer, **{**given, "balancer": balancer})
    return model


def _multiplied(known: Any, rates: Any, tasks: list[str]) -> dict[str, float] | None:
    """The multipliers of the learning rate that stay, times further ones."""
    every = [SHARED, *tasks]
    held = {key: value for key, value in (known or {}).items() if key in every}
    more = rates if isinstance(rates, Mapping) else dict.fromkeys(every, rates) if rates != 1.0 else {}
    keys = dict.fromkeys([*held, *more])
    return {key: held.get(key, 1.0) * more.get(key, 1.0) for key in keys} or None


def _of_task(owner: Any, name: str) -> dict[str, Any]:
    """What a model was compiled with, as far as it is of one task; metrics are objects that count on their own."""
    given = {key: owner._arguments[key] for key in _BY_TASK}
    spread = {
        key: value if value is None or isinstance(value, Mapping) else dict.fromkeys(owner.tasks, value)
        for key, value in given.items()
    }
    return carried_arguments({**owner._arguments, **spread}, Names({name: name}, {}), owner.tasks)


def _apart(owners: Mapping[str, Any], known: list[str]) -> Any:
    """One optimizer a task; nothing is left for that of the shared weights, which a dict of them must hold."""
    made = {name: carried_optimizer(_inner(owners[name].optimizer), Names({name: name}, {})) for name in known}
    return {SHARED: carried_optimizer(_inner(owners[known[0]].optimizer), Names({}, {})), **made}


def fresh_optimizer(optimizer: Any) -> Any:
    """An optimizer of the settings that the shared weights' one has, which scales no losses; without state."""
    inner = _inner(optimizer)
    return type(inner).from_config(inner.get_config())


def _inner(optimizer: Any) -> Any:
    """An optimizer without what scales losses, which `compile` adds again."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return optimizer.parts[SHARED] if isinstance(optimizer, OptimizerByTask) else optimizer
