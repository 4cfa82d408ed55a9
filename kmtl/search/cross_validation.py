"""The data of a search: one pair of training and validation, or several by cross-validation."""

import functools
from typing import Any, NamedTuple

import numpy as np

from kmtl import data as datasets
from kmtl._checks import is_whole, refusal, require, words

_OWNER = "weights"
_LOOK = 8


class Split(NamedTuple):
    """What one model is trained on and measured on.

    Attributes:
        train: Batches `(x, {task: label})`.
        validation: The same.
    """

    train: Any
    validation: Any

    def only(self, task: str) -> "Split":
        """The same with the labels of one task."""
        return Split(datasets.only(self.train, [task]), datasets.only(self.validation, [task]))


def splits(train: Any, validation: Any) -> list[Split]:
    """Returns the pairs that each trial is trained and measured on.

    Args:
        train: A tf.data.Dataset of batches.
        validation: The same, for one pair; or a whole number: the batches of `train` are dealt into so many folds, one
            after the other, and each pair is measured on one of them and trained on the others.

    Raises:
        ValueError: If the number does not fit, or the batches change from pass to pass, which
            would carry validation batches into the training.

    >>> import tensorflow as tf
    >>> batches = tf.data.Dataset.from_tensor_slices((tf.range(6), {"digit": tf.range(6)})).batch(2)
    >>> [[x.tolist() for x, _ in split.validation.as_numpy_iterator()] for split in splits(batches, 3)]
    [[[0, 1]], [[2, 3]], [[4, 5]]]
    """
    if not is_whole(validation):
        return [Split(train, validation)]
    _check_order(train, validation)
    return [Split(_others(train, validation, fold), train.shard(validation, fold)) for fold in range(validation)]


def _check_order(train: Any, folds: int) -> None:
    """Refuses batches that change from pass to pass, and too few of them."""
    first, again = ([batch[1] for batch in train.take(_LOOK).as_numpy_iterator()] for _ in range(2))
    same = all(
        np.array_equal(one[name], other[name], equal_nan=np.asarray(one[name]).dtype.kind == "f")
        for one, other in zip(first, again, strict=True)
        for name in one
    )
    if not same:
        fix = "Do not shuffle, or shuffle once before batching, with reshuffle_each_iteration=False."
        got = words("one whose batches change from pass to pass")
        raise ValueError(refusal(_OWNER, "train", "must keep its order with folds", got, fix))
    count = sum(1 for _ in train.take(folds))
    require(count == folds, _OWNER, "validation", "must not be more folds than `train` has batches", folds)


def _others(train: Any, folds: int, fold: int) -> Any:
    """The batches that are not of a fold, with a length that is known: Keras warns of a training without one."""
    others = [train.shard(folds, place) for place in range(folds) if place != fold]
    return functools.reduce(lambda one, other: one.concatenate(other), others)
