"""What a user gets wrong, as a table: refused before the first step, in one form, all offenders at once."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from keras import ops

import kmtl

N = 12
X = np.random.default_rng(0).random((N, 6), dtype="float32")
Y = {"species": np.arange(N) % 4, "alive": np.arange(N) % 2, "box": X[:, :2] * 30, "age": X[:, 0] + 40}
NAN = np.where(np.arange(N)[:, None] == 3, np.nan, X).astype("float32")


def tasks():
    """Four kinds, their names in no alphabetical order."""
    return [
        kmtl.Classification("species", classes=4),
        kmtl.BinaryClassification("alive"),
        kmtl.Regression("box", shape=(2,), unit="px"),
        kmtl.Regression("age", unit="years"),
    ]


def labels(**changes):
    """Good labels but for the changes; None takes a task out."""
    return {name: value for name, value in {**Y, **changes}.items() if value is not None}


def dataset(y=None, x=X, weights=None, batch=5):
    """The same as tf.data."""
    parts = (x, labels() if y is None else y) if weights is None else (x, labels() if y is None else y, weights)
    return tf.data.Dataset.from_tensor_slices(parts).batch(batch)


class Batches(keras.utils.PyDataset):
    """The same as a PyDataset, with an end or without."""

    def __init__(self, batch, count: int | None = 2):
        super().__init__()
        self.batch, self.count = batch, count

    @property
    def num_batches(self):
        return self.count

    def __getitem__(self, index):
        return self.batch


def network():
    image = keras.Input((6,), name="image")
    return image, keras.layers.Dense(3, activation="relu", name="trunk")(image)


def build(given):
    """Heads for the given tasks on a fresh trunk."""
    return kmtl.MultiTaskModel.from_features(*network(), given)


def outputs(given):
    """A dict of outputs by name and width, on a fresh trunk, and the tasks."""
    image, features = network()
    made = {name: keras.layers.Dense(width, name=f"{name}_out")(features) for name, width in given.items()}
    return kmtl.MultiTaskModel(image, made, tasks=[kmtl.Classification("species", 4), kmtl.Regression("age")])


def unconnected():
    image, features = network()
    elsewhere = keras.layers.Dense(4)(keras.Input((2,), name="elsewhere"))
    made = {"species": elsewhere, "age": keras.layers.Dense(1)(features)}
    return kmtl.MultiTaskModel(image, made, tasks=[kmtl.Classification("species", 4), kmtl.Regression("age")])


def frozen():
    model = build(tasks())
    model.get_layer("trunk").trainable = False
    model.compile(balancer="pcgrad")


def compiled(given=None, **options):
    model = build(given or tasks())
    model.compile("sgd", **options)
    return model


class Case(NamedTuple):
    """One mistake.

    Attributes:
        name: What is wrong.
        act: Makes the mistake, on a compiled model or not.
        error: Exactly this type is raised.
        says: What the message must hold: the argument, the task, the value, the way out.
    """

    name: str
    act: Callable[[Any], Any]
    error: type[Exception]
    says: tuple[str, ...]


BUILDING = [
    ("twin tasks", lambda _: build([*tasks(), kmtl.Regression("age")]), ValueError, ("`tasks`", "twice", "'age'")),
    ("illegal name", lambda _: kmtl.Regression("my age"), ValueError, ("`name`", "'my age'", "letters")),
    ("name with a slash", lambda _: kmtl.Regression("a/b"), ValueError, ("`name`", "'a/b'", "letters")),
    ("reserved name", lambda _: kmtl.Regression("loss"), ValueError, ("`name`", "reserved", "'loss'")),
    ("no name", lambda _: kmtl.Regression(""), ValueError, ("`name`", "''", "letter")),
    ("no tasks", lambda _: build([]), ValueError, ("`tasks`", "empty")),
    ("dict of tasks", lambda _: build({"age": kmtl.Regression("age")}), TypeError, ("`tasks`", "list", "dict")),
    ("one bare task", lambda _: build(kmtl.Regression("age")), TypeError, ("`tasks`", "list", "Regression")),
    ("names for tasks", lambda _: build(["species"]), ValueError, ("`tasks`", "'species'", "kmtl.Classification")),
    ("one class", lambda _: kmtl.Classification("species", 1), ValueError, ("Classification('species')", "`classes`", "2")),
    (
        "output and task that do not meet",
        lambda _: outputs({"specie": 4, "age": 1}),
        ValueError,
        ("`outputs`", "none for", "'specie'", "Did you mean 'species'?", "`tasks`", "Did you mean 'specie'?"),
    ),
    ("task without output", lambda _: outputs({"age": 1}), ValueError, ("`tasks`", "none for", "'species'")),
    ("output too wide", lambda _: outputs({"species": 7, "age": 1}), ValueError, ("'species'", "(batch, 4)", "(None, 7)")),
    ("unconnected head", lambda _: unconnected(), ValueError, ("`outputs`", "depend on the inputs", "species")),
    (
        "list of outputs",
        lambda _: kmtl.MultiTaskModel.from_model(keras.Model(network()[0], [network()[1]] * 0 or network()), tasks()),
        ValueError,
        ("`outputs`", "dict"),
    ),
]
