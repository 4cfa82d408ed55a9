"""Whether a task is worse than its baseline, told so that few of many tasks are flagged by chance."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

LEVEL = 0.05
# Below what float32 tells of a score apart, relative to it.
_SAME = 1e-6

_Key = TypeVar("_Key", bound=Hashable)


def worse_p(differences: Sequence[float]) -> float:
    """How probable differences at least as bad are where there is none: a one-sided paired t test over seeds.

        t = mean(d) / (std(d) / sqrt(n)),    p = P(T >= t),    T of Student's distribution with n - 1 degrees of freedom

    Scores counted on few rows are often equal to the digit under all seeds: their standard deviation is 0 and t
    endless, whatever is true. The sign test takes over there, `p = 2^-n`: of 40 tasks without any difference, two
    seeds and 50 test rows, the t test alone flags one in three tables.

    Args:
        differences: Row less baseline, one a seed, above 0 where the row is worse.

    Returns:
        Between 0 and 1; NaN for fewer than two seeds, or where a difference is NaN.

    Source: Student, "The probable error of a mean", Biometrika, 1908.

    >>> round(worse_p([1.0, 2.0, 3.0]), 4), worse_p([1.0, 1.0, 1.0]), worse_p([0.0, 0.0])
    (0.0371, 0.125, 1.0)
    """
    from scipy import stats

    values, count = np.asarray(differences, dtype="float64"), len(differences)
    if count < 2 or not np.isfinite(values).all():
        return float("nan")
    mean = float(np.mean(values))
    if np.ptp(values) <= _SAME:
        return 0.5**count if mean > _SAME else 1.0
    return float(stats.t.sf(mean / (np.std(values, ddof=1) / np.sqrt(count)), count - 1))


def holm(p_values: Mapping[_Key, float]) -> dict[_Key, float]:
    """Corrects probabilities for how many there are: at most 5 % of all tables then hold any false flag.

    In ascending order, `p'_i = max_{j <= i} min(1, (m - j + 1) p_j)` of m tests. It holds however the tests depend on
    each other, as those against one baseline do. NaN is no test.

    Args:
        p_values: Probabilities by what they are of.

    Returns:
        The same, corrected.

    Source: Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics, 1979.

    >>> holm({"kind": 0.01, "age": 0.04, "size": 0.03})
    {'kind': 0.03, 'age': 0.06, 'size': 0.06}
    """
    tested = sorted((p, place, key) for place, (key, p) in enumerate(p_values.items()) if not np.isnan(p))
    corrected, least = dict(p_values), 0.0
    for place, (p, _, key) in enumerate(tested):
        least = max(least, min(1.0, (len(tested) - place) * p))
        corrected[key] = least
    return corrected
