"""FAMO: its weights, and the second look after the step."""

import numpy as np
import pytest
from keras import ops

from kmtl.balancers.by_losses import FAMO
from kmtl.tasks import Regression

TASKS = [Regression("zebra"), Regression("ant"), Regression("mole")]
ALL = ops.array([True, True, True])


def prepared(count=3, **options):
    balancer = FAMO(**{"scale": "paper", **options})
    balancer.prepare(TASKS[:count])
    return balancer


def weigh(balancer, losses, **options):
    return np.asarray(balancer.weigh(losses=ops.array(losses, "float32"), **options))


def test_steps_are_the_peers():
    """LibMTL 4336804 and TorchJD 0.18.0 in float64, Adam 0.025, weight decay 0.01, two tasks."""
    before = [[1.58321384, 1.60209370], [1.38032366, 1.47409135], [1.50953809, 1.52873090]]
    after = [[1.60760360, 1.61560276], [1.39428062, 1.41015408], [1.38383131, 1.53946232]]
    weights = [[0.50296359, 0.49703641], [0.52889862, 0.47110138], [0.52593241, 0.47406759]]
    logits = [[0.02499985, -0.02499985], [0.04559431, -0.04559431], [0.03948419, -0.03948419]]
    balancer = prepared(2, weight_decay=0.01)
    for old, new, weight, logit in zip(before, after, weights, logits, strict=True):
        np.testing.assert_allclose(weigh(balancer, old), weight, rtol=1e-5)
        balancer.after_update(ops.array(new, "float32"), ALL[:2])
        np.testing.assert_allclose(balancer.logits.numpy(), logit, atol=1e-5)


def test_equal_relative_falls_leave_the_logits():
    balancer = prepared()
    for losses in ([1.0, 2.0, 4.0], [0.5, 8.0, 16.0]):
        weigh(balancer, losses)
        balancer.after_update(ops.array(losses) / 2.0, ALL)
    np.testing.assert_allclose(balancer.logits.numpy(), 0.0, atol=1e-7)


def test_a_task_that_improved_more_loses_weight():
    balancer = prepared()
    first = weigh(balancer, [1.0, 1.0, 1.0])
    balancer.after_update(ops.array([0.2, 0.9, 1.0]), ALL)
    second = weigh(balancer, [1.0, 1.0, 1.0])
    np.testing.assert_allclose(first, 1 / 3, rtol=1e-6)
    assert second[0] < first[0]
    assert second.sum() == pytest.approx(1.0, abs=1e-6)


def test_weights_are_the_slopes_of_the_authors_loss():
    balancer, losses = prepared(), np.array([0.8, 0.3, 1.5])
    balancer.logits.assign([0.2, -0.4, 0.1])
    share = np.exp([0.2, -0.4, 0.1]) / np.exp([0.2, -0.4, 0.1]).sum()
    scale = np.sum(share / losses)
    slopes = [
        np.sum(share * (np.log(losses + step) - np.log(losses - step))) / scale / 2e-6 for step in 1e-6 * np.eye(3)
    ]
    np.testing.assert_allclose(weigh(balancer, losses), slopes, rtol=1e-5)


def test_a_second_look_counts_once():
    balancer = prepared()
    weigh(balancer, [1.0, 1.0, 1.0])
    balancer.after_update(ops.array([0.5, 1.0, 1.0]), ALL)
    moved = balancer.logits.numpy()
    assert moved.any()
    balancer.after_update(ops.array([0.1, 1.0, 1.0]), ALL)
    np.testing.assert_array_equal(balancer.logits.numpy(), moved)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -1.0])
def test_a_broken_second_look_leaves_that_task_alone(broken):
    balancer, twin = prepared(), prepared(2)
    weigh(balancer, [1.0, 1.0, 1.0])
    balancer.after_update(ops.array([0.5, 0.9, broken], "float32"), ALL)
    weigh(twin, [1.0, 1.0])
    twin.after_update(ops.array([0.5, 0.9]), ALL[:2])
    assert balancer.logits.numpy()[2] == 0
    np.testing.assert_allclose(balancer.logits.numpy()[:2], twin.logits.numpy(), rtol=1e-5)


def test_an_absent_task_keeps_its_logit_and_leaves_the_others_as_alone():
    balancer, twin = prepared(), prepared(2)
    for scale in (0.5, 0.8):
        found = weigh(balancer, [1.0, 2.0, 3.0], present=ops.array([True, True, False]))
        balancer.after_update(ops.array([scale, 1.9, 0.1]), ops.array([True, True, False]))
        np.testing.assert_allclose(found[:2], weigh(twin, [1.0, 2.0]), rtol=1e-6)
        twin.after_update(ops.array([scale, 1.9]), ALL[:2])
    assert balancer.logits.numpy()[2] == 0
    assert balancer.adam.steps.numpy().tolist() == [2.0, 2.0, 0.0]


def test_a_normaliser_leaves_the_second_look_in_one_unit():
    plain, scaled = prepared(), prepared(normalize="initial")
    for losses in ([3.0, 20.0, 0.1], [2.0, 21.0, 0.1]):
        after = ops.array(losses) * ops.array([0.5, 0.9, 1.1])
        for balancer in (plain, scaled):
            weigh(balancer, losses)
            balancer.after_update(after, ALL)
    np.testing.assert_allclose(scaled.logits.numpy(), plain.logits.numpy(), atol=1e-4)


def test_weight_decay_pulls_the_logits_back():
    balancer = prepared(weight_decay=1.0, learning_rate=0.1)
    balancer.logits.assign([1.0, -1.0, 0.0])
    weigh(balancer, [1.0, 1.0, 1.0])
    balancer.after_update(ops.array([1.0, 1.0, 1.0]), ALL)
    np.testing.assert_allclose(balancer.logits.numpy(), [0.9, -0.9, 0.0], atol=1e-5)


@pytest.mark.parametrize("option", ["learning_rate", "weight_decay"])
def test_rates_are_at_least_zero(option):
    with pytest.raises(ValueError, match=f"^FAMO: `{option}` must be a finite number of at least 0, got -1"):
        FAMO(**{option: -1})
