"""Outputs that are read: labels and probabilities, values in their unit."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmtl
from kmtl.export import decoding

# Names that would break files, tables and paths if they ever became one.
HOSTILE = ("../../etc/passwd", "line\nbreak", "zażółć 中文 🦆", 'quote"|`<b>', "")


def given(*tasks):
    """A model that shows its inputs as the outputs of tasks."""
    inputs = {task.name: keras.Input((task.units,), name=f"{task.name}_in") for task in tasks}
    outputs = {name: keras.layers.Identity()(tensor) for name, tensor in inputs.items()}
    return kmtl.MultiTaskModel([inputs[task.name] for task in tasks], outputs, tasks=list(tasks))


def read(model, folder, **values):
    """Runs the signature `decoded` of all tasks, and each alone, which must agree."""
    loaded = tf.saved_model.load(str(kmtl.export.saved_model(model, folder, decode=True)))
    inputs = {f"{name}_in": tf.constant(value, tf.float32) for name, value in values.items()}
    found = loaded.signatures["decoded"](**inputs)
    for task in model.tasks:
        for key, alone in loaded.signatures[f"{task}.decoded"](**inputs).items():
            np.testing.assert_array_equal(alone, found[key])
    return {key: value.numpy() for key, value in found.items()}


def test_every_kind_of_task_is_read(tmp_path):
    model = given(
        kmtl.Regression("width"),
        kmtl.Classification("bird", 5, label_names=HOSTILE),
        kmtl.Classification("age", 3),
        kmtl.BinaryClassification("alive", label_names=("no", "yes")),
        kmtl.BinaryClassification("big"),
        kmtl.MultiLabel("marks", 2, label_names=("spot", "stripe")),
        kmtl.MultiLabel("tags", 3),
        kmtl.Regression("place", shape=(2,), unit="px"),
    )
    found = read(
        model,
        tmp_path,
        width=[[7.5], [-2.0]],
        bird=[[0.1, 0.1, 0.6, 0.1, 0.1], [0.4, 0.3, 0.1, 0.1, 0.1]],
        age=[[0.2, 0.3, 0.5], [0.9, 0.05, 0.05]],
        alive=[[0.75], [0.25]],
        big=[[0.5], [0.625]],
        marks=[[0.75, 0.25], [0.5, 0.875]],
        tags=[[0.25, 0.75, 1.0], [0.0, 0.0, 0.0]],
        place=[[1.0, 2.0], [3.0, 4.0]],
    )
    assert [name.decode() for name in found["bird_label"]] == [HOSTILE[2], HOSTILE[0]]
    np.testing.assert_allclose(found["bird_probability"], [0.6, 0.4])
    assert found["age_label"].tolist() == [2, 0]
    assert found["alive_label"].tolist() == [b"yes", b"no"]
    assert found["alive_probability"].tolist() == [0.75, 0.75]
    assert found["big_label"].tolist() == [0, 1]
    assert found["big_probability"].tolist() == [0.5, 0.625]
    assert found["marks_label"].tolist() == [[b"spot", b""], [b"", b"stripe"]]
    assert found["marks_probability"].tolist() == [[0.75, 0.75], [0.5, 0.875]]
    assert found["tags_label"].tolist() == [[0, 1, 1], [0, 0, 0]]
    assert found["width"].tolist() == [7.5, -2.0]
    assert found["place"].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert len(found) == 6 * 2 + 2


def test_what_is_read_agrees_with_keras_accuracy(tmp_path):
    values = np.random.default_rng(2).random((50, 1)).astype("float32")
    found = read(given(kmtl.BinaryClassification("alive")), tmp_path, alive=values)
    metric = keras.metrics.BinaryAccuracy()
    metric.update_state(found["alive_label"][:, None], values)
    assert metric.result() == 1.0


def refused():
    row = keras.Input((3,), name="row")
    logits = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    clash = given(kmtl.Classification("bird", 2), kmtl.Regression("bird_label"))
    taken = given(kmtl.Regression("bird"), kmtl.Regression("bird.decoded"))
    return [
        (keras.Model(row, {"a": row * 2}), "`decode` needs a model that knows its tasks"),
        (clash, "`decode` must give every output its own name, got 'bird_label'"),
        (taken, "`tasks` must leave the names of further signatures free, got 'bird.decoded'"),
        (given(kmtl.Classification("bird", 2, loss=logits)), "needs probabilities of task 'bird', got logits"),
        (given(kmtl.Classification("bird", 2, label_names=("a", "\ud800"))), "label names of task 'bird' in Unicode"),
    ]


def test_what_cannot_be_read_is_told(tmp_path):
    for model, words in refused():
        with pytest.raises(ValueError, match=f"^saved_model: .*{words}"):
            kmtl.export.saved_model(model, tmp_path, decode=True)
        assert list(tmp_path.iterdir()) == []


def test_a_kind_of_the_users_own_is_shown_as_it_is():
    class Ranking(kmtl.Task):
        """Three scores."""

        units = 3
        label_shape = (3,)

    outputs = decoding.decoded({"rank": Ranking("rank")}, {"rank": tf.ones((2, 3))})
    assert {name: values.shape.as_list() for name, values in outputs.items()} == {"rank": [2, 3]}
