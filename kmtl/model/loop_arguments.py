"""What `fit`, `evaluate` and `predict` are told beside the data: numbers of batches and epochs, callbacks."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kmtl._checks import Refusals, is_whole, near_match

_CALLBACKS = [name for name, found in vars(keras.callbacks).items() if inspect.isclass(found)]
# The least of each; only the first two must be given.
_LEAST = {
    **dict.fromkeys(("epochs", "initial_epoch"), 0),
    **dict.fromkeys(("batch_size", "steps", "steps_per_epoch"), 1),
    **dict.fromkeys(("validation_steps", "validation_batch_size"), 1),
}


def check_loop(owner: str, given: Mapping[str, Any]) -> None:
    """Refuses what Keras would take without a word, or fail on somewhere inside.

    Args:
        owner: For the messages.
        given: Arguments by name; those that are not known here are passed over.

    Raises:
        ValueError: With all offenders.

    >>> check_loop("fit", {"epochs": 1.5, "shuffle": True})
    Traceback (most recent call last):
    ...
    ValueError: fit: `epochs` must be a whole number of at least 0, got 1.5.
    """
    with Refusals(owner) as refusals:
        for name, least in _LEAST.items():
            if name in given:
                _check_number(refusals, name, given[name], least)
        if "validation_freq" in given:
            _check_frequency(refusals, given["validation_freq"])
        if given.get("shuffle", True) not in (True, False, "batch"):
            refusals.add("shuffle", "must be True, False or 'batch'", given["shuffle"])
        _check_callbacks(refusals, given.get("callbacks"))


def _check_number(refusals: Refusals, name: str, value: Any, least: int) -> None:
    """Records what is no whole number, or too small a one."""
    if value is None and least:
        return
    if not is_whole(value) or value < least:
        refusals.add(name, f"must be a whole number of at least {least}{' or None' if least else ''}", value)


def _check_frequency(refusals: Refusals, value: Any) -> None:
    """Records what tells no epochs to validate after."""
    listed = isinstance(value, Sequence | set) and not isinstance(value, str)
    if not all(is_whole(item) and item >= 1 for item in (value if listed else [value])):
        refusals.add("validation_freq", "must be a whole number of at least 1 or a list of epochs", value)


def _check_callbacks(refusals: Refusals, given: Any) -> None:
    """Records callbacks that are none."""
    if given is None or isinstance(given, keras.callbacks.CallbackList):
        return
    for item in given if isinstance(given, list | tuple) else [given]:
        if item is None or (hasattr(item, "set_model") and not inspect.isclass(item)):
            continue
        if isinstance(item, str):
            fix = (
                f"Make an object: keras.callbacks.{item}(...)." if item in _CALLBACKS else near_match(item, _CALLBACKS)
            )
            fix = fix or "Pass an object of keras.callbacks."
        elif inspect.isclass(item):
            fix = f"Make an object: {item.__name__}(...)."
        else:
            fix = "Put a function into keras.callbacks.LambdaCallback." if callable(item) else ""
        refusals.add("callbacks", "must hold keras.callbacks.Callback objects", item, fix)
