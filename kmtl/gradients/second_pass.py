"""A second look at the same batch, which leaves no trace in the model."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from kmtl._types import Tensor


class SecondPass:
    """Repeats a forward pass under the same random draws; moving statistics stay as they are.

    Args:
        forward: Computes what is looked at, `(K,)`.
        draws: States of the random generators before the first pass, `(variable, value)` pairs.
    """

    def __init__(self, forward: Callable[[], Any], draws: Sequence[tuple[Any, Any]]) -> None:
        self.forward = forward
        self.draws = list(draws)

    def values(self) -> Tensor:
        """What the forward pass computes now, `(K,)`."""
        # Variables assigned inside are assigned in the scope alone.
        with keras.StatelessScope(state_mapping=self.draws):
            return self.forward()


def generator_states(variables: Sequence[Any]) -> list[tuple[Any, Any]]:
    """States of random generators now, for `SecondPass`."""
    return [(variable, tf.identity(variable.value)) for variable in variables]
