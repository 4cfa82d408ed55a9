"""A second look at the same batch, which leaves no trace in the model."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from kmtl.gradients.replicas import sum_over_replicas


class Again:
    """Repeats a forward pass under the same random draws; moving statistics stay as they are.

    Args:
        forward: Computes what is looked at, `(K,)`.
        draws: States of the random generators before the first pass, `(variable, value)` pairs.
    """

    def __init__(self, forward: Callable[[], Any], draws: Sequence[tuple[Any, Any]]) -> None:
        self.forward = forward
        self.draws = list(draws)

    def values(self) -> Any:
        """What the forward pass computes now, `(K,)`."""
        # Variables assigned inside are assigned in the scope alone.
        with keras.StatelessScope(state_mapping=self.draws):
            return self.forward()

    def products(self, variables: Sequence[Any], direction: Sequence[Any]) -> Any:
        """Slopes of the values along a direction, `(K,)`, by one forward-mode pass.

        With the tasks' losses as values, this is the inner product of each task's
        gradient with the direction, whatever the number of tasks.

        Args:
            variables: Keras variables.
            direction: One tensor a variable; the same on every replica.
        """
        primals = [variable.value for variable in variables]
        with tf.autodiff.ForwardAccumulator(primals, list(direction)) as accumulator:
            values = self.values()
        slopes = accumulator.jvp(values, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return sum_over_replicas(slopes)


def drawn(variables: Sequence[Any]) -> list[tuple[Any, Any]]:
    """States of random generators now, for `Again`."""
    return [(variable, tf.identity(variable.value)) for variable in variables]
