"""A small model with one task of a kind and a companion, and data for it; and the kinds' metrics by NumPy."""

import zlib

import keras
import numpy as np
from kinds import KINDS

import kmtl

# One row of the table a class of kmtl's.
NAMES = ["classification", "binary", "multilabel", "vector", "ordinal", "segmentation", "dense_regression"]
COUNT = 16


def examples(name):
    """Images, labels of which a third is missing, and sample weights."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    kind = KINDS[name]
    x = generator.random((COUNT, 4, 4, 1), dtype="float32")
    labels = kind.draw(generator, COUNT)
    labels[generator.permutation(COUNT)[: COUNT // 3]] = kind.make("zebra").missing
    if kind.parts:
        labels[generator.random(labels.shape) < 0.2] = kind.make("zebra").missing
    companion = generator.normal(size=COUNT).astype("float32")
    companion[::5] = np.nan
    weights = {key: generator.uniform(0.5, 2.0, COUNT).astype("float32") for key in ("zebra", "ant")}
    return x, {"zebra": labels, "ant": companion}, weights


def compiled(name, *, balancer="equal", optimizer="adam", run_eagerly=True):
    """The model, the same on every call."""
    keras.utils.set_random_seed(7)
    task = KINDS[name].make("zebra")
    image = keras.Input((4, 4, 1), name="image")
    fine = keras.layers.Conv2D(2, 3, padding="same", activation="tanh", name="fine")(image)
    features = keras.layers.Conv2D(3, 3, strides=2, padding="same", activation="tanh", name="trunk")(fine)
    both = {"map": [fine, features], "vector": keras.layers.GlobalAveragePooling2D()(features)}
    model = kmtl.MultiTaskModel.from_features(image, both, [task, kmtl.Regression("ant")])
    model.compile(
        optimizer, balancer=balancer, run_eagerly=run_eagerly, weighted_metrics={"zebra": list(task.default_metrics)}
    )
    return model


def by_numpy(task, labels, outputs, weights=None):
    """The kind's own metrics over what is labelled."""
    there = ~np.isnan(labels) if labels.dtype.kind == "f" else labels >= 0
    weight = np.ones(len(labels)) if weights is None else weights
    weight = np.broadcast_to(weight.reshape(-1, *[1] * (labels.ndim - 1)), labels.shape)[there]
    if task.kind == "dense_regression":
        truth, guess = labels[there], outputs.reshape(labels.shape)[there]
        errors, above = np.abs(truth - guess), truth > 0
        truth, guess, share = truth[above], guess[above], weight[above]
        near = (guess > 0) & (np.maximum(guess / truth, truth / guess) < 1.25)
        return {
            "mae": np.average(errors, weights=weight),
            "rmse": np.sqrt(np.average(errors**2, weights=weight)),
            "abs_rel": np.average(errors[above] / truth, weights=share),
            "delta_1": np.average(near, weights=share),
        }
    if task.kind == "regression":
        return {"mae": np.average(np.abs(labels - outputs)[there], weights=weight)}
    if task.kind in ("binary", "multilabel"):
        decided = outputs.reshape(labels.shape) > 0.5
    elif task.kind == "ordinal":
        decided = (np.cumsum(outputs, axis=1)[:, :-1] < 0.5).sum(axis=1)
    else:
        decided = outputs.argmax(axis=-1)
    truth, guess = labels[there], decided[there]
    values = {"accuracy": np.average(truth == guess, weights=weight)}
    if task.kind == "ordinal":
        values["mae"] = np.average(np.abs(truth - guess), weights=weight)
    if task.kind == "segmentation":
        both = [weight[(truth == c) & (guess == c)].sum() for c in range(task.classes)]
        either = [weight[(truth == c) | (guess == c)].sum() for c in range(task.classes)]
        values["mean_iou"] = np.mean([b / e for b, e in zip(both, either, strict=True) if e > 0])
    return values
