"""A small model with one task of a kind and a companion, and data for it; and the kinds' metrics by NumPy."""

import zlib

import keras
import numpy as np
import scipy.special
from detections import average_precision
from kinds import KINDS

import kmtl

# One row of the table a class of kmtl's.
NAMES = ["classification", "binary", "multilabel", "vector", "ordinal", "segmentation", "dense_regression"]
NAMES += ["tagging", "detection", "poisson", "quantiles", "heteroscedastic"]
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
    every = {
        "map": [fine, features],
        "sequence": keras.layers.Reshape((4, -1))(features),
        "vector": keras.layers.GlobalAveragePooling2D()(features),
    }
    model = kmtl.MultiTaskModel.from_features(image, every, [task, kmtl.Regression("ant")])
    model.compile(
        optimizer, balancer=balancer, run_eagerly=run_eagerly, weighted_metrics={"zebra": list(task.default_metrics)}
    )
    return model


def pinball(truth, quantiles):
    """The mean over the quantiles."""
    levels = enumerate((0.05, 0.5, 0.95))
    return np.mean(
        [np.maximum(t * (truth - q), (t - 1) * (truth - q)) for p, t in levels for q in [quantiles[:, p]]], 0
    )


def crps(truth, normal):
    """The integral over all thresholds of the squared error of the probability to be below."""
    steps = np.linspace(-12, 12, 20001)
    at = normal[:, :1] + normal[:, 1:] * steps
    return np.trapezoid((scipy.special.ndtr(steps) - (at >= truth[:, None])) ** 2, at, axis=1)


#: A score a label, by kind and metric, of labels and outputs that are there.
SCORES = {
    "poisson": {
        "mae": lambda truth, rates: np.abs(truth - rates[:, 0]),
        "poisson_deviance": lambda truth, rates: (
            2 * (scipy.special.xlogy(truth, truth / rates[:, 0]) - truth + rates[:, 0])
        ),
    },
    "quantiles": {"pinball": pinball, "mae": lambda truth, quantiles: np.abs(truth - quantiles[:, 1])},
    "heteroscedastic": {"crps": crps, "mae": lambda truth, normal: np.abs(truth - normal[:, 0])},
}


def by_numpy(task, labels, outputs, weights=None):
    """The kind's own metrics over what is labelled."""
    if task.kind == "detection":
        rows = np.flatnonzero(~np.isnan(labels[:, 0, 0]))
        each = np.ones(len(labels)) if weights is None else weights
        return {"map50": average_precision(task, labels[rows], outputs[rows], each[rows])}
    there = ~np.isnan(labels) if labels.dtype.kind == "f" else labels >= 0
    weight = np.ones(len(labels)) if weights is None else weights
    weight = np.broadcast_to(weight.reshape(-1, *[1] * (labels.ndim - 1)), labels.shape)[there]
    if task.kind == "dense_regression":
        return of_pixels(labels[there], outputs.reshape(labels.shape)[there], weight)
    if task.kind == "regression":
        return {"mae": np.average(np.abs(labels - outputs)[there], weights=weight)}
    if task.kind in SCORES:
        truth, given = labels[there].astype("float64"), outputs[there].astype("float64")
        return {name: np.average(score(truth, given), weights=weight) for name, score in SCORES[task.kind].items()}
    if task.kind == "tagging":
        right = (labels == outputs.argmax(axis=-1))[there]
        return {"accuracy": np.average(right, weights=weight), "span_f1": span_f1(task, labels, outputs, weights)}
    return of_decisions(task, labels[there], decided(task, labels, outputs)[there], weight)


def of_pixels(truth, guess, weight):
    """Metrics of numbers a pixel; the relative ones where the label is above 0."""
    errors, above = np.abs(truth - guess), truth > 0
    truth, guess, share = truth[above], guess[above], weight[above]
    near = (guess > 0) & (np.maximum(guess / truth, truth / guess) < 1.25)
    return {
        "mae": np.average(errors, weights=weight),
        "rmse": np.sqrt(np.average(errors**2, weights=weight)),
        "abs_rel": np.average(errors[above] / truth, weights=share),
        "delta_1": np.average(near, weights=share),
    }


def decided(task, labels, outputs):
    """The class of each element of the labels."""
    if task.kind in ("binary", "multilabel"):
        return outputs.reshape(labels.shape) > 0.5
    if task.kind == "ordinal":
        return (np.cumsum(outputs, axis=1)[:, :-1] < 0.5).sum(axis=1)
    return outputs.argmax(axis=-1)


def of_decisions(task, truth, guess, weight):
    """Metrics of classes that are decided."""
    values = {"accuracy": np.average(truth == guess, weights=weight)}
    if task.kind == "ordinal":
        values["mae"] = np.average(np.abs(truth - guess), weights=weight)
    if task.kind == "segmentation":
        both = [weight[(truth == c) & (guess == c)].sum() for c in range(task.classes)]
        either = [weight[(truth == c) | (guess == c)].sum() for c in range(task.classes)]
        values["mean_iou"] = np.mean([b / e for b, e in zip(both, either, strict=True) if e > 0])
    return values


def span_f1(task, labels, outputs, weights=None):
    """F1 of entities as sets, each weighing what its example does, of the decided tags at the labelled tokens."""
    decided = keras.ops.convert_to_numpy(task.decide(outputs))
    both = true = guessed = 0.0
    for row, (label, guess) in enumerate(zip(labels, decided, strict=True)):
        weight = 1.0 if weights is None else float(weights[row])
        sets = [entities([task.class_name(int(tag)) for tag in tags[label >= 0]]) for tags in (label, guess)]
        both += weight * len(sets[0] & sets[1])
        true, guessed = true + weight * len(sets[0]), guessed + weight * len(sets[1])
    return 2 * both / max(true + guessed, 1e-9)


def entities(tags):
    """The entities of one sequence, by the CoNLL evaluation's two questions at every token: does one start, or go on?

    `(type, first token, last token)` each.
    """
    found, start = set(), None
    for place, tag in enumerate([*tags, "O"]):
        letter, _, kind = tag.partition("-")
        goes_on = start is not None and letter == "I" and kind == start[0]
        if start is not None and not goes_on:
            found.add((*start, place - 1))
            start = None
        if letter in "BI" and not goes_on:
            start = (kind, place)
    return found
