"""Several labels as one: numbers, what agrees with them, marginals, likelihood."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from kmtl.tasks import combinations

SIZES = [2, 3, 4]


def distribution(seed=0, rows=5):
    values = np.random.default_rng(seed).random((rows, 24))
    return values / values.sum(axis=1, keepdims=True)


def test_every_set_of_labels_known_or_not_goes_there_and_back():
    every = np.array(list(itertools.product(*(range(-1, size) for size in SIZES)))).T
    codes = combinations.encode(list(every), SIZES).numpy()
    assert sorted(codes.tolist()) == [-1, *range(1, 3 * 4 * 5)]
    np.testing.assert_array_equal(combinations.decode(codes, SIZES), every)


def test_marginals_are_distributions_and_those_of_a_product_are_its_factors():
    found = [combinations.marginal(distribution(), SIZES, place).numpy() for place in range(3)]
    assert [one.shape for one in found] == [(5, 2), (5, 3), (5, 4)]
    for one in found:
        np.testing.assert_allclose(one.sum(axis=1), 1.0, rtol=1e-6)
    product = np.einsum("ni,nj,nk->nijk", *found).reshape(5, 24)
    for place, one in enumerate(found):
        np.testing.assert_allclose(combinations.marginal(product, SIZES, place), one, rtol=1e-6)


def test_the_loss_is_the_likelihood_of_the_known_labels_by_probabilities_and_by_logits():
    labels = [np.array([1, -1, 0, -1, -1]), np.array([2, -1, -1, 1, -1]), np.array([3, 0, -1, 2, -1])]
    codes = combinations.encode(labels, SIZES)
    logits = tf.constant(np.log(distribution()) + 3.0, tf.float32)
    loss, cube = combinations.KnownLabelsLikelihood(SIZES), distribution().reshape(5, *SIZES)
    wanted = [cube[0, 1, 2, 3], cube[1, :, :, 0].sum(), cube[2, 0].sum(), cube[3, :, 1, 2].sum(), 1.0]
    by_probabilities = loss.call(codes, tf.constant(distribution(), tf.float32))
    np.testing.assert_allclose(by_probabilities, -np.log(wanted), rtol=1e-5, atol=1e-6)

    @tf.function
    def by_logits(values):
        # In a graph the logits are found behind the softmax.
        return loss.call(codes, tf.nn.softmax(values))

    np.testing.assert_allclose(by_logits(logits), -np.log(wanted), rtol=1e-5, atol=1e-6)
    # Where a probability underflows, its logarithm does not: gradients stay finite.
    far = tf.constant([[200.0] + [0.0] * 22 + [-200.0]] * 5)
    assert float(by_logits(far)[0]) == pytest.approx(400.0)
