"""Outputs that are logits become probabilities where the user says so."""

import keras
import numpy as np
import pytest
from keras import ops

import kmtl
from kmtl.tasks import is_logits

TASKS = [
    kmtl.Classification("zoo", 3),
    kmtl.MultiLabel("marks", 2),
    kmtl.BinaryClassification("known"),
    kmtl.Regression("age"),
]
X = np.random.default_rng(0).normal(size=(8, 3)).astype("float32")


@pytest.fixture(scope="module")
def plain():
    keras.utils.set_random_seed(1)
    given = keras.Input((3,), name="given")
    widths = {"zoo": 3, "marks": 2, "known": 1, "age": 1}
    ends = {
        name: keras.layers.Dense(width, "sigmoid" if name == "known" else None, name=f"{name}_end")
        for name, width in widths.items()
    }
    return keras.Model(given, {name: end(given) for name, end in ends.items()})


def test_they_get_the_activation_that_the_task_promises(plain, tmp_path):
    model = kmtl.MultiTaskModel.from_model(plain, TASKS, from_logits=True)
    raw, found = plain.predict(X, verbose=0), model.predict(X, verbose=0)
    np.testing.assert_allclose(found["zoo"], ops.softmax(raw["zoo"]), rtol=1e-6)
    np.testing.assert_allclose(found["marks"], ops.sigmoid(raw["marks"]), rtol=1e-6)
    for name in ("known", "age"):
        np.testing.assert_array_equal(found[name], raw[name])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(X, verbose=0)["zoo"], found["zoo"])


def test_the_loss_is_that_of_the_logits_however_large_they_are():
    given = keras.Input((3,), name="given")
    far = keras.Model(given, {"zoo": keras.layers.Rescaling(200.0)(given)})
    assert not is_logits(TASKS[0], far.output["zoo"])
    far = keras.Model(given, {"zoo": keras.layers.Activation("linear")(far.output["zoo"])})
    model = kmtl.MultiTaskModel.from_model(far, TASKS[:1], from_logits=True)
    model.compile("sgd", run_eagerly=True)
    truth = np.arange(8) % 3
    logs = model.test_on_batch(X, {"zoo": truth}, return_dict=True)
    exact = ops.mean(keras.losses.sparse_categorical_crossentropy(truth, 200.0 * X, from_logits=True))
    assert logs["zoo_loss"] == pytest.approx(float(exact), rel=1e-5)
    assert logs["zoo_loss"] > 50


def test_a_cast_behind_a_softmax_is_none_of_the_logits():
    """As Keras advises for mixed precision."""
    given = keras.Input((3,))
    cast = keras.layers.Activation("linear", dtype="float32")
    for end in (keras.layers.Dense(3, "softmax"), keras.layers.Softmax()):
        model = keras.Model(given, {"zoo": cast(end(given))})
        assert kmtl.MultiTaskModel.from_model(model, TASKS[:1]).output["zoo"] is model.output["zoo"]
        with pytest.raises(ValueError, match="from_model: `from_logits` must be left out"):
            kmtl.MultiTaskModel.from_model(model, TASKS[:1], from_logits=True)


def test_what_an_operation_made_is_logits_where_the_user_says_so():
    given = keras.Input((3,))
    model = kmtl.MultiTaskModel.from_model(keras.Model(given, {"zoo": given / 2.0}), TASKS[:1], from_logits=True)
    np.testing.assert_allclose(model.predict(X, verbose=0)["zoo"], ops.softmax(X / 2.0), rtol=1e-6)


def test_a_loss_that_takes_logits_takes_them_and_comes_back_from_a_file(plain, tmp_path):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    tasks = [kmtl.Classification("zoo", 3, loss=loss)]
    model = kmtl.MultiTaskModel(plain.input, {"zoo": plain.output["zoo"]}, tasks=tasks)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(X, verbose=0)["zoo"], model.predict(X, verbose=0)["zoo"])
    with pytest.raises(ValueError, match="needs probabilities of task 'zoo', got logits"):
        kmtl.export.saved_model(again, tmp_path / "served", decode=True)
