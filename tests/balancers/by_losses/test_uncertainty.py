"""Learned variances and scales against their optima, and against Keras's own Adam."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from kmtl.balancers.adam import adam_step
from kmtl.balancers.by_losses import IMTLL, Liebel, Uncertainty
from kmtl.balancers.by_losses.imtl import imtl_l_gradient
from kmtl.balancers.by_losses.uncertainty import liebel_gradient, uncertainty_gradient, uncertainty_weights
from kmtl.tasks import BinaryClassification, MultiLabel, Regression

LOSSES = np.array([0.8, 0.3, 1.5], "float32")
REGRESSIONS = [Regression("zebra"), Regression("ant"), Regression("mole")]
MIXED = [Regression("zebra"), BinaryClassification("ant"), MultiLabel("mole", 2)]


def settled(tasks, method=Uncertainty):
    balancer = method(learning_rate=0.05, scale="paper")
    balancer.prepare(tasks)
    weigh = tf.function(lambda: balancer.weigh(losses=ops.array(LOSSES)))
    for _ in range(400):
        weights = weigh()
    return balancer, np.asarray(weights)


@pytest.mark.long
def test_regressions_settle_at_the_published_optimum():
    balancer, weights = settled(REGRESSIONS)
    found = balancer.learned.numpy()
    np.testing.assert_allclose(found, [-0.22314, -1.20397, 0.40547], atol=2e-4)
    np.testing.assert_allclose(weights, 1 / (2 * LOSSES), rtol=1e-3)
    assert np.sum(weights * LOSSES + found / 2) == pytest.approx(0.98917, abs=1e-4)


@pytest.mark.long
def test_liebels_variances_settle_at_their_closed_form():
    balancer, weights = settled(MIXED, Liebel)
    variances = (LOSSES + np.sqrt(LOSSES**2 + 8 * LOSSES)) / 4
    np.testing.assert_allclose(np.exp(balancer.learned.numpy()), variances, rtol=1e-3)
    np.testing.assert_allclose(weights, 1 / (2 * variances), rtol=1e-3)


@pytest.mark.long
def test_imtls_scales_bring_every_loss_to_one():
    balancer, weights = settled(MIXED, IMTLL)
    np.testing.assert_allclose(balancer.learned.numpy(), -np.log(LOSSES), atol=1e-3)
    np.testing.assert_allclose(weights * LOSSES, 1.0, rtol=1e-3)
    total = np.sum(weights * LOSSES - balancer.learned.numpy())
    assert total == pytest.approx(np.sum(1 + np.log(LOSSES)), abs=1e-4)


@pytest.mark.long
def test_classifications_settle_at_twice_the_variance():
    balancer, weights = settled(MIXED)
    np.testing.assert_allclose(balancer.learned.numpy(), np.log(LOSSES * [1, 2, 2]), atol=2e-4)
    np.testing.assert_allclose(weights * LOSSES, [0.5, 0.5, 0.5], rtol=1e-3)


FACTORS = np.array([0.5, 1.0, 1.0], "float32")


@pytest.mark.parametrize(
    ("total", "gradient"),
    [
        (
            lambda s: FACTORS * np.exp(-s) * LOSSES + s / 2,
            lambda s: uncertainty_gradient(ops.array(LOSSES), s, ops.array(FACTORS)),
        ),
        (
            lambda s: np.exp(-s) * LOSSES / 2 + np.log(1 + np.exp(s)),
            lambda s: liebel_gradient(ops.array(LOSSES), s),
        ),
        (lambda s: np.exp(s) * LOSSES - s, lambda s: imtl_l_gradient(ops.array(LOSSES), s)),
    ],
    ids=["uncertainty", "liebel", "imtl_l"],
)
def test_the_gradient_is_the_slope_of_the_formula(total, gradient):
    start, step = np.array([0.3, -0.4, 0.1]), 1e-5
    slope = (total(start + step) - total(start - step)) / (2 * step)
    np.testing.assert_allclose(gradient(ops.cast(start, "float32")), slope, atol=1e-5)


def test_weights_at_variance_one_are_the_factors():
    np.testing.assert_allclose(uncertainty_weights(ops.zeros(3), ops.array(FACTORS)), FACTORS)


def test_the_step_is_keras_adams():
    generator = np.random.default_rng(0)
    variable = keras.Variable(np.zeros(4, "float32"))
    optimizer = keras.optimizers.Adam(0.1, epsilon=1e-8)
    value, moments = np.zeros(4), ops.zeros((2, 4))
    for step in range(1, 6):
        gradient = generator.normal(size=4).astype("float32")
        optimizer.apply([ops.array(gradient)], [variable])
        change, moments = adam_step(ops.array(gradient), moments, ops.full((4,), float(step)), 0.1)
        value = value + np.asarray(change)
        np.testing.assert_allclose(value, variable.numpy(), rtol=1e-4, atol=1e-5)


def test_a_task_that_comes_later_steps_as_at_its_first_step():
    late, early = Uncertainty(learning_rate=0.1), Uncertainty(learning_rate=0.1)
    for balancer in (late, early):
        balancer.prepare(REGRESSIONS)
    for _ in range(5):
        late.weigh(losses=ops.array(LOSSES), present=ops.array([True, False, True]))
    for _ in range(2):
        late.weigh(losses=ops.array(LOSSES))
        early.weigh(losses=ops.array(LOSSES))
    assert late.adam.steps.numpy().tolist() == [7, 2, 7]
    assert late.learned.numpy()[1] == early.learned.numpy()[1]
    assert late.learned.numpy()[0] != early.learned.numpy()[0]


def test_a_vanishing_loss_stops_at_the_floor():
    balancer = Uncertainty(learning_rate=1.0, floor=-2.0, scale="paper")
    balancer.prepare(REGRESSIONS)
    for _ in range(10):
        weights = balancer.weigh(losses=ops.array([0.0, 1e-9, 1.0]))
    np.testing.assert_allclose(weights[:2], [0.5 * np.exp(2)] * 2, rtol=1e-6)


@pytest.mark.parametrize("method", [Uncertainty, Liebel, IMTLL])
def test_parameters_stay_in_their_range(method):
    balancer = method(learning_rate=1.0, floor=-2.0, ceiling=1.5)
    for _ in range(10):
        balancer.weigh(losses=ops.array([0.0, 1e6]))
    assert sorted(balancer.learned.numpy().tolist()) == [-2.0, 1.5]


@pytest.mark.parametrize("method", [Uncertainty, Liebel, IMTLL])
def test_a_negative_loss_is_no_failure(method):
    balancer = method()
    for _ in range(3):
        assert np.isfinite(balancer.weigh(losses=ops.array([-3.0, 1.0]))).all()
    assert float(balancer.failures) == 0


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_one_broken_batch_does_not_poison_the_state(broken):
    balancer, twin = Uncertainty(), Uncertainty()
    for item in (balancer, twin):
        item.prepare(REGRESSIONS)
    balancer.weigh(losses=ops.array([1.0, broken, 2.0]))
    twin.weigh(losses=ops.array([1.0, 5.0, 2.0]), present=ops.array([True, False, True]))
    assert balancer.excluded.numpy().tolist() == [0, 1, 0]
    balancer.excluded.assign(twin.excluded)
    for one, other in zip(balancer.variables, twin.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


# From float64 runs of LibMTL 4336804 (UW, from -0.5) and TorchJD 0.18.0 (IMTLL), Adam of rate 0.01.
UW_LOSSES = [[0.46756270, 0.91127562], [0.46370781, 0.81241259], [0.40231595, 0.68562574], [0.47151612, 0.66309423]]
UW_WEIGHTS = [[0.82436064, 0.82436064], [0.83264560, 0.81615811], [0.84101251, 0.80830196], [0.84944914, 0.80146412]]
IMTL_LOSSES = [[4.05901148, 0.87364002], [4.08201523, 1.01697313], [3.78283709, 0.87887682], [3.88864976, 0.96655391]]
IMTL_WEIGHTS = [[1.0, 1.0], [0.99004983, 1.01005017], [0.98020019, 1.01509692], [0.97050256, 1.02228079]]


@pytest.mark.parametrize(
    ("balancer", "losses", "expected"),
    [
        (Uncertainty(initial=-0.5, scale="paper"), UW_LOSSES, UW_WEIGHTS),
        (IMTLL(scale="paper"), IMTL_LOSSES, IMTL_WEIGHTS),
    ],
    ids=["uncertainty", "imtl_l"],
)
def test_steps_are_the_peers(balancer, losses, expected):
    balancer.prepare(REGRESSIONS[:2])
    found = [np.asarray(balancer.weigh(losses=ops.array(each, "float32"))) for each in losses]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_without_tasks_it_takes_every_loss_alike():
    assert np.asarray(
        Uncertainty(scale="paper", initial=1.0).weigh(losses=ops.array(LOSSES))
    ).tolist() == pytest.approx([np.exp(-1.0)] * 3)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"learning_rate": -1.0}, "`learning_rate` must be a finite number of at least 0, got -1.0"),
        ({"initial": float("nan")}, "`initial` must be a finite number, got nan"),
        ({"initial": -3.0, "floor": -2.0}, r"`floor` must be a number of at most `initial`, -3\.0, got -2\.0"),
        ({"floor": float("nan")}, r"`floor` must be a number of at most `initial`, 0\.0, got nan"),
        ({"ceiling": -1.0}, r"`ceiling` must be a number of at least `initial`, 0\.0, got -1\.0"),
    ],
)
@pytest.mark.parametrize("method", [Uncertainty, Liebel, IMTLL])
def test_bad_options_are_refused(method, options, rule):
    with pytest.raises(ValueError, match=f"^{method.__name__}: {rule}"):
        method(**options)
