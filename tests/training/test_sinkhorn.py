"""Scaling to a doubly stochastic matrix: closed forms, sums, and what cannot be scaled."""

import keras
import numpy as np
import pytest

from kmtl._checks import Refusals
from kmtl.training.sinkhorn import check_scalable, sinkhorn


def scaled(matrix, **options):
    return keras.ops.convert_to_numpy(sinkhorn(np.asarray(matrix, "float64"), **options))


def test_two_by_two_has_its_closed_form():
    for a, b, c, d in np.random.default_rng(0).uniform(0.1, 10, (5, 4)):
        share = (a * d) ** 0.5 / ((a * d) ** 0.5 + (b * c) ** 0.5)
        np.testing.assert_allclose(scaled([[a, b], [c, d]]), [[share, 1 - share], [1 - share, share]], rtol=1e-9)


def test_rows_and_columns_sum_to_one_and_cross_ratios_stay():
    matrix = np.random.default_rng(1).uniform(0.1, 5, (5, 5))
    found = scaled(matrix)
    np.testing.assert_allclose(found.sum(0), 1, rtol=1e-14)
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)

    def ratios(values):
        return values[:-1, :-1] * values[1:, 1:] / (values[:-1, 1:] * values[1:, :-1])

    np.testing.assert_allclose(ratios(found), ratios(matrix), rtol=1e-9)


def test_the_identity_and_the_uniform_matrix_stay():
    np.testing.assert_array_equal(scaled(np.eye(3)), np.eye(3))
    np.testing.assert_array_equal(scaled(np.full((4, 4), 7.0)), np.full((4, 4), 0.25))


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        ("eye", "must be a square matrix of numbers, got str"),
        ([[1.0, 2.0]], r"must be a square matrix, got shape \(1, 2\)"),
        ([[1.0, -0.5], [1.0, 1.0]], r"finite numbers of at least 0, got -0\.5\. For cosines"),
        ([[1.0, np.nan], [1.0, 1.0]], "got nan"),
        ([[0.0, 0.0], [1.0, 1.0]], "got zeros alone in row 0"),
        ([[0.0, 1.0], [0.0, 1.0]], "got zeros alone in column 0"),
        ([[1.0, 1.0], [0.0, 1.0]], r"got an entry at \(0, 1\) that lies on no diagonal above 0\. Every entry"),
        ([[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]], "that lies on no diagonal above 0"),
        ([[1.0, 1.0], [1e-12, 1.0]], "rows still miss 1"),
    ],
)
def test_what_cannot_be_scaled_is_refused_with_the_reason(matrix, said):
    with pytest.raises(ValueError, match=said), Refusals("MessagePassing") as refusals:
        check_scalable(refusals, "affinity", matrix)


def test_zeros_are_taken_where_every_entry_lies_on_a_diagonal():
    with Refusals("MessagePassing") as refusals:
        check_scalable(refusals, "affinity", [[0.0, 2.0, 1.0], [3.0, 0.0, 1.0], [1.0, 1.0, 0.0]])
        check_scalable(refusals, "affinity", [[0.0, 1.0], [5.0, 0.0]])
