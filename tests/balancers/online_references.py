"""Exact solvers on a Gramian, in float64, that the tests of the learned Gramian compare with."""

import functools

import numpy as np
from scipy.optimize import brentq, nnls


def factor(gram):
    """Rows whose inner products are the Gramian."""
    norms = np.sqrt(np.diag(gram))
    values, vectors = np.linalg.eigh(gram / np.outer(norms, norms))
    return vectors * np.sqrt(np.maximum(values, 1e-12)) * norms[:, None]


def minimum_norm(rows):
    """Weights on the simplex of the shortest combination of rows, exact by non-negative least squares."""
    scale = np.linalg.norm(rows, axis=1).min()
    system = np.vstack([rows.T / scale, np.ones(len(rows))])
    weights = nnls(system, np.eye(len(system))[-1])[0]
    return weights / weights.sum()


def leaning(rows, strength):
    """As `minimum_norm`, of the combination with `strength` times the mean added."""
    weights = minimum_norm(rows + strength * rows.mean(axis=0))
    return weights + strength / len(rows)


def mgda(gram):
    return minimum_norm(factor(gram))


def sdmgrad(gram):
    return leaning(factor(gram), 0.3)


def dual_projection(gram):
    rows = factor(gram)
    norms = np.linalg.norm(rows, axis=1)
    shift = nnls(rows.T / norms, -rows.mean(axis=0))[0] / norms
    return 1.0 / len(gram) + shift


def cagrad(gram):
    """`1/K + w / t`, where `t` is |G'w| over half of |G'1|/K."""
    rows = factor(gram)
    radius = 0.5 * np.linalg.norm(rows.mean(axis=0))

    def surplus(log_strength):
        strength = np.exp(log_strength)
        weights = leaning(rows, strength) - strength / len(rows)
        return log_strength - np.log(np.linalg.norm(weights @ rows) / radius)

    strength = np.exp(brentq(surplus, -15.0, 15.0))
    return leaning(rows, strength) / strength


def power_balance(gram, alpha):
    """`M w = w^(-1/alpha)` by damped Newton steps on row-normalised unknowns."""
    norms = np.sqrt(np.diag(gram))
    cosines = gram / np.outer(norms, norms) + 1e-9 * np.eye(len(gram))
    force = norms ** (1.0 / alpha - 1.0)
    unknown = 0.7 * force ** (alpha / (alpha + 1.0))
    for _ in range(200):
        pull = force * unknown ** (-1.0 / alpha)
        slope = cosines + np.diag(pull / (alpha * unknown))
        step = np.linalg.solve(slope, pull - cosines @ unknown)
        if np.max(np.abs(step / unknown)) < 1e-12:
            break
        unknown = unknown + step * min(1.0, 0.5 / max(np.max(np.abs(step / unknown)), 1e-30))
    return unknown / norms


SOLVERS = {
    "mgda": mgda,
    "sdmgrad": sdmgrad,
    "dual_projection": dual_projection,
    "cagrad": cagrad,
    "nash": functools.partial(power_balance, alpha=1.0),
    "fairgrad": functools.partial(power_balance, alpha=2.0),
}
