"""Fast adaptive multitask optimization."""

from typing import Any, ClassVar

from keras import ops

from kmtl._checks import non_negative
from kmtl._types import Tensor
from kmtl.balancers.adam import OwnAdam
from kmtl.balancers.by_losses.bounds import BoundedBalancer, excess
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals, masked_softmax, rescale


def famo_weights(logits: Tensor, above: Tensor, present: Tensor) -> Tensor:
    """Weights `(z_k / D_k) / sum_j (z_j / D_j)` with `z = softmax(logits)`, `(K,)`; they sum to 1.

    Args:
        logits: `(K,)`.
        above: Losses above their bounds, `D`, `(K,)`.
        present: Booleans `(K,)`.

    >>> famo_weights(ops.zeros((2,)), ops.array([1.0, 3.0]), ops.array([True, True])).numpy().tolist()
    [0.75, 0.25]
    """
    return rescale(masked_softmax(logits, present) / above, 1.0)


def famo_gradient(logits: Tensor, fall: Tensor, present: Tensor) -> Tensor:
    """Gradient of the logits' loss: `z_k * sum_j z_j (delta_k - delta_j)`, `(K,)`.

    It is the Jacobian of the softmax times `delta`, written so that tasks that improved alike get exactly 0.

    Args:
        logits: `(K,)`.
        fall: `delta = log D before - log D after` the step, `(K,)`.
        present: Booleans `(K,)`.

    >>> famo_gradient(ops.zeros((2,)), ops.array([0.1, 0.1]), ops.array([True, True])).numpy().tolist()
    [0.0, 0.0]
    """
    share = masked_softmax(logits, present)
    return share * ops.sum(share[None, :] * (fall[:, None] - fall[None, :]), axis=1)


@register("famo")
class FAMO(BoundedBalancer):
    """Learns the weights so that all losses fall at the same relative rate.

        z = softmax(xi),   w_k = (z_k / D_k) / sum_j (z_j / D_j),   D_k = L_k - b_k + 1e-8

    After the optimizer's step it looks at the losses of the same batch again, one more forward pass: tasks whose
    loss fell by a larger factor lose weight, by a step of Adam on `xi`. Among the best for its cost, 1.08 of a
    plain step on CelebA (QM9, 38.9 % against 179.8 % of equal weights; NYUv2, -4.10 % against 5.59 %; CelebA, 1.21 %
    against 4.15 %; lower is better). Regression targets should be standardized.

    Args:
        learning_rate: Of the logits `xi`.
        weight_decay: Of the logits, added to their gradient as the authors do; pulls them to equal shares.
        **options: As for `BoundedBalancer`: `lower_bounds`, and those of `Balancer`. With `scale="paper"` the
            weights sum to 1.

    Source: Liu et al., "FAMO: Fast Adaptive Multitask Optimization", NeurIPS 2023. Departures: the weights sum to K by
    default; an absent task leaves the softmax, and its logit and Adam's memory of it stand still.

    >>> balancer = FAMO(learning_rate=0.1, scale="paper")
    >>> losses, after, present = ops.array([1.0, 1.0]), ops.array([0.5, 0.9]), ops.array([True, True])
    >>> _ = balancer.weigh(losses=losses)
    >>> balancer.after_update(after, present)
    >>> [round(float(weight), 3) for weight in balancer.weigh(losses=losses)]
    [0.45, 0.55]
    """

    looks_again: ClassVar[bool] = True

    def __init__(self, *, learning_rate: float = 0.025, weight_decay: float = 1e-3, **options: Any) -> None:
        super().__init__(**options)
        self.learning_rate = non_negative("FAMO", "learning_rate", learning_rate)
        self.weight_decay = non_negative("FAMO", "weight_decay", weight_decay)

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes the logits, Adam's memory, and what the second look is compared with."""
        count = input_shape[0]
        self.logits = self.state((count,), "zeros", "logits")
        self.before = self.state((count,), "zeros", "before")
        self.waiting = self.state((count,), "zeros", "waiting")
        self.adam = OwnAdam(self, count, self.learning_rate)

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of this step; the losses are kept for the second look."""
        above = self.excess(signals)
        sound = signals.present & ops.isfinite(above)
        self.move(self.before, ops.log(above), sound)
        self.waiting.assign(ops.cast(sound, "float32"))
        return famo_weights(self.logits, above, signals.present)

    def after_update(self, losses: Tensor, present: Tensor) -> None:
        """Moves the logits; a step that made no weights, or a loss that is not finite, moves none."""
        count = losses.shape[0]
        unit = self.unit(count)
        fall = self.before - ops.log(excess(losses / unit, self.bounds(count) / unit))
        known = present & (self.waiting > 0) & ops.isfinite(fall)
        gradient = famo_gradient(self.logits, ops.where(known, fall, 0.0), known)
        gradient = gradient + self.weight_decay * self.logits
        self.move(self.logits, self.adam.next_parameters(self.logits, gradient, known), known)
        self.waiting.assign(ops.zeros((count,)))

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"learning_rate": self.learning_rate, "weight_decay": self.weight_decay}
        return {**super().get_config(), **own}
