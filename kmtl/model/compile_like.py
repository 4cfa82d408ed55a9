"""A model compiled as others are, whose tasks it has."""

from collections.abc import Mapping
from typing import Any

from kmtl.model.carried_training import Names, carried_arguments, carried_optimizer
from kmtl.model.optimizers import SHARED, OptimizerByTask

_BY_TASK = ("loss", "loss_weights", "metrics", "weighted_metrics")


def compile_like(model: Any, others: Any, *, optimizer: Any = None, balancer: Any = "equal", rate: float = 1.0) -> Any:
    """Compiles a model with what others were compiled with, for the tasks that it has; no state is taken along.

    Losses, their weights and metrics are those of each task's own model; what belongs to no task, as
    `steps_per_execution`, is the first one's. Learning rate multipliers of layers stay behind with the layers.

    Args:
        model: A `MultiTaskModel`.
        others: A compiled `MultiTaskModel`, or `{task: such a model}`.
        optimizer: As in `compile`; None makes one of the first model's settings; `"by_task"` makes one a task, each of
            its own model's settings, as if they were trained apart.
        balancer: As in `compile`.
        rate: What every learning rate is multiplied by, as for tuning: by `learning_rate_multipliers`, so that a
            schedule follows.

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
    rates = given.get("learning_rate_multipliers")
    if rates:
        held = {SHARED, *model.tasks}
        given["learning_rate_multipliers"] = {key: value for key, value in rates.items() if key in held} or None
    if rate != 1.0:
        rates = given.get("learning_rate_multipliers") or {}
        given["learning_rate_multipliers"] = {key: rates.get(key, 1.0) * rate for key in (SHARED, *model.tasks)}
    if optimizer is None:
        optimizer = carried_optimizer(first.optimizer, Names({name: name for name in known}, {}))
    elif isinstance(optimizer, str) and optimizer == "by_task":
        optimizer = _apart(owners, known)
    model.compile(optimizer, **{**given, "balancer": balancer})
    return model


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


def _inner(optimizer: Any) -> Any:
    """An optimizer without what scales losses, which `compile` adds again."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    return optimizer.parts[SHARED] if isinstance(optimizer, OptimizerByTask) else optimizer
