"""Every variable that a model holds in any way, found by walking through its objects: no list of the package's."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np

_OWNERS = (keras.Layer, keras.optimizers.Optimizer, keras.metrics.Metric, keras.random.SeedGenerator)
#: Keras makes a metric for its own loss, which kmtl never updates.
_UNUSED = "._loss_tracker."


def variables(root: Any) -> dict[str, keras.Variable]:
    """All variables that can be reached from an object through attributes, lists and dicts, by their way there."""
    found, seen, waiting = {}, set(), [(type(root).__name__, root)]
    while waiting:
        path, value = waiting.pop(0)
        if id(value) in seen or _UNUSED in path:
            continue
        seen.add(id(value))
        if isinstance(value, keras.Variable):
            found[path] = value
        else:
            waiting += [(f"{path}{step}", held) for step, held in _held(value)]
    return found


def _held(value: Any) -> Iterator[tuple[str, Any]]:
    """What an object holds, if it may hold variables, and how one comes to it."""
    if isinstance(value, Mapping):
        return ((f"[{key!r}]", held) for key, held in list(value.items()))
    if isinstance(value, list | tuple):
        return ((f"[{place}]", held) for place, held in enumerate(value))
    if isinstance(value, _OWNERS) or type(value).__module__.startswith("kmtl."):
        return ((f".{name}", held) for name, held in list(getattr(value, "__dict__", {}).items()))
    return iter(())


def values(model: Any) -> dict[str, np.ndarray]:
    """What they hold now."""
    return {path: variable.numpy() for path, variable in variables(model).items()}


def restore(model: Any, old: Mapping[str, np.ndarray]) -> None:
    """Gives a model back what it held."""
    for path, variable in variables(model).items():
        variable.assign(old[path])


def with_scales(model: Any) -> Any:
    """The model, its standardised tasks told that their labels have mean 0 and scale 1: it may be exported."""
    for layer in model.scalers.values():
        layer.learn(layer.mean.numpy(), layer.scale.numpy())
    return model


def assert_equal(left: Mapping[str, np.ndarray], right: Mapping[str, np.ndarray]) -> None:
    """Compares what two models hold, bit by bit."""
    assert left.keys() == right.keys()
    different = [path for path in left if not np.array_equal(left[path], right[path], equal_nan=_is_float(left[path]))]
    assert different == []


def _is_float(array: np.ndarray) -> bool:
    return array.dtype.kind == "f"


class Reused:
    """Makes a compiled model once for each set of options, and gives it out as it was: what it traced stays.

    Args:
        make: Makes the model from options whose `repr` tells them apart.
    """

    def __init__(self, make: Callable[..., Any]) -> None:
        self.make = make
        self.made: dict[str, tuple[Any, dict[str, np.ndarray]]] = {}

    def __call__(self, **options: Any) -> Any:
        """The model; who got it before must be done with it."""
        key = repr(sorted(options.items()))
        if key not in self.made:
            model = self.make(**options)
            self.made[key] = model, values(model)
        model, start = self.made[key]
        restore(model, start)
        return model
