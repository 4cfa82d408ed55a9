"""The linear solves on a support, and the search for the right one."""

import numpy as np
import pytest
from keras import ops

from kmtl.balancers.solvers.supports import enumerate_supports, pivot_supports, solve_on


def single(values):
    return ops.array(values, dtype="float32")


def test_the_ridge_leaves_no_bias_where_the_system_needs_none():
    matrix = np.array([[1.0, -0.999, 0.0], [-0.999, 1.0, 0.0], [0.0, 0.0, 1.0]])
    right = np.array([[1.0], [0.5], [2.0]])
    found = solve_on(single(matrix), ops.ones((3,), dtype="bool"), single(right))
    np.testing.assert_allclose(found, np.linalg.solve(matrix, right), rtol=3e-4)


@pytest.mark.parametrize("cosine", [-1.0, 1.0])
def test_equal_and_opposite_rows_are_solved_as_far_as_they_can_be(cosine):
    matrix = np.array([[1.0, cosine], [cosine, 1.0]])
    right = np.array([[0.5], [0.5 * cosine]])
    found = np.asarray(solve_on(single(matrix), ops.ones((2,), dtype="bool"), single(right)))
    np.testing.assert_allclose(matrix @ found, right, atol=1e-5)
    np.testing.assert_allclose(np.abs(found), 0.25, rtol=1e-3)


@pytest.mark.parametrize("count", [2, 5, 8])
def test_enumeration_and_pivoting_find_one_support(count):
    generator = np.random.default_rng(count)
    rows = generator.normal(size=(count, count + 2))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    matrix, linear = single(rows @ rows.T), single(generator.normal(size=(6, count)))

    def evaluate(support, refined):
        values = solve_on(matrix, support, -linear[..., None], refined)[..., 0]
        return values, linear + ops.matmul(values, matrix)

    present = ops.array(np.arange(count) != 1)
    linear = ops.where(present, linear, 0.0)
    matrix = ops.where(present[:, None] & present[None, :], matrix, ops.eye(count))
    everywhere = ops.ones((6, count), dtype="bool") & present
    for start in (everywhere, ops.zeros_like(everywhere), linear < 0):
        np.testing.assert_array_equal(pivot_supports(evaluate, start, present), enumerate_supports(evaluate, present))
    assert not np.asarray(enumerate_supports(evaluate, present))[:, 1].any()
