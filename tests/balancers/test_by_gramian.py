"""PCGrad against closed forms and published values."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from kmtl.balancers import PCGrad
from kmtl.balancers.by_gramian import pcgrad_weights

# The matrix of TorchJD's documentation, and the three tasks of the methods sheet.
TWO = np.array([[-4.0, 1.0, 1.0], [6.0, 1.0, 1.0]])
THREE = np.array([[1.0, 2.0, 0.0, -1.0], [-1.0, 1.0, 2.0, 0.0], [0.5, -2.0, 1.0, 3.0]])


def fixed_order(count):
    return np.tile(np.arange(count), (count, 1))


def weights_of(gradients, orders):
    return np.asarray(pcgrad_weights(ops.cast(gradients @ gradients.T, "float32"), ops.array(orders)))


def test_torchjds_documented_direction():
    np.testing.assert_allclose(weights_of(TWO, fixed_order(2)) @ TWO, [0.5848, 3.8012, 3.8012], atol=5e-5)
    found = PCGrad(scale="paper").combine(ops.array(TWO, dtype="float32"))
    np.testing.assert_allclose(found, [0.5848, 3.8012, 3.8012], atol=5e-5)


def test_three_tasks_in_a_fixed_order():
    weights = weights_of(THREE, fixed_order(3))
    np.testing.assert_allclose(weights, [2.08333, 1.0, 1.49123], atol=5e-6)
    np.testing.assert_allclose(weights @ THREE, [1.82895, 2.18421, 3.49123, 2.39035], atol=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_closed_form_of_two_tasks(seed):
    gradients = np.random.default_rng(seed).normal(size=(2, 4)) * [[1.0], [3.0]]
    first, second = np.linalg.norm(gradients, axis=1)
    conflict = max(0.0, -(gradients[0] @ gradients[1]) / (first * second))
    expected = [1 + conflict * second / first, 1 + conflict * first / second]
    gram = ops.cast(gradients @ gradients.T, "float32")
    np.testing.assert_allclose(PCGrad(seed=seed, scale="paper").weigh(gram=gram), expected, rtol=1e-5)
    direction = np.asarray(PCGrad(seed=seed).weigh(gram=gram)) @ gradients
    assert (gradients @ direction >= -1e-5).all()


def test_a_fixed_order_gives_the_same_under_xla():
    gram, orders = ops.cast(THREE @ THREE.T, "float32"), ops.array([[2, 0, 1], [0, 1, 2], [1, 0, 2]])
    compiled = tf.function(pcgrad_weights, jit_compile=True)
    np.testing.assert_allclose(compiled(gram, orders), pcgrad_weights(gram, orders), rtol=1e-6)


def test_tasks_that_agree_are_summed():
    gradients = np.abs(np.random.default_rng(1).normal(size=(5, 6)))
    gram = ops.cast(gradients @ gradients.T, "float32")
    assert np.asarray(PCGrad(seed=0, scale="paper").weigh(gram=gram)).tolist() == [1.0] * 5
    assert np.asarray(PCGrad(seed=0).weigh(gram=2 * ops.eye(3))).tolist() == [1.0] * 3


def test_relabelled_tasks_in_relabelled_orders_have_relabelled_weights():
    generator = np.random.default_rng(4)
    gradients = generator.normal(size=(4, 3))
    orders = np.stack([generator.permutation(4) for _ in range(4)])
    relabel = generator.permutation(4)
    place = np.argsort(relabel)
    np.testing.assert_allclose(
        weights_of(gradients[relabel], place[orders[relabel]]), weights_of(gradients, orders)[relabel], rtol=1e-5
    )


def test_every_order_occurs_and_differs_from_task_to_task():
    """Weights over many draws fall on the values of the orders' products, and on more than one of them."""
    possible = set()
    for orders in itertools.product(list(itertools.permutations(range(3))), repeat=3):
        possible.add(tuple(np.round(weights_of(THREE, np.array(orders)), 4)))
    balancer = PCGrad(seed=2, scale="paper")
    gram = ops.cast(THREE @ THREE.T, "float32")
    drawn = [tuple(np.round(np.asarray(balancer.weigh(gram=gram)), 4)) for _ in range(40)]
    assert len(possible) > 1
    assert set(drawn) == possible


def test_a_seed_repeats_the_draws_and_another_does_not():
    gram = ops.cast(np.random.default_rng(0).normal(size=(6, 2)), "float32")
    gram = ops.matmul(gram, ops.transpose(gram))

    def draws(seed):
        balancer = PCGrad(seed=seed)
        return np.stack([balancer.weigh(gram=gram) for _ in range(3)])

    np.testing.assert_array_equal(draws(3), draws(3))
    assert np.abs(draws(3) - draws(4)).max() > 0
    assert np.abs(np.diff(draws(3), axis=0)).max() > 0


def test_opposite_equal_and_zero_gradients_stay_finite():
    for gram in (
        [[1.0, -1.0], [-1.0, 1.0]],
        [[0.0, 0.0], [0.0, 0.0]],
        [[4.0, 0.0], [0.0, 0.0]],
        [[1.0, 1.0], [1.0, 1.0]],
    ):
        assert np.isfinite(PCGrad(scale="paper").weigh(gram=ops.array(gram))).all()
    opposite = np.array([[1.0, 2.0], [-1.0, -2.0]], "float32")
    np.testing.assert_allclose(PCGrad().combine(ops.array(opposite)), [0.0, 0.0], atol=1e-6)


def test_an_unseeded_balancer_follows_the_global_seed():
    gram = ops.cast(THREE @ THREE.T, "float32")

    def draws():
        keras.utils.set_random_seed(11)
        balancer = PCGrad()
        return np.stack([balancer.weigh(gram=gram) for _ in range(5)])

    np.testing.assert_array_equal(draws(), draws())
