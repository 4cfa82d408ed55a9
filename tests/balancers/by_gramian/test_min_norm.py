"""MGDA and SDMGrad against documented values, exact answers and their limits."""

import numpy as np
import pytest
from balancers.by_gramian import golden
from balancers.by_gramian.documented import THREE, TWO, direction_of, weights_of
from keras import ops

from kmtl import balancers
from kmtl.balancers.by_gramian import MGDA, SDMGrad
from kmtl.tasks import Regression


def test_documented_values():
    np.testing.assert_allclose(direction_of(MGDA(scale="paper"), TWO), [0, 1, 1], atol=1e-5)
    np.testing.assert_allclose(weights_of(MGDA(scale="paper"), TWO), [0.6, 0.4], atol=1e-6)
    weights = weights_of(MGDA(scale="paper"), THREE)
    np.testing.assert_allclose(weights, [0.53310, 0.13593, 0.33097], atol=1e-5)


@golden.needed
def test_exact_answers():
    error, number = golden.worst_error(lambda: MGDA(scale="paper"), "MGDA", "agg")
    assert number == 37
    assert error < 5e-4


@pytest.mark.parametrize("normalize", ["l2", "loss", "loss+"])
def test_normalisers_divide_the_gradients_that_are_combined(normalize):
    losses = np.array([0.5, 2.0, 4.0])
    lengths = np.linalg.norm(THREE, axis=1)
    by = {"l2": lengths, "loss": losses, "loss+": lengths * losses}[normalize]
    plain = weights_of(MGDA(scale="paper"), THREE / by[:, None]) / by
    found = weights_of(MGDA(scale="paper", normalize=normalize), THREE, losses=ops.array(losses, dtype="float32"))
    np.testing.assert_allclose(found, plain, rtol=1e-4)


def test_a_task_that_has_converged_rules():
    short = np.array([[1e-3, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(weights_of(MGDA(), short), [2.0, 0.0], atol=1e-5)


def test_sdmgrad_lies_between_mgda_and_the_preferred_mean():
    preference = [0.2, 0.3, 0.5]
    near = weights_of(SDMGrad(regularization=0.0, preference=preference, scale="paper"), THREE)
    np.testing.assert_allclose(near, weights_of(MGDA(scale="paper"), THREE), rtol=1e-5)
    far = weights_of(SDMGrad(regularization=1e4, preference=preference, scale="paper"), THREE)
    np.testing.assert_allclose(far, preference, atol=2e-4)
    norms = [
        np.linalg.norm(direction_of(SDMGrad(regularization=strength, scale="paper"), THREE))
        for strength in (0.0, 0.1, 1.0, 10.0)
    ]
    assert norms == sorted(norms)


def test_sdmgrad_by_hand():
    # Orthogonal gradients of lengths 1 and 2: (w_1 + l / 2) = 4 (w_2 + l / 2) at the optimum, if both are above 0.
    found = weights_of(SDMGrad(regularization=0.2, scale="paper"), np.diag([1.0, 2.0]))
    np.testing.assert_allclose(found, [0.8, 0.2], rtol=1e-5)
    # With l = 2 the second has no weight of its own.
    found = weights_of(SDMGrad(regularization=2.0, scale="paper"), np.diag([1.0, 2.0]))
    np.testing.assert_allclose(found, [2 / 3, 1 / 3], rtol=1e-5)


def test_options_are_checked():
    with pytest.raises(ValueError, match=r"SDMGrad: `regularization` must be a finite number of at least 0, got -1"):
        SDMGrad(regularization=-1)
    with pytest.raises(TypeError, match="`preference` is no option of this method"):
        MGDA(preference=[1, 2])
    named = SDMGrad(preference={"size": 2})
    with pytest.raises(ValueError, match=r"SDMGrad: `preference` must use task names as keys, got 'size'"):
        named.prepare([Regression("angle")])
    assert balancers.get("sdmgrad").get_config()["regularization"] == 0.3
