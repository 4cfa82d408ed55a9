"""UPGrad and DualProj against documented values, exact answers and what they promise."""

import numpy as np
import pytest
from balancers.by_gramian import golden
from balancers.by_gramian.documented import THREE, TWO, direction_of, weights_of

from kmtl.balancers.by_gramian import DualProj, PCGrad, UPGrad
from kmtl.tasks import Regression


def test_documented_values():
    # The documentation's are of a Gramian with 1e-4 on its diagonal.
    np.testing.assert_allclose(direction_of(UPGrad(scale="paper"), TWO), [0.2929, 1.9004, 1.9004], atol=1e-3)
    np.testing.assert_allclose(direction_of(DualProj(scale="paper"), TWO), [0.5563, 1.1109, 1.1109], atol=1e-3)
    np.testing.assert_allclose(weights_of(UPGrad(scale="paper"), THREE), [0.69444, 0.33333, 0.49708], atol=1e-5)
    np.testing.assert_allclose(weights_of(DualProj(scale="paper"), THREE), 1 / 3, atol=1e-5)


@golden.needed
@pytest.mark.parametrize("kind", [UPGrad, DualProj])
def test_exact_answers(kind):
    error, number = golden.worst_error(lambda: kind(scale="paper"), kind.__name__, "agg")
    assert number == 37
    assert error < 5e-4


def test_two_tasks_are_pcgrads():
    found = weights_of(UPGrad(scale="paper"), TWO)
    np.testing.assert_allclose(2 * found, weights_of(PCGrad(scale="paper"), TWO), rtol=1e-5)


@pytest.mark.parametrize("kind", [UPGrad, DualProj])
def test_without_conflict_the_weights_are_the_preference(kind):
    rows = np.abs(THREE)
    found = weights_of(kind(preference=[1, 2, 5], scale="paper"), rows)
    np.testing.assert_allclose(found, [0.125, 0.25, 0.625], rtol=1e-6)


def test_upgrad_is_linear_in_the_preference():
    singles = [weights_of(UPGrad(preference=unit, scale="paper"), THREE) for unit in np.eye(3).tolist()]
    mixed = weights_of(UPGrad(preference=[0.5, 0.3, 0.2], scale="paper"), THREE)
    np.testing.assert_allclose(mixed, 0.5 * singles[0] + 0.3 * singles[1] + 0.2 * singles[2], rtol=1e-5)


def test_upgrad_is_linear_under_scaling():
    first, second = np.array([0.2, 1.0, 3.0]), np.array([2.0, 0.5, 0.7])
    parts = [direction_of(UPGrad(scale="paper"), factors[:, None] * THREE) for factors in (first, second)]
    whole = direction_of(UPGrad(scale="paper"), (first + second)[:, None] * THREE)
    np.testing.assert_allclose(whole, sum(parts), atol=1e-5)


def test_short_gradients_are_protected_as_long_ones():
    rows = np.array([[1e3, 0.0], [-1e-3, 1e-3]])
    direction = direction_of(UPGrad(scale="paper"), rows)
    cosine = rows[1] @ direction / (np.linalg.norm(rows[1]) * np.linalg.norm(direction))
    assert cosine > -1e-6
    np.testing.assert_allclose(direction, [250.0, 250.0], rtol=1e-4)


@pytest.mark.parametrize("kind", [UPGrad, DualProj])
def test_a_preference_is_shared_among_the_tasks_present(kind):
    there = np.array([True, False, True])
    whole = kind(preference={"a": 3, "b": 7}, scale="paper")
    whole.prepare([Regression("a"), Regression("b"), Regression("c")])
    found = weights_of(whole, THREE, present=there)
    part = weights_of(kind(preference=[3, 1], scale="paper"), THREE[there])
    np.testing.assert_allclose(found[there], part, rtol=1e-5)
    assert found[1] == 0


def test_opposite_gradients_leave_nothing():
    direction = direction_of(UPGrad(scale="paper"), np.array([[2.0, 1.0], [-2.0, -1.0]]))
    np.testing.assert_allclose(direction, 0.0, atol=1e-5)
