"""What an error of TensorFlow's means for the data that was being read."""

import weakref
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

_EXPLANATIONS: weakref.WeakKeyDictionary[Any, Callable[[BaseException], BaseException | None]] = (
    weakref.WeakKeyDictionary()
)


def register_explanation(dataset: Any, explain: Callable[[BaseException], BaseException | None]) -> Any:
    """Remembers who can tell what an error met while reading a dataset, or under a strategy, means.

    Args:
        dataset: A `tf.data.Dataset`, or a strategy.
        explain: From the error to a clearer one, or None if it has nothing to say. It must not hold on to `dataset`.

    Returns:
        The dataset itself.
    """
    _EXPLANATIONS[dataset] = explain
    return dataset


def share_explanation(dataset: Any, changed: Any) -> Any:
    """Lets what a dataset was changed into be explained as the dataset is."""
    explain = _EXPLANATIONS.get(dataset)
    return changed if explain is None else register_explanation(changed, explain)


def explain_error(error: BaseException, dataset: Any) -> BaseException:
    """Returns a clearer error for one met while training on a dataset, or the same error.

    A corrupt record comes out of tf.data without the name of its file. The shards of `kmtl.data.from_shards` are then
    read until the file and the record are found.

    Args:
        error: What was raised.
        dataset: The dataset as its maker returned it; anything else, None too, has no explanation.

    Returns:
        What to raise in its place, `from error`.

    >>> explain_error(ValueError("something else"), None)
    ValueError('something else')
    """
    try:
        explain = _EXPLANATIONS.get(dataset)
    except TypeError:
        # What cannot be weakly referenced or hashed, as a plain iterator or an array, was never registered.
        explain = None
    return (explain and explain(error)) or error


def elements_of(dataset: Any, source: Any) -> Iterator[Any]:
    """Yields the elements of a dataset as NumPy arrays; an error of its files is told as their maker explains it.

    Args:
        dataset: A `tf.data.Dataset`.
        source: The dataset that it was made of, as its maker returned it.
    """
    try:
        yield from dataset.as_numpy_iterator()
    except tf.errors.OpError as error:
        clearer = explain_error(error, source)
        if clearer is error:
            raise
        raise clearer from error
