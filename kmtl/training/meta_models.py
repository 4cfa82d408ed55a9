"""Meta models of stacking: how outputs of several models are joined, fitted on arrays."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

_STEPS = 1000
# How much more than all rows together the sum of the weights counts.
_BINDING = 1e4


class Linear(NamedTuple):
    """A linear map of standardised columns.

    Attributes:
        mean: Of each column, `(columns,)`.
        scale: Its standard deviation, 1 where it is constant.
        kernel: `(columns, units)`, of standardised columns.
        bias: `(units,)`.
    """

    mean: Any
    scale: Any
    kernel: Any
    bias: Any

    @property
    def weights(self) -> Any:
        """What a column counts in its own unit, `(columns, units)`."""
        return self.kernel / self.scale[:, None]


def standardization(columns: Any) -> tuple[Any, Any]:
    """Mean and scale of columns `(rows, columns)`; the scale of a constant one is 1."""
    mean, scale = columns.mean(axis=0), columns.std(axis=0)
    return mean, np.where(scale > 1e-12 * (1 + np.abs(mean)), scale, 1.0)


def ridge(columns: Any, values: Any, penalty: float, weights: Any = None) -> Linear:
    """Least squares with a squared penalty: `beta = (Z'Z + penalty I)^-1 Z'y` of standardised, centred columns Z.

    Args:
        columns: `(rows, columns)`.
        values: `(rows, elements)`; NaN where missing, each element by its own rows.
        penalty: Above 0; on standardised columns, so that no column's unit decides what it costs.
        weights: Sample weights, `(rows,)`.

    >>> random = np.random.default_rng(0)
    >>> y, noise = random.normal(5.0, 3.0, (50, 1)), random.normal(0.0, 100.0, (50, 1))
    >>> abs(ridge(np.hstack([y, noise]), y, 1e-9).weights.round(6)).ravel().tolist()
    [1.0, 0.0]
    """
    from sklearn.linear_model import Ridge

    mean, scale = standardization(columns)
    standardized = (columns - mean) / scale
    kernels, biases = [], []
    for element in values.T:
        there = ~np.isnan(element)
        fitted = Ridge(alpha=penalty).fit(standardized[there], element[there], _taken(weights, there))
        kernels.append(fitted.coef_)
        biases.append(fitted.intercept_)
    return Linear(mean, scale, np.stack(kernels, axis=1), np.array(biases))


def logistic(columns: Any, labels: Any, classes: int, penalty: float, weights: Any = None) -> Linear:
    """Logistic regression with a squared penalty: `softmax(Z K + b)` of standardised columns Z.

    Args:
        columns: `(rows, columns)`.
        labels: Numbers of classes `(rows,)`, -1 where missing.
        classes: How many there are; one that does not occur gets a score below all others.
        penalty: Above 0.
        weights: Sample weights, `(rows,)`.

    Returns:
        A map to one logit a class.
    """
    from sklearn.linear_model import LogisticRegression

    mean, scale = standardization(columns)
    there = labels >= 0
    standardized, known = ((columns - mean) / scale)[there], labels[there]
    kernel, bias = np.zeros((columns.shape[1], classes)), np.zeros(classes)
    found = np.unique(known)
    if len(found) > 1:
        fitted = LogisticRegression(C=1 / penalty, max_iter=_STEPS).fit(standardized, known, _taken(weights, there))
        # Of two classes the first has the logit 0.
        some = found[1:] if len(found) == 2 else found
        kernel[:, some], bias[some] = fitted.coef_.T, fitted.intercept_
    absent = np.setdiff1d(np.arange(classes), found)
    bias[absent] = bias[found].min() - np.log(len(known) + 1)
    return Linear(mean, scale, kernel, bias)


def yes_or_no(columns: Any, labels: Any, penalty: float, weights: Any = None) -> Linear:
    """The same of labels of yes or no, `(rows, elements)`, -1 where missing: a map to one logit of yes each."""
    each = [logistic(columns, element, 2, penalty, weights) for element in labels.T]
    kernel = np.stack([one.kernel[:, 1] - one.kernel[:, 0] for one in each], axis=1)
    return each[0]._replace(kernel=kernel, bias=np.array([one.bias[1] - one.bias[0] for one in each]))


def convex(predictions: Sequence[Any], values: Any, weights: Any = None) -> Any:
    """Weights of at least 0 that add up to 1, of the least squared error: `min ||y - sum_m w_m f_m||^2`.

    Args:
        predictions: Of each model, `(rows, elements)`.
        values: `(rows, elements)`; NaN where missing.
        weights: Sample weights, `(rows,)`.

    Returns:
        `(models,)`.

    >>> y = np.arange(6.0).reshape(6, 1)
    >>> convex([y + 1, y - 1, 0 * y], y).round(6).tolist()
    [0.5, 0.5, 0.0]
    """
    from scipy.optimize import nnls

    there = ~np.isnan(values)
    factor = np.sqrt(np.ones(len(values)) if weights is None else weights)[:, None] * np.ones_like(values)
    table = np.stack([(one * factor)[there] for one in predictions], axis=1).astype("float64")
    target = (values * factor)[there].astype("float64")
    size = max(np.abs(table).max(initial=0.0), np.abs(target).max(initial=0.0), 1e-30) * _BINDING * len(target) ** 0.5
    table = np.vstack([table, np.full((1, len(predictions)), size)])
    found = nnls(table, np.append(target, size))[0]
    return found / found.sum()


def _taken(weights: Any, there: Any) -> Any:
    """The weights of some rows."""
    return None if weights is None else np.asarray(weights, "float64")[there]
