"""Tasks with integer labels."""

import keras
import numpy as np
import pytest
from keras import ops

from kmtl.tasks import BinaryClassification, Classification, MultiLabel


def test_widths_follow_the_classes():
    assert Classification("species", np.int64(7)).units == 7
    assert Classification("species", 7).label_shape == ()
    assert BinaryClassification("tame").units == 1
    assert MultiLabel("spots", np.int32(4)).label_shape == (4,)
    assert type(Classification("species", np.int64(7)).classes) is int


def test_one_missing_element_of_a_multilabel_is_just_that_one():
    labels = ops.array([[1, -1, 0], [-1, -1, -1]], dtype="int32")
    present = ops.convert_to_numpy(MultiLabel("spots", 3).present(labels))
    assert present.tolist() == [[True, False, True], [False, False, False]]


def test_class_weights_are_kept_by_int():
    task = Classification("species", 3, class_weight={"2": 1, np.int64(0): np.float32(0.5)})
    assert task.class_weight == {2: 1.0, 0: 0.5}
    assert all(type(key) is int and type(value) is float for key, value in task.class_weight.items())


def test_balanced_weights_share_the_labels_among_the_classes_that_occur():
    weights = Classification("species", 4).balanced_weights(np.array([2, 0, 6, 4]))
    np.testing.assert_allclose(weights, [12 / (3 * 2), 1.0, 12 / (3 * 6), 12 / (3 * 4)], rtol=1e-6)


@pytest.mark.parametrize("classes", [1, 0, -3, 2.0, True, "3", None])
def test_bad_numbers_of_classes_are_refused(classes):
    with pytest.raises(
        ValueError, match=r"^Classification\('species'\): `classes` must be a whole number of at least 2"
    ):
        Classification("species", classes)
    if classes != 1:
        with pytest.raises(ValueError, match=r"^MultiLabel\('spots'\): `labels` must be a whole number of at least 1"):
            MultiLabel("spots", classes)


@pytest.mark.parametrize("names", [["a"], ["a", "b", "c"], ["a", "a"], "ab", []])
def test_bad_label_names_are_refused(names):
    for make in (
        lambda: Classification("species", 2, label_names=names),
        lambda: BinaryClassification("tame", label_names=names),
        lambda: MultiLabel("spots", 2, label_names=names),
    ):
        with pytest.raises(ValueError, match=r"`label_names` must hold 2 different names, one a label, got "):
            make()


@pytest.mark.parametrize(
    "weights", [{3: 1.0}, {-1: 1.0}, {0: -1.0}, {0: float("nan")}, {0: "1"}, {0.5: 1.0}, {"a": 1.0}, {True: 1.0}]
)
def test_bad_class_weights_are_refused(weights):
    with pytest.raises(
        ValueError,
        match=r"`class_weight` must map classes 0\.\.2 to weights of at least 0 that are finite in float32, got ",
    ):
        Classification("species", 3, class_weight=weights)


@pytest.mark.parametrize("weights", ["balance", [1.0, 2.0, 3.0], np.ones(3), 2.0])
def test_class_weights_of_another_form_are_refused(weights):
    with pytest.raises(ValueError, match="`class_weight` must be a dict of class to weight or 'balanced', got "):
        Classification("species", 3, class_weight=weights)


@pytest.mark.parametrize("task", [BinaryClassification("zebra"), MultiLabel("zebra", 1)])
def test_a_half_is_a_no_as_keras_counts_it(task):
    outputs = ops.array([[0.5], [0.5000001], [0.4999999]])
    decided = ops.convert_to_numpy(task.decide(outputs)).reshape(-1)
    assert decided.tolist() == [0, 1, 0]
    correct = ops.convert_to_numpy(keras.metrics.binary_accuracy(decided[:, None], outputs))
    np.testing.assert_array_equal(correct.reshape(-1), 1.0)


def test_a_line_of_several_labels_names_those_that_are_there():
    output = np.eye(4, dtype="float32")[1]
    assert MultiLabel("digits", labels=4).describe(np.array([0, 1, 0, 1]), output) == "digits 1, 3 → 1"
    assert MultiLabel("digits", labels=4).describe(np.array([1, -1, 0, 0]), 0 * output) == "digits 0, ? → none"
    named = MultiLabel("seen", labels=4, label_names=["sun", "rain", "snow", "fog"])
    assert named.describe(None, output) == "seen ? → rain"
