"""The names by which `compile` finds a balancer."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import keras

from kmtl._checks import near, refusal, require
from kmtl.balancers.base import Balancer

_KNOWN: dict[str, type[Balancer]] = {}
_Class = TypeVar("_Class", bound=type[Balancer])


def register(name: str) -> Callable[[_Class], _Class]:
    """Makes a balancer class known under a name, and serialisable.

    Args:
        name: The word for `compile(balancer=...)`.
    """

    def decorate(cls: _Class) -> _Class:
        require(name not in _KNOWN, "register", "name", "must be new", name)
        _KNOWN[name] = cls
        return keras.saving.register_keras_serializable(package="kmtl")(cls)

    return decorate


def names() -> list[str]:
    """Lists the balancers that `get` knows.

    >>> "equal" in names()
    True
    """
    return sorted(_KNOWN)


def get(identifier: Any) -> Balancer:
    """Returns a balancer from a name, a config or an object.

    Raises:
        ValueError: If the name is unknown; the message suggests the nearest.
        TypeError: If it is neither a name nor a `Balancer`.

    >>> get("equal").needs
    'losses'
    """
    if isinstance(identifier, Mapping):
        identifier = keras.saving.deserialize_keras_object(dict(identifier))
    if isinstance(identifier, Balancer):
        return identifier
    if isinstance(identifier, str):
        if identifier in _KNOWN:
            return _KNOWN[identifier]()
        raise ValueError(refusal("compile", "balancer", "must be known", identifier, near(identifier, names())))
    fix = "Give a name, or an object such as kmtl.balancers.PCGrad()."
    raise TypeError(refusal("compile", "balancer", "must be a name or a kmtl.balancers.Balancer", identifier, fix))
