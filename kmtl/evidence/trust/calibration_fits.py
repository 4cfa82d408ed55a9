"""Temperatures, calibration errors and thresholds, as functions of arrays."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from kmtl.tasks.tempering import tempered

BINS = 15
# A head whose every answer is right has its best temperature at 0, one that knows nothing at infinity.
_LOWEST, _HIGHEST = 0.02, 50.0
# Of what is the same number but for the order of its sums in float32.
_ROUNDING = 1e-6


def log_loss(labels: Any, probabilities: Any) -> float:
    """Mean negative log-likelihood of the labels, in nats."""
    own = np.take_along_axis(probabilities, labels[:, None], axis=-1)
    return float(-np.log(np.maximum(own, np.finfo("float32").tiny)).mean())


def best_temperature(labels: Any, probabilities: Any, temper: Callable[[Any, float], Any] = tempered) -> float:
    """The temperature under which labels are likeliest; 1 if no other is better.

    The loss has one minimum: it is convex in the inverse of the temperature.

    Args:
        labels: `(rows,)`.
        probabilities: `(rows, classes)`.
        temper: What a temperature makes of probabilities; see `kmtl.tasks.Task.tempered`.

    Source: Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", ICML 2017.
    """
    from scipy.optimize import minimize_scalar

    bounds = (np.log(_LOWEST), np.log(_HIGHEST))
    found = minimize_scalar(
        lambda power: log_loss(labels, temper(probabilities, np.exp(power))),
        bounds=bounds,
        method="bounded",
        options={"xatol": 1e-6},
    )
    better = found.fun < log_loss(labels, probabilities)
    return float(np.exp(found.x)) if better else 1.0


def reliability(labels: Any, probabilities: Any, bins: int = BINS) -> tuple[Any, Any, Any]:
    """How often the likeliest class is right, by how sure the model is of it.

    Args:
        labels: `(rows,)`.
        probabilities: `(rows, classes)`.
        bins: Number of bins of equal width over [0, 1].

    Returns:
        Of each bin that is not empty: share that is right, mean confidence, share of the rows.
    """
    from sklearn.calibration import calibration_curve

    # A float32 number may pass 1 by a hair.
    confidence = np.clip(probabilities.max(axis=-1), 0.0, 1.0)
    right = (probabilities.argmax(axis=-1) == labels).astype("int64")
    share, mean = calibration_curve(right, confidence, n_bins=bins, pos_label=1)
    counts = np.bincount(np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], confidence))
    return share, mean, counts[counts > 0] / len(labels)


def calibration_error(labels: Any, probabilities: Any, bins: int = BINS) -> float:
    """Expected calibration error: mean over the rows of how far confidence and share of right answers lie apart.

        ECE = sum_b n_b / n |right_b - confidence_b|

    over bins b of equal width of the likeliest class's probability.

    Args:
        labels: `(rows,)`.
        probabilities: `(rows, classes)`.
        bins: Number of bins.

    Source: Naeini, Cooper and Hauskrecht, "Obtaining Well Calibrated Probabilities Using Bayesian Binning", AAAI 2015;
    Guo et al., ICML 2017.

    >>> calibration_error(np.array([0, 0, 0, 1]), np.tile([0.9, 0.1], (4, 1)))
    0.15...
    """
    share, mean, weight = reliability(labels, probabilities, bins)
    return float(np.sum(weight * np.abs(share - mean)))


def f1(hits: Any, alarms: Any, yes: int, no: int) -> Any:
    """F1 of yes, `2 TP / (2 TP + FP + FN)`."""
    del no
    return 2.0 * hits / (hits + alarms + yes)


def youden(hits: Any, alarms: Any, yes: int, no: int) -> Any:
    """Sensitivity plus specificity less 1 (Youden, "Index for Rating Diagnostic Tests", Cancer 3, 1950)."""
    return hits / yes - alarms / no


def cost(false_alarm: float, miss: float) -> Callable[[Any, Any, int, int], Any]:
    """The negative mean cost of an answer.

    Args:
        false_alarm: What a wrong yes costs.
        miss: What a wrong no costs.
    """
    return lambda hits, alarms, yes, no: -(false_alarm * alarms + miss * (yes - hits)) / (yes + no)


RULES: dict[str, Callable[[Any, Any, int, int], Any]] = {"f1": f1, "youden": youden}


def is_constant(scores: Any) -> bool:
    """Whether scores differ by no more than rounding, so that no threshold tells them apart.

    >>> is_constant(np.float32([0.5, 0.5, 0.50000006])), is_constant(np.float32([1e-9, 2e-9]))
    (True, False)
    """
    return bool(np.ptp(scores) <= _ROUNDING * np.max(np.abs(scores)))


def best_threshold(labels: Any, probabilities: Any, rule: Callable[[Any, Any, int, int], Any]) -> float | None:
    """The probability above which to answer yes, so that a rule is largest; of several the one nearest 1/2.

    Args:
        labels: 0 or 1, `(rows,)`.
        probabilities: Of yes, `(rows,)`.
        rule: A function of true and false yeses (arrays, one a threshold) and the numbers of labels of yes and no.

    Returns:
        A number half way between two of the probabilities, exact in float32; None if the labels or the
        probabilities are all alike.

    >>> best_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.2, 0.3, 0.9]), youden)
    0.25
    """
    yes, no = int((labels == 1).sum()), int((labels == 0).sum())
    if not yes or not no or not np.ptp(probabilities):
        return None
    values, places = np.unique(np.asarray(probabilities, "float32"), return_inverse=True)
    of_yes = np.bincount(places, weights=labels == 1)
    of_no = np.bincount(places, weights=labels == 0)
    # Of each cut: the yeses at its values and above; the last one answers no to all.
    hits = np.append(np.cumsum(of_yes[::-1])[::-1], 0.0)
    alarms = np.append(np.cumsum(of_no[::-1])[::-1], 0.0)
    scores = rule(hits, alarms, yes, no)
    cuts = np.concatenate([[0.0], (values[:-1] + values[1:]) / 2, [1.0]]).astype("float32")
    # Neighbours may leave no number between them; above the lower one is the upper one.
    cuts[1:-1] = np.where(cuts[1:-1] < values[1:], cuts[1:-1], values[:-1])
    good = np.flatnonzero(scores >= scores.max() - 1e-12)
    return float(cuts[good[np.argmin(np.abs(cuts[good] - 0.5))]])


def thresholds_of(labels: Any, probabilities: Any, element: Any, count: int, rule: Any) -> Sequence[float | None]:
    """The best threshold of each element of a label.

    Args:
        labels: 0 or 1, `(rows,)`.
        probabilities: Of yes, `(rows,)`.
        element: Which element each row is, `(rows,)`.
        count: Number of elements.
        rule: As of `best_threshold`.
    """
    own = [element == place for place in range(count)]
    return [best_threshold(labels[rows], probabilities[rows], rule) for rows in own]
