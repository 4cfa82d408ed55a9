"""The same data in every form that Keras takes trains the same model."""

import pickle

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from toys import assert_same_weights, compiled, examples, tasks

import kmtl
from kmtl.feeding import InputForm, feed

X, Y = examples(20, hidden=0.3)
WEIGHTS = {"box": np.linspace(0.1, 2.0, 20), "species": np.arange(20) % 3}
SIZE = 8


def parts(*arrays):
    """Batches of arrays in dicts or alone."""
    for start in range(0, 20, SIZE):
        yield keras.tree.map_structure(lambda array, start=start: array[start : start + SIZE], arrays)


class Batches(keras.utils.PyDataset):
    """Batches of arrays, with an end or without, that counts the events of epochs."""

    def __init__(self, *arrays, endless=False):
        super().__init__()
        self.batches, self.endless, self.events = list(parts(*arrays)), endless, []

    @property
    def num_batches(self):
        return None if self.endless else len(self.batches)

    def __getitem__(self, index):
        return self.batches[index % len(self.batches)]

    def on_epoch_begin(self):
        self.events.append("begin")

    def on_epoch_end(self):
        self.events.append("end")


def dataset(*arrays):
    return tf.data.Dataset.from_tensor_slices(arrays).batch(SIZE)


def generator(*arrays):
    while True:
        yield from parts(*arrays)


FORMS = {
    "dataset": lambda *arrays: {"x": dataset(*arrays)},
    "PyDataset": lambda *arrays: {"x": Batches(*arrays)},
    "generator": lambda *arrays: {"x": generator(*arrays), "steps_per_epoch": 3},
}


@pytest.fixture(params=FORMS)
def form(request):
    """Makes `fit`'s arguments of one kind of stream."""
    return FORMS[request.param]


def fitted(epochs=1, options=None, **data):
    """A fresh model trained on the data in its own order."""
    model = compiled(**{"run_eagerly": True, **(options or {})})
    model.fit(batch_size=SIZE, epochs=epochs, shuffle=False, verbose=0, **data)
    return model


@pytest.fixture(scope="module")
def trained():
    """The model that arrays train."""
    return fitted(x=X, y=Y, epochs=2)


@pytest.fixture(scope="module")
def weighed():
    """The model that arrays with sample weights train."""
    return fitted(x=X, y=Y, sample_weight=WEIGHTS)


def test_streams_train_as_arrays_do(form, trained):
    assert_same_weights(trained, fitted(**form(X, Y), epochs=2), rtol=1e-6, atol=1e-7)


def test_sample_weights_in_streams_are_those_beside_arrays(form, weighed):
    assert_same_weights(weighed, fitted(**form(X, Y, WEIGHTS)), rtol=1e-6, atol=1e-7)


def test_frames_train_as_arrays_do(trained):
    x = pd.DataFrame(X, columns=[f"c{place}" for place in range(6)])
    model = fitted(x=x, y={name: pd.Series(value) if value.ndim == 1 else value for name, value in Y.items()}, epochs=2)
    assert_same_weights(trained, model)
    scalars = pd.DataFrame({name: Y[name] for name in ("age", "alive")})
    given = [task for task in tasks() if task.name in scalars]
    frame, arrays = (compiled(given, run_eagerly=True) for _ in range(2))
    frame.fit(X, scalars, shuffle=False, verbose=0)
    arrays.fit(X, {name: Y[name] for name in scalars}, shuffle=False, verbose=0)
    assert_same_weights(frame, arrays)


def test_labels_may_come_in_other_dtypes_and_as_columns(trained):
    wide = {
        "species": tf.constant(Y["species"][:, None], "int64"),
        "alive": Y["alive"].astype("int8").tolist(),
        "box": Y["box"].astype("float64"),
        "age": Y["age"].astype("float64")[:, None],
    }
    assert_same_weights(trained, fitted(x=tf.constant(X), y=wide, epochs=2))
    wide["alive"] = np.array(wide["alive"])
    assert_same_weights(trained, fitted(x=dataset(X, wide), epochs=2))


@pytest.fixture(scope="module")
def one_array():
    """A sample weight, and the model that it trains beside arrays when each task has its own copy."""
    weight = np.linspace(0.0, 1.0, 20)
    return weight, fitted(x=X, y=Y, sample_weight=dict.fromkeys(Y, weight))


def test_one_array_beside_arrays_weighs_every_task(one_array):
    weight, expected = one_array
    assert_same_weights(expected, fitted(x=X, y=Y, sample_weight=weight))


def test_one_array_in_a_stream_weighs_every_task(form, one_array):
    weight, expected = one_array
    assert_same_weights(expected, fitted(**form(X, Y, weight)), rtol=1e-6, atol=1e-7)


SOME = {name: Y[name] for name in ("box", "species")}


def on_some_tasks(**data):
    """A fresh model that has learned its statistics, trained on labels of which keys may be absent."""
    model = compiled(run_eagerly=True)
    model.adapt(X, Y)
    model.fit(batch_size=SIZE, shuffle=False, verbose=0, check=False, **data)
    return model


@pytest.fixture(scope="module")
def filled():
    """The model that arrays train whose other labels are all missing."""
    return on_some_tasks(x=X, y={"alive": np.full(20, -1), "age": np.full(20, np.nan), **SOME})


def test_a_key_absent_from_arrays_is_filled_as_missing(filled):
    assert_same_weights(filled, on_some_tasks(x=X, y=SOME))


def test_a_key_absent_from_a_stream_is_filled_as_missing(form, filled):
    assert_same_weights(filled, on_some_tasks(**form(X, SOME)), rtol=1e-6, atol=1e-7)


def test_a_generators_keys_and_weights_may_come_and_go():
    def varying():
        first, second, third = parts(X, Y)
        yield first
        yield second[0], {"age": second[1]["age"]}, {"age": np.full(SIZE, 3.0)}
        yield third[0], {name: third[1][name] for name in ("box", "alive")}, np.full(4, 0.5)

    y = {name: value.copy() for name, value in Y.items()}
    weights = {name: np.repeat([1.0, 3.0 if name == "age" else 1.0, 0.5], [8, 8, 4]) for name in Y}
    for task in tasks():
        y[task.name][8:16] = y[task.name][8:16] if task.name == "age" else task.missing
        y[task.name][16:] = y[task.name][16:] if task.name in ("box", "alive") else task.missing
    expected = fitted(x=X, y=y, sample_weight=weights)
    assert_same_weights(expected, fitted(x=varying(), steps_per_epoch=3), rtol=1e-6, atol=1e-7)


def two_inputs():
    """A model on a dict of inputs whose order is not that of their names."""
    keras.utils.set_random_seed(3)
    inputs = {"wide": keras.Input((4,), name="wide"), "slim": keras.Input((2,), name="slim")}
    features = keras.layers.Dense(5)(keras.layers.Concatenate()([inputs["slim"], inputs["wide"]]))
    model = kmtl.MultiTaskModel.from_features(inputs, features, tasks())
    model.compile("sgd", run_eagerly=True)
    return model


def test_a_pydataset_hears_of_epochs_and_may_have_no_end(trained):
    stream = Batches(X, Y, endless=True)
    model = fitted(x=stream, steps_per_epoch=3, epochs=2)
    assert_same_weights(trained, model, rtol=1e-6, atol=1e-7)
    assert stream.events.count("begin") == 2


NAMED = {"wide": X[:, 2:], "slim": X[:, :2]}


@pytest.fixture(scope="module")
def named():
    """The model that arrays by name train."""
    model = two_inputs()
    model.fit(NAMED, Y, batch_size=SIZE, shuffle=False, verbose=0)
    return model


def test_a_dict_of_inputs_goes_by_name(form, named):
    model = two_inputs()
    model.fit(**form(dict(reversed(NAMED.items())), Y), shuffle=False, verbose=0)
    assert_same_weights(named, model, rtol=1e-6, atol=1e-7)


def test_evaluation_takes_every_form(form, trained):
    expected = trained.evaluate(X, Y, sample_weight=WEIGHTS, verbose=0, return_dict=True)
    data = form(X, Y, WEIGHTS)
    found = trained.evaluate(data["x"], steps=data.get("steps_per_epoch"), verbose=0, return_dict=True)
    assert found == pytest.approx(expected, rel=1e-5)


def test_streams_travel_to_worker_processes():
    made = feed(Batches(X, Y), None, None, dict.fromkeys(Y), "fit", all_needed=True, form=None)
    assert made.size == 3
    model = compiled()
    whole = feed(Batches(X, Y), None, None, model.tasks, "fit", all_needed=True, form=InputForm.of(model.input))
    x, y, weights = pickle.loads(pickle.dumps(whole.x))[2]
    np.testing.assert_array_equal(x, X[16:])
    np.testing.assert_array_equal(y["box"], Y["box"][16:])
    assert list(weights) == list(model.tasks)
