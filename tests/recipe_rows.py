"""What every recipe is tried on: two tasks with missing labels, a trunk with normalisation, eager steps."""

import keras
import numpy as np

import kmtl
from kmtl import training

TASKS = [kmtl.Classification("kind", 3), kmtl.Regression("speed")]

# One row a recipe: small settings, and what it costs for two tasks, counted by hand.
RECIPES = {
    "bagging": (training.Bagging(members=2), 2.0),
    "output_sum": (training.OutputSum(factors=(1.0, 0.5)), 2.0),
    "label_concat": (training.LabelFusion("concat"), 1.0),
    "label_powerset": (training.LabelFusion("powerset"), 1.0),
    "joint": (training.Joint(), 1.0),
    "joint_longer": (training.Joint(epochs=1.5), 1.5),
    "separate": (training.Separate(), 2.0),
    # Without each of two folds 2 of 3 batches, and 2 held out that go forward, of 2 epochs; then all rows.
    "stacking": (training.Stacking(folds=2, base=training.Joint()), 2 * (2 / 3 + 2 / 3 / 6) + 1.0),
    # Of each member a third of a pass to see where it errs, of 2 epochs.
    "boosting": (training.Boosting(members=2), 2 * (1 + 1 / 6)),
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
