"""The table of task kinds that every test of tasks, losses and metrics runs over."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from detections import draw_labels, modern_loss

from kmtl.tasks import (
    BinaryClassification,
    Classification,
    DenseRegression,
    Detection,
    HeteroscedasticRegression,
    MultiLabel,
    OrdinalRegression,
    PoissonRegression,
    QuantileRegression,
    Regression,
    Relation,
    Segmentation,
    Tagging,
    Task,
    TwoLabels,
)
from kmtl.tasks.combinations import Combination


class Kind(NamedTuple):
    """A kind of task, with its loss spelled out a second time.

    Attributes:
        make: Makes the task from a name and options.
        draw: Draws `n` labels, none missing.
        rows: Losses of fully labelled examples in plain TensorFlow, `(n, elements)`; an example's loss is their mean.
        parts: Whether single elements of a label may be missing.
        linear: Whether the head is one dense layer with an activation, and alike losses go through one call.
    """

    make: Callable[..., Task]
    draw: Callable[[np.random.Generator, int], np.ndarray]
    rows: Callable[[Any, Any], Any]
    parts: bool = False
    linear: bool = True


def _cross_entropy(labels, predictions):
    return -tf.math.log(tf.gather(predictions, tf.cast(labels, tf.int32), batch_dims=1))[:, None]


def _questions(labels, predictions):
    """What CORN asks: is the rank above k, of those examples alone whose rank is not below k; cross-entropies added."""
    above = 1.0 - tf.cumsum(predictions, axis=-1)[:, :-1]
    reached = tf.concat([tf.ones_like(above[:, :1]), above[:, :-1]], axis=-1)
    answers = above / reached
    ranks = tf.range(answers.shape[1], dtype=labels.dtype)
    asked = tf.cast(ranks <= labels[:, None], answers.dtype)
    yes = tf.cast(ranks < labels[:, None], answers.dtype)
    return tf.reduce_sum(-asked * (yes * tf.math.log(answers) + (1 - yes) * tf.math.log(1 - answers)), axis=1)[:, None]


def _state(labels, predictions):
    """The chosen of the four states (no, no), (no, yes), (yes, no), (yes, yes)."""
    state = tf.cast(2 * labels[:, 0] + labels[:, 1], tf.int32)
    return -tf.math.log(tf.gather(predictions, state, batch_dims=1))[:, None]


def _pixels(labels, predictions):
    chosen = tf.gather(predictions, tf.cast(labels, tf.int32), batch_dims=3)
    return -tf.reshape(tf.math.log(chosen), (tf.shape(labels)[0], -1))


def _tokens(labels, predictions):
    return -tf.math.log(tf.gather(predictions, tf.cast(labels, tf.int32), batch_dims=2))


def _binary(labels, predictions):
    labels = tf.reshape(labels, tf.shape(predictions))
    return -(labels * tf.math.log(predictions) + (1 - labels) * tf.math.log(1 - predictions))


def _objects(name: str, **options) -> Task:
    return Detection(name, 2, **{"grid": 2, "hidden": 4, **options})


def _grid(labels, predictions):
    pairs = zip(np.asarray(labels), np.asarray(predictions), strict=True)
    return np.array([[modern_loss(_objects("zebra"), label, output)] for label, output in pairs])


def _difference(labels, predictions):
    return tf.reshape(labels, tf.shape(predictions)) - predictions


def _squared(labels, predictions):
    return tf.square(_difference(labels, predictions))


def _squared_pixels(labels, predictions):
    return tf.reshape(_squared(labels, predictions), (tf.shape(labels)[0], -1))


def _absolute(labels, predictions):
    return tf.abs(_difference(labels, predictions))


def _huber(labels, predictions):
    size = _absolute(labels, predictions)
    return tf.where(size <= 0.3, 0.5 * size**2, 0.3 * size - 0.5 * 0.3**2)


def _poisson(labels, predictions):
    """Minus the logarithm of Poisson's probability, less that of the likeliest rate, which is the count itself."""
    labels = tf.reshape(labels, tf.shape(predictions))
    drawn = tf.where(labels > 0, labels * tf.math.log(tf.maximum(labels, 1e-30)), 0) - labels
    return (predictions - labels * tf.math.log(predictions)) + drawn


def _quantiles(labels, predictions):
    gap = tf.reshape(labels, (-1, 1)) - predictions
    levels = tf.constant([0.05, 0.5, 0.95], gap.dtype)
    return tf.reduce_mean(tf.where(gap > 0, levels * gap, (levels - 1) * gap), axis=1, keepdims=True)


def _normal(labels, predictions):
    mean, variance = predictions[..., 0], predictions[..., 1] ** 2
    labels = tf.reshape(labels, tf.shape(mean))
    values = 0.5 * (tf.math.log(2 * np.pi * variance) + (labels - mean) ** 2 / variance)
    return tf.reshape(values, (tf.shape(labels)[0], -1))


def _distance(name: str, **options) -> Task:
    return Regression(name, **{"loss": "mae", **options})


def _robust(name: str, **options) -> Task:
    return Regression(name, **{"loss": keras.losses.Huber(delta=0.3), **options})


def _integers(classes: int, *shape: int):
    return lambda generator, n: generator.integers(0, classes, (n, *shape)).astype("int32")


def _sequences(generator, n):
    """Tags of two types in four tokens, an I-x behind another tag made a B-x: numbers of `TAGS`."""
    labels = generator.integers(0, len(TAGS), (n, 4)).astype("int32")
    for place in range(4):
        before = labels[:, place - 1] if place else np.zeros(n, "int32")
        # I-a and I-b are the even numbers above 0, their B-x the numbers before.
        begins = (labels[:, place] % 2 == 0) & (labels[:, place] > 0) & ((before + 1) // 2 != labels[:, place] // 2)
        labels[:, place] -= begins
    return labels


def _counts(generator, n):
    return generator.poisson(3.0, n).astype("float32")


def _floats(*shape: int):
    return lambda generator, n: generator.normal(3.0, 2.0, (n, *shape)).astype("float32")


TAGS = ("O", "B-a", "I-a", "B-b", "I-b")

#: Kinds of which other tests tell: a loss that is taken between rows (tests/sharing/test_pair_relation.py), a label
#: that `LabelFusion` makes of others (tests/tasks/test_combinations.py).
TOLD_ELSEWHERE = {Combination, Relation}

KINDS = {
    "classification": Kind(lambda name, **options: Classification(name, 3, **options), _integers(3), _cross_entropy),
    "binary": Kind(BinaryClassification, _integers(2), _binary),
    "multilabel": Kind(lambda name, **options: MultiLabel(name, 4, **options), _integers(2, 4), _binary, parts=True),
    "number": Kind(Regression, _floats(), _squared),
    "distance": Kind(_distance, _floats(), _absolute),
    "robust": Kind(_robust, _floats(), _huber),
    "ordinal": Kind(
        lambda name, **options: OrdinalRegression(name, 4, **options), _integers(4), _questions, linear=False
    ),
    "cumulative": Kind(
        lambda name, **options: OrdinalRegression(name, 4, link="cumulative", **options),
        _integers(4),
        _cross_entropy,
        linear=False,
    ),
    "two_labels": Kind(TwoLabels, _integers(2, 2), _state, linear=False),
    "segmentation": Kind(
        lambda name, **options: Segmentation(name, 3, **{"shape": (4, 4), "decoder": None, **options}),
        _integers(3, 4, 4),
        _pixels,
        parts=True,
        linear=False,
    ),
    # On several maps with the decoder, where segmentation takes the coarsest alone.
    "dense_regression": Kind(
        lambda name, **options: DenseRegression(name, **{"shape": (4, 4), **options}),
        _floats(4, 4),
        _squared_pixels,
        parts=True,
        linear=False,
    ),
    "tagging": Kind(
        lambda name, **options: Tagging(name, TAGS, **{"tokens": 4, **options}),
        _sequences,
        _tokens,
        parts=True,
        linear=False,
    ),
    "detection": Kind(_objects, lambda generator, n: draw_labels(generator, n, 3, 2), _grid, linear=False),
    "poisson": Kind(PoissonRegression, _counts, _poisson, linear=False),
    "quantiles": Kind(QuantileRegression, _floats(), _quantiles, linear=False),
    "heteroscedastic": Kind(HeteroscedasticRegression, _floats(), _normal, linear=False),
    "vector": Kind(lambda name, **options: Regression(name, shape=2, **options), _floats(2), _squared, parts=True),
}
