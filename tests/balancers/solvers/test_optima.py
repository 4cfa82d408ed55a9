"""The solvers against references in float64, and against the conditions that an optimum meets."""

import numpy as np
import pytest
import tensorflow as tf
from balancers.solvers import references
from balancers.solvers.references import KINDS, gradients_of
from cases import cases
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

from kmtl.balancers.by_gramian.cagrad import conflict_averse_weights
from kmtl.balancers.by_gramian.cone import dual_cone_weights, upgrad_weights
from kmtl.balancers.by_gramian.min_norm import regularized_min_norm_weights
from kmtl.balancers.solvers import conflict_averse_shifts, fair_weights, lower_bounded_weights, min_norm_weights

COUNTS = [1, 2, 3, 5, 6, 9, 20]
SHARES = np.linspace(1.0, 2.0, 20)


def shares_of(count):
    return SHARES[:count] / SHARES[:count].sum()


def single(values):
    return ops.array(values, dtype="float32")


METHODS = {
    "min_norm": (min_norm_weights, references.min_norm),
    "regularized": (
        lambda gram, present: regularized_min_norm_weights(gram, present, single(shares_of(gram.shape[0])), 0.3),
        lambda rows: (references.min_norm(rows, 0.3 * shares_of(len(rows)) @ rows) + 0.3 * shares_of(len(rows))) / 1.3,
    ),
    "cagrad_0.2": (
        lambda gram, present: conflict_averse_weights(gram, present, 0.2),
        lambda rows: references.conflict_averse(rows, 0.2),
    ),
    "cagrad_0.8": (
        lambda gram, present: conflict_averse_weights(gram, present, 0.8),
        lambda rows: references.conflict_averse(rows, 0.8),
    ),
    "upgrad": (
        lambda gram, present: upgrad_weights(gram, present, single(shares_of(gram.shape[0]))),
        lambda rows: references.upgrad(rows, shares_of(len(rows))),
    ),
    "dual_cone": (
        lambda gram, present: dual_cone_weights(gram, present, single(shares_of(gram.shape[0]))),
        lambda rows: references.lower_bounded(rows, shares_of(len(rows))),
    ),
    "fair_0.5": (lambda gram, present: fair_weights(gram, present, 0.5), lambda rows: references.fair(rows, 0.5)),
    "nash": (lambda gram, present: fair_weights(gram, present, 1.0), lambda rows: references.fair(rows, 1.0)),
    "fair_2": (lambda gram, present: fair_weights(gram, present, 2.0), lambda rows: references.fair(rows, 2.0)),
}


def gram_of(rows):
    """As a user's would be: of float32 gradients, in float32."""
    rows = np.asarray(rows, "float32")
    return ops.array(rows @ rows.T)


def everyone(count):
    return ops.ones((count,), dtype="bool")


@pytest.mark.parametrize("kind", cases(KINDS, "conflict", others="slow"))
@pytest.mark.parametrize("count", cases(COUNTS, 1, 3, 9, others="slow"))
@pytest.mark.parametrize("name", METHODS)
def test_float32_agrees_with_the_reference(name, count, kind):
    solver, reference = METHODS[name]
    rows = gradients_of(np.random.default_rng(count), count, count + 4, kind)
    expected = reference(rows) @ rows
    found = np.asarray(solver(gram_of(rows), everyone(count)), "float64") @ rows
    assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected)


# The other two are tried under XLA within their balancers, in tests/balancers/test_every_state.py.
@pytest.mark.long
@pytest.mark.parametrize(
    "name", cases(["min_norm", "cagrad_0.8", "upgrad", "nash"], "min_norm", "cagrad_0.8", others="slow")
)
def test_xla_agrees_with_eager(name):
    count = 4
    solver = METHODS[name][0]
    rows = gradients_of(np.random.default_rng(count), count, count + 4, "conflict")
    expected = np.asarray(solver(gram_of(rows), everyone(count))) @ rows
    compiled = tf.function(solver, jit_compile=True, autograph=False)
    found = np.asarray(compiled(gram_of(rows), everyone(count))) @ rows
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.linalg.norm(expected))


@pytest.mark.parametrize("count", cases([3, 8], 3))
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("factor", [1e-9, 1e8])
def test_gradients_of_any_size(name, count, factor):
    solver, reference = METHODS[name]
    rows = factor * gradients_of(np.random.default_rng(count), count, 10, "conflict")
    expected = reference(rows) @ rows
    found = np.asarray(solver(gram_of(rows), everyone(count)), "float64") @ rows
    assert np.linalg.norm(found - expected) < 1e-4 * np.linalg.norm(expected)


@pytest.mark.parametrize("name", METHODS)
def test_an_absent_task_takes_no_part(name):
    solver = METHODS[name][0]
    shares = single([0.5, 0.0, 0.2, 0.3])
    solver = {
        "upgrad": lambda gram, present: upgrad_weights(gram, present, shares),
        "dual_cone": lambda gram, present: dual_cone_weights(gram, present, shares),
        "regularized": lambda gram, present: regularized_min_norm_weights(gram, present, shares, 0.3),
    }.get(name, solver)
    rows = gradients_of(np.random.default_rng(5), 4, 7, "conflict")
    there = np.array([True, False, True, True])
    gram = np.where(np.outer(there, there), np.asarray(gram_of(rows)), 0.0)
    weights = np.asarray(solver(ops.array(gram), ops.array(there)))
    assert weights[1] == 0
    shares = single([0.5, 0.2, 0.3])
    fewer = solver(gram_of(rows[there]), everyone(3))
    np.testing.assert_allclose(weights[there], fewer, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("count", cases([1, 3, 7], 3))
@pytest.mark.parametrize("name", METHODS)
def test_nobody_there_and_nothing_to_see(name, count):
    solver = METHODS[name][0]
    nobody = solver(ops.zeros((count, count)), ops.zeros((count,), dtype="bool"))
    assert np.isfinite(np.asarray(nobody)).all()
    blind = solver(ops.full((count, count), float("nan")), everyone(count))
    assert np.isnan(np.asarray(blind)).all()


@pytest.mark.parametrize("name", [name for name in METHODS if name not in ("nash", "fair_2", "fair_0.5")])
@pytest.mark.parametrize("count", [3, 4, 7])
def test_where_gradients_cancel_the_answer_is_finite_and_harmless(name, count):
    rows = np.random.default_rng(count).normal(size=(count, count + 3))
    rows[-1] = -rows[:-1].sum(axis=0)
    weights = np.asarray(METHODS[name][0](gram_of(rows), everyone(count)), "float64")
    direction = weights @ rows
    assert np.isfinite(weights).all()
    if name.startswith("cagrad"):
        # The mean, here 0.
        assert np.linalg.norm(direction - rows.mean(axis=0)) < 1e-3
    elif name == "regularized":
        assert np.linalg.norm(direction) < np.linalg.norm(shares_of(count) @ rows)
    else:
        assert np.linalg.norm(direction) < 1e-4


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("count", cases([3, 7], 3))
def test_gradients_that_nearly_cancel(name, count):
    solver, reference = METHODS[name]
    # The corners of a simplex, of unlike lengths, with a small step in common.
    rows = np.hstack([np.eye(count) - 1 / count, np.full((count, 1), 0.02)]) * np.linspace(1.0, 2.0, count)[:, None]
    expected = reference(rows) @ rows
    found = np.asarray(solver(gram_of(rows), everyone(count)), "float64") @ rows
    assert np.linalg.norm(found - expected) < 2e-4 * np.linalg.norm(expected)


def noisy(generator, count):
    """A symmetric matrix that is positive semidefinite up to noise only."""
    rows = generator.normal(size=(count, max(1, count // 2)))
    noise = generator.normal(size=(count, count))
    return rows @ rows.T + 0.1 * (noise + noise.T) * (1 - np.eye(count))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("count", cases([2, 5, 8], 2, others="slow"))
def test_an_estimated_gramian_gives_finite_weights_or_says_that_there_are_none(name, count):
    generator = np.random.default_rng(count)
    for _ in range(5):
        weights = np.asarray(METHODS[name][0](single(noisy(generator, count)), everyone(count)))
        assert np.isfinite(weights).all() or np.isnan(weights).all()
        assert not (weights < 0).any()


draws = st.builds(
    lambda seed, count, kind: gradients_of(np.random.default_rng(seed), count, count + 3, kind),
    st.integers(0, 10**6),
    st.sampled_from([2, 3, 5, 7, 12]),
    st.sampled_from(KINDS),
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(draws)
def test_the_shortest_combination_gains_least_where_it_has_weight(rows):
    weights = np.asarray(min_norm_weights(gram_of(rows), everyone(len(rows))), "float64")
    direction = weights @ rows
    square = direction @ direction
    units, lengths = references.unit_rows(rows)
    assert weights.min() >= 0
    assert weights.sum() == pytest.approx(1.0, abs=1e-6)
    # <d, g_k> >= |d|^2, with equality on the support, to what float32 leaves of the cosines.
    slack = (units @ direction - square / lengths) / np.sqrt(square)
    assert slack.min() > -1e-4
    assert np.abs(weights * lengths * slack).max() < 1e-3 * (weights * lengths).sum()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(draws, st.floats(0.05, 2.0))
def test_cagrad_stays_on_its_sphere_and_evens_the_least_gains(rows, radius):
    shifts = np.asarray(conflict_averse_shifts(gram_of(rows), everyone(len(rows)), radius), "float64")
    mean = rows.mean(axis=0)
    reach = radius * np.linalg.norm(mean)
    assert shifts.min() >= 0
    assert np.linalg.norm(shifts @ rows) == pytest.approx(reach, rel=1e-3)
    direction = mean + shifts @ rows
    units, lengths = references.unit_rows(rows)
    share = shifts * lengths
    level = share @ (units @ direction) / (share @ (1 / lengths))
    slack = (units @ direction - level / lengths) / np.linalg.norm(direction)
    assert slack.min() > -1e-3
    assert np.abs(share * slack).max() < 1e-3 * share.sum()


@settings(max_examples=60, deadline=None, derandomize=True)
@given(draws)
def test_projections_leave_no_conflict_and_add_what_is_touched_only(rows):
    count = len(rows)
    bounds = np.vstack([np.eye(count), np.full((1, count), 1 / count)])
    found = np.asarray(lower_bounded_weights(gram_of(rows), everyone(count), single(bounds)), "float64")
    units, lengths = references.unit_rows(rows)
    added = (found - bounds) * lengths
    scale = np.linalg.norm(bounds @ rows, axis=1, keepdims=True)
    slack = found @ rows @ units.T / scale
    assert added.min() > -1e-6 * scale.max()
    assert slack.min() > -1e-5
    assert np.abs(added / scale * slack).max() < 1e-4


@settings(max_examples=60, deadline=None, derandomize=True)
@given(draws, st.sampled_from([0.5, 1.0, 2.0]))
def test_every_gain_is_the_fair_one(rows, alpha):
    weights = np.asarray(fair_weights(gram_of(rows), everyone(len(rows)), alpha), "float64")
    gains = rows @ (weights @ rows)
    assert weights.min() > 0
    # A gain that is small beside |d| |g_k| has few digits in float32.
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(weights @ rows)
    np.testing.assert_allclose(gains / lengths, weights ** (-1 / alpha) / lengths, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    "rows", [[[1.0, 0.0], [-1.0, 0.0]], [[1.0, 0.0], [-0.5, 0.8], [-0.5, -0.8]], [[2.0, 1.0], [-4.0, -2.0], [0.0, 1.0]]]
)
def test_there_is_no_fair_answer_where_gradients_cancel(rows, alpha):
    weights = fair_weights(gram_of(rows), everyone(len(rows)), alpha)
    assert np.isnan(np.asarray(weights)).all()


@pytest.mark.parametrize("cosine", [-0.999, -0.5, 0.0, 0.9, 1.0])
def test_the_closed_forms_of_two_tasks(cosine):
    first, second = 3.0, 0.5
    rows = np.array([[first, 0.0], [second * cosine, second * np.sqrt(1 - cosine**2)]])
    gram, both = gram_of(rows), everyone(2)
    nash = [1 / (length * np.sqrt(1 + cosine)) for length in (first, second)]
    np.testing.assert_allclose(fair_weights(gram, both, 1.0), nash, rtol=1e-4)
    conflict = max(0.0, -cosine)
    projected = [(1 + conflict * second / first) / 2, (1 + conflict * first / second) / 2]
    np.testing.assert_allclose(upgrad_weights(gram, both, single([0.5, 0.5])), projected, rtol=1e-4)
    between = (rows[1] - rows[0]) @ rows[1] / ((rows[0] - rows[1]) @ (rows[0] - rows[1]))
    share = min(max(between, 0.0), 1.0)
    np.testing.assert_allclose(min_norm_weights(gram, both), [share, 1 - share], rtol=1e-4, atol=1e-6)
