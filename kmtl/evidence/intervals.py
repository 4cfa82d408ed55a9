"""Intervals of a mean over few runs, and how they are written."""

from collections.abc import Sequence

import numpy as np


def interval(values: Sequence[float]) -> float:
    """Half the width of the 95 % Student interval of a mean; NaN for fewer than two values.

    >>> round(interval([1.0, 2.0, 3.0]), 3)
    2.484
    """
    from scipy import stats

    if len(values) < 2:
        return float("nan")
    return float(stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values)))


def with_interval(value: float, half: float, form: str) -> str:
    """A number with its interval, if it has one.

    >>> with_interval(1.5, 0.25, "+.1f"), with_interval(1.5, float("nan"), ".2f")
    ('+1.5 ± 0.2', '1.50')
    """
    return f"{value:{form}}" if np.isnan(half) else f"{value:{form}} ± {half:{form.lstrip('+')}}"
