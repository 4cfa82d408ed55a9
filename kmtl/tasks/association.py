"""How much two variables say of each other, by what they measure."""

from typing import Any, NamedTuple

import numpy as np

from kmtl.tasks.variables import Variables


class Association(NamedTuple):
    """One association.

    Attributes:
        square: Its square: of two numbers r^2, else corrected for chance and so, of unrelated variables, also below 0;
            NaN where it is not defined: places that differ, a variable that is constant, too few rows.
        signed: Pearson's r where both are one number; else NaN.
    """

    square: float
    signed: float = float("nan")


def association(one: Variables, other: Variables) -> Association:
    """Measures the association of two variables over the rows, or places, that have both.

    Numbers and numbers: Pearson's r; of several elements the RV coefficient, whose root is |r| for one element each.
    Classes and classes: Cramer's V. Classes and numbers: the correlation ratio, a mean over the standardised elements.

    Args:
        one: Variables of some rows.
        other: Variables of the same rows.

    >>> numbers = Variables(np.array([1.0, 2.0, 4.0, 5.0, 6.0])[:, None, None], False)
    >>> association(numbers, numbers._replace(values=-numbers.values)).signed
    -1.0
    """
    if one.values.shape[1] != other.values.shape[1]:
        return Association(float("nan"))
    first, second = (part.values.reshape(-1, part.values.shape[-1]) for part in (one, other))
    both = ~(np.isnan(first).any(axis=1) | np.isnan(second).any(axis=1))
    first, second = first[both], second[both]
    if one.is_nominal and other.is_nominal:
        return Association(cramers_v_square(first[:, 0], second[:, 0]))
    if one.is_nominal or other.is_nominal:
        classes, numbers = (first, second) if one.is_nominal else (second, first)
        return Association(correlation_ratio_square(classes[:, 0], numbers))
    if first.shape[1] == second.shape[1] == 1:
        signed = pearson(first[:, 0], second[:, 0])
        return Association(signed**2, signed)
    return Association(rv_square(first, second))


def pearson(one: Any, other: Any) -> float:
    """Pearson's correlation; NaN if either is constant.

    Args:
        one: `(rows,)`.
        other: `(rows,)`.
    """
    first, second = (_standardized(part[:, None]) for part in (one, other))
    if not first.size or not second.size:
        return float("nan")
    return float(np.clip(np.mean(first[:, 0] * second[:, 0]), -1.0, 1.0))


def cramers_v_square(one: Any, other: Any) -> float:
    """Cramer's V of two classes, squared and corrected for its bias.

        V^2 = [phi^2 - (r - 1)(c - 1) / (n - 1)] / min(r' - 1, c' - 1),    r' = r - (r - 1)^2 / (n - 1)

    over the n rows and the r and c classes that occur; phi^2 is chi^2 / n. Uncorrected, V of unrelated labels of many
    classes is far from 0. Bergsma, "A bias-correction for Cramer's V and Tschuprow's T", Journal of the Korean
    Statistical Society 42, 2013; his estimate cuts what is below 0 off, which is left here to whoever takes the root.

    Args:
        one: Numbers of classes, `(rows,)`.
        other: The same.

    Returns:
        At most 1; NaN if either has one class only.

    >>> classes = np.tile([0, 1, 2], 50)
    >>> round(cramers_v_square(classes, classes), 6), round(cramers_v_square(classes, np.repeat([0, 1], 75)), 6)
    (1.0, -0.013514)
    """
    (_, first), (_, second) = (np.unique(part, return_inverse=True) for part in (one, other))
    rows, n = (max(part.max(initial=-1) + 1, 0) for part in (first, second)), len(one)
    r, c = rows
    if n < 2 or r < 2 or c < 2:
        return float("nan")
    table = np.zeros((r, c))
    np.add.at(table, (first, second), 1.0)
    expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / n
    phi = float(np.sum((table - expected) ** 2 / expected)) / n
    least = min(size - (size - 1) ** 2 / (n - 1) for size in (r, c)) - 1
    return float("nan") if least <= 0 else float(min((phi - (r - 1) * (c - 1) / (n - 1)) / least, 1.0))


def correlation_ratio_square(classes: Any, numbers: Any) -> float:
    """The share of the variance of numbers that their class tells, corrected for its bias.

        epsilon^2 = 1 - (1 - eta^2)(n - 1) / (n - k),    eta^2 = variance between classes / whole variance

    of the n rows and the k classes that occur. Kelley, "An unbiased correlation ratio measure", PNAS 21, 1935.

    Args:
        classes: `(rows,)`.
        numbers: `(rows, elements)`; the mean over those that vary is taken.

    Returns:
        At most 1; NaN if there is one class only, or nothing varies.
    """
    found, place = np.unique(classes, return_inverse=True)
    scaled, n, k = _standardized(numbers), len(classes), len(found)
    if k < 2 or n <= k or not scaled.size:
        return float("nan")
    sums = np.zeros((k, scaled.shape[1]))
    np.add.at(sums, place, scaled)
    between = float(np.mean(np.sum(sums**2 / np.bincount(place)[:, None], axis=0))) / n
    return 1.0 - (1.0 - between) * (n - 1) / (n - k)


def rv_square(one: Any, other: Any) -> float:
    """The RV coefficient of two sets of standardised numbers, each correlation corrected for its bias.

        RV = sum_ij r(x_i, y_j)^2 / sqrt(sum_ii' r(x_i, x_i')^2 sum_jj' r(y_j, y_j')^2),   r^2: 1 - (1 - r^2)(n-1)/(n-2)

    Escoufier, "Le traitement des variables vectorielles", Biometrics 29, 1973; corrected as by Mayer, Lorent and
    Horgan, "Exploratory analysis of multiple omics datasets using the adjusted RV coefficient", Statistical
    Applications in Genetics and Molecular Biology 10, 2011. Of one number each it is the corrected r^2.

    Args:
        one: `(rows, elements)`.
        other: `(rows, elements)`.

    Returns:
        At most 1; NaN if nothing varies in one of them.
    """
    first, second = _standardized(one), _standardized(other)
    if len(one) < 3 or not first.size or not second.size:
        return float("nan")

    def total(left: Any, right: Any) -> float:
        squares = (left.T @ right / len(left)) ** 2
        return float(np.sum(1.0 - (1.0 - squares) * (len(left) - 1) / (len(left) - 2)))

    sizes = total(first, first), total(second, second)
    found = total(first, second) / np.sqrt(max(sizes[0] * sizes[1], 1e-300))
    return float("nan") if min(sizes) <= 0 else float(min(found, 1.0))


def _standardized(values: Any) -> Any:
    """The columns that vary, with mean 0 and deviation 1, `(rows, columns)`."""
    if len(values) < 2:
        return values[:, :0]
    spread = values.std(axis=0)
    varies = spread > 1e-12 * np.abs(values).max(axis=0, initial=0.0)
    return (values[:, varies] - values[:, varies].mean(axis=0)) / spread[varies]
