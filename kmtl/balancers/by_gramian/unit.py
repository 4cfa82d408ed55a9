"""The balancer that lets every task pull with the same length."""

from typing import Any

from keras import ops

from kmtl._checks import is_number, near, require
from kmtl._types import Tensor
from kmtl.balancers.gramian import GramianBalancer
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals, norms

FACTORS = ("rms", "max", "one")


def unit_weights(lengths: Tensor, present: Tensor, factor: str = "rms") -> Tensor:
    """Weights of the sum of unit gradients, `w_k = f / n_k`.

    Args:
        lengths: Of the gradients, `n`, `(K,)`; above 0.
        present: Booleans `(K,)`.
        factor: Length `f` of each pull: the root mean square or the maximum of the lengths, or one.

    >>> ops.convert_to_numpy(unit_weights(ops.array([1.0, 4.0]), ops.array([True, True]), "max")).tolist()
    [4.0, 1.0]
    """
    there = ops.cast(present, "float32")
    largest = ops.max(lengths * there)
    # Relative to the largest, so that no square leaves float32.
    mean = ops.sum(there * ops.square(lengths / largest)) / ops.maximum(ops.sum(there), 1.0)
    size = {"rms": largest * ops.sqrt(mean), "max": largest, "one": ops.ones_like(largest)}[factor]
    return size / lengths


@register("unit")
class Unit(GramianBalancer):
    """Sums the gradients after bringing them to one length.

        d = f * sum_k g_k / |g_k|,   f = sqrt(mean_k |g_k|^2), max_k |g_k| or 1

    It has no solver and no state, and multiplying a loss by a number changes
    no direction. With two tasks its direction is that of Nash-MTL, IMTL-G and
    ConFIG. It may ascend a task where gradients conflict. In the tables of Qin
    et al. it is first of 20 methods on NYUv2 (delta-m -6.99), Cityscapes (1.92) and CelebA (-0.77).

    With `power` below 1 it goes part of the way, from the plain sum of the gradients (0) to unit lengths (1):

        d = f * sum_k (|g_k| / f)^(1 - power) * g_k / |g_k|

    A regression's gradient shrinks with its error while that of a cross-entropy does not; unit lengths then give the
    regression more than the classification can spare, the plain sum less than it needs.

    Args:
        factor: `"rms"` (NTKMTL with n = 1), `"max"` (DB-MTL without its moving
            average) or `"one"`; it shows with `scale="paper"` only.
        power: How much of the way, in 0..1.
        **options: As for `GramianBalancer`.

    `power` is kmtl's own; `kmtl.evidence.recommend` takes a half.

    Source: Qin et al., "NTKMTL: Mitigating Task Imbalance in Multi-Task Learning
    from Neural Tangent Kernel Perspective", NeurIPS 2025; Lin et al.,
    "Dual-Balancing for Multi-Task Learning", 2023. Departure: by default the weights sum to K.

    >>> gram = ops.array([[1.0, 0.0], [0.0, 16.0]])
    >>> ops.convert_to_numpy(Unit().weigh(gram=gram)).round(4).tolist()
    [1.600000023841858, 0.4000000059604645]
    """

    def __init__(self, *, factor: str = "rms", power: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        fix = near(str(factor), FACTORS)
        require(factor in FACTORS, type(self).__name__, "factor", f"must be one of {FACTORS}", factor, fix)
        in_range = is_number(power) and 0 <= power <= 1
        require(in_range, type(self).__name__, "power", "must be in 0..1", power)
        self.factor, self.power = factor, float(power)

    def task_weights(self, signals: Signals) -> Tensor:
        """One length over each length."""
        weights = unit_weights(norms(signals.gram, signals.present), signals.present, self.factor)
        return weights if self.power == 1 else ops.power(weights, self.power)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "factor": self.factor, "power": self.power}
