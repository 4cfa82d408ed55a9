"""Small models and data that would show a swap: task names in no order, of unlike kinds and widths."""

import keras
import numpy as np

import kmtl

WIDTH = 6


def tasks():
    """Three kinds, their names in no alphabetical order."""
    return [
        kmtl.Classification("species", classes=4),
        kmtl.BinaryClassification("alive"),
        kmtl.Regression("box", shape=(2,), unit="px"),
        kmtl.Regression("age", unit="years"),
    ]


def examples(count=24, hidden=0.0, seed=0):
    """Inputs and labels, a share of each task's labels missing."""
    generator = np.random.default_rng(seed)
    x = generator.random((count, WIDTH), dtype="float32")
    labels = {
        "species": (4 * x[:, 0]).astype("int32"),
        "alive": (x[:, 1] > 0.5).astype("int32"),
        "box": 30 * x[:, 2:4],
        "age": 40 + 10 * x[:, 4] - 5 * x[:, 5],
    }
    for task in tasks():
        labels[task.name][generator.random(count) < hidden] = task.missing
    return x, labels


def network(dropout=0.0, penalty=0.0):
    """An input and features."""
    image = keras.Input((WIDTH,), name="image")
    regularizer = keras.regularizers.L2(penalty) if penalty else None
    features = keras.layers.Dense(5, activation="tanh", kernel_regularizer=regularizer, name="trunk")(image)
    return image, keras.layers.Dropout(dropout, name="drop")(features) if dropout else features


def build(given=None, seed=3, **options):
    """Heads for the given tasks on a fresh trunk, the same on every call."""
    keras.utils.set_random_seed(seed)
    return kmtl.MultiTaskModel.from_features(*network(**options), tasks() if given is None else given)


def compiled(given=None, optimizer="sgd", network_options=None, **options):
    """The same, compiled."""
    model = build(given, **(network_options or {}))
    model.compile(optimizer, **options)
    return model


def assert_same_weights(left, right, **tolerance):
    """Compares all weights, bit by bit unless a tolerance is given."""
    for one, other in zip(left.get_weights(), right.get_weights(), strict=True):
        if tolerance:
            np.testing.assert_allclose(one, other, **tolerance)
        else:
            np.testing.assert_array_equal(one, other)
