"""The Gramian learned from products alone: exact limits on frozen gradients, and what must not upset it."""

import numpy as np
import pytest
import tensorflow as tf
from balancers.online_references import SOLVERS, cagrad, mgda
from cases import cases

from kmtl.balancers import online


def drawn(kind, count, seed=0):
    """Gradients of a kind, `(K, 80)`."""
    random = np.random.default_rng(seed)
    rows, common = random.normal(size=(count, 80)), random.normal(size=80)
    if kind == "correlated":
        return rows + 2.0 * common
    if kind == "conflicting":
        return rows + np.where(np.arange(count) % 2, 1.0, -1.0)[:, None] * common
    if kind == "scaled":
        return rows * 10.0 ** random.uniform(-1.0, 1.0, (count, 1))
    return rows


@tf.function
def learned(virtual, doubt, weights, products, present, gain, forgetting):
    return online.update_estimate(virtual, doubt, weights, products, present, gain, forgetting)


def learn(state, weights, products, present=None, gain=0.7, forgetting=0.003):
    """One update in a graph, NumPy in and out."""
    present = np.ones(len(weights), "bool") if present is None else present
    single = [tf.constant(value, "float32") for value in (*state, weights, products)]
    outcome = learned(*single, tf.constant(present), tf.constant(gain), tf.constant(forgetting))
    return tuple(value.numpy() for value in outcome)


def estimate(state):
    """The Gramian that the state stands for, in float64 so that a reference may factor it."""
    virtual = state[0].astype("float64")
    return virtual @ virtual.T


def followed(gradients, solve, steps, norms=None, twice=False):
    """Weights after some steps on frozen gradients, from equal ones."""
    count = len(gradients)
    gram, equal = gradients @ gradients.T, np.full(count, 1.0 / count)
    state = tuple(value.numpy() for value in online.start_estimate(count))
    if norms is not None:
        state = (np.asarray(online.start_rows(state[0], norms.astype("float32"))), state[1])
    weights = equal
    for step in range(steps):
        state = learn(state, weights, gram @ weights)
        if twice and step % 10 == 0:
            state = learn(state, equal, gram @ equal)
        weights = solve(estimate(state))
    return weights


def distance(gradients, weights, solve):
    """Relative distance of a direction to the exact one."""
    exact = solve(gradients @ gradients.T) @ gradients
    return np.linalg.norm(weights @ gradients - exact) / np.linalg.norm(exact)


@pytest.mark.parametrize(("kind", "count"), [("conflicting", 5), pytest.param("scaled", 2, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", list(SOLVERS))
def test_weights_become_exact_on_frozen_gradients(name, count, kind):
    gradients = drawn(kind, count)
    weights = followed(gradients, SOLVERS[name], 200, twice=name == "cagrad")
    assert distance(gradients, weights, SOLVERS[name]) < 1e-3


@pytest.mark.parametrize("name", ["mgda", "nash", "dual_projection"])
def test_forty_tasks_of_known_lengths_become_exact_in_eighty_steps(name):
    gradients = drawn("scaled", 40)
    norms = np.linalg.norm(gradients, axis=1)
    assert distance(gradients, followed(gradients, SOLVERS[name], 80, norms), SOLVERS[name]) < 1e-3


def test_the_references_meet_their_optimality_conditions():
    gram = drawn("conflicting", 5) @ drawn("conflicting", 5).T
    nash, fair = SOLVERS["nash"](gram), SOLVERS["fairgrad"](gram)
    np.testing.assert_allclose(nash * (gram @ nash), np.ones(5), rtol=1e-6)
    np.testing.assert_allclose(gram @ fair, fair**-0.5, rtol=1e-6)
    pulls = gram @ mgda(gram)
    np.testing.assert_allclose(pulls[mgda(gram) > 1e-9], pulls.min(), rtol=1e-6)
    # CAGrad's direction stays within half of the mean gradient's length.
    shift = cagrad(gram) - 0.2
    np.testing.assert_allclose(shift @ gram @ shift, 0.25 * np.sum(gram) / 25.0, rtol=1e-4)


def test_products_are_reproduced_and_earlier_ones_kept():
    random = np.random.default_rng(3)
    gradients = drawn("scaled", 6)
    gram, state = gradients @ gradients.T, online.start_estimate(6)
    for _ in range(6):
        weights = random.uniform(0.1, 1.0, 6) / np.linalg.norm(gradients, axis=1)
        state = learn(state, weights, gram @ weights, gain=1.0, forgetting=0.0)
        np.testing.assert_allclose(estimate(state) @ weights, gram @ weights, rtol=1e-3)
    norms = np.linalg.norm(gradients, axis=1)
    np.testing.assert_allclose(estimate(state) / np.outer(norms, norms), gram / np.outer(norms, norms), atol=2e-2)


def test_full_doubt_and_gain_is_bfgs():
    random = np.random.default_rng(4)
    virtual, weights = random.normal(size=(4, 4)), random.uniform(0.5, 1.0, 4)
    gram, before = drawn("equal", 4) @ drawn("equal", 4).T / 20.0, virtual @ virtual.T
    products, old = gram @ weights, before @ weights
    after = estimate(learn((virtual, np.eye(4)), weights, products, gain=1.0))
    expected = before - np.outer(old, old) / (weights @ old) + np.outer(products, products) / (weights @ products)
    np.testing.assert_allclose(after, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.long
@pytest.mark.parametrize("name", cases(["mgda", "nash", "dual_projection"], "mgda", others="slow"))
def test_noise_leaves_the_mean_direction_and_stays_bounded(name):
    random, gradients, solve = np.random.default_rng(5), drawn("conflicting", 5), SOLVERS[name]
    lengths = np.linalg.norm(gradients, axis=1)
    state, weights, total = online.start_estimate(5), np.full(5, 0.2), np.zeros(80)
    for step in range(2000):
        noisy = gradients + lengths[:, None] * random.normal(size=gradients.shape) / np.sqrt(80)
        state = learn(state, weights, noisy @ (weights @ noisy))
        weights = solve(estimate(state))
        total += (step > 200) * weights @ gradients
    # Noise as long as the gradients themselves adds their squared lengths to the mean Gramian's diagonal.
    exact = solve(gradients @ gradients.T + np.diag(lengths**2)) @ gradients
    assert total @ exact > 0.99 * np.linalg.norm(total) * np.linalg.norm(exact)
    # The true diagonal is twice the squared lengths.
    assert np.all(np.diag(estimate(state)) < 20.0 * lengths**2)


def test_gradients_that_move_are_followed():
    solve, gradients = SOLVERS["nash"], 0.01 * drawn("conflicting", 5, seed=1)
    state, weights = online.start_estimate(5), np.full(5, 0.2)
    for step in range(300):
        now = gradients if step > 100 else drawn("scaled", 5)
        state = learn(state, weights, now @ (weights @ now))
        weights = solve(estimate(state))
    assert distance(gradients, weights, solve) < 1e-3


def test_gradients_that_shorten_and_turn_are_followed():
    solve, first, last = SOLVERS["mgda"], drawn("scaled", 5), drawn("scaled", 5, seed=1)
    state, weights = online.start_estimate(5), np.full(5, 0.2)
    for step in range(1000):
        angle = 0.5 * np.pi * step / 1000
        now = 0.01 ** (step / 1000) * (np.cos(angle) * first + np.sin(angle) * last)
        state = learn(state, weights, now @ (weights @ now))
        weights = solve(estimate(state))
    assert distance(now, weights, solve) < 0.05


def test_an_absent_task_keeps_its_virtual_gradient():
    random = np.random.default_rng(6)
    virtual, weights = random.normal(size=(4, 4)).astype("float32"), np.ones(4)
    present, products = np.array([True, False, True, True]), np.array([3.0, np.nan, 1.0, 2.0])
    after, doubt = learn((virtual, np.eye(4)), weights, products, present)
    np.testing.assert_array_equal(after[1], virtual[1])
    assert np.all(np.any(after != virtual, axis=1) == present)
    other = learn((virtual, np.eye(4)), np.array([1.0, 7.0, 1.0, 1.0]), products, present)
    np.testing.assert_array_equal(other[0], after)
    assert np.all(np.isfinite(doubt))


def test_weights_become_exact_when_tasks_are_often_absent():
    random, gradients, solve = np.random.default_rng(7), drawn("conflicting", 4), SOLVERS["nash"]
    gram, state = gradients @ gradients.T, online.start_estimate(4)
    weights = np.ones(4)
    for _ in range(600):
        present = random.random(4) < 0.7
        given = np.where(present, weights, 0.0)
        state = learn(state, given, gram @ given, present)
        known = np.diag(estimate(state)) > 0
        weights = np.ones(4)
        weights[known] = solve(estimate(state)[np.ix_(known, known)])
    # Subsets need more of the Gramian than the full set does: it is all but known.
    assert distance(gradients, weights, solve) < 0.02


def test_scales_of_the_tasks_do_not_matter():
    random, gradients = np.random.default_rng(8), drawn("conflicting", 3)
    factors = np.array([2.0**-10, 1.0, 2.0**9])
    plain = scaled = online.start_estimate(3)
    gram = gradients @ gradients.T
    for _ in range(20):
        weights = random.uniform(size=3)
        plain = learn(plain, weights, gram @ weights)
        scaled = learn(scaled, weights / factors, factors * (gram @ weights))
    np.testing.assert_allclose(scaled[0] / factors[:, None], plain[0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(scaled[1], plain[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "products", [np.zeros(3), np.array([np.nan, 1.0, 1.0]), np.array([np.inf, 1.0, 1.0])], ids=["zero", "nan", "inf"]
)
def test_a_first_product_without_meaning_teaches_nothing(products):
    state = online.start_estimate(3)
    after = learn(state, np.ones(3), products)
    np.testing.assert_array_equal(after[0], np.zeros((3, 3)))
    np.testing.assert_array_equal(after[1], np.eye(3))


@pytest.mark.long
@pytest.mark.parametrize("gain", [0.3, 0.7, 1.0])
@pytest.mark.parametrize("rows", [[[1, 0], [1, 0]], [[1, 2], [2, 4]], [[1, 0], [-1, 0]], [[1, 0], [-1, 1e-4]]])
def test_parallel_and_opposite_gradients_stay_finite(rows, gain):
    gradients, state, weights = np.array(rows, "float64"), online.start_estimate(2), np.array([0.9, 0.1])
    ridge = 1e-9 * np.eye(2)
    for step in range(100):
        state = learn(state, weights, gradients @ (weights @ gradients), gain=gain)
        assert np.all(np.isfinite(np.concatenate(state)))
        weights = mgda(estimate(state) + ridge) if step % 2 else np.array([0.5, 0.5])
    exact = mgda(gradients @ gradients.T + ridge) @ gradients
    assert np.linalg.norm(weights @ gradients) < 1.01 * np.linalg.norm(exact) + 0.05


def test_zero_products_after_some_steps_shorten_the_direction_without_end():
    state = learn(online.start_estimate(2), np.ones(2), np.ones(2))
    lengths = []
    for _ in range(30):
        state = learn(state, np.ones(2), np.zeros(2), gain=1.0)
        lengths.append(np.sum(estimate(state)))
    assert np.all(np.isfinite(lengths))
    assert lengths[-1] < 1e-6


def test_balanced_keeps_the_weights_when_the_solver_fails():
    arguments = [tf.constant(value) for value in ([0.5, 0.5], [1.0, 2.0], [True, True])]
    state = online.start_estimate(2)
    weights, _, _ = online.online_step(*state, *arguments, lambda gram: gram[0] / 0.0)
    np.testing.assert_array_equal(weights, [0.5, 0.5])


@pytest.mark.parametrize("compiled", [False, True], ids=["graph", "xla"])
def test_eager_graph_and_xla_agree(compiled):
    random = np.random.default_rng(9)
    arguments = (random.normal(size=(5, 5)), np.eye(5), random.uniform(size=5), random.uniform(size=5))
    arguments = [tf.constant(value, "float32") for value in arguments] + [tf.constant([True] * 4 + [False])]
    eager = online.update_estimate(*arguments)
    traced = tf.function(online.update_estimate, jit_compile=compiled)(*arguments)
    for first, second in zip(eager, traced, strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-4, atol=1e-5)
