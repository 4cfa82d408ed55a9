"""What callbacks know: the numbers, text, arrays, lists and dicts that they keep as attributes."""

import collections
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kmtl._keras_private import MODEL_OF_CALLBACK
from kmtl.callbacks.backup_files import read_arrays, write_arrays

_ARRAYS = "callbacks.npz"
# Set for every training anew; Keras turns `min_delta` around by the monitor's direction when it first looks at it.
_GIVEN = {"params", *MODEL_OF_CALLBACK, "monitor_op", "min_delta"}
_PLAIN = (bool, int, float, str, type(None))


class CallbackStates:
    """Saves and restores what callbacks count: the patience of `EarlyStopping`, the best value, the history.

    Only attributes that have changed since the training began are saved: an argument that is given otherwise in the
    next run counts as given. Attributes that are not made of numbers, text, None, arrays, lists, tuples and dicts are
    left alone; an array counts as changed when it is another one, not when it was written to.

    Args:
        callbacks: Each finds its state again by its class, the second of one class that of the second.
    """

    def __init__(self, callbacks: Sequence[Any]) -> None:
        self.callbacks = list(callbacks)

    def begin(self) -> None:
        """Remembers what the callbacks know at the beginning."""
        self.first = [_attributes(callback) for callback in self.callbacks]

    def save(self, folder: Path) -> dict[str, Any]:
        """Writes the arrays into a folder, and returns the rest."""
        arrays: list[Any] = []
        states = {}
        for name, callback, first in zip(_names(self.callbacks), self.callbacks, self.first, strict=True):
            now = _attributes(callback)
            changed = {key: value for key, value in now.items() if key not in first or not _same(first[key], value)}
            states[name] = {key: _packed(value, arrays) for key, value in changed.items()}
        write_arrays(folder / _ARRAYS, arrays)
        return states

    def load(self, folder: Path, states: Mapping[str, Any]) -> None:
        """Gives the callbacks back what they knew."""
        arrays = read_arrays(folder / _ARRAYS)
        for name, callback in zip(_names(self.callbacks), self.callbacks, strict=True):
            for key, packed in states.get(name, {}).items():
                setattr(callback, key, _unpacked(packed, arrays))


def _names(callbacks: Iterable[Any]) -> list[str]:
    """A name for each callback: its class, and the how many-th of it."""
    seen: collections.Counter[str] = collections.Counter()
    names = []
    for callback in callbacks:
        kind = type(callback).__qualname__
        names.append(f"{kind} {seen[kind]}")
        seen[kind] += 1
    return names


def _attributes(callback: Any) -> dict[str, Any]:
    """The attributes that can be saved; lists and dicts are copied, arrays are not."""
    found = {}
    for key, value in vars(callback).items():
        if key not in _GIVEN and _is_known(value):
            found[key] = _copied(value)
    return found


def _is_known(value: Any) -> bool:
    """Whether a value is made of what can be saved."""
    if type(value) is dict:
        return all(_is_known(item) for pair in value.items() for item in pair)
    if type(value) in (list, tuple):
        return all(map(_is_known, value))
    if type(value) is np.ndarray or isinstance(value, np.generic):
        return not value.dtype.hasobject
    return type(value) in _PLAIN


def _copied(value: Any) -> Any:
    """The same in other lists and dicts."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return type(value)(map(_copied, value)) if isinstance(value, list | tuple) else value


def _same(first: Any, now: Any) -> bool:
    """Whether nothing has changed."""
    if type(first) is not type(now):
        return False
    if isinstance(first, dict):
        return list(first) == list(now) and all(_same(first[key], now[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(now) and all(map(_same, first, now))
    return first is now or (type(first) in _PLAIN and first == now)


def _packed(value: Any, arrays: list[Any]) -> Any:
    """A value as JSON holds it, its arrays in a list of their own."""
    if isinstance(value, dict):
        return {"dict": [[_packed(item, arrays) for item in pair] for pair in value.items()]}
    if isinstance(value, list | tuple):
        return {type(value).__name__: [_packed(item, arrays) for item in value]}
    if isinstance(value, np.ndarray | np.generic):
        arrays.append(value)
        return {"array" if isinstance(value, np.ndarray) else "scalar": len(arrays) - 1}
    return value


def _unpacked(packed: Any, arrays: Sequence[Any]) -> Any:
    """The value again."""
    if not isinstance(packed, dict):
        return packed
    ((kind, held),) = packed.items()
    if kind == "dict":
        return {_unpacked(key, arrays): _unpacked(item, arrays) for key, item in held}
    if kind in ("list", "tuple"):
        items = [_unpacked(item, arrays) for item in held]
        return items if kind == "list" else tuple(items)
    return arrays[held][()] if kind == "scalar" else arrays[held]
