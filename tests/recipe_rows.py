"""What every recipe is tried on: two tasks with missing labels, a trunk with normalisation, eager steps."""

import keras
import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import kmtl
from kmtl import training

TASKS = [kmtl.Classification("kind", 3), kmtl.Regression("speed")]

TREES = {"kind": DecisionTreeClassifier(max_depth=2), "speed": DecisionTreeRegressor(max_depth=2)}
LINES = {"kind": LogisticRegression(), "speed": LinearRegression()}

# One row a recipe: small settings, and what it costs for two tasks, counted by hand.
RECIPES = {
    "joint": (training.Joint(), 1.0),
    "joint_longer": (training.Joint(epochs=1.5), 1.5),
    "separate": (training.Separate(), 2.0),
    # Two trunks alone, half as long frozen, where they only go forward, and as long tuned.
    "indirect": (training.Indirect(), 2 * (1 + 0.5 / 3 + 0.5)),
    # The joint training, a pass forward over three batches of the six, and one of two epochs tuned.
    "heterogeneous": (training.Heterogeneous(TREES), 1 + 1 / 6 + 0.5),
    "heterogeneous_linear": (training.Heterogeneous(LINES, mix="logistic"), 1 + 1 / 6 + 0.5),
    "indirect_cross_stitch": (training.Indirect("cross_stitch"), 2 * (1 + 0.5 / 3 + 0.5)),
}


def rows(count=24, seed=0):
    """Small images whose brightness tells the speed; a third of each label is missing, another third each."""
    random = np.random.default_rng(seed)
    x = random.random((count, 4, 4, 1)).astype("float32")
    y = {"kind": (x[:, 0, 0, 0] * 3).astype("int32"), "speed": (100 * x.mean((1, 2, 3))).astype("float32")}
    y["kind"][::3] = -1
    y["speed"][1::3] = np.nan
    return x, y


def build(tasks, *, run_eagerly=True):
    image = keras.Input((4, 4, 1), name="image")
    hidden = keras.layers.Dense(5)(keras.layers.Flatten()(image))
    features = keras.layers.Activation("relu")(keras.layers.BatchNormalization(momentum=0.9)(hidden))
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=run_eagerly)
    return model


def train(recipe, **options):
    """Trains a recipe on the rows: two epochs of three batches."""
    given = {"epochs": 2, "batch_size": 8, "verbose": 0, "validation": rows(seed=1), **options}
    return recipe.train(given.pop("build", build), TASKS, given.pop("train", rows()), **given)
