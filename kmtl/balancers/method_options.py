"""The options that a method takes: how an object tells its own, and the refusal of others."""

from collections.abc import Mapping
from typing import Any, ClassVar

import keras

from kmtl._checks import Refusals, near_match

#: What papers and other libraries call an option, and what it may be here.
SYMBOLS: Mapping[str, tuple[str, ...]] = {
    "T": ("temperature",),
    "a": ("exponent",),
    "c": ("radius",),
    "eta": ("learning_rate", "step_size"),
    "f": ("byzantine", "factor"),
    "l": ("regularization",),
    "lamda": ("regularization",),
    "lr": ("learning_rate",),
    "m": ("selected",),
    "mu": ("smoothness",),
    "n_byzantine": ("byzantine",),
    "n_selected": ("selected",),
    "pref_vector": ("preference",),
    "scale_mode": ("mode",),
    "trim_number": ("trim",),
    "update_weights_every": ("update_every",),
}


class Told(keras.layers.Layer):
    """A layer that prints as the registered name and the options that differ from the defaults.

    Attributes:
        key: The name; empty for a class without one.
        task_options: Options that hold the name of one task.
    """

    key: ClassVar[str] = ""
    task_options: ClassVar[tuple[str, ...]] = ()

    def __repr__(self) -> str:
        kind, defaults = type(self), defaults_of(type(self))
        own = {name: value for name, value in self.get_config().items() if name != "name" and name in defaults}
        told = [f"{name}={value!r}" for name, value in own.items() if value != defaults[name]]
        # A subclass without a name of its own inherits another's.
        key = vars(kind).get("key")
        return f"kmtl.balancers.get({', '.join([repr(key), *told])})" if key else f"{kind.__name__}({', '.join(told)})"


def defaults_of(kind: type) -> dict[str, Any]:
    """The options of a kind of balancer and their defaults."""
    own = [base for base in kind.__mro__ if not base.__module__.startswith(("keras.", "builtins"))]
    found: dict[str, Any] = {}
    for base in reversed(own):
        found.update(getattr(vars(base).get("__init__"), "__kwdefaults__", None) or {})
    return found


def refuse_unknown(kind: type, unknown: Mapping[str, Any]) -> None:
    """Refuses options that a kind of balancer does not have.

    Args:
        kind: The class of the balancer.
        unknown: What its constructor could not place.

    Raises:
        TypeError: If there is any; the message tells what a paper's symbol is called here, or the nearest option, and
            all that there are.
    """
    known = sorted(set(defaults_of(kind)) - {"name"})
    with Refusals(kind.__name__, TypeError) as refusals:
        for option, value in unknown.items():
            here = [name for name in SYMBOLS.get(option, ()) if name in known]
            hint = f"It is called {here[0]!r} here." if here else near_match(option, known)
            fix = f"{hint} Known: {', '.join(map(repr, known))}.".lstrip()
            refusals.add(option, "is no option of this method", value, fix)
