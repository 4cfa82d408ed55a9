"""A model of three tasks on a photo and a row of numbers, to be served in every form that there is."""

import keras
import numpy as np
from states import with_scales

import kmtl
import kmtl.export


def tasks():
    """Names in no alphabetical order; one label name is in another script."""
    return [
        kmtl.Classification("species", 3, label_names=["cat", "dog", "лиса"]),
        kmtl.Regression("age-1.y", unit="years"),
        kmtl.Regression("box", shape=(4,)),
    ]


def model(seed=4):
    """The same weights for the same seed."""
    keras.utils.set_random_seed(seed)
    photo, extra = keras.Input((6, 6, 3), name="photo"), keras.Input((2,), name="extra-1.x")
    hidden = keras.layers.Concatenate()([keras.layers.Flatten()(photo), extra])
    features = keras.layers.Dense(8, activation="tanh")(hidden)
    return with_scales(kmtl.MultiTaskModel.from_features([photo, extra], features, tasks()))


def samples(count=3):
    """Photos whose values a PNG file holds exactly."""
    generator = np.random.default_rng(7)
    photos = generator.integers(0, 256, (count, 6, 6, 3)).astype("float32") / 255
    return {"photo": photos, "extra-1.x": generator.random((count, 2), "float32")}


def exported(folder, seed=4):
    """A version with every signature and warm-up requests."""
    given = {"decode": True, "images": kmtl.export.Images(), "warmup": samples()}
    return kmtl.export.saved_model(model(seed), folder, **given)
