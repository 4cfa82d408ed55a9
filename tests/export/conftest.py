"""Models whose names and shapes would show a swap: task names out of order, unlike the layers', of unlike widths."""

import keras
import numpy as np
import pytest

import kmtl.export


def compiled_and_trained(model, samples, widths):
    model.compile("adam", loss=dict.fromkeys(widths, "mse"))
    labels = {task: np.full((len(samples["extra"]), width), 0.5, "float32") for task, width in widths.items()}
    model.fit(samples, labels, epochs=2, batch_size=4, verbose=0)
    return model


@pytest.fixture(scope="session")
def samples():
    generator = np.random.default_rng(5)
    return {
        "photo-1.x": generator.random((6, 8, 8, 1), "float32"),
        "extra": generator.random((6, 3), "float32"),
    }


@pytest.fixture(scope="session")
def model(samples):
    """Two inputs, three tasks, batch normalisation and dropout, trained a little, so that training state exists."""
    keras.utils.set_random_seed(1)
    photo, extra = keras.Input((8, 8, 1), name="photo-1.x"), keras.Input((3,), name="extra")
    hidden = keras.layers.Conv2D(16, 3)(photo)
    hidden = keras.layers.BatchNormalization(momentum=0.5)(hidden)
    hidden = keras.layers.Dropout(0.5)(keras.layers.Flatten()(hidden))
    hidden = keras.layers.Dense(300, activation="relu")(keras.layers.Concatenate()([hidden, extra]))
    outputs = {
        "species": keras.layers.Dense(3, activation="softmax", name="z_head")(hidden),
        "age-1.y": keras.layers.Dense(1, name="species_")(hidden),
        "area": keras.layers.Dense(2, name="a_head")(hidden),
    }
    widths = {"species": 3, "age-1.y": 1, "area": 2}
    return compiled_and_trained(keras.Model([photo, extra], outputs), samples, widths)


@pytest.fixture(scope="session")
def exported(model, tmp_path_factory):
    return kmtl.export.saved_model(model, tmp_path_factory.mktemp("saved") / "pets")


@pytest.fixture
def small():
    """Two tasks of one width, so that only values tell them apart."""
    keras.utils.set_random_seed(2)
    row = keras.Input((4,), name="row")
    outputs = {"width": keras.layers.Dense(2, name="one")(row), "depth": keras.layers.Dense(2, name="two")(row)}
    return keras.Model(row, outputs)


@pytest.fixture
def rows():
    return np.random.default_rng(6).normal(size=(5, 4)).astype("float32")
