"""Trimmed mean and Krum: what lies far off does not count."""

import numpy as np
import pytest
from keras import ops
from scipy.stats import trim_mean

from kmtl.balancers.by_gradients import Krum, TrimmedMean
from kmtl.balancers.by_gradients.robust import krum_weights, squared_distances, trimmed_mean

DRAWS = np.random.default_rng(0)
ROWS = DRAWS.normal(size=(7, 30)).astype("float32")
EVERY = np.ones(7, bool)


@pytest.mark.parametrize("trim", [0, 1, 2, 3])
def test_trimmed_mean_is_scipys(trim):
    found = trimmed_mean(ops.array(ROWS), ops.array(EVERY), trim)
    np.testing.assert_allclose(found, trim_mean(ROWS, (trim + 0.5) / 7, axis=0), atol=1e-6)
    turned = trimmed_mean(ops.array(ROWS[::-1].copy()), ops.array(EVERY), trim)
    np.testing.assert_allclose(found, turned, atol=1e-6)


@pytest.mark.parametrize("number", range(8))
def test_fewer_tasks_present_are_trimmed_less(number):
    present = np.zeros(7, bool)
    present[DRAWS.permutation(7)[:number]] = True
    found = TrimmedMean(trim=2, scale="paper").combine(ops.array(ROWS), present=ops.array(present))
    cut = max(0, min(2, (number - 1) // 2))
    expected = np.sort(ROWS[present], axis=0)[cut : number - cut].mean(axis=0) if number else np.zeros(30)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_equal_values_are_cut_one_by_one():
    rows = np.array([[1.0], [1.0], [1.0], [5.0], [5.0]], "float32")
    found = trimmed_mean(ops.array(rows), ops.array(EVERY[:5]), 1)
    np.testing.assert_allclose(found, [(1 + 1 + 5) / 3], rtol=1e-6)


@pytest.mark.parametrize("number", [1, 2, 5, 6])
def test_none_is_the_median(number):
    found = TrimmedMean(trim=None, scale="paper").combine(ops.array(ROWS[:number]))
    np.testing.assert_allclose(found, np.median(ROWS[:number], axis=0), atol=1e-6)


def test_the_default_scale_is_that_of_a_sum():
    np.testing.assert_allclose(TrimmedMean(trim=0).combine(ops.array(ROWS)), ROWS.sum(axis=0), atol=1e-5)
    present = ops.array([True, False, True, True, False, False, False])
    mean = TrimmedMean(scale="paper").combine(ops.array(ROWS), present=present)
    np.testing.assert_allclose(TrimmedMean().combine(ops.array(ROWS), present=present), 3 * np.asarray(mean), rtol=1e-6)


def test_an_outlier_moves_nothing_without_bound():
    calm, wild = ROWS.copy(), ROWS.copy()
    calm[4], wild[4] = 1e4, 1e15
    found = [np.asarray(TrimmedMean(trim=1).combine(ops.array(rows))) for rows in (calm, wild)]
    np.testing.assert_array_equal(*found)
    gram = wild.astype("float64") @ wild.T.astype("float64")
    weights = np.asarray(Krum(byzantine=1).weigh(gram=ops.cast(gram, "float32")))
    assert weights[4] == 0
    np.testing.assert_allclose(np.delete(weights, 4), 7 / 6, rtol=1e-6)


def test_too_few_tasks_are_refused():
    with pytest.raises(
        ValueError, match=r"^TrimmedMean: `trim` must be at most 0 of 2 tasks: a value must be left, got 1"
    ):
        TrimmedMean().prepare(["one", "two"])
    with pytest.raises(
        ValueError, match=r"^Krum: `byzantine` must be at most 0 of 3 tasks: three more must be there, got 1"
    ):
        Krum().prepare(["one", "two", "three"])
    with pytest.raises(ValueError, match=r"^Krum: `selected` must be at most 4, the number of tasks, got 5"):
        Krum(selected=5).prepare(["one", "two", "three", "four"])


def brute(rows, byzantine, selected):
    """Krum on explicit vectors, in double precision; the scores of random ones do not tie."""
    scores = []
    for one in range(len(rows)):
        apart = sorted(np.sum((rows[one] - rows[other]) ** 2) for other in range(len(rows)) if other != one)
        scores.append(sum(apart[: len(rows) - byzantine - 2]))
    weights = np.zeros(len(rows))
    weights[np.argsort(scores)[:selected]] = 1 / selected
    return weights


@pytest.mark.parametrize(("byzantine", "selected"), [(0, 1), (1, 1), (1, 3), (2, 2), (3, 4)])
@pytest.mark.parametrize("size", [1e-10, 1.0, 1e10])
def test_krum_is_brute_force(byzantine, selected, size):
    rows = ROWS.astype("float64") * size
    gram = ops.cast(rows @ rows.T, "float32")
    found = Krum(byzantine=byzantine, selected=selected, scale="paper").weigh(gram=gram)
    np.testing.assert_allclose(found, brute(rows, byzantine, selected), atol=1e-6)
    present = np.array([True, True, False, True, True, True, True])
    found = Krum(byzantine=byzantine, selected=selected, scale="paper").weigh(gram=gram, present=ops.array(present))
    np.testing.assert_allclose(np.asarray(found)[present], brute(rows[present], byzantine, selected), atol=1e-6)
    assert found[2] == 0


def test_all_but_the_broken_are_taken():
    present = np.array([True, True, True, True, True, False, False])
    gram = ops.array(ROWS @ ROWS.T)
    found = np.asarray(Krum(byzantine=2, scale="paper").weigh(gram=gram, present=ops.array(present)))
    np.testing.assert_allclose(np.sort(found), [0, 0, 0, 0, 1 / 3, 1 / 3, 1 / 3], atol=1e-6)


def test_nearest_neighbours_share():
    # One neighbour counts, and each of the two is the other's.
    rows = np.array([[0.0, 4.0], [1.0, 0.0], [1.5, 0.0], [-9.0, 1.0]], "float32")
    distances = squared_distances(ops.array(rows @ rows.T))
    found = krum_weights(distances, ops.array([True] * 4), 1, 1)
    np.testing.assert_allclose(found, [0, 0.5, 0.5, 0], atol=1e-6)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_krum_of_few_tasks_takes_them_alike(number):
    present = np.arange(7) < number
    found = Krum(byzantine=2, selected=2).weigh(gram=ops.array(ROWS @ ROWS.T), present=ops.array(present))
    np.testing.assert_allclose(found, present, atol=1e-6)
