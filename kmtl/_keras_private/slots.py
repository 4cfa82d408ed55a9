"""What an optimizer holds of each variable, given to another optimizer of the same settings."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

#: Of a new variable, the one that it came from, and what of an array of that one's shape is its own.
Origin = tuple[Any, Callable[[Any], Any]]


def copy_slots(old: Any, new: Any, origins: Mapping[int, Origin]) -> None:
    """Gives a built optimizer the state of one of the same settings.

    Args:
        old: A built Keras optimizer; not one that wraps others.
        new: Another of its class and settings.
        origins: By id of a variable of the new one.
    """
    before, after = _slots(old), _slots(new)
    known = {id(variable): place for place, variable in enumerate(old._trainable_variables)}
    for place, variable in enumerate(new._trainable_variables):
        source, part = origins.get(id(variable), (None, None))
        if id(source) in known:
            for name in before.keys() & after.keys():
                _copy(before[name][known[id(source)]], after[name][place], source, part)
    for one, other in zip(_others(old, before), _others(new, after), strict=True):
        other.assign(one)


def _copy(slot: Any, target: Any, source: Any, part: Any) -> None:
    """Fills one slot; one that has not the variable's own shape begins anew where the variable was cut."""
    if slot is None or target is None:
        return
    if tuple(slot.shape) == tuple(source.shape):
        target.assign(part(slot.numpy()))
    elif tuple(slot.shape) == tuple(target.shape):
        target.assign(slot)


def _slots(optimizer: Any) -> dict[str, list[Any]]:
    """Lists of an optimizer that hold one variable, or None, for each variable that it moves, by attribute."""
    count = len(optimizer._trainable_variables)
    own = {name: held for name, held in vars(optimizer).items() if name not in ("_variables", "_trainable_variables")}
    lists = {name: list(held) for name, held in own.items() if isinstance(held, list) and len(held) == count}
    return {name: held for name, held in lists.items() if all(_is_slot(item) for item in held)}


def _is_slot(item: Any) -> bool:
    """Whether it is a variable or its place."""
    return item is None or isinstance(item, keras.Variable)


def _others(optimizer: Any, slots: Mapping[str, list[Any]]) -> list[Any]:
    """Variables of an optimizer that belong to none that it moves: its steps, its rate, its own averages."""
    held = {id(slot) for found in slots.values() for slot in found}
    return [variable for variable in optimizer._variables if id(variable) not in held]
