"""What callbacks know: numbers, text, and arrays that they keep as attributes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_ARRAYS = "callbacks.npz"
# Set by Keras for every training anew.
_GIVEN = {"params", "_model", "model"}


class CallbackStates:
    """Saves and restores what callbacks count, as the patience of `EarlyStopping` or the best value of a checkpoint.

    Only what has changed since the training began is saved: an argument that is given otherwise in the next run
    counts as given. Attributes that are neither numbers, text, None nor lists of arrays are left alone.

    Args:
        callbacks: In the order in which `fit` was given them; the same again when a training goes on.
    """

    def __init__(self, callbacks: Sequence[Any]) -> None:
        self.callbacks = list(callbacks)

    def begin(self) -> None:
        """Remembers what the callbacks know at the beginning."""
        self.first = [_simple(callback) for callback in self.callbacks]

    def save(self, folder: Path) -> dict[str, Any]:
        """Writes the arrays into a folder, and returns the rest."""
        arrays, states = {}, []
        for place, (callback, first) in enumerate(zip(self.callbacks, self.first, strict=True)):
            now = _simple(callback)
            changed = {key: value for key, value in now.items() if key not in first or first[key] != value}
            states.append({"kind": type(callback).__name__, "values": changed})
            for key, value in vars(callback).items():
                if _is_arrays(value):
                    arrays.update({f"{place}.{key}.{number}": array for number, array in enumerate(value)})
        np.savez(folder / _ARRAYS, **arrays)
        model = self.callbacks[0].model
        history = {key: np.asarray(values).tolist() for key, values in model.history.history.items()}
        return {"callbacks": states, "history": history, "epochs": list(map(int, model.history.epoch))}

    def load(self, folder: Path, meta: Mapping[str, Any]) -> None:
        """Gives the callbacks back what they knew."""
        with np.load(folder / _ARRAYS) as arrays:
            for place, (callback, state) in enumerate(zip(self.callbacks, meta["callbacks"], strict=False)):
                if state["kind"] != type(callback).__name__:
                    continue
                for key, value in {**state["values"], **_lists(arrays, place)}.items():
                    setattr(callback, key, value)
        history = self.callbacks[0].model.history
        history.history = {key: list(values) for key, values in meta["history"].items()}
        history.epoch = list(meta["epochs"])


def _simple(callback: Any) -> dict[str, Any]:
    """The attributes that JSON can hold."""
    found = {key: value for key, value in vars(callback).items() if key not in _GIVEN}
    plain = {key: value.item() if isinstance(value, np.generic) else value for key, value in found.items()}
    return {key: value for key, value in plain.items() if value is None or isinstance(value, bool | int | float | str)}


def _is_arrays(value: Any) -> bool:
    """Whether it is a list of arrays, as the best weights so far."""
    return isinstance(value, list) and bool(value) and all(isinstance(item, np.ndarray | np.generic) for item in value)


def _lists(arrays: Any, place: int) -> dict[str, list[Any]]:
    """The lists of arrays of one callback, by attribute."""
    found: dict[str, list[Any]] = {}
    for name in sorted(arrays.files, key=lambda name: int(name.rsplit(".", 1)[1])):
        owner, key, _ = name.split(".")
        if int(owner) == place:
            found.setdefault(key, []).append(arrays[name])
    return found
