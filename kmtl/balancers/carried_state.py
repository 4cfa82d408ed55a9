"""What a balancer has learned, given to one for other tasks."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kmtl._checks import refusal
from kmtl.balancers.base import Balancer


def remade(balancer: Balancer, names: Mapping[str, str], owner: str) -> Balancer:
    """A balancer of the same options for tasks of which some have gone and some have another name.

    Args:
        balancer: The balancer.
        names: Of the tasks that stay, the old name and the new one.
        owner: Who is named in a refusal.

    Raises:
        ValueError: If an option names a task that has gone.
    """
    known = {task.name for task in balancer.tasks}
    config = balancer.get_config()
    for option, value in config.items():
        named = list(value) if isinstance(value, Mapping) else [value] if option in balancer.task_options else []
        gone = [name for name in named if name in known and name not in names]
        if gone:
            fix = "Pass balancer=..., one that does not name it."
            rule = f"must not be named by the balancer's option `{option}`"
            raise ValueError(refusal(owner, "name", rule, gone[0], fix))
        if isinstance(value, Mapping):
            config[option] = {names.get(name, name): held for name, held in value.items()}
        elif named:
            config[option] = names.get(value, value)
    return type(balancer).from_config(config)


def carry_state(old: Balancer, new: Balancer, names: Mapping[str, str]) -> None:
    """Gives a balancer the state that another has of the tasks that both know; that of other tasks stays fresh.

    A state that has another size for another reason, as a memory of gradients of other weights, begins anew.

    Args:
        old: A prepared balancer.
        new: A prepared one of the same class and options.
        names: Of the tasks that stay, the old name and the new one.

    >>> from kmtl.balancers import DWA
    >>> from kmtl.tasks import Regression
    >>> old, new = DWA(window=1), DWA(window=1)
    >>> old.prepare([Regression("angle"), Regression("size")])
    >>> _ = old.last.assign([0.5, 1.5])
    >>> new.prepare([Regression("size"), Regression("depth")])
    >>> carry_state(old, new, {"size": "size"})
    >>> new.last.numpy().tolist()
    [1.5, 1.0]
    """
    if not (old.built and new.built):
        return
    places = {names.get(task.name): place for place, task in enumerate(old.tasks)}
    pairs = [(places[task.name], place) for place, task in enumerate(new.tasks) if task.name in places]
    taken, given = [one for one, _ in pairs], [other for _, other in pairs]
    for source, target, axes in zip(old.variables, new.variables, _task_axes(old), strict=True):
        values, into = np.array(source), np.array(target)
        wanted = [len(new.tasks) if axis in axes else size for axis, size in enumerate(values.shape)]
        if list(into.shape) == wanted:
            into[_grid(given, into.shape, axes)] = values[_grid(taken, values.shape, axes)]
            target.assign(into)


def _task_axes(balancer: Balancer) -> list[list[int]]:
    """Of each variable, the axes that are tasks: those that are longer in a balancer of one task more."""
    count, *sizes = balancer.get_build_config()["input_shape"]
    wider = type(balancer).from_config(balancer.get_config())
    wider.build_from_config({"input_shape": (count + 1, *sizes)})
    return [
        [axis for axis, size in enumerate(one.shape) if other.shape[axis] != size]
        for one, other in zip(balancer.variables, wider.variables, strict=True)
    ]


def _grid(places: Sequence[int], shape: Sequence[int], axes: Sequence[int]) -> Any:
    """An index of some places along the axes that are tasks, and of all along the others."""
    return np.ix_(*[list(places) if axis in axes else range(size) for axis, size in enumerate(shape)])
