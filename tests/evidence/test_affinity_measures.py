"""The instruments behind `affinity`, on arrays: intervals, likeness of features, surrogates, sketches, steps ahead."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmtl import gradients
from kmtl.evidence.affinities.association_matrix import associations
from kmtl.evidence.affinities.matrix_intervals import jackknife, student
from kmtl.evidence.affinities.representation_similarity import similarity
from kmtl.evidence.affinities.surrogate import estimated_losses, gains, moments, sampled_subsets, surrogate_affinity
from kmtl.tasks.variables import Variables

RANDOM = np.random.default_rng(0)


def numbers(values):
    return Variables(values[:, None, None], False)


def test_intervals_of_unrelated_labels_hold_zero_at_their_level():
    classes = lambda: Variables(RANDOM.integers(0, 3, (80, 1, 1)).astype(float), True)  # noqa: E731
    outside = np.zeros(3)
    for _ in range(60):
        one, other = numbers(RANDOM.normal(size=80)), numbers(RANDOM.normal(size=80))
        found = associations([one, other, classes(), classes()])
        apart = found.values > found.halves
        outside += apart[0, 1], apart[0, 2], apart[2, 3]
        assert (found.halves[~np.eye(4, dtype=bool)] > 0).all()
    assert (outside <= 9).all(), outside  # 3 of 60 are expected


def test_the_jackknife_of_a_correlation_is_fishers_interval():
    one = RANDOM.normal(size=1000)
    other = one + RANDOM.normal(size=1000)
    found = associations([numbers(one), numbers(-other)])
    r, half = found.values[0, 1], found.halves[0, 1]
    assert found.signed[0, 1] == -r
    assert 0.5 < half / (1.96 * (1 - r**2) / np.sqrt(1000)) < 2


def test_student_leaves_out_what_is_missing():
    found = np.array([[1.0, np.nan], [3.0, np.nan]])
    means, halves, counts = student(found)
    np.testing.assert_allclose(means, [2.0, np.nan])
    np.testing.assert_allclose(halves, [12.706, np.nan], rtol=1e-4)
    assert counts.tolist() == [2, 0]


@pytest.mark.parametrize("measure", ["cka", "rsa"])
def test_similarity_does_not_see_what_changes_no_distance(measure):
    one = RANDOM.normal(size=(60, 5))
    turned, _ = np.linalg.qr(RANDOM.normal(size=(5, 5)))
    # A correlation over features knows which way is the mean; only their order and what scales all is free.
    same = 3 * one @ turned + 7 if measure == "cka" else 3 * one[:, [4, 2, 0, 1, 3]] + 7
    other = RANDOM.normal(size=(60, 9))
    found = similarity([one, same, other], measure)(np.arange(60))
    np.testing.assert_allclose(found[0, 1], 1.0, atol=1e-9)
    np.testing.assert_allclose(found[0, 2], found[1, 2], atol=1e-9)
    np.testing.assert_array_equal(found, found.T)
    assert found[0, 2] < 0.5
    values, halves = jackknife(similarity([one, other], measure), 60)
    np.testing.assert_allclose(values[0, 1], found[0, 2])
    assert 0 < halves[0, 1] < 0.5


def test_cka_is_its_formula_by_features():
    one, other = RANDOM.normal(size=(30, 4)) + 2, RANDOM.normal(size=(30, 6))
    x, y = one - one.mean(axis=0), other - other.mean(axis=0)
    norm = np.linalg.norm
    expected = norm(y.T @ x) ** 2 / (norm(x.T @ x) * norm(y.T @ y))
    np.testing.assert_allclose(similarity([one, other], "cka")(np.arange(30))[0, 1], expected, rtol=1e-10)


def linear_problem(rows=200, width=4):
    """Squared errors of three linear tasks at 0: two of one target, and one of the opposite."""
    x = RANDOM.normal(size=(rows, width))
    target = x @ np.array([1.0, -1.0, 0.5, 0.0])
    targets = np.stack([target, target, -target], axis=1) + 0.1 * RANDOM.normal(size=(rows, 3))
    return x, targets, targets**2, -2 * targets[:, :, None] * x[:, None, :]


def test_the_surrogate_is_exact_for_linear_tasks_of_squared_errors():
    x, targets, losses, slopes = linear_problem()
    found = moments(losses, slopes)
    subset = np.array([[True, False, True]])
    ridge = 0.3
    curvature = x.T @ x / len(x)
    step = np.linalg.solve(curvature + ridge * np.eye(4), x.T @ (targets[:, 0] + targets[:, 2]) / 2 / len(x))
    expected = ((x @ step)[:, None] - targets) ** 2
    np.testing.assert_allclose(estimated_losses(found, found, subset, ridge)[0], expected.mean(axis=0), rtol=1e-10)


def test_a_surrogate_tells_who_helps_and_who_hurts_and_needs_no_label_that_is_missing():
    _, _, losses, slopes = linear_problem()
    found = surrogate_affinity(losses, slopes, sampled_subsets(3, 100, 0))
    assert (found[2, :2] < -1).all()
    assert found[0, 1] > found[2, 1] + 1
    np.testing.assert_array_equal(np.diagonal(found), 0.0)
    alone = gains(losses, slopes, np.eye(3, dtype=bool))
    np.testing.assert_allclose(np.diagonal(alone), 0.0, atol=1e-12)
    holes, empty = losses.copy(), slopes.copy()
    holes[RANDOM.random(losses.shape) < 0.3] = np.nan
    empty[np.isnan(holes)] = 1e9
    assert surrogate_affinity(holes, empty, sampled_subsets(3, 100, 0))[2, 0] < -1


def test_sketches_keep_inner_products_in_the_mean():
    weights = [keras.Variable(RANDOM.normal(size=shape).astype("float32")) for shape in ((6, 5), (7,))]
    ways = [RANDOM.normal(size=(2, *variable.shape)).astype("float32") for variable in weights]

    def forward(x, y, weight):
        del y, weight
        parts = [
            tf.reduce_sum(x * sum(tf.reduce_sum(w.value * a[k]) for w, a in zip(weights, ways, strict=True)))
            for k in (0, 1)
        ]
        return tf.stack(parts), tf.constant([2.0, 0.0])

    batch, products = (tf.constant([2.0]), {}, {}), []
    whole = np.concatenate([a.reshape(2, -1) for a in ways], axis=1)
    for seed in range(12):
        losses, sketches = gradients.sketch_function(forward, weights, 16, seed)(batch)
        products.append(np.sum(sketches.numpy()[0] ** 2))
    assert np.isfinite(losses[0])
    assert np.isnan(losses[1])
    np.testing.assert_allclose(np.mean(products), np.sum(whole[0] ** 2), rtol=0.35)


def test_a_look_ahead_becomes_the_inner_product_of_the_gradients_by_the_loss():
    weight = keras.Variable(RANDOM.normal(size=4).astype("float32"))
    x, y = RANDOM.normal(size=(8, 4)).astype("float32"), RANDOM.normal(size=(2, 8)).astype("float32")

    def forward(x, y, weights):
        del weights
        fitted = tf.linalg.matvec(x, weight.value)
        return tf.stack([tf.reduce_mean(tf.square(fitted - y[k])) for k in (0, 1)]), tf.constant([True, True])

    look = gradients.lookahead_function(forward, lambda: None, [weight])
    residuals = x @ weight.numpy() - y
    rows = 2 * residuals @ x / 8
    limit = rows @ rows.T / np.mean(residuals**2, axis=1)
    gaps = []
    for rate in (1e-1, 1e-2, 1e-3):
        found = look((tf.constant(x), tf.constant(y), {}), tf.constant(rate)).numpy() / rate
        gaps.append(np.abs(found - limit).max())
    assert (np.diagonal(found) > 0).all()
    np.testing.assert_allclose(found, limit, rtol=0.02, atol=0.01)
    assert gaps[0] > 5 * gaps[1]
