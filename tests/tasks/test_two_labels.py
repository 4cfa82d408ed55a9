"""The exact model of two labels: states, likelihood, marginals; on arrays, and one small model."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmtl
from kmtl.losses import group_tasks
from kmtl.tasks import TwoLabelLikelihood, TwoLabels, TwoLabelStates, marginal_logits
from kmtl.tasks.two_label_states import marginals

RANDOM = np.random.default_rng(8)
PARAMETERS = np.concatenate([2 * RANDOM.normal(size=(40, 3)), [[90, -90, 5], [-90, -80, 200], [0, 0, 0]]])
PARAMETERS = PARAMETERS.astype("float32")
STATES = np.array(list(itertools.product([0, 1], [0, 1])))


def closed_form(parameters):
    """The four probabilities by the formula, in float64."""
    a, b, c = np.float64(parameters).T
    weights = np.stack([np.zeros_like(a), b, a, a + b + c], axis=1)
    logs = weights - np.logaddexp.reduce(weights, axis=1, keepdims=True)
    return np.exp(logs), logs


def losses(labels, parameters):
    return TwoLabelLikelihood().call(tf.constant(labels, tf.float32), TwoLabelStates()(parameters))


def test_four_probabilities_are_the_formulas_and_sum_to_1():
    found = TwoLabelStates()(PARAMETERS).numpy()
    np.testing.assert_allclose(found, closed_form(PARAMETERS)[0], rtol=2e-5, atol=1e-30)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-6)


def test_the_likelihood_of_whole_labels_is_exact_however_unlikely():
    for place, state in enumerate(STATES):
        found = losses(np.tile(state, (len(PARAMETERS), 1)), PARAMETERS).numpy()
        np.testing.assert_allclose(found, -closed_form(PARAMETERS)[1][:, place], rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    ("labels", "states"), [((1, -1), [2, 3]), ((0, -1), [0, 1]), ((-1, 1), [1, 3]), ((-1, -1), [])]
)
def test_a_missing_label_is_summed_out_and_two_have_no_part(labels, states):
    parameters = tf.Variable(PARAMETERS)
    with tf.GradientTape() as tape:
        found = losses(np.tile(labels, (len(PARAMETERS), 1)), parameters)
    logs = closed_form(PARAMETERS)[1][:, states or [0, 1, 2, 3]]
    np.testing.assert_allclose(found, -np.logaddexp.reduce(logs, axis=1), rtol=2e-5, atol=2e-5)
    slopes = tape.gradient(found, parameters).numpy()
    assert np.isfinite(slopes).all()
    assert states or np.abs(slopes).max() < 1e-6


def test_without_coupling_it_is_two_logistic_models_in_values_and_in_gradients():
    labels = RANDOM.integers(-1, 2, (len(PARAMETERS), 2)).astype("float32")
    logits = tf.Variable(PARAMETERS[:, :2])
    with tf.GradientTape(persistent=True) as tape:
        whole = tf.reduce_sum(losses(labels, tf.pad(logits, [(0, 0), (0, 1)])))
        each = tf.nn.sigmoid_cross_entropy_with_logits(tf.maximum(labels, 0.0), logits)
        apart = tf.reduce_sum(tf.where(labels >= 0, each, 0.0))
    assert float(whole) == pytest.approx(float(apart), rel=1e-5)
    slopes = [tape.gradient(value, logits) for value in (whole, apart)]
    np.testing.assert_allclose(*slopes, atol=1e-5)


def test_marginals_are_those_of_the_states_and_their_logits_do_not_overflow():
    states, logs = closed_form(PARAMETERS)
    np.testing.assert_allclose(marginals(states), np.stack([states[:, 2:].sum(1), states[:, 1::2].sum(1)], axis=1))
    odds = marginal_logits(tf.constant(logs, tf.float32)).numpy()
    sure = np.abs(odds) < 20
    np.testing.assert_allclose((1 / (1 + np.exp(-odds)))[sure], marginals(states)[sure], rtol=1e-4)
    assert np.isfinite(odds).all()


def test_the_task_counts_rows_with_some_label_and_its_metric_counts_labels():
    task = TwoLabels("order", metrics=["accuracy"])
    outputs = np.array([[0.1, 0.2, 0.3, 0.4]] * 4, "float32")
    labels = np.array([[1, 0], [-1, 1], [-1, -1], [0, -1]], "int32")
    (group,) = group_tasks([task], {"order": task.resolved_loss()}, {})
    seen = group.examples({"order": labels}, {"order": outputs})
    sums, counts = group.sums(seen)
    assert float(counts[0]) == 3
    assert float(sums[0]) == pytest.approx(-np.log(0.3 * 0.6 * 0.3), rel=1e-5)
    row = kmtl.metrics.masked.Reported(task, "order_accuracy", "accuracy", False)
    metric = kmtl.metrics.masked.TaskMetrics([group], [row])
    metric.update_state([seen])
    # Both marginals are above a half: right in the first, wrong in the second, right in the third, wrong in the last.
    assert float(metric.result()["order_accuracy"]) == 0.5


def test_it_reads_as_two_labels_and_comes_back_from_its_config():
    task = TwoLabels("order", label_names=["clicked", "bought"], threshold=(0.5, 0.65), hidden=3)
    outputs = np.array([[0.1, 0.2, 0.3, 0.4]], "float32")
    assert task.decide(outputs).numpy().tolist() == [[1, 0]]
    read = task.read(outputs)
    assert read["label"].numpy().tolist() == [[b"clicked", b""]]
    np.testing.assert_allclose(read["probability"], [[0.7, 0.4]], rtol=1e-6)
    np.testing.assert_allclose(task.class_probabilities(outputs), [[[0.3, 0.7], [0.4, 0.6]]], rtol=1e-6)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(task))
    assert (type(again), again) == (TwoLabels, task)
    assert task.label_columns(["clicked", "bought"]) == ["clicked", "bought"]
    assert task.constant_outputs(np.array([[0, 0], [1, 1], [1, 1], [1, -1]]))[0].tolist() == [1 / 3, 0, 0, 2 / 3]
    with pytest.raises(ValueError, match=r"TwoLabels\('order'\): `loss` must be left out: it is the exact likelihood"):
        TwoLabels("order", loss="mse")


def test_its_own_head_says_what_independent_heads_cannot():
    x = keras.Input((1,), name="x")
    model = kmtl.MultiTaskModel.from_features(x, x, [TwoLabels("order")])
    model.compile("sgd", run_eagerly=True)
    model.get_layer("order_parameters").bias.assign([-20.0, -20.0, 40.0])
    rows, labels = np.zeros((8, 1), "float32"), np.array([[0, 0]] * 4 + [[1, 1]] * 4)
    # Two fair coins that always agree lose log 2; independent ones log 4.
    found = model.test_on_batch(rows, {"order": labels}, return_dict=True)
    assert found["order_loss"] == pytest.approx(np.log(2), rel=1e-5)
