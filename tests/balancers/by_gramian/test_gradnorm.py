"""GradNorm against LibMTL and what its loss asks for."""

import numpy as np
import pytest
import tensorflow as tf
from balancers.by_gramian import golden
from balancers.by_gramian.documented import THREE, gram_of, weights_of
from cases import cases
from keras import ops

from kmtl.balancers.by_gramian import GradNorm


@golden.needed
@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("alpha", cases([0.5, 1.5], 1.5))
@pytest.mark.parametrize(("optimizer", "learning_rate"), [("sgd", 0.1), ("adam", 0.01)])
def test_libmtls_sequence(count, alpha, optimizer, learning_rate):
    known, key = np.load(golden.FOLDER / "GradNorm_seq_libmtl.npz"), f"K{count}/a{alpha}/{optimizer}{learning_rate}"
    balancer = GradNorm(alpha=alpha, optimizer=optimizer, learning_rate=learning_rate, first_steps=1, scale="paper")
    weights_of(balancer, known[f"K{count}/J"][0], losses=ops.array(known[f"K{count}/L0"], dtype="float32"))
    for step in range(20):
        losses = ops.array(known[f"K{count}/losses"][step], dtype="float32")
        found = weights_of(balancer, known[f"K{count}/J"][step], losses=losses)
        # With five tasks and this learning rate each step multiplies a rounding error by about 1.5.
        tolerance = 5e-3 if (count, optimizer) == (5, "sgd") else 1e-5
        np.testing.assert_allclose(found, known[f"{key}/w"][step], rtol=tolerance)


@pytest.mark.long
@pytest.mark.parametrize("alpha", [pytest.param(0.0, marks=pytest.mark.slow), 1.0])
def test_lengths_settle_at_the_rate_of_training(alpha):
    balancer = GradNorm(alpha=alpha, first_steps=1, learning_rate=0.02)
    first, later = ops.array([1.0, 2.0, 4.0]), ops.array([1.0, 1.0, 1.0])
    rows = np.diag([1.0, 4.0, 0.5])
    weights_of(balancer, rows, losses=first)
    weigh = tf.function(lambda: balancer.weigh(gram=gram_of(rows), losses=later))
    for _ in range(300):
        found = weigh()
    lengths = found.numpy() * np.diag(rows)
    expected = np.array([1.0, 0.5, 0.25]) ** alpha
    np.testing.assert_allclose(lengths / lengths[0], expected, rtol=0.15)


def test_the_first_steps_move_nothing():
    balancer = GradNorm(first_steps=3)
    for _ in range(3):
        assert weights_of(balancer, THREE, losses=ops.ones((3,))).tolist() == [1.0, 1.0, 1.0]
    weights_of(balancer, THREE, losses=ops.ones((3,)))
    assert weights_of(balancer, THREE, losses=ops.ones((3,))).tolist() != [1.0, 1.0, 1.0]


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match=r"^GradNorm: `optimizer` must be 'adam' or 'sgd', got 'adamw'"):
        GradNorm(optimizer="adamw")
    with pytest.raises(ValueError, match=r"^GradNorm: `first_steps` must be a whole number of at least 1, got 0\."):
        GradNorm(first_steps=0)
    with pytest.raises(ValueError, match=r"^GradNorm: `losses` must be given to this method, got none\."):
        weights_of(GradNorm(), THREE)
