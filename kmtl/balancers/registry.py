"""The names by which `compile` finds a balancer."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import keras

from kmtl._checks import near_match, refusal, require
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
        cls.key = name
        return keras.saving.register_keras_serializable(package="kmtl")(cls)

    return decorate


def names() -> list[str]:
    """Lists the balancers that `get` knows.

    >>> "equal" in names()
    True
    """
    return sorted(_KNOWN)


def get(identifier: Any, **options: Any) -> Balancer:
    """Returns a balancer from a name, a config or an object.

    Args:
        identifier: A name of `names()`, what `keras.saving.serialize_keras_object` made of a balancer, or one.
        **options: Of the method, beside a name.

    Raises:
        ValueError: If the name is unknown; the message suggests the nearest.
        TypeError: If it is neither a name nor a `Balancer`, or the method does not take an option.

    >>> get("equal").needs
    'losses'
    >>> get("upgrad", level="features")
    kmtl.balancers.get('upgrad', level='features')
    """
    named = isinstance(identifier, str)
    fix = "Give its name with them, or make the object with them."
    if options and not named:
        raise TypeError(refusal("get", "options", "must stand beside a name", identifier, fix))
    if isinstance(identifier, Mapping):
        identifier = keras.saving.deserialize_keras_object(dict(identifier))
    if isinstance(identifier, Balancer):
        return identifier
    if named:
        if identifier in _KNOWN:
            return _KNOWN[identifier](**options)
        fix = near_match(identifier, names()) or "kmtl.balancers.names() lists them; docs/balancers.md says which when."
        raise ValueError(refusal("compile", "balancer", "must be known", identifier, fix))
    fix = "Give a name, or an object such as kmtl.balancers.PCGrad()."
    raise TypeError(refusal("compile", "balancer", "must be a name or a kmtl.balancers.Balancer", identifier, fix))
