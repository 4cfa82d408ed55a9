"""The balancer that looks near the mean gradient for the direction that hurts least."""

from typing import Any, ClassVar

from keras import ops

from kmtl._checks import is_whole, non_negative, require
from kmtl._types import Tensor
from kmtl.balancers.gramian import GramianBalancer
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals
from kmtl.balancers.solvers.simplex import conflict_averse_shifts

RESCALES = (0, 1, 2)


def conflict_averse_weights(gram: Tensor, present: Tensor, radius: float, rescale: int = 0) -> Tensor:
    """Weights of CAGrad's direction.

        d = g_0 + c |g_0| g_w / |g_w|,   w = argmin <g_w, g_0> + c |g_0| |g_w| over the simplex

    Args:
        gram: Gramian, `(K, K)`.
        present: Booleans `(K,)`.
        radius: `c`, at least 0.
        rescale: What `d` is divided by: nothing (0), `1 + c^2` (1) or `1 + c` (2).

    Returns:
        `(K,)`; 0 where a task sits out.

    >>> gram, present = ops.array([[18.0, -22.0], [-22.0, 38.0]]), ops.array([True, True])
    >>> [round(float(weight), 4) for weight in conflict_averse_weights(gram, present, 0.5)]
    [0.7041, 0.5]
    """
    there = ops.cast(present, "float32")
    mean = there / ops.maximum(ops.sum(there), 1.0)
    weights = mean + conflict_averse_shifts(gram, present, radius)
    return weights / (1.0, 1.0 + radius**2, 1.0 + radius)[rescale]


@register("cagrad")
class CAGrad(GramianBalancer):
    """Moves from the mean gradient towards what gains the most for the task that gains the least.

        max over d of min_k <g_k, d>   within   |d - g_0| <= c |g_0|,   g_0 = mean_k g_k

    With `c = 0` it is the mean, with a large `c` it has the direction of MGDA. Below 1
    it converges to a stationary point of the mean loss, and may ascend a
    task. Where gradients cancel and many directions are as good, it keeps to `g_0`.

    Args:
        radius: `c`. The authors use 0.4 on NYUv2 and 0.2 on Cityscapes.
        rescale: For `scale="paper"`: the direction as in the paper (0), or
            divided by `1 + c^2` (1, the authors' code) or by `1 + c` (2).
        **options: As for `GramianBalancer`.

    Source: Liu, Liu, Jin, Stone and Liu, "Conflict-Averse Gradient Descent for
    Multi-task Learning", NeurIPS 2021. Departures: solved exactly on the
    support of the weights; by default the weights sum to K.

    >>> gram = ops.array([[18.0, -22.0], [-22.0, 38.0]])
    >>> [round(float(weight), 4) for weight in CAGrad(scale="paper", rescale=0).weigh(gram=gram)]
    [0.7041, 0.5]
    """

    has_online: ClassVar[bool] = True
    probes: ClassVar[bool] = True

    def __init__(self, *, radius: float = 0.5, rescale: int = 1, **options: Any) -> None:
        super().__init__(**options)
        owner = type(self).__name__
        self.radius = non_negative(owner, "radius", radius)
        require(is_whole(rescale) and rescale in RESCALES, owner, "rescale", "must be 0, 1 or 2", rescale)
        self.rescale = int(rescale)

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of the direction."""
        return conflict_averse_weights(signals.gram, signals.present, self.radius, self.rescale)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "radius": self.radius, "rescale": self.rescale}
