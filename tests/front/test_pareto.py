"""Non-dominated points and hypervolume against brute force and published values."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kmtl.front import pareto


def dominates(one, other):
    return np.all(one <= other) and np.any(one < other)


def cells(values, reference):
    """The hypervolume by cutting space at every coordinate and counting the cells that some point covers."""
    edges = [sorted({*column.tolist(), limit}) for column, limit in zip(values.T, reference, strict=True)]
    volume = 0.0
    for corner in itertools.product(*(range(len(axis) - 1) for axis in edges)):
        low = np.array([axis[place] for axis, place in zip(edges, corner, strict=True)])
        high = np.array([axis[place + 1] for axis, place in zip(edges, corner, strict=True)])
        if np.all(high <= reference) and np.any(np.all(values <= low, axis=1)):
            volume += np.prod(high - low)
    return volume


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 4), st.integers(1, 6), st.integers(0, 10**6), st.booleans())
def test_both_agree_with_brute_force(objectives, count, seed, ties):
    generator = np.random.default_rng(seed)
    values = generator.integers(0, 4, (count, objectives)) / 4 if ties else generator.random((count, objectives))
    expected = [not any(dominates(other, one) for other in values) for one in values]
    assert pareto.non_dominated(values, ["min"] * objectives).tolist() == expected
    assert pareto.non_dominated(-values, ["max"] * objectives).tolist() == expected
    reference = np.full(objectives, 0.8)
    assert pareto.hypervolume(values, reference, ["min"] * objectives) == pytest.approx(cells(values, reference))
    mixed = ["max", *["min"] * (objectives - 1)]
    flipped = values * [-1, *[1] * (objectives - 1)]
    found = pareto.hypervolume(flipped, reference * [-1, *[1] * (objectives - 1)], mixed)
    assert found == pytest.approx(cells(values, reference))


def test_known_values():
    values = [[0.2, 0.9], [0.4, 0.5], [0.9, 0.1], [0.5, 0.6]]
    assert pareto.hypervolume(values, [1.0, 1.0], ["min", "min"]) == pytest.approx(0.36)
    assert pareto.non_dominated(values, ["min", "min"]).tolist() == [True, True, True, False]
    assert pareto.hypervolume([[1.0, 0.5]], [1.0, 1.0], ["min", "min"]) == 0.0


def test_what_is_not_a_number_adds_nothing():
    values = [[0.2, np.nan], [0.4, 0.5], [np.inf, 0.0]]
    assert pareto.non_dominated(values, ["min", "min"]).tolist() == [False, True, False]
    assert pareto.hypervolume(values, [1.0, 1.0], ["min", "min"]) == pytest.approx(0.3)
    assert pareto.hypervolume([[np.nan, 1.0]], [1.0, 1.0], ["min", "min"]) == 0.0
    assert pareto.non_dominated([[np.nan, 1.0]], ["min", "min"]).tolist() == [False]
    with pytest.raises(ValueError, match=r"^hypervolume: `reference` must hold a finite number"):
        pareto.hypervolume(values, [np.nan, 1.0], ["min", "min"])
    with pytest.raises(ValueError, match="must be one of 'min' and 'max' for each column"):
        pareto.non_dominated(values, ["min", "down"])


def test_the_lattice_holds_every_preference_once():
    for tasks, steps, count in ((2, 10, 11), (3, 5, 21), (4, 3, 20)):
        rows = pareto.lattice(tasks, steps)
        assert rows.shape == (count, tasks)
        assert len({tuple(row) for row in rows.round(9).tolist()}) == count
        np.testing.assert_allclose(rows.sum(axis=1), 1.0)


def test_violations_count_where_more_preference_makes_a_task_worse():
    rows = pareto.lattice(2, 4)
    falling = np.stack([1 - rows[:, 0], 1 - rows[:, 1]], axis=1)
    assert pareto.violations(rows, falling) == (0, 20)
    falling[2, 0] = 2.0  # a bump for the first task in the middle: worse than both points with less preference for it
    assert pareto.violations(rows, falling) == (2, 20)
    three = pareto.lattice(3, 2)
    pairs = [(a, b, k) for a, b in itertools.permutations(range(6), 2) for k in range(3)]
    expected = [(a, b, k) for a, b, k in pairs if three[b, k] > three[a, k] and all(np.delete(three[b] <= three[a], k))]
    assert pareto.violations(three, np.zeros((6, 3))) == (0, len(expected))


def test_rays_go_from_the_middle_to_every_corner():
    rows = pareto.rays(7)
    assert rows.shape == (15, 7)
    np.testing.assert_allclose(rows.sum(axis=1), 1.0)
    # A task gains alone on the way to its corner from all other points, to its half from the middle and other halves.
    assert pareto.violations(rows, np.zeros((15, 7)))[1] == 7 * (14 + 7)
