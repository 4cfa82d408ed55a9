"""The options that a method takes, and the refusal of others."""

from collections.abc import Mapping
from typing import Any

from kmtl._checks import near, refusal


def refuse_unknown(kind: type, unknown: Mapping[str, Any]) -> None:
    """Refuses options that a kind of balancer does not have.

    Args:
        kind: The class of the balancer.
        unknown: What its constructor could not place.

    Raises:
        TypeError: If there is any; the message suggests the nearest option.
    """
    if unknown:
        own = (base for base in kind.__mro__ if not base.__module__.startswith(("keras.", "builtins")))
        known = {name for base in own for name in getattr(vars(base).get("__init__"), "__kwdefaults__", None) or ()}
        first = next(iter(unknown))
        fix = near(first, sorted(known))
        raise TypeError(refusal(kind.__name__, first, "is no option of this method", unknown[first], fix))
