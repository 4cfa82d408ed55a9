"""What every recipe is tried on: two tasks with missing labels, a trunk with normalisation, eager steps."""

import keras
import numpy as np
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

import kmtl
from kmtl import training

TASKS = [kmtl.Classification("kind", 3), kmtl.Regression("speed")]

UNLABELLED = np.random.default_rng(2).random((16, 4, 4, 1)).astype("float32")


def left(image):
    """The left half of an image."""
    return keras.ops.pad(image[:, :, :2], ((0, 0), (0, 0), (0, 2), (0, 0)))


def right(image):
    """The right half of an image."""
    return keras.ops.pad(image[:, :, 2:], ((0, 0), (0, 0), (2, 0), (0, 0)))


TREES = {"kind": DecisionTreeClassifier(max_depth=2), "speed": DecisionTreeRegressor(max_depth=2)}
LINES = {"kind": LogisticRegression(), "speed": LinearRegression()}

# One row a recipe: small settings, and what it costs for two tasks, counted by hand.
RECIPES = {
    "alternating": (training.Alternating(), 1.0),
    "alternating_own": (training.Alternating("annealed", optimizer="own"), 1.0),
    "bagging": (training.Bagging(members=2), 2.0),
    "output_sum": (training.OutputSum(factors=(1.0, 0.5)), 2.0),
    "label_concat": (training.LabelFusion("concat"), 1.0),
    "label_powerset": (training.LabelFusion("powerset"), 1.0),
    "grouped": (training.Grouped([["kind"], ["speed"]]), 2.0),
    "grouped_overlapping": (training.Grouped([["kind", "speed"], ["speed"]], {"speed": 1}), 2.0),
    "joint": (training.Joint(), 1.0),
    "joint_longer": (training.Joint(epochs=1.5), 1.5),
    "message_passing": (training.MessagePassing(every=2), 2.0),
    "message_passing_mean": (training.MessagePassing("labels", every=1, trunk="mean"), 2.0),
    "separate": (training.Separate(), 2.0),
    # Without each of two folds 2 of 3 batches, and 2 held out that go forward, of 2 epochs; then all rows.
    "stacking": (training.Stacking(folds=2, base=training.Joint()), 2 * (2 / 3 + 2 / 3 / 6) + 1.0),
    # Of each member a third of a pass to see where it errs, of 2 epochs.
    "boosting": (training.Boosting(members=2), 2 * (1 + 1 / 6)),
    # Two views, each trained before and after the one time that both look at all rows for labels.
    "co_training": (training.CoTraining((left, right), rounds=1), 2 * 2 + 2 / 3 / 2),
    # Two trunks alone, half as long frozen, where they only go forward, and as long tuned.
    "indirect": (training.Indirect(), 2 * (1 + 0.5 / 3 + 0.5)),
    # The joint training, a pass forward over three batches of the six, and one of two epochs tuned.
    "heterogeneous": (training.Heterogeneous(TREES), 1 + 1 / 6 + 0.5),
    "heterogeneous_linear": (training.Heterogeneous(LINES, mix="logistic"), 1 + 1 / 6 + 0.5),
    # A joint training and half of one a task; heads go forward together.
    "tuned": (training.FineTuned(), 2.0),
    "tuned_heads": (training.FineTuned(how="head"), 1.0 + 0.5 / 3),
    "tuned_adapters": (training.FineTuned(how="adapters", rate=1.0), 2.0),
    "tuned_adapters_stay": (training.FineTuned(tasks=["speed"], how="adapters", fold=False, rank=2), 1.5),
    # As before; and half as long in two views of two trunks each, or through a decoder.
    "indirect_views": (training.Indirect("cross_stitch", tune="views"), 2 * (1 + 0.5 / 3 + 0.5) + 0.5 * 2 * 2),
    "indirect_denoised": (training.Indirect(tune="denoise", augment=0.1), 2 * (1 + 0.5 / 3 + 0.5) + 0.5 * 2),
    # Two teachers; the student, and both teachers forward.
    "distilled": (training.Distilled(), 2.0 + 1.0 + 2 / 3),
    # A batch as it is and as a strong view, forward and backward, and as a weak view, forward; twice the rows.
    "fixmatch": (training.SemiSupervised(unlabelled=UNLABELLED, threshold=0.4), 2 * 7 / 3),
    "mean_teacher": (training.SemiSupervised("mean_teacher", weight=3.0), 7 / 3),
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
    """Trains a recipe on the rows: two epochs of three batches, and one batch to validate on."""
    given = {"epochs": 2, "batch_size": 8, "verbose": 0, "validation": rows(8, seed=1), **options}
    return recipe.train(given.pop("build", build), TASKS, given.pop("train", rows()), **given)


class Killed(BaseException):
    """What no code of kmtl catches, as a kill."""


def train_killed(recipe, folder, *, epoch, **options):
    """Trains a recipe that is killed at the end of an epoch of its first stage, and goes on from its last backup."""

    def kill(number, logs):
        del logs
        if number + 1 == epoch:
            raise Killed

    try:
        train(recipe, folder=folder, callbacks=lambda: [keras.callbacks.LambdaCallback(on_epoch_end=kill)], **options)
    except Killed:
        return train(recipe, folder=folder, **options)
    raise AssertionError("it was not killed")
