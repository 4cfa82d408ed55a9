"""What the labels of two tasks say of each other."""

import numpy as np
import pytest

import kmtl
from kmtl.training.label_affinity import label_affinity


def test_numbers_have_the_absolute_correlation_of_their_common_rows():
    random = np.random.default_rng(0)
    one = random.normal(size=50)
    other = (one + random.normal(size=50)).astype("float32")
    other[:10] = np.nan
    found, without = label_affinity([kmtl.Regression("a"), kmtl.Regression("b")], {"a": one, "b": -other})
    assert found[0, 1] == found[1, 0] == pytest.approx(abs(np.corrcoef(one[10:], other[10:])[0, 1]), rel=1e-5)
    assert without == []


def test_classes_have_the_correlation_of_their_indicators_with_any_kind():
    kind, binary = np.array([0, 1, 2, 0, 1, 2, -1]), np.array([1, 0, 0, 1, 0, 1, 1])
    tasks = [kmtl.Classification("kind", 3), kmtl.BinaryClassification("binary"), kmtl.Regression("size")]
    size = np.array([5.0, 1.0, 1.0, 5.0, 1.0, 1.0, 9.0])
    found, without = label_affinity(tasks, {"kind": kind, "binary": binary, "size": size})
    phi = np.corrcoef(kind[:6] == 0, binary[:6])[0, 1]
    np.testing.assert_allclose(found[0, 1], phi, rtol=1e-6)
    np.testing.assert_allclose(found[0, 2], 1.0, rtol=1e-6)
    assert without == []


def test_a_constant_and_no_common_rows_give_zero_and_are_told():
    tasks = [kmtl.Regression("a"), kmtl.Regression("b"), kmtl.Classification("c", 3)]
    labels = {"a": np.array([1.0, 2.0, np.nan]), "b": np.array([7.0, 7.0, 8.0]), "c": np.array([-1, -1, 2])}
    found, without = label_affinity(tasks, labels)
    np.testing.assert_array_equal(found, np.eye(3))
    assert without == [("a", "b"), ("a", "c"), ("b", "c")]
