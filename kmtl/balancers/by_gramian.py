"""Balancers that read the inner products of the tasks' gradients."""

from typing import Any, ClassVar

import keras
from keras import ops

from kmtl.balancers.base import Balancer, register


def pcgrad_weights(gram: Any, orders: Any) -> Any:
    """Coefficients of the sum of the projected gradients.

    Each task's gradient, `c_i = e_i` at first, is projected on the normal
    plane of every other gradient that it conflicts with, in the given order:

        if c_i M_j < 0:  c_ij -= c_i M_j / M_jj

    Args:
        gram: Gramian `M`, `(K, K)`.
        orders: Row i is the order in which task i meets the others, `(K, K)` ints.

    Returns:
        Sum of the rows `c_i`, `(K,)`.

    >>> gram = ops.array([[18.0, -22.0], [-22.0, 38.0]])
    >>> first, second = pcgrad_weights(gram, ops.array([[0, 1], [1, 0]]))
    >>> round(float(first), 4), round(float(second), 4)
    (2.2222, 1.5789)
    """
    count = gram.shape[0]
    rows = ops.arange(count)
    norms = ops.diagonal(gram)
    coefficients = ops.eye(count)
    for turn in range(count):
        other = ops.cast(orders[:, turn], rows.dtype)
        product = ops.sum(coefficients * ops.take(gram, other, axis=0), axis=1)
        norm = ops.take(norms, other)
        conflict = (product < 0) & (other != rows) & (norm > 0)
        shift = ops.where(conflict, product / ops.where(norm > 0, norm, 1.0), 0.0)
        coefficients = coefficients - shift[:, None] * ops.one_hot(other, count)
    return ops.sum(coefficients, axis=0)


@register("pcgrad")
class PCGrad(Balancer):
    """Projects conflicting gradients off each other, in random order.

    Without conflict it is the plain sum. With two tasks the closed form is
    `w_1 = 1 + max(0, -cos) * n_2 / n_1`, and the same with 1 and 2 exchanged.
    From three tasks on it does not promise a direction that ascends no task.

    Args:
        seed: Of the random orders; None draws one from Keras's global seed.
        scale: `"sum"` (weights sum to the number of tasks) or `"paper"`.
        **kwargs: Keras layer options.

    Source: Yu et al., "Gradient Surgery for Multi-Task Learning", NeurIPS 2020.
    Departure: by default the weights are rescaled to sum to K. The authors'
    code discards its shuffle; the paper's random order is used here.

    >>> gram = ops.array([[4.0, 1.0], [1.0, 9.0]])
    >>> ops.convert_to_numpy(PCGrad().weigh(gram=gram)).tolist()
    [1.0, 1.0]
    """

    needs: ClassVar[str] = "gram"

    def __init__(self, *, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def task_weights(self, losses: Any, gram: Any, present: Any) -> Any:  # noqa: ARG002 - the contract's arguments
        """Weights under a fresh random order for each task."""
        noise = keras.random.uniform(gram.shape, seed=self.seed_generator)
        return pcgrad_weights(gram, ops.argsort(noise, axis=1))

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "seed": self.seed}
