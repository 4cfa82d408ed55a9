"""Balancers that look at nothing: fixed weights and random ones."""

import re

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from kmtl.balancers.fixed import Static
from kmtl.balancers.random import RLW
from kmtl.tasks import Regression

TASKS = [Regression("zebra"), Regression("ant"), Regression("mole")]
LOSSES = ops.array([0.8, 0.3, 1.5])


@pytest.mark.parametrize("weights", [{"mole": 3, "ant": 0.5}, (1.0, 0.5, 3.0)])
def test_given_weights_are_the_weights(weights):
    paper, scaled = Static(weights=weights, scale="paper"), Static(weights=weights)
    for balancer in (paper, scaled):
        balancer.prepare(TASKS)
    np.testing.assert_array_equal(paper.weigh(losses=LOSSES), [1.0, 0.5, 3.0])
    np.testing.assert_allclose(scaled.weigh(losses=LOSSES), np.array([1.0, 0.5, 3.0]) * 3 / 4.5, rtol=1e-6)
    part = scaled.weigh(losses=LOSSES, present=ops.array([False, True, True]))
    np.testing.assert_allclose(part, np.array([0.0, 0.5, 3.0]) * 2 / 3.5, rtol=1e-6)


def test_a_weight_for_one_task_only_trains_it_alone():
    balancer = Static(weights=(0, 1, 0))
    np.testing.assert_array_equal(balancer.weigh(losses=LOSSES), [0.0, 3.0, 0.0])


def test_a_dict_may_leave_one_task_out():
    balancer = Static(weights={"ant": 0})
    balancer.prepare(TASKS)
    np.testing.assert_array_equal(balancer.weigh(losses=LOSSES), [1.5, 0.0, 1.5])


def test_given_weights_survive_a_config():
    config = Static(weights={"ant": 2.0}, scale="paper").get_config()
    again = Static.from_config(config)
    again.prepare(TASKS)
    np.testing.assert_array_equal(again.weigh(losses=LOSSES), [1.0, 2.0, 1.0])


@pytest.mark.parametrize("weights", [(1, -1), (), {}, {"ant": float("nan")}, ("a", "b")])
def test_bad_weights_are_refused(weights):
    rule = "`weights` must hold finite numbers of at least 0, got "
    with pytest.raises(ValueError, match=f"^Static: {re.escape(rule + repr(weights))}"):
        Static(weights=weights)


@pytest.mark.parametrize("weights", [3, "ant"])
def test_weights_that_are_of_no_task_are_refused(weights):
    with pytest.raises(TypeError, match=r"^Static: `weights` must be None, \{task: value\} or one value a task"):
        Static(weights=weights)


def test_weights_of_strangers_are_refused_before_training():
    with pytest.raises(ValueError, match=r"`weights` must use task names as keys, got 'ants'\. Did you mean 'ant'\?"):
        Static(weights={"ants": 1.0}).prepare(TASKS)
    with pytest.raises(ValueError, match=r"`weights` must have 3 values, one a task, got \(1, 2\)"):
        Static(weights=(1, 2)).prepare(TASKS)
    with pytest.raises(ValueError, match=r"`weights` must hold a number above 0, got \(0, 0, 0\)"):
        Static(weights=(0, 0, 0)).prepare(TASKS)


@pytest.mark.long
@pytest.mark.parametrize("distribution", ["normal", pytest.param("dirichlet", marks=pytest.mark.slow)])
def test_random_weights_average_to_one_over_k(distribution):
    balancer = RLW(distribution=distribution, seed=3, scale="paper")
    draw = tf.function(lambda: balancer.weigh(losses=LOSSES))
    drawn = np.stack([draw().numpy() for _ in range(600)])
    np.testing.assert_allclose(drawn.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(drawn.mean(axis=0), 1 / 3, atol=0.04)
    assert drawn.min() > 0


@pytest.mark.long
def test_the_dirichlet_weights_are_uniform_on_the_simplex():
    balancer = RLW(distribution="dirichlet", seed=3, scale="paper")
    draw = tf.function(lambda: balancer.weigh(losses=LOSSES))
    drawn = np.stack([draw().numpy() for _ in range(600)])
    # Dirichlet(1, 1, 1): variance 1 / 18, and P(w > t) = (1 - t)^2.
    np.testing.assert_allclose(drawn.var(axis=0), 1 / 18, rtol=0.15)
    assert np.mean(drawn[:, 0] > 0.5) == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("distribution", ["normal", "dirichlet"])
def test_a_seed_draws_the_same_and_every_step_anew(distribution):
    first, second, other = (RLW(distribution=distribution, seed=seed) for seed in (1, 1, 2))
    steps = [np.asarray(balancer.weigh(losses=LOSSES)) for balancer in (first, second, other)]
    np.testing.assert_array_equal(steps[0], steps[1])
    assert not np.allclose(steps[0], steps[2])
    assert not np.allclose(steps[0], first.weigh(losses=LOSSES))


def test_random_weights_forget_who_is_absent():
    whole, part = (RLW(seed=4, scale="paper") for _ in range(2))
    weights = np.asarray(whole.weigh(losses=LOSSES))
    found = np.asarray(part.weigh(losses=LOSSES, present=ops.array([True, False, True])))
    np.testing.assert_allclose(found, weights * [1, 0, 1] / weights[[0, 2]].sum(), rtol=1e-5)


def test_an_unknown_distribution_is_refused():
    with pytest.raises(ValueError, match=r"`distribution` must be of .*, got 'norml'\. Did you mean 'normal'\?"):
        RLW(distribution="norml")
