"""Smooth Tchebycheff scalarization: both forms, the warm-up, the preference."""

import numpy as np
import pytest
from keras import ops

from kmtl.balancers.by_losses import SI, STCH
from kmtl.tasks import Regression

TASKS = [Regression("zebra"), Regression("ant"), Regression("mole")]
LOSSES = np.array([0.8, 0.3, 1.5])


def prepared(count=3, **options):
    balancer = STCH(**{"scale": "paper", **options})
    balancer.prepare(TASKS[:count])
    return balancer


def ended(balancer, *losses):
    balancer.end_epoch({f"{task.name}_loss": loss for task, loss in zip(balancer.tasks, losses, strict=True)})


def weigh(balancer, losses=LOSSES, **options):
    return np.asarray(balancer.weigh(losses=ops.array(losses, "float32"), **options))


def slopes(total, losses):
    return [(total(losses + step) - total(losses - step)) / 2e-6 for step in 1e-6 * np.eye(len(losses))]


def test_steps_are_the_peers():
    """LibMTL 4336804 in float64, mu = 0.2: the last step of the warm-up and two steps after it."""
    nadir = [2.32717721, 3.47775804]
    losses = [[0.94663753, 1.39141015], [2.96288191, 2.43463978]]
    balancer = prepared(2, smoothness=0.2, warmup=1)
    np.testing.assert_allclose(weigh(balancer, [0.83323006, 4.86636953]), [1.20014873, 0.20549200], rtol=1e-6)
    ended(balancer, *nadir)
    np.testing.assert_allclose(weigh(balancer, losses[0]), [1.10011903, 0.68893132], rtol=1e-5)
    np.testing.assert_allclose(weigh(balancer, losses[1]), [0.64271347, 0.03931419], rtol=1e-5)


def test_the_plain_form_is_the_peers():
    """TorchJD 0.18.0 in float64, mu = 0.2, equal weights 1/K, reference 0."""
    balancer = prepared(2, smoothness=0.2, logarithmic=False)
    np.testing.assert_allclose(weigh(balancer, [2.99808112, 2.20483387]), [0.43950658, 0.06049342], rtol=1e-5)


@pytest.mark.parametrize(
    ("smoothness", "value", "expected"),
    [(1.0, 2.08655, [0.27622, 0.16754, 0.55624]), (0.1, 1.50009, [0.00091, 0.00001, 0.99908])],
)
def test_the_plain_weights_are_the_slopes_of_the_soft_maximum(smoothness, value, expected):
    def total(losses):
        return smoothness * np.log(np.sum(np.exp(losses / smoothness)))

    assert total(LOSSES) == pytest.approx(value, abs=1e-5)
    # Equal preferences are thirds: three times the losses and a third of the weights.
    balancer = prepared(smoothness=smoothness, logarithmic=False)
    np.testing.assert_allclose(3 * weigh(balancer, 3 * LOSSES), expected, atol=1e-5)


@pytest.mark.parametrize("smoothness", [0.3, 1.0, 4.0])
def test_the_logarithmic_weights_are_the_slopes_of_their_total(smoothness):
    nadir, preference = np.array([1.0, 2.0, 1.5]), np.array([0.5, 0.3, 0.2])

    def total(losses):
        return 3 * smoothness * np.log(np.sum((3 * preference * losses / nadir) ** (1 / smoothness)))

    balancer = prepared(smoothness=smoothness, warmup=1, preference=(5, 3, 2))
    ended(balancer, *nadir)
    np.testing.assert_allclose(weigh(balancer), slopes(total, LOSSES), rtol=2e-5)


def test_the_limits_are_the_largest_and_all_alike():
    sharp, smooth = (prepared(smoothness=mu, warmup=1) for mu in (1e-3, 1e4))
    for balancer in (sharp, smooth):
        ended(balancer, 1.0, 0.2, 2.0)
    # The middle task, at 1.5 times its nadir, is worst off.
    np.testing.assert_allclose(weigh(sharp), [0.0, 3 / 0.3, 0.0], rtol=1e-5)
    np.testing.assert_allclose(weigh(smooth), 1 / LOSSES, rtol=1e-3)


def test_the_warm_up_weighs_by_the_inverse_loss_and_ends_with_its_last_epoch():
    balancer = prepared(warmup=2)
    ended(balancer, 9.0, 9.0, 9.0)
    np.testing.assert_allclose(weigh(balancer), weigh(SI(scale="paper")), rtol=1e-6)
    assert not balancer.nadir.numpy().any()
    ended(balancer, 1.0, 0.2, 2.0)
    np.testing.assert_allclose(balancer.nadir.numpy(), [1.0, 0.2, 2.0], rtol=1e-6)
    ended(balancer, 5.0, 5.0, 5.0)
    np.testing.assert_allclose(balancer.nadir.numpy(), [1.0, 0.2, 2.0], rtol=1e-6)
    shares = LOSSES / [1.0, 0.2, 2.0]
    np.testing.assert_allclose(weigh(balancer), 3 * shares / shares.sum() / LOSSES, rtol=1e-5)


def test_a_task_without_labels_in_that_epoch_takes_the_next():
    balancer = prepared(warmup=1)
    ended(balancer, 1.0, float("nan"), 2.0)
    shares = np.array([0.8, 1.0, 0.75])
    np.testing.assert_allclose(weigh(balancer), 3 * shares / shares.sum() / LOSSES, rtol=1e-5)
    ended(balancer, 5.0, 0.6, 5.0)
    np.testing.assert_allclose(balancer.nadir.numpy(), [1.0, 0.6, 2.0], rtol=1e-6)


@pytest.mark.parametrize("logarithmic", [True, False])
@pytest.mark.parametrize("epochs", [0, 1])
def test_more_preference_is_more_weight(logarithmic, epochs):
    found = []
    for preference in ({"ant": 0.5}, None, {"ant": 4.0}):
        balancer = prepared(logarithmic=logarithmic, warmup=1, preference=preference, scale="sum")
        for _ in range(epochs):
            ended(balancer, 1.0, 1.0, 1.0)
        found.append(weigh(balancer)[1])
    assert found[0] < found[1] < found[2]


@pytest.mark.parametrize("logarithmic", [True, False])
def test_preferences_of_the_tasks_present_sum_to_one(logarithmic):
    whole = prepared(logarithmic=logarithmic, warmup=1, preference=(1, 5, 3))
    part = prepared(2, logarithmic=logarithmic, warmup=1, preference=(1, 5))
    ended(whole, 1.0, 0.2, 2.0)
    ended(part, 1.0, 0.2)
    found = weigh(whole, present=ops.array([True, True, False]))
    np.testing.assert_allclose(found[:2], weigh(part, LOSSES[:2]), rtol=1e-5)


def test_a_task_nobody_prefers_weighs_nothing():
    balancer = prepared(warmup=1, preference=(1, 0, 1))
    assert weigh(balancer)[1] == 0
    ended(balancer, 1.0, 0.2, 2.0)
    assert weigh(balancer)[1] == 0
    assert float(balancer.failures) == 0


def test_a_normaliser_does_not_move_what_is_worst_off():
    plain, scaled = prepared(warmup=1, scale="sum"), prepared(warmup=1, scale="sum", normalize="initial")
    for balancer in (plain, scaled):
        weigh(balancer, [4.0, 0.1, 7.0])
        ended(balancer, 3.0, 0.09, 6.0)
    np.testing.assert_allclose(weigh(scaled), weigh(plain), rtol=1e-4)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"smoothness": 0}, "`smoothness` must be a finite number above 0, got 0"),
        ({"warmup": 0}, "`warmup` must be a whole number of at least 1, got 0"),
        ({"logarithmic": "no"}, "`logarithmic` must be True or False, got 'no'"),
        ({"preference": (1, -1)}, "`preference` must hold finite numbers of at least 0"),
    ],
)
def test_bad_options_are_refused(options, rule):
    with pytest.raises(ValueError, match=f"^STCH: {rule}"):
        STCH(**options)


def test_strangers_are_refused_before_training():
    with pytest.raises(ValueError, match=r"^STCH: `preference` must use task names as keys, got 'bee'"):
        prepared(preference={"bee": 1.0})
