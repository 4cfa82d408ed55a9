"""Uncertainty weighting against its optimum and against Keras's own Adam."""

import keras
import numpy as np
import pytest
from keras import ops

from kmtl.balancers import Uncertainty
from kmtl.balancers.by_losses import adam_step, uncertainty_gradient, uncertainty_weights
from kmtl.tasks import BinaryClassification, MultiLabel, Regression

LOSSES = np.array([0.8, 0.3, 1.5], "float32")
REGRESSIONS = [Regression("zebra"), Regression("ant"), Regression("mole")]
MIXED = [Regression("zebra"), BinaryClassification("ant"), MultiLabel("mole", 2)]


def settled(tasks, **options):
    balancer = Uncertainty(learning_rate=0.05, scale="paper", **options)
    balancer.prepare(tasks)
    for _ in range(400):
        weights = balancer.weigh(losses=ops.array(LOSSES))
    return balancer, np.asarray(weights)


def test_regressions_settle_at_the_published_optimum():
    balancer, weights = settled(REGRESSIONS)
    found = balancer.log_variances.numpy()
    np.testing.assert_allclose(found, [-0.22314, -1.20397, 0.40547], atol=2e-4)
    np.testing.assert_allclose(weights, 1 / (2 * LOSSES), rtol=1e-3)
    assert np.sum(weights * LOSSES + found / 2) == pytest.approx(0.98917, abs=1e-4)


def test_classifications_settle_at_twice_the_variance():
    balancer, weights = settled(MIXED)
    np.testing.assert_allclose(balancer.log_variances.numpy(), np.log(LOSSES * [1, 2, 2]), atol=2e-4)
    np.testing.assert_allclose(weights * LOSSES, [0.5, 0.5, 0.5], rtol=1e-3)


def test_the_gradient_is_the_slope_of_the_formula():
    factors, start, step = np.array([0.5, 1.0, 1.0]), np.array([0.3, -0.4, 0.1]), 1e-5

    def total(log_variances):
        return factors * np.exp(-log_variances) * LOSSES + log_variances / 2

    slope = (total(start + step) - total(start - step)) / (2 * step)
    found = uncertainty_gradient(ops.array(LOSSES), ops.cast(start, "float32"), ops.cast(factors, "float32"))
    np.testing.assert_allclose(found, slope, atol=1e-5)
    np.testing.assert_allclose(uncertainty_weights(ops.zeros(3), ops.cast(factors, "float32")), factors)


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
    assert late.steps.numpy().tolist() == [7, 2, 7]
    assert late.log_variances.numpy()[1] == early.log_variances.numpy()[1]
    assert late.log_variances.numpy()[0] != early.log_variances.numpy()[0]


def test_a_vanishing_loss_stops_at_the_floor():
    balancer = Uncertainty(learning_rate=1.0, floor=-2.0, scale="paper")
    balancer.prepare(REGRESSIONS)
    for _ in range(10):
        weights = balancer.weigh(losses=ops.array([0.0, 1e-9, 1.0]))
    np.testing.assert_allclose(weights[:2], [0.5 * np.exp(2)] * 2, rtol=1e-6)


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_one_broken_batch_does_not_poison_the_state(broken):
    balancer, twin = Uncertainty(), Uncertainty()
    for item in (balancer, twin):
        item.prepare(REGRESSIONS)
    balancer.weigh(losses=ops.array([1.0, broken, 2.0]))
    twin.weigh(losses=ops.array([1.0, 5.0, 2.0]), present=ops.array([True, False, True]))
    for one, other in zip(balancer.variables, twin.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())


def test_without_tasks_it_takes_every_loss_alike():
    assert np.asarray(
        Uncertainty(scale="paper", initial=1.0).weigh(losses=ops.array(LOSSES))
    ).tolist() == pytest.approx([np.exp(-1.0)] * 3)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"learning_rate": -1.0}, "`learning_rate` must be a finite number of at least 0, got -1.0"),
        ({"initial": float("nan")}, "`initial` must be a finite number, got nan"),
        ({"initial": -3.0, "floor": -2.0}, r"`floor` must be at most `initial`, -3\.0, got -2\.0"),
        ({"floor": float("nan")}, r"`floor` must be at most `initial`, 0\.0, got nan"),
    ],
)
def test_bad_options_are_refused(options, rule):
    with pytest.raises(ValueError, match=f"^Uncertainty: {rule}"):
        Uncertainty(**options)
