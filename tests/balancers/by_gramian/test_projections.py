"""PCGrad and GradVac against closed forms and published values."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from balancers.by_gramian import golden, peers
from balancers.by_gramian.documented import THREE, TWO, direction_of, gram_of
from balancers.by_gramian.documented import weights_of as weights
from keras import ops

from kmtl.balancers.by_gramian import GradVac, PCGrad
from kmtl.balancers.by_gramian.projections import gradvac_weights, pcgrad_weights


def fixed_order(count):
    return np.tile(np.arange(count), (count, 1))


def weights_of(gradients, orders):
    return np.asarray(pcgrad_weights(gram_of(gradients), ops.array(orders)))


@pytest.mark.parametrize("kind", [PCGrad, GradVac])
def test_torchjds_documented_direction(kind):
    found = direction_of(kind(scale="paper"), TWO)
    np.testing.assert_allclose(found, [0.5848, 3.8012, 3.8012], atol=5e-5)


def test_three_tasks_in_a_fixed_order():
    found = weights_of(THREE, fixed_order(3))
    np.testing.assert_allclose(found, [2.08333, 1.0, 1.49123], atol=5e-6)
    np.testing.assert_allclose(found @ THREE, [1.82895, 2.18421, 3.49123, 2.39035], atol=1e-5)


@pytest.mark.long
@golden.needed
def test_torchjds_pcgrad_in_its_own_orders():
    known, number = np.load(golden.FOLDER / "PCGrad.npz"), 0
    for title, draw in itertools.product(known["cases"], ("s0", "s1", "s2")):
        rows = known[f"{title}/J"]
        expected = known[f"{title}/{draw}/agg"]
        found = weights_of(rows, known[f"{title}/{draw}/perms"]) @ rows
        assert np.linalg.norm(found - expected) <= 1e-5 * max(
            np.linalg.norm(expected), np.linalg.norm(rows, axis=1).min()
        )
        number += 1
    assert number == 117


@golden.needed
@pytest.mark.parametrize(
    ("file", "variant", "state", "beta"),
    [
        ("GradVac_libmtl", "", "rho", 0.5),
        ("GradVac_torchjd", "beta0.5/", "phi", 0.5),
        ("GradVac_torchjd", "beta0.01/", "phi", 0.01),
    ],
)
@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_peers_gradvac_in_their_own_orders(file, variant, state, beta, count):
    known, targets = np.load(golden.FOLDER / f"{file}.npz"), ops.zeros((count, count))
    others = np.array([[other for other in range(count) if other != task] for task in range(count)])
    for step, rows in enumerate(known[f"K{count}/J"]):
        orders = known[f"K{count}/{variant}perms"][step]
        # TorchJD permutes the list of the others, LibMTL names them.
        orders = np.take_along_axis(others, orders, axis=1) if file == "GradVac_torchjd" else orders
        found, targets = gradvac_weights(gram_of(rows), ops.array(peers.padded(orders)), targets, beta)
        expected = known[f"K{count}/{variant}agg"][step]
        assert np.linalg.norm(np.asarray(found) @ rows - expected) < 1e-5 * np.linalg.norm(expected)
        np.testing.assert_allclose(targets, known[f"K{count}/{variant}{state}"][step], atol=1e-6)


def test_a_pairs_target_stands_still_unless_both_are_there():
    balancer = GradVac(beta=0.5, seed=1)
    weights(balancer, THREE)
    before = np.array(balancer.targets)
    weights(balancer, -THREE[[1, 0, 2]], present=ops.array([True, True, False]))
    moved = np.array(balancer.targets) != before
    assert moved.tolist() == [[False, True, False], [True, False, False], [False, False, False]]


def test_gradvac_reaches_its_target():
    orders = np.array([[1, 0], [1, 0]])
    found, _ = gradvac_weights(gram_of(TWO), ops.array(orders), ops.array([[0.0, 0.4], [-1.0, 0.0]]), 0.5)
    # Task 1 aims at -1 and keeps its gradient: the rest is what task 0 has become.
    turned = np.asarray(found) @ TWO - TWO[1]
    assert turned @ TWO[1] / np.linalg.norm(turned) / np.linalg.norm(TWO[1]) == pytest.approx(0.4, abs=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_the_closed_form_of_two_tasks(seed):
    gradients = np.random.default_rng(seed).normal(size=(2, 4)) * [[1.0], [3.0]]
    first, second = np.linalg.norm(gradients, axis=1)
    conflict = max(0.0, -(gradients[0] @ gradients[1]) / (first * second))
    expected = [1 + conflict * second / first, 1 + conflict * first / second]
    for kind in (PCGrad, GradVac):
        np.testing.assert_allclose(weights(kind(seed=seed, scale="paper"), gradients), expected, rtol=1e-5)
        assert (gradients @ direction_of(kind(seed=seed), gradients) >= -1e-5).all()


def test_a_fixed_order_gives_the_same_under_xla():
    gram, orders = gram_of(THREE), ops.array([[2, 0, 1], [0, 1, 2], [1, 0, 2]])
    compiled = tf.function(pcgrad_weights, jit_compile=True)
    np.testing.assert_allclose(compiled(gram, orders), pcgrad_weights(gram, orders), rtol=1e-6)


def test_tasks_that_agree_are_summed():
    gradients = np.abs(np.random.default_rng(1).normal(size=(5, 6)))
    np.testing.assert_allclose(weights(PCGrad(seed=0, scale="paper"), gradients), 1.0, rtol=1e-6)
    np.testing.assert_allclose(weights(GradVac(seed=0, scale="paper"), gradients), 1.0, rtol=1e-6)


def test_relabelled_tasks_in_relabelled_orders_have_relabelled_weights():
    generator = np.random.default_rng(4)
    gradients = generator.normal(size=(4, 3))
    orders = np.stack([generator.permutation(4) for _ in range(4)])
    relabel = generator.permutation(4)
    place = np.argsort(relabel)
    np.testing.assert_allclose(
        weights_of(gradients[relabel], place[orders[relabel]]), weights_of(gradients, orders)[relabel], rtol=1e-5
    )


@pytest.mark.long
def test_every_order_occurs_and_differs_from_task_to_task():
    """Weights over many draws fall on the values of the orders' products, and on more than one of them."""
    possible = []
    for orders in itertools.product(list(itertools.permutations(range(3))), repeat=3):
        found = weights_of(THREE, np.array(orders))
        if not any(np.allclose(found, other, atol=1e-4) for other in possible):
            possible.append(found)
    balancer = PCGrad(seed=2, scale="paper")
    drawn = [weights(balancer, THREE) for _ in range(40)]
    assert len(possible) > 1
    for found in drawn:
        assert any(np.allclose(found, other, atol=1e-4) for other in possible)
    for other in possible:
        assert any(np.allclose(found, other, atol=1e-4) for found in drawn)


@pytest.mark.parametrize("kind", [PCGrad, GradVac])
def test_a_seed_repeats_the_draws_and_another_does_not(kind):
    rows = np.random.default_rng(0).normal(size=(6, 2))

    def draws(seed):
        balancer = kind(seed=seed)
        return np.stack([weights(balancer, rows) for _ in range(3)])

    np.testing.assert_array_equal(draws(3), draws(3))
    assert np.abs(draws(3) - draws(4)).max() > 0
    assert np.abs(np.diff(draws(3), axis=0)).max() > 0


@pytest.mark.parametrize("kind", [PCGrad, GradVac])
def test_opposite_gradients_cancel(kind):
    opposite = np.array([[1.0, 2.0], [-1.0, -2.0]])
    for _ in range(3):
        np.testing.assert_allclose(direction_of(kind(), opposite), [0.0, 0.0], atol=1e-5)


def test_an_unseeded_balancer_follows_the_global_seed():
    def draws():
        keras.utils.set_random_seed(11)
        balancer = PCGrad()
        return np.stack([weights(balancer, THREE) for _ in range(5)])

    np.testing.assert_array_equal(draws(), draws())


def test_a_share_is_between_0_and_1():
    with pytest.raises(ValueError, match=r"^GradVac: `beta` must be at least 0 and at most 1, got 1\.5\."):
        GradVac(beta=1.5)
