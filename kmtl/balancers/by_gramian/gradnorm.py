"""The balancer that learns weights under which all tasks train at one rate."""

from typing import Any

from keras import ops

from kmtl._checks import is_number, near, non_negative, require, whole
from kmtl._types import Tensor
from kmtl.balancers.adam import OwnAdam
from kmtl.balancers.capping import CappedBalancer
from kmtl.balancers.gramian import GramianBalancer
from kmtl.balancers.normalizing import FIRST_STEPS, InitialLosses
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals, norms

OPTIMIZERS = ("adam", "sgd")
#: Of a training rate relative to the mean one, where its inverse is taken.
LEAST_RATE = 1e-3


def shared_softmax(logits: Tensor, present: Tensor) -> Tensor:
    """Softmax over the tasks that are present, times their number, `(K,)`; 0 elsewhere.

    >>> ops.convert_to_numpy(shared_softmax(ops.zeros((3,)), ops.array([True, False, True]))).tolist()
    [1.0, 0.0, 1.0]
    """
    there = ops.cast(present, "float32")
    largest = ops.max(ops.where(present, logits, -float("inf")))
    shares = there * ops.exp(ops.where(present, logits - largest, 0.0))
    return shares * (ops.sum(there) / ops.maximum(ops.sum(shares), 1.0))


def gradnorm_gradient(weights: Tensor, lengths: Tensor, ratios: Tensor, present: Tensor, alpha: float) -> Tensor:
    """Gradient of GradNorm's loss with respect to the logits of the weights, `(K,)`.

        sum_k |w_k m_k - c_k|,   c_k = mean_j(w_j m_j) * (r_k / mean_j r_j)^alpha  held constant

    The lengths are linear in the weights, so that no second backward pass is
    needed: the derivative with respect to `w_k` is `m_k sign(w_k m_k - c_k)`.

    Args:
        weights: `w = K softmax(s)`, `(K,)`.
        lengths: Of the unweighted gradients, `m`, `(K,)`.
        ratios: Losses relative to the first ones, `r`, `(K,)`.
        present: Booleans `(K,)`.
        alpha: How strongly slower tasks are pulled.

    >>> ones, both = ops.ones((2,)), ops.array([True, True])
    >>> ops.convert_to_numpy(gradnorm_gradient(ones, ops.array([3.0, 1.0]), ones, both, 1.5)).tolist()
    [2.0, -2.0]
    """
    there = ops.cast(present, "float32")
    number = ops.maximum(ops.sum(there), 1.0)
    weighted = weights * lengths
    mean = ops.sum(there * weighted) / number
    # A negative loss has no training rate.
    ratios = ops.where(present, ops.maximum(ratios, 0.0), 0.0)
    rate = ratios / ops.maximum(ops.sum(ratios) / number, 1e-30)
    # The inverse of a finished task's rate is without bound.
    rate = ops.maximum(rate, LEAST_RATE) if alpha < 0 else rate
    by_weight = there * lengths * ops.sign(weighted - mean * ops.power(rate, alpha))
    return weights * (by_weight - ops.sum(weights * by_weight) / number)


@register("gradnorm")
class GradNorm(CappedBalancer, GramianBalancer):
    """Learns weights that bring every task's gradient to a length set by its training rate.

        min_s sum_k |w_k |g_k| - c_k|,   w = K softmax(s)
        c_k = mean_j(w_j |g_j|) * (r_k / mean_j r_j)^alpha,   r_k = L_k / L_k(0)

    A task that has fallen less of its first loss than the others weighs more. The
    first steps, in which `L(0)` is taken, leave a task's `s` as it is.

    Args:
        alpha: 0 makes all lengths equal; more pulls slow tasks more, and below 0 it is the fast ones that are pulled.
        learning_rate: Of the `s_k`. Under `"sgd"` it has the unit of one over a gradient's length.
        optimizer: `"adam"` or `"sgd"`; it has a memory a task.
        first_steps: Over how many steps of a task its first loss is the mean.
        **options: As for `CappedBalancer`: `cap`, and those of `GramianBalancer`.

    Source: Chen et al., "GradNorm: Gradient Normalization for Adaptive Loss Balancing in
    Deep Multitask Networks", ICML 2018. Departures: a softmax keeps weights
    positive (as in LibMTL); the gradients are those of all shared weights, with
    `level="features"` of the trunk's output, not of its last layer; the first loss is a mean over steps;
    as of every Gramian method here, the weights reach the trunk alone.

    >>> gram, losses = ops.array([[9.0, 0.0], [0.0, 1.0]]), ops.array([1.0, 1.0])
    >>> balancer = GradNorm(optimizer="sgd", learning_rate=0.1, first_steps=1)
    >>> for _ in range(3):
    ...     weights = balancer.weigh(losses=losses, gram=gram)
    >>> [round(float(weight), 3) for weight in weights]
    [0.803, 1.197]
    """

    def __init__(
        self,
        *,
        alpha: float = 1.5,
        learning_rate: float = 0.01,
        optimizer: str = "adam",
        first_steps: int = FIRST_STEPS,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        owner = type(self).__name__
        require(is_number(alpha), owner, "alpha", "must be a finite number", alpha)
        self.alpha = float(alpha)
        self.learning_rate = non_negative(owner, "learning_rate", learning_rate)
        fix = near(str(optimizer), OPTIMIZERS)
        require(optimizer in OPTIMIZERS, owner, "optimizer", "must be 'adam' or 'sgd'", optimizer, fix)
        self.optimizer = optimizer
        self.first_steps = whole(owner, "first_steps", first_steps, 1)

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes the logits, the first losses and what Adam remembers."""
        count = input_shape[0]
        self.logits = self.state((count,), "zeros", "logits")
        self.first = InitialLosses(self, count, self.first_steps)
        self.adam = OwnAdam(self, count, self.learning_rate) if self.optimizer == "adam" else None

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of this step; the logits then move for the next."""
        losses = signals.needed_losses(self)
        ready = signals.present & (self.first.number >= self.first.steps)
        ratios = losses / self.first.of(losses, signals.present)
        weights = shared_softmax(self.logits, signals.present)
        lengths = norms(signals.gram, signals.present)
        gradient = gradnorm_gradient(weights, lengths, ratios, signals.present, self.alpha)
        self.move(self.logits, self._next_logits(gradient, ready), ready)
        return weights

    def _next_logits(self, gradient: Tensor, ready: Any) -> Tensor:
        """Logits after a step of the optimizer."""
        if self.adam is None:
            return self.logits - self.learning_rate * gradient
        return self.adam.next_parameters(self.logits, gradient, ready)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"alpha": self.alpha, "learning_rate": self.learning_rate, "optimizer": self.optimizer}
        return {**super().get_config(), **own, "first_steps": self.first_steps}
