"""Weights by how hard tasks are: the door, the direction, and the cap."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from kmtl import balancers, weighting
from kmtl.balancers.by_gramian.gradnorm import gradnorm_gradient
from kmtl.balancers.capping import capped
from kmtl.tasks import BinaryClassification, Regression

TASKS = [Regression("zebra"), Regression("ant"), Regression("mole")]
BOTH = [BinaryClassification("alive"), BinaryClassification("large")]


def within(weights, present, cap):
    """The scale by bisection, in float64."""
    weights = np.asarray(weights, "float64")[present]
    mean, low, high = weights.mean(), -60.0, 60.0
    for _ in range(300):
        middle = (low + high) / 2
        total = np.clip(np.exp(middle) * weights, mean / cap, mean * cap).sum()
        low, high = (middle, high) if total < weights.sum() else (low, middle)
    found = np.zeros(len(present))
    found[present] = np.clip(np.exp(low) * weights, mean / cap, mean * cap)
    return found


def test_capped_weights_keep_their_sum_and_stay_within_the_cap():
    generator, traced = np.random.default_rng(0), tf.function(capped, reduce_retracing=True)
    for _ in range(60):
        count, cap = int(generator.integers(1, 9)), float(generator.choice([1.01, 1.5, 3.0, 20.0]))
        weights = 10.0 ** generator.uniform(-4, 4, count)
        present = generator.random(count) < 0.8
        present[0] = True
        found = np.asarray(traced(ops.array(weights, "float32"), ops.array(present), ops.array(cap)))
        mean = weights[present].mean()
        np.testing.assert_allclose(found, within(weights, present, cap), rtol=1e-4)
        np.testing.assert_allclose(found.sum(), weights[present].sum(), rtol=1e-5)
        assert (found[present] <= mean * cap * (1 + 1e-6)).all()
        assert (found[present] >= mean / cap * (1 - 1e-6)).all()
        assert not found[~present].any()


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        # Nothing is clipped: nothing moves.
        ([0.8, 1.0, 1.2], [0.8, 1.0, 1.2]),
        ([26.0, 1.0, 3.0], [20.0, 5.0, 5.0]),
        # One at the floor; the others share the rest as 20 to 7.5.
        ([20.0, 2.5, 7.5], [25 * 8 / 11, 5.0, 25 * 3 / 11]),
        ([0.0, 0.0, 3.0], [0.5, 0.5, 2.0]),
        ([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]),
        ([5.0, 5.0, 5.0], [5.0, 5.0, 5.0]),
    ],
)
def test_exact_caps_of_two(weights, expected):
    np.testing.assert_allclose(capped(ops.array(weights), ops.ones((3,), "bool"), 2.0), expected, rtol=1e-6)


def of_metric(exponent):
    balancer = balancers.by_difficulty("metric", exponent=exponent, cap=None)
    balancer.prepare(BOTH)
    balancer.end_epoch({"val_alive_accuracy": 0.8, "val_large_accuracy": 0.5})
    return balancer.weigh(losses=ops.ones((2,))), np.array([-0.2 * np.log(0.8), -0.5 * np.log(0.5)])


def of_descent(exponent):
    balancer = balancers.by_difficulty("descent", exponent=exponent, cap=None, temperature=0.5)
    balancer.prepare(BOTH)
    balancer.end_epoch({"alive_loss": 1.0, "large_loss": 1.0})
    balancer.end_epoch({"alive_loss": 0.4, "large_loss": 0.9})
    return balancer.weigh(losses=ops.ones((2,))), np.exp(np.array([0.4, 0.9]) / 0.5)


def of_loss(exponent):
    balancer = balancers.by_difficulty("loss", exponent=exponent, cap=None)
    balancer.weigh(losses=ops.array([4.0, 2.0]))
    # The first losses are means of the two steps so far, 2.4 and 1.6.
    return balancer.weigh(losses=ops.array([0.8, 1.2])), np.array([0.8 / 2.4, 1.2 / 1.6])


@pytest.mark.parametrize("exponent", [1.0, 2.0, 0.0, -1.0])
@pytest.mark.parametrize("weigh", [of_metric, of_descent, of_loss])
def test_the_exponent_is_the_power_of_the_published_weight(weigh, exponent):
    found, published = weigh(exponent)
    np.testing.assert_allclose(found, 2 * published**exponent / (published**exponent).sum(), rtol=1e-5)
    # The second task is the harder one, whatever the measure.
    assert np.sign(found[1] - found[0]) == np.sign(exponent)


@pytest.mark.parametrize(("alpha", "expected"), [(1.0, [-1.0, 1.0]), (0.0, [0.0, 0.0]), (-1.0, [1.0, -1.0])])
def test_below_zero_the_gradient_of_the_slow_task_is_shortened(alpha, expected):
    # Rates of 4/3 and 2/3: the lengths, both 1, are to be those or their inverses.
    given = ops.ones((2,)), ops.ones((2,)), ops.array([1.0, 0.5]), ops.ones((2,), "bool")
    np.testing.assert_allclose(gradnorm_gradient(*given, alpha), expected, atol=1e-6)


def test_a_finished_task_does_not_end_a_negative_power():
    found = gradnorm_gradient(ops.ones((2,)), ops.ones((2,)), ops.array([0.0, 1.0]), ops.ones(2, "bool"), -20.0)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("measure", ["metric", "descent", "rate", "loss"])
def test_every_measure_is_capped_and_comes_back_from_a_file(measure):
    options = {"learning_rate": 0.5, "first_steps": 1} if measure == "rate" else {}
    balancer = balancers.by_difficulty(measure, exponent=-2.0, cap=1.2, **options)
    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(balancer))))
    assert repr(again) == repr(balancer)
    for one in (balancer, again):
        one.prepare(TASKS)
        assert one.cap == 1.2
    given = {"gram": ops.diag(ops.array([1.0, 4.0, 9.0]))} if measure == "rate" else {}
    for losses in ([4.0, 1.0, 2.0], [4.0, 0.3, 0.02], [3.9, 0.1, 0.002]):
        for _ in range(7):
            balancer.weigh(losses=ops.array(losses), **given)
        balancer.end_epoch({f"{task.name}_loss": loss for task, loss in zip(TASKS, losses, strict=True)})
    weights = np.asarray(balancer.weigh(losses=ops.array(losses), **given))
    np.testing.assert_allclose(weights.sum(), 3.0, rtol=1e-6)
    np.testing.assert_allclose([weights.min(), weights.max()], [1 / 1.2, 1.2], rtol=1e-5)


def test_a_cap_holds_for_the_tasks_that_are_there_for_smoothed_weights_and_between_steps():
    balancer = balancers.LabelCount(counts=(100, 1, 1), cap=1.5, smoothing=0.9, update_every=2)
    there = ops.array([True, True, False])
    np.testing.assert_allclose(balancer.weigh(losses=ops.ones((3,))), [1.5, 0.75, 0.75], rtol=1e-5)
    np.testing.assert_allclose(balancer.keep(ops.ones((3,)), there), [4 / 3, 2 / 3, 0.0], rtol=1e-5)
    np.testing.assert_allclose(balancer.weigh(losses=ops.ones((3,)), present=there), [4 / 3, 2 / 3, 0], rtol=1e-2)


def test_the_scale_of_the_paper_is_kept_under_a_cap():
    balancer = balancers.RelativeLoss(scale="paper", exponent=1.0, cap=1.5)
    balancer.weigh(losses=ops.array([1.0, 1.0]))
    # 3/2 and 1/4 of the first losses, 0.8 and 0.6: their mean is 7/8, the floor 7/12.
    np.testing.assert_allclose(balancer.weigh(losses=ops.array([3.0, 1 / 7])), [7 / 6, 7 / 12], rtol=1e-5)


def test_fixed_weights_have_the_same_cap():
    found = weighting.by_difficulty({"zebra": 26.0, "ant": 1.0, "mole": 3.0}, cap=2.0)
    assert found == pytest.approx({"zebra": 2.0, "ant": 0.5, "mole": 0.5})
    with pytest.raises(ValueError, match=r"^by_difficulty: `cap` must be None or a finite number above 1, got 1\. 3 k"):
        weighting.by_difficulty({"zebra": 1.0}, cap=1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: balancers.by_difficulty("los"), ValueError, "by_difficulty: `measure` must .* Did you mean 'loss'?"),
        (lambda: balancers.by_difficulty("loss", exponent=None), ValueError, "by_difficulty: `exponent` must be a fin"),
        (lambda: balancers.by_difficulty("rate", alpha=1.5), TypeError, "by_difficulty: `alpha` must not be given twi"),
        (lambda: balancers.by_difficulty("loss", gamma=1.5), TypeError, "RelativeLoss: `gamma` is no option of this"),
        (lambda: balancers.DWA(cap=0.5), ValueError, "DWA: `cap` must be None or a finite number above 1, got 0.5"),
        (lambda: balancers.DTP(exponent="1"), ValueError, "DTP: `exponent` must be a finite number, got '1'"),
        (lambda: balancers.DWA(exponent=None), ValueError, "DWA: `exponent` must be a finite number, got None"),
        (lambda: balancers.GradNorm(alpha=np.nan), ValueError, "GradNorm: `alpha` must be a finite number, got nan"),
    ],
)
def test_bad_options_are_refused(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()
