"""Aligned-MTL, and the eigenvalues that it stands on."""

import numpy as np
import pytest
from balancers.by_gramian import golden, peers
from balancers.by_gramian.documented import THREE, TWO, direction_of, weights_of
from keras import ops

from kmtl.balancers.by_gramian import Aligned
from kmtl.balancers.solvers.jacobi import eigenpairs


def test_documented_values():
    np.testing.assert_allclose(direction_of(Aligned(scale="paper"), TWO), [0.2133, 0.9673, 0.9673], atol=5e-5)
    np.testing.assert_allclose(weights_of(Aligned(scale="paper"), THREE), [0.34737, 0.18305, 0.25150], atol=1e-5)
    found = weights_of(Aligned(mode="rmse", scale="paper"), THREE)
    np.testing.assert_allclose(found, [0.6752938, 0.355846, 0.4889071], atol=1e-5)


@pytest.mark.long
@golden.needed
@pytest.mark.parametrize("mode", ["median", *(pytest.param(mode, marks=pytest.mark.slow) for mode in ("min", "rmse"))])
def test_torchjds_modes(mode):
    found = peers.errors(lambda _: Aligned(mode=mode, scale="paper"), "AlignedMTL", f"{mode}/agg", in_graph=True)
    assert len(found) >= 35
    # Nearly opposite gradients keep 1e-4 of the Gramian's digits.
    assert max(found.values()) < 3e-4


@pytest.mark.long
@golden.needed
def test_torchjds_preference_and_libmtls_sum():
    preferring = {"balancer_of": lambda count: Aligned(preference=range(1, count + 1), scale="paper"), "in_graph": True}
    found = peers.errors(file="AlignedMTL", key="min_pref/agg", **preferring)
    assert max(found.values()) < 3e-4
    plain = {"balancer_of": lambda _: Aligned(scale="paper"), "in_graph": True}
    found = peers.errors(file="Aligned_MTL_libmtl", key="default/agg", factor="count", **plain)
    assert max(found.values()) < 3e-4


def test_a_short_gradient_is_not_taken_for_a_dependent_one():
    rows = THREE * [[1e-5], [1.0], [1e5]]
    left, values, right = np.linalg.svd(rows, full_matrices=False)
    expected = (values.min() * left @ right).mean(axis=0)
    found = direction_of(Aligned(scale="paper"), rows)
    assert np.linalg.norm(found - expected) < 1e-3 * np.linalg.norm(expected)


def test_copies_of_a_gradient_share_its_weight():
    found = weights_of(Aligned(scale="paper"), THREE[[0, 1, 1]])
    assert found[1] == pytest.approx(found[2], rel=1e-4)
    left, values, right = np.linalg.svd(THREE[[0, 1, 1]], full_matrices=False)
    expected = (values[1] * left[:, :2] @ right[:2]).mean(axis=0)
    np.testing.assert_allclose(found @ THREE[[0, 1, 1]], expected, atol=1e-5)


def test_gradients_that_cancel_are_a_failure():
    balancer = Aligned()
    assert weights_of(balancer, [[1.0, 2.0], [-1.0, -2.0]]).tolist() == [1.0, 1.0]
    assert balancer.failures == 1


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match=r"^Aligned: `mode` must be one of .*, got 'medium'\. Did you mean 'median'\?"):
        Aligned(mode="medium")


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 12, 25])
def test_small_eigenvalues_are_as_exact_as_large_ones(count):
    generator = np.random.default_rng(count)
    rows = generator.normal(size=(count, 60)) * 10.0 ** generator.uniform(-5, 5, (count, 1))
    gram = (rows @ rows.T).astype("float32")
    values, vectors = (np.asarray(found, "float64") for found in eigenpairs(ops.array(gram)))
    expected = np.linalg.svd(rows, compute_uv=False)[::-1] ** 2
    np.testing.assert_allclose(np.sort(values), expected, rtol=1e-4)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(count), atol=1e-5)
    np.testing.assert_allclose(vectors.T * values @ vectors, gram, atol=1e-5 * gram.max())
