"""Balancers whose direction has the same angle to every gradient."""

from typing import Any

from keras import ops

from kmtl._checks import near, non_negative, require
from kmtl._types import Tensor
from kmtl.balancers.adam import OwnAdam
from kmtl.balancers.by_gramian.preferring import PreferringBalancer
from kmtl.balancers.gramian import GramianBalancer
from kmtl.balancers.registry import register
from kmtl.balancers.signals import Signals, cosines, norms

SIGNS = ("safe", "paper")
TOLERANCE = 1e-6
# Below it the sum of an impartial solution has been lost in the rounding.
SMALLEST_SUM = 1e-6


def equal_angles(angles: Tensor, shares: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """Coefficients of the unit gradients whose sum has products `shares` with them, `C^+ p`, `(K,)`.

    NaN where the unit gradients' span holds nothing of the kind: two opposite
    gradients have no direction at the same acute angle to both.

    Args:
        angles: Cosines `C` of the gradients, `(K, K)`, with a diagonal of 1.
        shares: `p`, `(K,)`, 0 where a task sits out.
        tolerance: Share of the largest eigenvalue of `C` below which one counts as 0.

    >>> found = equal_angles(ops.array([[1.0, 0.6], [0.6, 1.0]]), ops.array([1.0, 1.0]))
    >>> [round(float(value), 4) for value in found]
    [0.625, 0.625]
    """
    values, vectors = ops.eigh(angles)
    kept = values > tolerance * ops.max(values)
    parts = ops.where(kept, ops.sum(vectors * shares[:, None], axis=0), 0.0)
    found = ops.sum(parts / ops.where(kept, values, 1.0) * vectors, axis=1)
    # What is left of `p` in the span; rounding alone leaves about 1e-13.
    spanned = ops.sum(ops.square(parts)) > 1e-8 * ops.sum(ops.square(shares))
    return ops.where(spanned, found, float("nan"))


def config_weights(gram: Tensor, present: Tensor, shares: Tensor, tolerance: float = TOLERANCE) -> Tensor:
    """Weights of ConFIG, `(K,)`.

        v = U^+ p / |U^+ p|,   d = (sum_k g_k' v) v,   U = unit gradients

    Args:
        gram: Gramian, `(K, K)`.
        present: Booleans `(K,)`.
        shares: Preference `p`, `(K,)`.
        tolerance: Share of the largest eigenvalue of the cosines below which one counts as 0.

    >>> gram = ops.array([[9.0, 0.0], [0.0, 1.0]])
    >>> found = config_weights(gram, ops.array([True, True]), ops.array([0.5, 0.5]))
    >>> [round(float(value), 4) for value in found]
    [0.6667, 2.0]
    """
    angles, lengths = cosines(gram, present), norms(gram, present)
    pull = equal_angles(angles, ops.where(present, shares, 0.0), tolerance)
    products = ops.sum(angles * pull[None, :], axis=1)
    # Relative to the longest gradient, so that the products stay in float32.
    there = ops.where(present, lengths, 0.0)
    longest = ops.max(there)
    terms = there / ops.where(longest > 0, longest, 1.0) * products
    length = ops.sum(terms)
    # Where the gradients sum to 0 it is lost in the rounding, and its sign with it.
    length = ops.where(ops.abs(length) > SMALLEST_SUM * ops.sum(ops.abs(terms)), length, float("nan"))
    return pull * (length / ops.sum(pull * products)) * (longest / lengths)


def imtl_g_weights(gram: Tensor, present: Tensor, sign: str = "safe", scales: Tensor = None) -> Tensor:
    """Weights of IMTL-G, `w = v / sum(v)` with `v_k = q_k / (e^s_k n_k)`, `q = C^+ 1`, `(K,)`.

    Args:
        gram: Gramian, `(K, K)`.
        present: Booleans `(K,)`.
        sign: `"safe"` divides by the sum's absolute value, `"paper"` by the sum.
        scales: Logarithms `s` of what the losses are multiplied by, `(K,)`; None is 0.

    >>> gram = ops.array([[18.0, -22.0], [-22.0, 38.0]])
    >>> [round(float(value), 4) for value in imtl_g_weights(gram, ops.array([True, True]))]
    [0.5923, 0.4077]
    """
    there, lengths = ops.cast(present, "float32"), norms(gram, present)
    factors = ops.ones_like(lengths) if scales is None else ops.exp(scales)
    pull = there * equal_angles(cosines(gram, present), there)
    # Lengths relative to the shortest one, so that their inverses stay in float32.
    shortest = ops.min(ops.where(present, lengths * factors, float("inf")))
    found = pull * (shortest / (lengths * factors))
    total = ops.sum(found)
    size = ops.maximum(ops.abs(total), SMALLEST_SUM * ops.sum(ops.abs(found)))
    size = size if sign == "safe" else ops.where(total < 0, -size, size)
    return factors * found / size


@register("imtl_g")
class IMTLG(GramianBalancer):
    """Takes the direction that has equal projections on all unit gradients.

        w = M^+ n / (1' M^+ n),   M = Gramian, n = lengths of the gradients

    Multiplying a loss by a number changes no direction. It is parallel to
    ConFIG's for any number of tasks, and to the sum of unit gradients for two.
    Weights may be negative. The paper's denominator becomes negative in 0.1 % of
    random triples of one length, 1.6 % of those over two decades: its
    step then *ascends every task*; it crashed on QM9 in an independent study.

    Args:
        sign: `"safe"` divides by the absolute value of the denominator, so that the step
            never ascends a task while the gradients are independent;
            `"paper"` is the formula as printed, with its sign.
        **options: As for `GramianBalancer`.

    Source: Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021.
    Departures: the safe sign; the pseudo-inverse is that of the cosines, so that copies of
    a gradient share a weight whatever the lengths; the denominator is at least
    1e-6 of the sum of absolute terms; opposite gradients, which have no such
    direction, are a failure; by default absolute weights sum to K.

    >>> gram = ops.array([[1.0, 0.0], [0.0, 9.0]])
    >>> [round(float(weight), 4) for weight in IMTLG(scale="paper").weigh(gram=gram)]
    [0.75, 0.25]
    """

    def __init__(self, *, sign: str = "safe", **options: Any) -> None:
        super().__init__(**options)
        fix = near(str(sign), SIGNS)
        require(sign in SIGNS, type(self).__name__, "sign", "must be 'safe' or 'paper'", sign, fix)
        self.sign = sign

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of this step."""
        return imtl_g_weights(signals.gram, signals.present, self.sign)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "sign": self.sign}


@register("imtl")
class IMTL(IMTLG):
    """IMTL-G on the gradients of losses that IMTL-L scales.

        w = e^s * IMTL-G(gradients of e^s_k L_k),   s_k -> min e^s_k L_k - s_k

    IMTL-G's direction does not depend on the scales: `s` changes the length of
    the step alone, and with `scale="sum"` nothing. In the paper
    it also multiplies the loss of each head, which here keeps its own
    gradient: choose `"imtl_l"` to balance the heads too.

    Args:
        learning_rate: Of the `s_k`, which Adam moves, one memory a task.
        **options: As for `IMTLG`.

    Source: Liu et al., "Towards Impartial Multi-task Learning", ICLR 2021.
    Departures: those of `IMTLG`; heads are not scaled; `s` has its own optimizer.

    >>> gram, losses = ops.array([[1.0, 0.0], [0.0, 9.0]]), ops.array([2.0, 0.5])
    >>> [round(float(weight), 4) for weight in IMTL(scale="paper").weigh(losses=losses, gram=gram)]
    [0.75, 0.25]
    """

    def __init__(self, *, learning_rate: float = 0.01, **options: Any) -> None:
        super().__init__(**options)
        self.learning_rate = non_negative(type(self).__name__, "learning_rate", learning_rate)

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Makes the logarithms of the losses' scales and what Adam remembers."""
        self.scales = self.state((input_shape[0],), "zeros", "scales")
        self.adam = OwnAdam(self, input_shape[0], self.learning_rate)

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of this step; the scales then move for the next."""
        weights = imtl_g_weights(signals.gram, signals.present, self.sign, self.scales)
        gradient = ops.exp(self.scales) * signals.needed_losses(self) - 1.0
        self.move(self.scales, self.adam.next_parameters(self.scales, gradient, signals.present), signals.present)
        return weights

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "learning_rate": self.learning_rate}


@register("config")
class ConFIG(PreferringBalancer):
    """Takes the direction at one angle to all gradients, as long as the sum of its projections.

        v = U^+ p / |U^+ p|,   d = (sum_k g_k' v) v,   U = unit gradients

    It descends every task where the gradients are independent, and multiplying a
    loss by a number changes no direction. It shortens where conflicts grow. With two
    tasks `w_k = (n_1 + n_2) / (2 n_k)`. Nearly collinear gradients
    make large weights of both signs.

    Args:
        tolerance: Share of the largest eigenvalue of the cosines below which one counts as 0.
        **options: As for `PreferringBalancer`: cosines of the direction with the gradients
            are proportional to the preference.

    Source: Liu, Chu and Thuerey, "ConFIG: Towards Conflict-free Training of
    Physics Informed Neural Networks", ICLR 2025. Departures: opposite gradients,
    which have no such direction, are a failure; by default absolute weights sum to K.

    >>> gram = ops.array([[9.0, 0.0], [0.0, 1.0]])
    >>> [round(float(weight), 4) for weight in ConFIG(scale="paper").weigh(gram=gram)]
    [0.6667, 2.0]
    """

    def __init__(self, *, tolerance: float = TOLERANCE, **options: Any) -> None:
        super().__init__(**options)
        self.tolerance = non_negative(type(self).__name__, "tolerance", tolerance)

    def task_weights(self, signals: Signals) -> Tensor:
        """Weights of this step."""
        return config_weights(signals.gram, signals.present, self.shares(signals), self.tolerance)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "tolerance": self.tolerance}
