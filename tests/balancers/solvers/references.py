"""The solvers' problems on explicit vectors in float64, by slow and sure routes of their own."""

import numpy as np
from scipy.optimize import nnls


def unit_rows(rows):
    """Rows of length 1, and their lengths."""
    lengths = np.linalg.norm(rows, axis=1)
    return rows / lengths[:, None], lengths


def min_norm(rows, offset=0.0):
    """Weights on the simplex of the shortest `offset + sum_k w_k g_k`: non-negative least squares on `(rows, 1)`.

    As the weights sum to 1, an offset is the same as moving every row.
    """
    units, lengths = unit_rows(rows + offset)
    inverse = lengths.min() / lengths
    found, _ = nnls(np.vstack([units.T, inverse]), np.append(np.zeros(rows.shape[1]), 1.0), maxiter=10000)
    return found * inverse / (found @ inverse)


def lower_bounded(rows, bounds):
    """`argmin |sum_k v_k g_k|` over `v >= bounds`: the cone's own gradients are added to the sum."""
    units, lengths = unit_rows(rows)
    return bounds + nnls(units.T, -(bounds @ rows), maxiter=10000)[0] / lengths


def upgrad(rows, shares):
    """The sum of the projections, one after the other."""
    return sum(lower_bounded(rows, share * unit) for share, unit in zip(shares, np.eye(len(rows)), strict=True))


def conflict_averse(rows, radius):
    """Weights of `g_0 + c |g_0| g_w / |g_w|`.

    As `r |g_w| = min over m of r |g_w|^2 / (2 m) + r m / 2`, the problem is, for each `m`, to find the shortest
    `g_w + m g_0 / r`; the right `m` is `|g_w|`, found by bisection.
    """
    mean = rows.mean(axis=0)
    reach = radius * np.linalg.norm(mean)
    low, high = 0.0, np.linalg.norm(rows, axis=1).max()
    for _ in range(100):
        middle = (low + high) / 2
        weights = min_norm(rows, middle / reach * mean)
        low, high = (middle, high) if np.linalg.norm(weights @ rows) > middle else (low, middle)
    return 1 / len(rows) + reach / np.linalg.norm(weights @ rows) * weights


def fair(rows, alpha):
    """The minimum of `|G'w|^2 / 2 - sum_k B(w_k)` with `B' = w^(-1/alpha)`, by Newton with halved steps."""
    units, lengths = unit_rows(rows)
    power = 1 / alpha
    sizes = (lengths / lengths[0]) ** (power - 1)
    cosines = units @ units.T

    def value(found):
        barrier = np.log(found) if power == 1 else found ** (1 - power) / (1 - power)
        return found @ cosines @ found / 2 - sizes @ barrier

    found = sizes ** (1 / (1 + power))
    for _ in range(300):
        slope = cosines @ found - sizes * found**-power
        step = -np.linalg.solve(cosines + np.diag(power * sizes * found ** (-power - 1)), slope)
        while (found + step <= 0).any() or value(found + step) > value(found) + 1e-4 * slope @ step + 1e-13:
            step = step / 2
            if np.abs(step / found).max() < 1e-13:
                break
        found = found + step
    return found / lengths * lengths[0] ** ((power - 1) / (1 + power))


def gradients_of(generator, count, size, kind):
    """Rows of one of the kinds that a solver meets.

    `"plain"`: independent. `"conflict"`: pulled to and fro. `"scales"`: conflict, with lengths over six decades.
    `"dependent"`: conflict, of fewer dimensions than tasks, one row twice.
    """
    rows = generator.normal(size=(count, size))
    if kind != "plain":
        rows = 0.7 * rows + generator.choice([-1.0, 1.0], (count, 1)) * generator.normal(size=size)
    if kind == "scales":
        rows *= 10.0 ** generator.uniform(-3, 3, (count, 1))
    if kind == "dependent":
        rows[:, max(2, count - 2) :] = 0.0
        # All rows on one side of a plane, so that 0 is in no combination's reach.
        rows[:, 0] = 0.3 + np.abs(rows[:, 0])
        rows[-1] = rows[0]
    return rows


KINDS = ["plain", "conflict", "scales", "dependent"]
