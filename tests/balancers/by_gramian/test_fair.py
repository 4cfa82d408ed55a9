"""Nash-MTL and FairGrad against documented values, exact answers and what they promise."""

import numpy as np
import pytest
from balancers.by_gramian import golden
from balancers.by_gramian.documented import THREE, TWO, direction_of, weights_of
from cases import cases

from kmtl.balancers.by_gramian import FairGrad, NashMTL


def test_documented_values():
    np.testing.assert_allclose(direction_of(NashMTL(scale="paper"), TWO), [0.0542, 0.7061, 0.7061], atol=5e-5)
    found = direction_of(FairGrad(alpha=1.0, scale="paper"), TWO)
    np.testing.assert_allclose(found, [0.0766, 0.9985, 0.9985], atol=5e-5)
    found = weights_of(NashMTL(scale="paper", max_norm=None), THREE)
    np.testing.assert_allclose(found, [0.69470, 0.37200, 0.47704], atol=1e-5)
    found = weights_of(FairGrad(scale="paper"), THREE)
    np.testing.assert_allclose(found, [0.59900, 0.25992, 0.39413], atol=1e-5)


@golden.needed
def test_exact_bargains():
    whole = golden.worst_error(lambda: NashMTL(scale="paper", max_norm=None), "NashMTL", "agg", "exists")
    clipped = golden.worst_error(lambda: NashMTL(scale="paper"), "NashMTL", "agg_clip1", "exists")
    for error, number in (whole, clipped):
        assert number > 30
        assert error < 5e-4


@golden.needed
@pytest.mark.parametrize("alpha", cases([0.5, 1.0, 2.0], 1.0))
def test_exact_fair_answers(alpha):
    error, number = golden.worst_error(
        lambda: FairGrad(alpha=alpha, scale="paper"), "FairGrad_torchjd", f"alpha{alpha}_agg", f"alpha{alpha}_exists"
    )
    assert number > 30
    assert error < 5e-4


def test_the_bargains_length_is_clipped():
    whole = direction_of(NashMTL(scale="paper", max_norm=None), THREE)
    assert np.linalg.norm(whole) == pytest.approx(np.sqrt(3), rel=1e-5)
    short = direction_of(NashMTL(scale="paper", max_norm=0.5), THREE)
    np.testing.assert_allclose(short, whole * 0.5 / np.sqrt(3), rtol=1e-4)
    free = direction_of(NashMTL(scale="paper", max_norm=5.0), THREE)
    np.testing.assert_allclose(free, whole, rtol=1e-5)


def test_orthogonal_gradients():
    lengths = np.array([0.5, 1.0, 4.0])
    found = weights_of(NashMTL(scale="paper", max_norm=None), np.diag(lengths))
    np.testing.assert_allclose(found, 1 / lengths, rtol=1e-5)
    for alpha in (0.1, 2.0, 10.0):
        found = weights_of(FairGrad(alpha=alpha, scale="paper"), np.diag(lengths))
        np.testing.assert_allclose(found, lengths ** (-2 * alpha / (1 + alpha)), rtol=1e-4)


@pytest.mark.parametrize("kind", [NashMTL, FairGrad])
def test_without_an_answer_the_last_weights_are_kept_and_it_is_counted(kind):
    balancer = kind()
    good = weights_of(balancer, THREE)
    cancelling = np.vstack([THREE[:2], -THREE[:2].sum(axis=0)])
    np.testing.assert_allclose(weights_of(balancer, cancelling), good, rtol=1e-6)
    assert float(balancer.failures) == 1
    np.testing.assert_allclose(weights_of(balancer, THREE), good, rtol=1e-6)
    assert float(balancer.failures) == 1


def test_options_are_checked():
    for wrong in (0, -1.0, "1", float("nan")):
        with pytest.raises(ValueError, match="NashMTL: `max_norm` must be None or a finite number above 0"):
            NashMTL(max_norm=wrong)
    for wrong in (0.0, 11.0):
        with pytest.raises(ValueError, match=r"FairGrad: `alpha` must be from 0\.1 to 10"):
            FairGrad(alpha=wrong)
