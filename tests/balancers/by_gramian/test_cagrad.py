"""CAGrad against documented values, exact answers and its limits."""

import numpy as np
import pytest
from balancers.by_gramian import golden
from balancers.by_gramian.documented import THREE, TWO, direction_of, weights_of
from cases import cases

from kmtl.balancers.by_gramian import MGDA, CAGrad


def test_documented_values():
    found = direction_of(CAGrad(scale="paper", rescale=0), TWO)
    np.testing.assert_allclose(found, [0.1835, 1.2041, 1.2041], atol=5e-5)
    found = weights_of(CAGrad(scale="paper", rescale=0), THREE)
    np.testing.assert_allclose(found, [0.67105, 0.33333, 0.42835], atol=1e-5)


@golden.needed
@pytest.mark.parametrize("radius", cases([0.2, 0.5, 0.8], 0.5))
def test_exact_answers(radius):
    error, number = golden.worst_error(
        lambda: CAGrad(radius=radius, scale="paper", rescale=0), "CAGrad", f"c{radius}_agg", f"c{radius}_status"
    )
    assert number > 30
    assert error < 5e-4


@pytest.mark.parametrize(("rescale", "divisor"), [(0, 1.0), (1, 1.16), (2, 1.4)])
def test_rescaling_is_of_the_length_only(rescale, divisor):
    plain = weights_of(CAGrad(radius=0.4, scale="paper", rescale=0), THREE)
    found = weights_of(CAGrad(radius=0.4, scale="paper", rescale=rescale), THREE)
    np.testing.assert_allclose(found, plain / divisor, rtol=1e-5)
    summed = weights_of(CAGrad(radius=0.4, rescale=rescale), THREE)
    np.testing.assert_allclose(summed, 3 * plain / plain.sum(), rtol=1e-5)


def test_no_radius_is_the_mean_and_a_large_one_mgda():
    np.testing.assert_allclose(weights_of(CAGrad(radius=0.0), THREE), 1.0, rtol=1e-5)
    np.testing.assert_allclose(weights_of(CAGrad(radius=1e4), THREE), weights_of(MGDA(), THREE), rtol=1e-3)


def test_orthogonal_gradients_of_one_length_lengthen_the_mean():
    found = weights_of(CAGrad(scale="paper", rescale=0), 2.0 * np.eye(3))
    np.testing.assert_allclose(found, 1.5 / 3, rtol=1e-5)


def test_where_many_directions_are_as_good_it_keeps_to_the_mean():
    # Whatever is done, the first two gain nothing at best.
    direction = direction_of(CAGrad(scale="paper", rescale=0), np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(direction, [0.0, 1 / 3], atol=2e-3)


def test_options_are_checked():
    with pytest.raises(ValueError, match=r"CAGrad: `radius` must be a finite number of at least 0, got -0\.5"):
        CAGrad(radius=-0.5)
    for wrong in (3, True, 0.5, "1"):
        with pytest.raises(ValueError, match="CAGrad: `rescale` must be 0, 1 or 2"):
            CAGrad(rescale=wrong)
