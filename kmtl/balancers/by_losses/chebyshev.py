"""Smooth Tchebycheff scalarization: the largest loss, softly."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from kmtl._checks import is_number, require, whole
from kmtl._types import Logs, Tensor
from kmtl.balancers.by_losses.bounds import BoundedBalancer, excess
from kmtl.balancers.by_losses.epochs import epoch_losses
from kmtl.balancers.by_task import check_amounts, preference_shares
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals, masked_softmax


def stch_weights(values: Tensor, smoothness: float, present: Tensor) -> Tensor:
    """Derivatives of `mu * logsumexp(y / mu)` by `y`, `(K,)`: a softmax, which sums to 1.

    Args:
        values: `y`, what the tasks are compared by, `(K,)`.
        smoothness: mu; to 0 the largest alone counts, to infinity all count alike.
        present: Booleans `(K,)`.

    >>> weights = stch_weights(ops.array([0.8, 0.3, 1.5]), 1.0, ops.array([True, True, True]))
    >>> [round(float(weight), 5) for weight in weights]
    [0.27622, 0.16754, 0.55624]
    """
    return masked_softmax(values / smoothness, present)


@register("stch")
class STCH(BoundedBalancer):
    """Smooth Tchebycheff scalarization: lifts the task that is worst off, and reaches every trade-off.

        logarithmic:   total = K mu logsumexp(log(K p_k D_k / nadir_k) / mu),   w_k = K softmax(...)_k / D_k
        plain:         total = mu logsumexp(p_k D_k / mu),                     w_k = p_k softmax(...)_k

    with `D_k = L_k - b_k + 1e-8` and preferences `p` that sum to 1. A fixed weighted sum cannot reach the concave parts
    of a trade-off front; this can, whatever the front, by its preference.

    The logarithmic form first warms up on `K sum_k p_k log D_k`; the mean losses of the last epoch of
    the warm-up are then the nadir, the level that losses are compared with. A task without a label in that
    epoch takes the first epoch in which it has one, and counts as standing at its nadir until then.

    Args:
        smoothness: mu, above 0. Small values follow the worst task only.
        warmup: Epochs of the warm-up, at least 1.
        logarithmic: False for the plain form, which compares the losses themselves and has no warm-up.
        preference: None, `{task: p}` or one number a task; a larger one drives a task's loss lower.
        **options: As for `BoundedBalancer`: `lower_bounds`, the ideal point, and those of `Balancer`.

    Source: Lin et al., "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", ICML 2024 (NYUv2: -1.35 %
    against 5.59 % of equal weights, lower is better). Departures: weights sum to K by default; the preference of the
    logarithmic form stands inside the logarithm, where a larger one always pulls more.

    >>> balancer = STCH(logarithmic=False, scale="paper")
    >>> [round(float(weight), 4) for weight in balancer.weigh(losses=ops.array([2.0, 4.0]))]
    [0.1345, 0.3655]
    """

    def __init__(
        self,
        *,
        smoothness: float = 1.0,
        warmup: int = 4,
        logarithmic: bool = True,
        preference: Any = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        good = is_number(smoothness) and smoothness > 0
        require(good, "STCH", "smoothness", "must be a finite number above 0", smoothness)
        self.smoothness = float(smoothness)
        self.warmup = whole("STCH", "warmup", warmup, 1)
        require(isinstance(logarithmic, bool), "STCH", "logarithmic", "must be True or False", logarithmic)
        self.logarithmic = logarithmic
        self.preference = check_amounts("STCH", "preference", preference)

    def prepare(self, tasks: Sequence[Any], size: int | None = None) -> None:
        """Makes the state, and refuses a name that no task has."""
        preference_shares("STCH", self.preference, tasks, len(tasks))
        super().prepare(tasks, size)

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes the nadir, 0 where it is not known, and the number of epochs."""
        self.nadir = self.state((input_shape[0],), "zeros", "nadir")
        self.epochs = self.state((), "zeros", "epochs")

    def task_weights(self, signals: Signals) -> Tensor:
        """Derivatives of the total by the losses."""
        above, present = self.excess(signals), signals.present
        preferred = self._preferred(signals)
        if not self.logarithmic:
            return preferred * stch_weights(preferred * above, self.smoothness, present)
        worst = ops.where(self.nadir > 0, self.nadir / self.unit(above.shape[0]), above)
        values = ops.log(signals.number * preferred) + ops.log(above / worst)
        found = stch_weights(values, self.smoothness, present)
        return signals.number * ops.where(self.epochs < self.warmup, preferred, found) / above

    def _preferred(self, signals: Signals) -> Tensor:
        """The preferences among the tasks present, `(K,)`; they sum to 1."""
        count = signals.losses.shape[0]
        given = ops.array(preference_shares("STCH", self.preference, self.tasks, count), "float32")
        there = ops.where(signals.present, given, 0.0)
        total = ops.sum(there)
        return there / ops.where(total > 0, total, 1.0)

    def end_epoch(self, logs: Logs) -> None:
        """Counts the epoch; from the last of the warm-up on, nadirs that are missing are taken."""
        losses = epoch_losses("STCH", self.tasks, logs)
        above = excess(losses, self.bounds(len(self.tasks)))
        self.epochs.assign_add(1.0)
        new = (self.epochs >= self.warmup) & ops.equal(self.nadir, 0.0) & ops.isfinite(above)
        self.move(self.nadir, above, new)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"smoothness": self.smoothness, "warmup": self.warmup, "logarithmic": self.logarithmic}
        return {**super().get_config(), **own, "preference": self.preference}
