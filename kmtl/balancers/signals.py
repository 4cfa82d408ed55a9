"""What a balancer looks at in one step, made safe to look at."""

from typing import Any, NamedTuple

from keras import ops

from kmtl._checks import refusal, words
from kmtl._types import Tensor


class Signals(NamedTuple):
    """What is known of the tasks in one step; what a method does not need may be None.

    Attributes:
        present: Booleans `(K,)`, False for a task that sits out: without a label
            in the batch, of weight 0, or with a loss or gradient that is not finite.
        losses: Loss of each task, `(K,)`; 1 where a task sits out.
        gram: Inner products of the tasks' gradients, `(K, K)`; 0 where a task sits out.
        counts: Labelled examples of each task in the batch, `(K,)`; 0 where a task sits out.
    """

    present: Any
    losses: Any = None
    gram: Any = None
    counts: Any = None

    @property
    def number(self) -> Tensor:
        """How many tasks are present, a float32 scalar."""
        return ops.sum(ops.cast(self.present, "float32"))

    def needed_losses(self, balancer: Any) -> Tensor:
        """The losses, which a balancer that may be called without cannot do without."""
        if self.losses is None:
            raise ValueError(refusal(type(balancer).__name__, "losses", "must be given to this method", words("none")))
        return self.losses

    def only(self, present: Tensor) -> "Signals":
        """The same of fewer tasks: what the others brought, be it NaN, is replaced."""
        losses, gram, counts = self.losses, self.gram, self.counts
        return Signals(
            present=present,
            # 1 has a finite logarithm and a finite inverse.
            losses=None if losses is None else ops.where(present, losses, 1.0),
            gram=None if gram is None else ops.where(present[:, None] & present[None, :], gram, 0.0),
            counts=None if counts is None else ops.where(present, counts, 0.0),
        )


def finite_tasks(losses: Tensor, gram: Tensor, present: Tensor) -> Tensor:
    """Which tasks have a finite loss and gradient, `(K,)`.

    >>> finite_tasks(ops.array([1.0, float("nan")]), None, ops.array([True, True])).numpy().tolist()
    [True, False]
    """
    found = ops.ones_like(present, dtype="bool")
    if losses is not None:
        found = found & ops.isfinite(losses)
    if gram is not None:
        found = found & ops.isfinite(ops.diagonal(gram))
    return found


def norms(gram: Tensor, present: Tensor) -> Tensor:
    """Lengths of the tasks' gradients, `(K,)`; 1 where a task sits out, so that a division is safe.

    >>> norms(ops.array([[4.0, 0.0], [0.0, 0.0]]), ops.array([True, False])).numpy().tolist()
    [2.0, 1.0]
    """
    return ops.where(present, ops.sqrt(ops.where(present, ops.diagonal(gram), 1.0)), 1.0)


def cosines(gram: Tensor, present: Tensor) -> Tensor:
    """Cosines of the tasks' gradients, `(K, K)`: between -1 and 1, diagonal 1; who sits out is orthogonal to all.

    >>> cosines(ops.array([[4.0, 2.0], [2.0, 1.0]]), ops.array([True, False])).numpy().tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    lengths = norms(gram, present)
    # One division after the other: a product of two lengths may leave float32.
    scaled = ops.clip(gram / lengths[:, None] / lengths[None, :], -1.0, 1.0)
    both = present[:, None] & present[None, :]
    same = ops.cast(ops.eye(gram.shape[0]), "bool")
    return ops.where(same, 1.0, ops.where(both, scaled, 0.0))


def rescale(weights: Tensor, total: Tensor) -> Tensor:
    """Weights whose absolute values sum to `total`; all zeros stay zeros.

    Absolute values, because a method that allows negative weights may have
    some that nearly cancel: the rescaled ones would be without bound.

    >>> rescale(ops.array([1.0, 3.0]), 2.0).numpy().tolist()
    [0.5, 1.5]
    """
    # Divided by the largest first, so that the sum can neither overflow nor vanish.
    largest = ops.max(ops.abs(weights))
    relative = weights / ops.where(largest > 0, largest, 1.0)
    size = ops.sum(ops.abs(relative))
    return relative * (total / ops.where(size > 0, size, 1.0))


def masked_softmax(logits: Tensor, present: Tensor) -> Tensor:
    """Softmax over the tasks present, `(K,)`; 0 for the others, whatever their logit; all 0 if nobody is there.

    Args:
        logits: `(K,)`. One that is not finite makes the shares of all NaN; minus infinity is a share of 0.
        present: Booleans `(K,)`.

    >>> masked_softmax(ops.array([0.0, float("nan"), 0.0]), ops.array([True, False, True])).numpy().tolist()
    [0.5, 0.0, 0.5]
    """
    largest = ops.max(ops.where(present, logits, -float("inf")))
    # Without a task there is no largest.
    centred = ops.where(present, logits, 0.0) - ops.where(ops.any(present), largest, 0.0)
    powers = ops.where(present, ops.exp(centred), 0.0)
    total = ops.sum(powers)
    return powers / ops.where(ops.any(present), total, 1.0)
