"""One pass over the labels: counts and moments, whatever the batches."""

import numpy as np
import pytest

import kmtl
from kmtl.feeding import DataStatistics

GENERATOR = np.random.default_rng(4)


def batched(values, cuts):
    return np.split(values, sorted(cuts))


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("cuts", [[], [1, 2, 3], [10, 10, 40], [59]])
def test_merged_moments_are_those_of_one_pass(cuts, offset):
    values = offset + GENERATOR.normal(3.0, 2.0, (60, 3)) * [1.0, 10.0, 0.1]
    values[GENERATOR.random(values.shape) < 0.4] = np.nan
    values[:10] = np.nan
    found = kmtl.Regression("box", shape=3).statistics()
    for batch in batched(values, cuts):
        found.update(batch)
    np.testing.assert_allclose(found.mean, np.nanmean(values, axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.scale, np.nanstd(values, axis=0), rtol=1e-7)
    assert found.elements.tolist() == (~np.isnan(values)).sum(axis=0).tolist()
    assert found.labelled == (~np.isnan(values)).any(axis=1).sum()


@pytest.mark.parametrize("shape", [(60,), (60, 1)])
def test_classes_are_counted_and_strays_told(shape):
    labels = GENERATOR.integers(-1, 5, 60)
    found = kmtl.Classification("species", 3).statistics()
    for batch in batched(labels.reshape(shape), [7, 7, 30]):
        found.update(batch)
    assert found.counts.tolist() == [(labels == place).sum() for place in range(3)]
    assert (found.labelled, found.examples) == ((labels >= 0).sum(), 60)
    assert (found.lowest, found.highest) == (0, 4)


def test_a_vector_counts_where_any_element_is_there():
    found = kmtl.MultiLabel("tags", 2).statistics()
    found.update(np.array([[0, 1], [-1, 1], [-1, -1]]))
    assert found.labelled == 2
    assert found.counts.tolist() == [1, 2]


@pytest.mark.parametrize(("dtype", "huge"), [("float32", np.inf), ("float64", 1e300), ("float16", np.inf)])
def test_what_is_not_finite_in_float32_spoils_an_input(dtype, huge):
    x = np.ones((4, 2, 2), dtype)
    x[0, 0, 0], x[0, 1, 1], x[1, 0, 0], x[2, 0, 1] = huge, -huge, np.nan, np.nan
    found = DataStatistics({})
    found.update({"image": x, "count": np.ones((4, 1), "int32")}, {})
    found.update({"image": x[:1], "count": np.ones((1, 1), "int32")}, {})
    assert found.bad_inputs == {"x['image']": 4}
    assert found.examples == 5


def test_a_sum_beyond_float32_spoils_nothing():
    found = DataStatistics({})
    found.update(np.full((8, 4), 3e38, "float32"), {})
    assert found.bad_inputs == {"x": 0}


def test_a_weight_without_a_label_may_be_anything():
    found = kmtl.Regression("age").statistics()
    found.update(np.array([1.0, np.nan, np.nan, 2.0, 3.0]), np.array([np.nan, np.nan, -1.0, np.inf, 2.0]))
    assert found.bad_weights == 2
