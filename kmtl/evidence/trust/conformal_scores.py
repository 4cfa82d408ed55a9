"""How badly classes conform to what a model says, and what score is still taken in, as functions of arrays."""

from typing import Any

import numpy as np

from kmtl.tasks.spread import smallest_covering


def class_scores(probabilities: Any, method: str) -> Any:
    """How badly each class conforms; see `conformal`.

    Args:
        probabilities: `(..., classes)`.
        method: `"lac"` or `"aps"`.

    >>> class_scores(np.array([0.25, 0.5, 0.25]), "aps").tolist(), class_scores(np.array([0.25, 0.75]), "lac").tolist()
    ([1.0, 0.5, 1.0], [0.75, 0.25])
    """
    if method == "lac":
        return 1.0 - probabilities
    order = np.argsort(-probabilities, axis=-1)
    ranked = np.take_along_axis(probabilities, order, axis=-1)
    sums = np.cumsum(ranked, axis=-1)
    # Of equal classes each has the sum of all.
    for place in reversed(range(ranked.shape[-1] - 1)):
        same = ranked[..., place] == ranked[..., place + 1]
        sums[..., place] = np.where(same, sums[..., place + 1], sums[..., place])
    scores = np.empty_like(sums)
    np.put_along_axis(scores, order, sums, axis=-1)
    return scores


def quantile(scores: Any, alpha: float) -> Any:
    """The `ceil((n + 1) (1 - alpha))`-th smallest score of each column, infinity if there are not so many.

    Args:
        scores: `(n, elements)`, NaN where there is none.
        alpha: In (0, 1).

    >>> quantile(np.array([[1.0, 5.0], [2.0, np.nan], [3.0, np.nan], [4.0, np.nan]]), 0.2).tolist()
    [4.0, inf]
    """
    columns = np.transpose(scores)
    return np.array([smallest_covering(column[~np.isnan(column)], 1 - alpha) for column in columns], "float64")
