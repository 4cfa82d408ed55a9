"""What labels measure, and how much two of them say of each other."""

import numpy as np
import pytest
from kinds import KINDS
from scipy import stats
from scipy.stats.contingency import association as scipy_association

from kmtl.tasks import Classification, Detection, OrdinalRegression, Regression, Relation, Segmentation
from kmtl.tasks.association import association, correlation_ratio_square, cramers_v_square, pearson, rv_square
from kmtl.tasks.variables import Variables, output_variables

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("name", KINDS)
def test_each_kind_tells_variables_of_its_labels_and_outputs(name):
    kind = KINDS[name]
    task = kind.make("zebra")
    if not task.measurement_level:
        assert name == "detection"
        return
    labels = task.cast_labels(kind.draw(RANDOM, 6))
    labels[0] = task.missing
    found = task.label_variables(labels)
    assert (
        found.is_nominal
        == (task.measurement_level == "nominal")
        == (task.weighs_classes and name not in ("binary", "ordinal", "cumulative"))
    )
    assert found.values.shape[0] == 6
    assert np.isnan(found.values[0]).all()
    np.testing.assert_array_equal(found.values[1:].ravel(), labels[1:].ravel())
    outputs = np.full((6, *(4 if side is None else side for side in task.output_shape)), 0.5, "float32")
    said = output_variables(task, outputs)
    assert said.values.shape[:2] == found.values.shape[:2]
    assert not said.is_nominal


def test_kinds_without_a_variable_say_so():
    assert Relation("goes", width=3).measurement_level == Detection("boxes", 2, grid=2).measurement_level == ""
    assert OrdinalRegression("grade", 4).measurement_level == Classification("sex", 2).measurement_level == "numeric"


def test_numbers_have_pearsons_r_of_the_rows_that_have_both():
    one, other = RANDOM.normal(size=(2, 50))
    other[:10] = np.nan
    first, second = (Variables(part[:, None, None], False) for part in (one, other))
    found = association(first, second)
    np.testing.assert_allclose(found.signed, np.corrcoef(one[10:], other[10:])[0, 1], rtol=1e-12)
    np.testing.assert_allclose(found.square, found.signed**2)
    assert np.isnan(pearson(np.ones(9), np.arange(9.0)))


def test_cramers_v_is_scipys_but_for_its_bias():
    one = RANDOM.integers(0, 3, 400)
    other = np.where(RANDOM.random(400) < 0.5, one, RANDOM.integers(0, 4, 400))
    table = np.zeros((3, 4), int)
    np.add.at(table, (one, other), 1)
    phi, n = scipy_association(table, method="cramer") ** 2 * 2, 400
    corrected = (phi - 2 * 3 / (n - 1)) / (3 - 4 / (n - 1) - 1)
    np.testing.assert_allclose(cramers_v_square(one, other), corrected, rtol=1e-10)
    # Of unrelated classes it is 0 in the mean; without the correction it is r - 1 times c - 1 by n.
    null = [cramers_v_square(RANDOM.integers(0, 5, 60), RANDOM.integers(0, 5, 60)) for _ in range(300)]
    assert abs(np.mean(null)) < 0.01
    assert np.isnan(cramers_v_square(np.zeros(5), np.arange(5)))


def test_the_correlation_ratio_is_that_of_an_analysis_of_variance():
    classes = np.repeat([0, 1, 2], 20)
    numbers = RANDOM.normal(size=60) + classes
    f = stats.f_oneway(*(numbers[classes == one] for one in range(3))).statistic
    eta = 2 * f / (2 * f + 57)
    expected = 1 - (1 - eta) * 59 / 57
    np.testing.assert_allclose(correlation_ratio_square(classes, numbers[:, None]), expected, rtol=1e-10)
    mixed = association(Variables(numbers[:, None, None], False), Variables(classes.astype(float)[:, None, None], True))
    np.testing.assert_allclose(mixed.square, expected, rtol=1e-10)
    np.testing.assert_allclose(correlation_ratio_square(classes, classes[:, None].astype(float)), 1.0)


def test_rv_of_vectors_ignores_order_and_scale_of_elements_and_is_r_of_one_element():
    one = RANDOM.normal(size=(500, 3))
    np.testing.assert_allclose(rv_square(one, -2 * one[:, [2, 0, 1]] + 1), 1.0, atol=1e-12)
    single = one[:, :1] + RANDOM.normal(size=(500, 1))
    r = np.corrcoef(one[:, 0], single[:, 0])[0, 1]
    np.testing.assert_allclose(rv_square(one[:, :1], single), 1 - (1 - r**2) * 499 / 498, rtol=1e-10)
    null = [rv_square(*RANDOM.normal(size=(2, 40, 6))) for _ in range(200)]
    assert abs(np.mean(null)) < 0.01


def test_places_are_rows_where_both_have_the_same_ones():
    task = Segmentation("parts", 3, shape=(4, 4), decoder=None)
    labels = RANDOM.integers(0, 3, (10, 4, 4))
    found = task.label_variables(labels)
    assert association(found, found).square == 1.0
    number = Regression("size").label_variables(np.arange(10.0))
    assert np.isnan(association(found, number).square)
