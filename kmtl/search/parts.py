"""The data of a search: one pair of training and validation, or several by cross-validation."""

import functools
from typing import Any, NamedTuple

import numpy as np

from kmtl import data as datasets
from kmtl._checks import Refusals, is_whole, refusal, require, words

_OWNER = "weights"
_LOOK = 8


class Part(NamedTuple):
    """What one model is trained on and measured on.

    Attributes:
        train: Batches `(x, {task: label})`.
        validation: The same.
    """

    train: Any
    validation: Any

    def only(self, task: str) -> "Part":
        """The same with the labels of one task."""
        return Part(datasets.only(self.train, [task]), datasets.only(self.validation, [task]))


def parts(train: Any, validation: Any, folds: int | None) -> list[Part]:
    """Returns the pairs that each trial is trained and measured on.

    Args:
        train: A tf.data.Dataset of batches.
        validation: The same; None with folds.
        folds: Into how many the batches of `train` are dealt, one after the other; each part is measured on one of them
            and trained on the others. None makes one pair of what is given.

    Raises:
        ValueError: If something is no dataset, the number does not fit, or the batches change from pass to pass, which
            would carry validation batches into the training.

    >>> import tensorflow as tf
    >>> batches = tf.data.Dataset.from_tensor_slices((tf.range(6), {"digit": tf.range(6)})).batch(2)
    >>> [[x.tolist() for x, _ in part.validation.as_numpy_iterator()] for part in parts(batches, None, 3)]
    [[[0, 1]], [[2, 3]], [[4, 5]]]
    """
    with Refusals(_OWNER) as refusals:
        for argument, data in (("train", train), ("validation", validation)):
            if not hasattr(data, "element_spec") and not (argument == "validation" and folds is not None):
                fix = "Make one by kmtl.data.from_arrays."
                refusals.add(argument, "must be a tf.data.Dataset of batches", words(type(data).__name__), fix)
        if folds is not None:
            if not is_whole(folds) or folds < 2:
                refusals.add("folds", "must be a whole number of at least 2, or None", folds)
            if validation is not None:
                fix = "The folds are the validation: put all data into `train`."
                refusals.add("validation", "must be None with folds", words("a dataset"), fix)
    if folds is None:
        return [Part(train, validation)]
    _check_order(train, folds)
    return [Part(_others(train, folds, fold), train.shard(folds, fold)) for fold in range(folds)]


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
    require(count == folds, _OWNER, "folds", "must not be more than the batches of `train`", folds)


def _others(train: Any, folds: int, fold: int) -> Any:
    """The batches that are not of a fold, with a length that is known: Keras warns of a training without one."""
    others = [train.shard(folds, place) for place in range(folds) if place != fold]
    return functools.reduce(lambda one, other: one.concatenate(other), others)
