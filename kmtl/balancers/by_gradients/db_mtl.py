"""Balancers that make the gradients of the tasks' log losses equally long."""

from typing import Any

from keras import ops

from kmtl._checks import is_number, non_negative, require
from kmtl._types import Tensor
from kmtl.balancers.by_gradients.base import RememberingBalancer, lengths
from kmtl.balancers.gramian import GramianBalancer
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals, norms

#: Added to a loss before its logarithm is taken.
FLOOR = 1e-8


def max_norm_weights(sizes: Tensor, present: Tensor) -> Tensor:
    """Weights under which every gradient is as long as the longest, `max_j n_j / n_k`; 0 where a task sits out.

    Args:
        sizes: Lengths `n` of the gradients, `(K,)`.
        present: Booleans `(K,)`.

    >>> max_norm_weights(ops.array([2.0, 8.0, 99.0]), ops.array([True, True, False])).numpy().tolist()
    [4.0, 1.0, 0.0]
    """
    longest = ops.max(ops.where(present, sizes, 0.0))
    usable = present & (sizes > 0)
    return ops.where(usable, longest / ops.where(usable, sizes, 1.0), 0.0)


@register("db_mtl")
class DBMTL(RememberingBalancer):
    """Takes gradients of the log losses, averages them over the steps, and makes them equally long.

        y_k <- u_k + beta_t (y_k - u_k),   u_k = g_k / (L_k + 1e-8),   beta_t = beta / t ** decay
        d   =  max_j |y_j| * sum_k y_k / |y_k|

    The direction does not change when a loss is multiplied by a number. In its
    authors' tables it beats every rival that they re-ran: NYUv2 +1.15 %, QM9
    -58.1 % against -146.3 % of the plain sum; the logarithm alone gives +.06, equal
    lengths alone +.76 on NYUv2. It promises no common descent. The memory is K
    times the shared weights: `MemorylessDBMTL` does without. The `t` of a task
    counts the steps in which it was there. A loss below 0 has no logarithm: it counts as a failure.

    Args:
        beta: Share of the old average at the first step, above 0 and below 1.
        decay: Power of the step that it is divided by. At 0.5 the average forgets
            its start and ends as the gradient of the batch; a constant share (0, LibMTL's
            default) is the worst in the authors' own comparison (Office-31: -2.9 %).
        **options: As for `RememberingBalancer`.

    Source: Lin et al., "Dual-Balancing for Multi-Task Learning", arXiv 2308.12029,
    2023. Departures: the weights of the averages sum to K by default; no 1e-8 is added
    to the lengths; heads get the gradient of the loss itself, not of its logarithm.

    >>> balancer = DBMTL(scale="paper", beta=0.5)
    >>> gradients = ops.array([[2.0, 0.0], [0.0, 8.0]])
    >>> ops.convert_to_numpy(balancer.combine(gradients, losses=ops.array([1.0, 2.0]))).round(4).tolist()
    [2.0, 2.0]
    """

    def __init__(self, *, beta: float = 0.9, decay: float = 0.5, **options: Any) -> None:
        super().__init__(**options)
        fix = "Without an average take kmtl.balancers.MemorylessDBMTL."
        require(is_number(beta) and 0 < beta < 1, "DBMTL", "beta", "must be above 0 and below 1", beta, fix)
        self.beta = float(beta)
        self.decay = non_negative("DBMTL", "decay", decay)

    def transform(self, gradients: Tensor, signals: Signals) -> tuple[Tensor, Tensor]:
        """The averages, moved on, and their weights."""
        present, losses = signals.present, signals.needed_losses(self)
        old = self.beta / ops.power(self.grow(present), self.decay)
        # Where the logarithm does not exist, nothing is remembered.
        rows = gradients / ops.where(losses >= 0, losses + FLOOR, 1.0)[:, None]
        rows = rows + old[:, None] * (self.memory - rows)
        sound = self.remember(rows, lengths(rows, present), present & (losses >= 0))
        weights = max_norm_weights(lengths(self.memory, present), present)
        return self.memory, ops.where(sound, weights, float("nan"))

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "beta": self.beta, "decay": self.decay}


@register("db_mtl_memoryless")
class MemorylessDBMTL(GramianBalancer):
    """Makes the gradients of the log losses of this batch equally long: DB-MTL without its average.

        d = max_j |u_j| * sum_k u_k / |u_k|,   u_k = g_k / (L_k + 1e-8)

    It is the sum of unit gradients, as long as the steepest log loss; with the
    default `scale="sum"` the weights are those of unit gradients exactly, and only
    `"paper"` shows the losses. Being of the Gramian it has no memory and runs on any `level`.
    A loss below 0 has no logarithm: it counts as a failure.

    Args:
        **options: As for `GramianBalancer`.

    Source: as for `DBMTL`, with `beta = 0`.

    >>> balancer = MemorylessDBMTL(scale="paper")
    >>> gram, losses = ops.array([[4.0, 0.0], [0.0, 64.0]]), ops.array([1.0, 2.0])
    >>> ops.convert_to_numpy(balancer.weigh(gram=gram, losses=losses)).round(4).tolist()
    [2.0, 0.5]
    """

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of the gradients themselves."""
        losses = signals.needed_losses(self)
        sound = signals.present & (losses >= 0)
        floored = ops.where(sound, losses + FLOOR, 1.0)
        weights = max_norm_weights(norms(signals.gram, signals.present) / floored, signals.present) / floored
        return ops.where(sound, weights, float("nan"))
