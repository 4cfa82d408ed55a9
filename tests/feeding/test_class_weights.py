"""Class weights by task, which Keras refuses, are the sample weights they stand for."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight
from toys import assert_same_weights, compiled, examples

import kmtl

X, Y = examples(20, hidden=0.2)
TABLE = {0: 0.25, 2: np.float32(3.0), np.int64(3): 2}
BY_HAND = np.array([0.25, 1.0, 3.0, 2.0, 1.0])[Y["species"]]
GIVEN = [kmtl.Regression("age"), kmtl.BinaryClassification("alive"), kmtl.Classification("species", 4)]
LABELS = {task.name: Y[task.name] for task in GIVEN}


def balanced(name):
    """Scikit-learn's balanced weight of each example; 1 where the label is missing."""
    found = Y[name][Y[name] >= 0]
    classes = np.unique(found)
    weights = dict(zip(classes, compute_class_weight("balanced", classes=classes, y=found), strict=True))
    return np.array([weights.get(label, 1.0) for label in Y[name]])


def dataset(*extra):
    return tf.data.Dataset.from_tensor_slices((X, LABELS, *extra)).batch(8)


def fitted(x=X, y=LABELS, given=GIVEN, **options):
    model = compiled(given, run_eagerly=True)
    model.fit(x, y, batch_size=8, shuffle=False, verbose=0, **options)
    return model


def batch(place):
    rows = slice(8 * place, 8 * place + 8)
    return X[rows], {name: value[rows] for name, value in LABELS.items()}


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, index):
        return batch(index)


@pytest.fixture(scope="module")
def expected():
    """By hand: what the table and the balance stand for."""
    return fitted(sample_weight={"species": BY_HAND, "alive": balanced("alive")})


WANTED = {"species": TABLE, "alive": "balanced"}


def test_of_arrays(expected):
    assert_same_weights(expected, fitted(class_weight=WANTED), rtol=1e-6, atol=1e-7)


@pytest.mark.long
def test_of_a_dataset(expected):
    assert_same_weights(expected, fitted(dataset(), None, class_weight=WANTED), rtol=1e-6, atol=1e-7)


def test_of_python_streams(expected):
    for stream in (map(batch, range(3)), Batches()):
        model = fitted(stream, None, class_weight=WANTED, steps_per_epoch=3)
        assert_same_weights(expected, model, rtol=1e-6, atol=1e-7)


def test_declared_on_the_tasks(expected):
    declared = [
        kmtl.Regression("age"),
        kmtl.BinaryClassification("alive", class_weight="balanced"),
        kmtl.Classification("species", 4, class_weight={0: 0.25, 2: 3.0, 3: 2.0}),
    ]
    assert_same_weights(expected, fitted(given=declared), rtol=1e-6, atol=1e-7)
    even = {"species": {0: 1.0}, "alive": {0: 1.0}}
    assert_same_weights(fitted(), fitted(given=declared, class_weight=even), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("form", ["arrays", "dataset"])
def test_they_multiply_sample_weights(form):
    weights = {"species": np.linspace(0.0, 2.0, 20), "age": np.arange(20)}
    by_hand = fitted(sample_weight={**weights, "species": weights["species"] * BY_HAND})
    options = {"class_weight": {"species": TABLE}}
    data = {"sample_weight": weights} if form == "arrays" else {"x": dataset(weights), "y": None}
    assert_same_weights(by_hand, fitted(**data, **options), rtol=1e-6, atol=1e-7)


def test_validation_is_not_class_weighted():
    model = compiled(GIVEN)
    options = {"batch_size": 4, "shuffle": False, "verbose": 0, "validation_split": 0.4}
    logs = model.fit(X, LABELS, class_weight={"species": {0: 50.0, 1: 50.0, 2: 50.0}}, **options).history
    tail = {name: value[12:] for name, value in LABELS.items()}
    found = model.evaluate(X[12:], tail, batch_size=4, verbose=0, return_dict=True)
    assert {key: logs[f"val_{key}"][0] for key in found} == pytest.approx(found, rel=1e-5)


def test_weighted_metrics_see_them_and_others_do_not():
    model = compiled(GIVEN, weighted_metrics={"species": ["accuracy"]}, optimizer="sgd")
    model.adapt(X, LABELS)
    table = {0: 0.0, 1: 1.0, 2: 5.0, 3: 0.5}
    options = {"class_weight": {"species": table}, "return_dict": True}
    logs = model.train_on_batch(X, LABELS, **options)
    correct = compiled(GIVEN).predict(X, verbose=0)["species"].argmax(axis=1) == Y["species"]
    weight = np.array([table.get(label, 0.0) for label in Y["species"]])
    assert logs["species_accuracy"] == pytest.approx(correct[Y["species"] >= 0].mean())
    assert logs["species_weighted_accuracy"] == pytest.approx((correct * weight).sum() / weight.sum())
