"""Weights by the number of labels and by the losses at the start."""

import numpy as np
import pytest
from keras import ops

from kmtl.balancers.by_losses import LabelCount, RelativeLoss
from kmtl.tasks import Regression

TASKS = [Regression("zebra"), Regression("ant"), Regression("mole")]
ONES = ops.ones((3,))


@pytest.mark.parametrize("exponent", [1.0, 0.0, -1.0, 0.5])
def test_weights_follow_the_running_number_of_labels(exponent):
    balancer = LabelCount(exponent=exponent)
    counts = np.array([[8, 2, 0], [4, 1, 6], [8, 8, 2]])
    for step, (new, total) in enumerate(zip(counts, counts.cumsum(axis=0), strict=True)):
        present = new > 0
        found = balancer.weigh(losses=ONES, present=ops.array(present), counts=ops.array(new, "float32"))
        powers = np.where(present, np.maximum(total, 1.0) ** exponent, 0.0)
        np.testing.assert_allclose(found, present.sum() * powers / powers.sum(), rtol=1e-5, err_msg=str(step))


def test_the_first_power_lets_every_label_count_alike():
    found = LabelCount(scale="paper").weigh(losses=ONES, counts=ops.array([30.0, 10.0, 20.0]))
    per_label = np.asarray(found) / [30, 10, 20]
    np.testing.assert_allclose(per_label, per_label[0], rtol=1e-6)


def test_given_counts_stand_in_for_the_running_ones():
    balancer = LabelCount(counts={"mole": 1, "zebra": 4, "ant": 1}, exponent=-0.5)
    balancer.prepare(TASKS)
    found = balancer.weigh(losses=ONES, counts=ops.array([1.0, 9.0, 9.0]))
    np.testing.assert_allclose(found, np.array([0.5, 1.0, 1.0]) * 3 / 2.5, rtol=1e-5)
    assert not balancer.labels.numpy().any()


def test_large_powers_stay_finite():
    found = LabelCount(exponent=20.0).weigh(losses=ONES, counts=ops.array([1.0, 1e6, 2e6]))
    np.testing.assert_allclose(found, [0.0, 3e-6, 3.0], atol=1e-5)


def test_bad_counts_are_refused():
    with pytest.raises(ValueError, match=r"^LabelCount: `counts` must hold finite numbers above 0, got \(1, 0\)"):
        LabelCount(counts=(1, 0))
    with pytest.raises(ValueError, match=r"^LabelCount: `counts` must name \['ant', 'mole'\] too, got"):
        LabelCount(counts={"zebra": 3}).prepare(TASKS)
    with pytest.raises(ValueError, match=r"^LabelCount: `counts` must use task names as keys, got 'bee'"):
        LabelCount(counts={"bee": 3}).prepare(TASKS)


@pytest.mark.parametrize("exponent", [1.0, -2.0, 0.0])
def test_weights_follow_the_share_of_the_first_loss_that_is_left(exponent):
    balancer = RelativeLoss(exponent=exponent, scale="paper")
    first = np.array([4.0, 0.2, 1.0])
    for _ in range(20):
        found = balancer.weigh(losses=ops.array(first, "float32"))
    np.testing.assert_allclose(found, 1.0, rtol=1e-5)
    found = balancer.weigh(losses=ops.array(first * [0.5, 1.0, 2.0], "float32"))
    np.testing.assert_allclose(found, np.array([0.5, 1.0, 2.0]) ** exponent, rtol=1e-5)


def test_the_first_loss_is_the_mean_of_a_tasks_own_first_steps():
    balancer = RelativeLoss(scale="paper")
    for step in range(30):
        losses = ops.array([1.0 + step % 2, 3.0, 1.0])
        found = balancer.weigh(losses=losses, present=ops.array([True, step >= 29, True]))
    np.testing.assert_allclose(found, [2 / 1.5, 1.0, 1.0], rtol=1e-5)


@pytest.mark.parametrize("method", [LabelCount, RelativeLoss])
def test_an_exponent_is_a_number(method):
    with pytest.raises(ValueError, match=f"^{method.__name__}: `exponent` must be a finite number, got inf"):
        method(exponent=float("inf"))
