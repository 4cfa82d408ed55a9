"""Classes in an order."""

import keras
import numpy as np
import pytest
from keras import ops

from kmtl.losses import group_tasks
from kmtl.tasks import OrdinalRegression
from kmtl.tasks.ordinal_regression import median_rank, rank_error


def built(classes, width=3, link="corn"):
    task = OrdinalRegression("grade", classes, link=link)
    features = keras.Input((width,))
    return task, keras.Model(features, task.head(features))


def test_class_probabilities_are_those_of_the_conditional_questions():
    _, model = built(4)
    rows = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    kernel, bias = (weight.numpy().astype("float64") for weight in model.get_layer("grade_questions").weights)
    answers = 1 / (1 + np.exp(-(rows @ kernel + bias)))
    above = np.cumprod(answers, axis=1)
    expected = -np.diff(np.concatenate([np.ones((5, 1)), above, np.zeros((5, 1))], axis=1), axis=1)
    found = model.predict(rows, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 8])
def test_cumulative_probabilities_and_their_loss_are_those_of_proportional_odds(classes):
    task, model = built(classes, link="cumulative")
    random = np.random.default_rng(3)
    link = model.get_layer("grade_thresholds")
    for weight in model.trainable_weights:
        weight.assign(random.normal(size=weight.shape))
    rows, labels = random.normal(size=(30, 3)).astype("float32"), random.integers(0, classes, 30).astype("int32")
    kernel = model.get_layer("grade_score").kernel.numpy().astype("float64")
    steps = [np.log1p(np.exp(link.steps.numpy().astype("float64")))] if classes > 2 else []
    thresholds = np.cumsum(np.concatenate([link.first.numpy(), *steps]))
    below = 1 / (1 + np.exp(rows @ kernel - thresholds))
    expected = np.diff(np.concatenate([np.zeros((30, 1)), below, np.ones((30, 1))], axis=1), axis=1)
    found = model.predict(rows, verbose=0)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
    (group,) = group_tasks([task], {"grade": task.resolved_loss()}, {})
    sums, _ = group.sums(group.examples({"grade": labels}, {"grade": found}))
    assert float(sums[0]) == pytest.approx(-np.log(expected[np.arange(30), labels]).sum(), rel=1e-4)


def test_thresholds_cannot_change_places_and_survive_the_file(tmp_path):
    _, model = built(6, link="cumulative")
    link = model.get_layer("grade_thresholds")
    assert len(link.trainable_weights) == 2
    link.steps.assign([-90.0, 5.0, -3.0, 40.0])
    assert (np.diff(ops.convert_to_numpy(link.thresholds())) >= 0).all()
    rows = np.random.default_rng(0).normal(size=(4, 3)).astype("float32")
    np.testing.assert_allclose(ops.sum(model(rows), axis=1), 1.0, rtol=1e-5)
    link.divide_logits("grade", 2.0)
    model.save(tmp_path / "model.keras")
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(rows), model(rows))


def test_an_unknown_link_is_refused():
    rule = r"`link` must be one of \['corn', 'cumulative'\], got 'cumulativ'\. Did you mean 'cumulative'\?"
    with pytest.raises(ValueError, match=rule):
        OrdinalRegression("grade", 3, link="cumulativ")


@pytest.mark.parametrize("link", ["corn", "cumulative"])
@pytest.mark.parametrize("classes", [2, 7, 60])
def test_it_starts_from_equal_classes(classes, link):
    _, model = built(classes, link=link)
    np.testing.assert_allclose(model(np.zeros((1, 3), "float32"))[0], np.full(classes, 1 / classes), rtol=1e-4)


@pytest.mark.parametrize("link", ["corn", "cumulative"])
def test_the_loss_pulls_however_wrong_the_prediction_is(link):
    import tensorflow as tf

    task, model = built(5, link=link)
    (group,) = group_tasks([task], {"grade": task.resolved_loss()}, {})
    with tf.GradientTape() as tape:
        outputs = model(1000.0 * tf.ones((1, 3)))
        sums, _ = group.sums(group.examples({"grade": np.array([0])}, {"grade": outputs}))
        other, _ = group.sums(group.examples({"grade": np.array([4])}, {"grade": outputs}))
        worse = tf.maximum(sums[0], other[0])
    assert float(worse) > 50
    gradient = tape.gradient(worse, model.trainable_variables[0])
    assert np.isfinite(gradient).all()
    assert np.abs(gradient).max() > 1


def test_the_median_errs_by_the_fewest_ranks():
    generator = np.random.default_rng(1)
    outputs = generator.dirichlet(np.full(6, 0.4), 200)
    ranks = np.arange(6)
    expected = [(np.abs(ranks[:, None] - ranks[None, :]) * p[None, :]).sum(axis=1).argmin() for p in outputs]
    decided = ops.convert_to_numpy(median_rank(outputs))
    assert decided.tolist() == expected
    # The likeliest class is another one: the decision says something.
    assert (decided != outputs.argmax(axis=1)).sum() > 20
    np.testing.assert_array_equal(rank_error(np.zeros(200), outputs), decided)


def test_names_are_read_and_columns_of_text_become_ranks():
    task = OrdinalRegression("grade", 3, label_names=["poor", "fair", "good"])
    outputs = np.array([[0.4, 0.3, 0.3], [0.1, 0.1, 0.8]], "float32")
    read = task.read(outputs)
    assert ops.convert_to_numpy(read["label"]).tolist() == [b"fair", b"good"]
    np.testing.assert_allclose(read["probability"], [0.3, 0.8])
    assert task.label_codes == {"poor": 0, "fair": 1, "good": 2}
    assert task.describe(np.int32(2), outputs[0]) == "grade good → fair ✗"
    assert task.describe(np.int32(1), outputs[0]) == "grade fair → fair"
