"""What groups of tasks would do to each task, estimated from one joint model."""

from typing import Any, NamedTuple

import numpy as np

# Strengths of the ridge that are tried, in shares of the mean curvature of a sketch's places.
_RIDGES = 10.0 ** np.arange(-3.0, 3.0)
# Subsets that are solved at once.
_AT_ONCE = 256


class Moments(NamedTuple):
    """Sums over rows of what the surrogate's losses are made of, of each task.

    Attributes:
        losses: Mean loss, `(K,)`.
        slopes: `(K, d)`.
        curvatures: `(K, d, d)`.
    """

    losses: Any
    slopes: Any
    curvatures: Any


def moments(losses: Any, sketches: Any) -> Moments:
    """The surrogate of each task's mean loss, as a function of a step w in the space of the sketches.

        L_j(w) = mean_n (r_n + a_n'w)^2 = L_j + 2 b_j'w + w'A_j w,   r = sqrt(loss),   a = gradient / (2 r)

    The root of an example's loss is taken for linear in the weights: exact for the squared error of a model that is
    linear there, and convex for any loss that is not negative (Gauss and Newton's way).

    Args:
        losses: Of each row, `(rows, K)`, NaN where a label is missing.
        sketches: Of the losses' gradients, `(rows, K, d)`.
    """
    known = np.isfinite(losses)
    roots = np.sqrt(np.where(known, np.maximum(losses, 0.0), 0.0))
    # A row that is learned has no gradient either.
    rates = np.where(known & (roots > 1e-6), 0.5 / np.maximum(roots, 1e-6), 0.0)[:, :, None] * sketches
    counts = np.maximum(known.sum(axis=0), 1)
    slopes = np.einsum("nk,nkd->kd", roots, rates) / counts[:, None]
    columns = rates.transpose(1, 0, 2)
    curvatures = columns.transpose(0, 2, 1) @ columns / counts[:, None, None]
    return Moments((roots**2).sum(axis=0) / counts, slopes, curvatures)


def estimated_losses(fitted: Moments, held: Moments, subsets: Any, ridge: float) -> Any:
    """Each task's loss on held rows behind the step that is best for a subset of the tasks on other rows.

        w_S = argmin mean_{i in S} L_i(w) + ridge |w|^2

    Args:
        fitted: Of the rows on which the step is chosen.
        held: Of the rows on which it is judged.
        subsets: Which tasks belong to each subset, `(subsets, K)`, booleans.
        ridge: Strength; how far a training goes from where the joint model stands.

    Returns:
        `(subsets, K)`.
    """
    width, found = fitted.slopes.shape[1], []
    shares = subsets / subsets.sum(axis=1, keepdims=True)
    for part in np.array_split(shares, -(-len(shares) // _AT_ONCE)):
        curvature = np.tensordot(part, fitted.curvatures, 1) + ridge * np.eye(width)
        steps = -np.linalg.solve(curvature, (part @ fitted.slopes)[:, :, None])[:, :, 0]
        bent = np.stack([np.sum((steps @ curvature) * steps, axis=1) for curvature in held.curvatures], axis=1)
        found.append(held.losses + 2 * steps @ held.slopes.T + bent)
    return np.concatenate(found)


def gains(losses: Any, sketches: Any, subsets: Any) -> Any:
    """How much smaller each task's estimated loss is in a subset than alone, as a share of that alone.

        gain_j(S) = [L_j(w_{j}) - L_j(w_S)] / L_j(w_{j})

    Rows are halved, each half chooses the steps that the other judges; of the strengths of the ridge that one is taken
    under which each task alone does best on the mean.

    Args:
        losses: As of `moments`.
        sketches: The same.
        subsets: Which tasks belong to each subset, `(subsets, K)`.

    Returns:
        `(subsets, K)`, also of tasks outside the subset; NaN of a task without a label.
    """
    one, other = (moments(losses[place::2], sketches[place::2]) for place in (0, 1))
    number = losses.shape[1]
    every = np.concatenate([np.eye(number, dtype=bool), subsets])
    scale = float(np.mean([np.trace(half.curvatures.mean(axis=0)) / sketches.shape[2] for half in (one, other)]))
    whole = np.maximum(one.losses + other.losses, 1e-30)

    def judged(rows: Any, share: float) -> Any:
        ridge = max(share * scale, 1e-30)
        both = estimated_losses(one, other, rows, ridge) + estimated_losses(other, one, rows, ridge)
        return both / whole

    alone = [float(np.mean(np.diagonal(judged(np.eye(number, dtype=bool), share)))) for share in _RIDGES]
    found = judged(every, _RIDGES[int(np.argmin(alone))])
    best = np.diagonal(found[:number])
    return np.where(whole > 1e-30, 1.0 - found[number:] / np.maximum(best, 1e-30), np.nan)


def sampled_subsets(number: int, most: int, seed: int) -> Any:
    """All pairs of tasks and, as far as `most` allows, triples, drawn without repetition, `(subsets, K)`.

    >>> sampled_subsets(3, 100, 0).astype(int).tolist()
    [[1, 1, 0], [1, 0, 1], [0, 1, 1], [1, 1, 1]]
    """
    from itertools import combinations, islice
    from math import comb

    random, triples = np.random.default_rng(seed), comb(number, 3)
    wanted = min(max(most - comb(number, 2), 0), triples)
    chosen = set(random.choice(triples, wanted, replace=False).tolist()) if wanted else set()
    listed: list[tuple[int, ...]] = list(combinations(range(number), 2))
    listed += [one for place, one in enumerate(islice(combinations(range(number), 3), triples)) if place in chosen]
    return np.stack([np.isin(np.arange(number), one) for one in listed])


def surrogate_affinity(losses: Any, sketches: Any, subsets: Any) -> Any:
    """The mean gain of task j over the subsets that hold i and j, `(K, K)`, 0 on the diagonal.

    Args:
        losses: As of `moments`.
        sketches: The same.
        subsets: The same as of `gains`.
    """
    found = gains(losses, sketches, subsets)
    members = subsets.astype("float64")
    inside = np.where(subsets, found, 0.0)
    pairs = members.T @ members
    values = np.where(pairs > 0, members.T @ inside / np.maximum(pairs, 1), np.nan)
    np.fill_diagonal(values, 0.0)
    return values
