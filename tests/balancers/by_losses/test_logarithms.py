"""Logarithms and inverses of the losses."""

import numpy as np
import pytest
from keras import ops

from kmtl.balancers.by_losses import FAMO, GLS, SI, STCH, UWSO, RelativeLoss
from kmtl.balancers.by_losses.bounds import EPSILON
from kmtl.tasks import Regression

LOSSES = np.array([0.8, 0.3, 1.5])
BOUNDED = [SI, GLS, UWSO, FAMO, STCH, RelativeLoss]
TASKS = [Regression("zebra"), Regression("ant")]


def weigh(balancer, losses, **options):
    return np.asarray(balancer.weigh(losses=ops.array(losses, "float32"), **options))


@pytest.mark.parametrize(
    ("method", "total"),
    [(SI, lambda losses: np.sum(np.log(losses))), (GLS, lambda losses: np.prod(losses) ** (1 / 3))],
)
def test_weights_are_the_slopes_of_the_total(method, total):
    slopes = [(total(LOSSES + step) - total(LOSSES - step)) / 2e-6 for step in 1e-6 * np.eye(3)]
    np.testing.assert_allclose(weigh(method(scale="paper"), LOSSES), slopes, rtol=1e-5)


def test_the_geometric_mean_is_the_peers():
    """Slopes of LibMTL 4336804's GLS in float64, and of TorchJD 0.18.0's GeometricMean."""
    losses = [3.31110355, 2.84430473, 2.19266829]
    np.testing.assert_allclose(weigh(GLS(scale="paper"), losses), [0.27619337, 0.32152141, 0.41707397], rtol=1e-6)


def test_si_and_gls_share_a_direction():
    np.testing.assert_allclose(weigh(SI(), LOSSES), weigh(GLS(), LOSSES), rtol=1e-6)
    mean = np.prod(LOSSES) ** (1 / 3)
    ratio = weigh(GLS(scale="paper"), LOSSES) / weigh(SI(scale="paper"), LOSSES)
    np.testing.assert_allclose(ratio, mean / 3, rtol=1e-6)


@pytest.mark.parametrize("method", [SI, GLS])
def test_a_tasks_share_of_the_gradient_ignores_its_scale(method):
    factors = np.array([1e-4, 1.0, 1e5])
    plain, scaled = weigh(method(), LOSSES), weigh(method(), LOSSES * factors)
    pulls = scaled * factors / plain
    np.testing.assert_allclose(pulls / pulls[0], 1.0, rtol=3e-4)


def test_the_soft_optimum():
    np.testing.assert_allclose(
        weigh(UWSO(temperature=1.0, scale="paper"), LOSSES), [0.10428, 0.83752, 0.05819], atol=1e-5
    )
    np.testing.assert_allclose(weigh(UWSO(temperature=1e4), LOSSES), 1.0, atol=1e-3)
    np.testing.assert_allclose(weigh(UWSO(temperature=0.01, scale="paper"), LOSSES), [0.0, 1.0, 0.0], atol=1e-6)
    np.testing.assert_array_equal(weigh(UWSO(temperature=None), LOSSES), weigh(SI(), LOSSES))


@pytest.mark.parametrize("temperature", [0, -1.0, float("inf"), "warm"])
def test_a_temperature_is_above_zero(temperature):
    with pytest.raises(ValueError, match=r"^UWSO: `temperature` must be None or a finite number above 0, got "):
        UWSO(temperature=temperature)


@pytest.mark.parametrize("method", BOUNDED)
def test_a_loss_of_zero_has_a_finite_weight(method):
    balancer = method(scale="paper")
    weights = weigh(balancer, [0.0, 1.0])
    assert np.isfinite(weights).all()
    assert float(balancer.failures) == 0
    if method is SI:
        np.testing.assert_allclose(weights, [1 / EPSILON, 1.0], rtol=1e-6)


@pytest.mark.parametrize("method", BOUNDED)
def test_a_negative_loss_is_a_counted_failure_that_keeps_the_last_weights(method):
    balancer = method()
    balancer.prepare(TASKS)
    good = weigh(balancer, [2.0, 1.0])
    np.testing.assert_allclose(weigh(balancer, [-0.1, 1.0]), good, rtol=1e-6)
    assert float(balancer.failures) == 1
    assert np.isfinite(weigh(balancer, [1.0, 1.0])).all()
    assert float(balancer.failures) == 1


@pytest.mark.parametrize("method", BOUNDED)
def test_a_lower_bound_shifts_the_loss(method):
    bounded, plain = method(lower_bounds={"ant": -3.0}, scale="paper"), method(scale="paper")
    for balancer in (bounded, plain):
        balancer.prepare(TASKS)
    for losses in ([2.0, -1.0], [1.0, -2.0]):
        shifted = [losses[0], losses[1] + 3.0]
        np.testing.assert_allclose(weigh(bounded, losses), weigh(plain, shifted), rtol=1e-6)
    assert float(bounded.failures) == 0


@pytest.mark.parametrize("method", BOUNDED)
def test_a_bound_of_an_absent_task_harms_nobody(method):
    balancer = method(lower_bounds=(0.0, 5.0))
    np.testing.assert_allclose(weigh(balancer, [2.0, 1.0], present=ops.array([True, False])), [1.0, 0.0])
    assert float(balancer.failures) == 0


def test_a_bound_is_in_the_unit_of_the_loss_under_a_normaliser():
    balancer = SI(lower_bounds=(-4.0, 0.0), normalize="initial", scale="paper")
    # Initial losses of 2 and 5: the total is log(L / 2 + 2) + log(L / 5).
    np.testing.assert_allclose(weigh(balancer, [2.0, 5.0]), [1 / 6, 1 / 5], rtol=1e-6)


@pytest.mark.parametrize("method", BOUNDED)
def test_bad_bounds_are_refused(method):
    owner = method.__name__
    with pytest.raises(ValueError, match=f"^{owner}: `lower_bounds` must hold finite numbers, got"):
        method(lower_bounds=(0.0, float("nan")))
    with pytest.raises(TypeError, match=f"^{owner}: `lower_bounds` must be None"):
        method(lower_bounds=0.0)
    with pytest.raises(ValueError, match=f"^{owner}: `lower_bounds` must use task names as keys, got 'bee'"):
        method(lower_bounds={"bee": 0.0}).prepare(TASKS)
