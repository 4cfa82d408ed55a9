"""A function tried on symbolic tensors: what its shapes allow or not shows without data."""

import re
from collections.abc import Callable
from typing import Any

import keras

# What a function raises that cannot be traced, or not with these shapes.
FAILURES = (ValueError, TypeError, ArithmeticError, AttributeError, NotImplementedError)


class Trial(keras.layers.Layer):
    """Runs a function on symbolic tensors.

    Args:
        function: Of any tensors, or dicts of them.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(dtype="float32")
        self.function = function

    def call(self, first: Any, second: Any) -> Any:
        """Calls it."""
        return self.function(first, second)


def shape_of(shape: tuple[int | None, ...]) -> str:
    """A shape of a batch in words."""
    return f"(batch{''.join(f', {size}' for size in shape)})"


def first_line(error: Exception) -> str:
    """What an error says first, without Keras's preamble and colours."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", str(error)).splitlines() if line.strip()]
    found = [line for line in lines if not line.startswith(("Exception encountered", "Could not automatically infer"))]
    return (found or lines or [type(error).__name__])[0].partition(" for '{{node")[0]
