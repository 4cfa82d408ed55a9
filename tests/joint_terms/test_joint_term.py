"""The rows that a function over several outputs counts, their weights and their gradients; on arrays."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from joint_terms.functions import both_right, width_by_age
from keras import ops

from kmtl import JointLoss, JointMetric
from kmtl.joint_terms import REAL, JointMetricTracker
from kmtl.tasks import BinaryClassification, Regression, Segmentation

TASKS = {"box": Regression("box", shape=2), "age": Regression("age"), "mask": Segmentation("mask", 2, shape=(1, 2))}
NAN = np.nan
LABELS = {
    "box": np.array([[1, 2], [3, NAN], [5, 6], [NAN, NAN]], "float32"),
    "age": np.array([1, 2, NAN, NAN], "float32"),
    "mask": np.array([[[0, 1]], [[1, -1]], [[-1, -1]], [[1, 1]]], "int32"),
}
OUTPUTS = {
    "box": np.arange(8, dtype="float32").reshape(4, 2),
    "age": np.arange(4, dtype="float32")[:, None],
    "mask": np.full((4, 1, 2, 2), 0.5, "float32"),
}


def ones(labels, outputs, present=None):
    """1 for every row."""
    del labels, present
    return ops.ones_like(next(iter(outputs.values()))[..., 0])


def gap(labels, outputs):
    """What the boxes miss by, beside the ages."""
    return ops.sum(ops.abs(outputs["box"] - labels["box"]), axis=-1) + outputs["age"][:, 0] - labels["age"][:, 0]


def sums(term, weights=None, labels=LABELS):
    return [float(value) for value in term.sums(TASKS, labels, OUTPUTS, weights)]


@pytest.mark.parametrize(
    ("needs", "partial", "rows"),
    [
        (True, False, [0]),
        (["box"], False, [0, 2]),
        (["age"], False, [0, 1]),
        (["box"], True, [0, 1, 2]),
        (True, True, [0, 1]),
        (False, False, [0, 1, 2, 3]),
    ],
)
def test_a_row_counts_that_has_the_labels_it_needs(needs, partial, rows):
    term = JointMetric("rows", ones, ["box", "age"], needs_labels=needs, partial=partial)
    assert sums(term) == [len(rows), len(rows)]


def test_the_loss_is_the_sum_over_these_rows_and_sees_labels_in_the_shape_of_outputs():
    expected = (abs(0 - 1) + abs(1 - 2)) + (0 - 1)
    assert sums(JointLoss("gap", gap, ["box", "age"])) == [expected, 1]


def test_of_pixels_all_must_be_labelled_or_the_function_is_told_which_are():
    def wrong(labels, outputs, present):
        misses = ops.where(present["mask"], ops.abs(outputs["mask"][..., 1] - ops.cast(labels["mask"], "float32")), 0.0)
        return ops.sum(misses, axis=(1, 2))

    assert sums(JointMetric("rows", images, ["mask"])) == [2, 2]
    assert sums(JointMetric("wrong", wrong, ["mask"], partial=True)) == [0.5 * 5, 3]


def images(labels, outputs):
    """1 for every image."""
    del labels
    return ops.ones_like(outputs["mask"][:, 0, 0, 0])


def test_a_row_weighs_the_least_of_the_sample_weights_of_its_labels_and_counts_once():
    weights = {"box": np.array([2.0, NAN, 3.0, NAN]), "age": np.array([0.5, 1.0, NAN, 1.0])}
    assert sums(JointMetric("rows", ones, ["box", "age"]), weights) == [0.5, 1]
    assert sums(JointMetric("rows", ones, ["box", "age"], needs_labels=["box"]), weights) == [5.0, 2]
    assert sums(JointMetric("rows", ones, ["box", "age"], needs_labels=False), weights) == [4.0, 4]
    # One weight a pixel: the mean over the pixels that have a label.
    pixels = {"mask": np.array([[[1, 3]], [[2, NAN]], [[NAN, NAN]], [[0, 1]]], "float32")}
    assert sums(JointMetric("rows", images, ["mask"]), pixels) == [2.5, 2]


def test_a_label_outside_of_its_tasks_space_counts_as_missing():
    bound = {**TASKS, "age": Regression("age", where={"face": 1}), "face": BinaryClassification("face")}
    labels = {"age": np.array([1, 2, 3, 4], "float32"), "face": np.array([1, 0, -1, 1], "int32")}
    term = JointMetric("rows", ones, ["age"])
    assert [float(value) for value in term.sums(bound, labels, OUTPUTS)] == [2, 2]


def test_rows_that_are_no_examples_do_not_count():
    labels = {**LABELS, REAL: np.array([True, False, True, False])}
    assert sums(JointMetric("rows", ones, ["age"], needs_labels=False), labels=labels) == [2, 2]


def test_a_row_that_does_not_count_sends_no_gradient_back_however_steep_the_function():
    def logarithm(labels, outputs):
        del labels
        return ops.log(outputs["age"][:, 0])

    # At 0 the slope is infinite, and 0 times that is NaN.
    age = tf.Variable(np.array([[1.0], [4.0], [-1.0], [0.0]], "float32"))
    loss = JointLoss("logarithm", logarithm, ["age"])
    with tf.GradientTape() as tape:
        total, count = loss.sums(TASKS, {"age": LABELS["age"]}, {"age": age + 0.0})
    assert (float(total), float(count)) == (pytest.approx(np.log(4.0)), 2.0)
    np.testing.assert_array_equal(tape.gradient(total, age).numpy()[:, 0], [1.0, 0.25, 0.0, 0.0])


def test_keras_finds_the_logits_behind_a_probability_through_it():
    logits = tf.Variable([[60.0], [-60.0]])
    loss = JointLoss("sure", sure, ["age"])
    with tf.GradientTape() as tape:
        probability = tf.sigmoid(logits)
        probability._keras_logits = logits
        total, _ = loss.sums(TASKS, {"age": np.array([0.0, NAN], "float32")}, {"age": probability})
    assert float(total) == pytest.approx(60.0)
    np.testing.assert_allclose(tape.gradient(total, logits).numpy(), [[1.0], [0.0]])


def sure(labels, outputs):
    """Cross-entropy of being 0; from the probability alone Keras would cut it off at 16."""
    return keras.losses.binary_crossentropy(ops.zeros_like(labels["age"]), outputs["age"])


def test_it_comes_back_from_its_config_with_the_registered_function():
    loss = JointLoss("law", width_by_age, ["age", "box"], weight=0.2, balanced=True, needs_labels=["box"])
    metric = JointMetric("both", both_right, ["species", "alive"], better="max")
    for one in (loss, metric):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(one))
        assert (type(again), again.get_config()) == (type(one), one.get_config())
        assert again.fn is keras.saving.get_registered_object(keras.saving.get_registered_name(one.fn))


def test_a_metric_that_no_row_counted_for_is_nan():
    tracker = JointMetricTracker(["a", "b"])
    tracker.update_state(np.array([1.0, 0.0]), np.array([2.0, 0.0]))
    tracker.update_state(np.array([2.0, 0.0]), np.array([1.0, 0.0]))
    assert [float(value) for value in tracker.result().values()] == [1.0, pytest.approx(NAN, nan_ok=True)]
