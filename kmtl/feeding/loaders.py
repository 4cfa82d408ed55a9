"""Batches that other libraries make in Python, as Keras takes them too: Grain's datasets, torch's DataLoader."""

import itertools
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kmtl._checks import refusal, words
from kmtl.feeding.datasets import DatasetFeed
from kmtl.feeding.inputs import InputForm
from kmtl.feeding.resume import register_restart
from kmtl.tasks import Task

# So many batches tell which sides vary from batch to batch.
_PEEK = 2
# Grain counts the elements of a set without end by the largest number it has.
_ENDLESS = 2**62


def is_loader(data: Any) -> bool:
    """Whether it is a dataset or a loader of Grain, or torch's DataLoader; neither package is imported for that."""
    return _is_of("grain", ("MapDataset", "IterDataset", "DataLoader"), data) or is_torch_loader(data)


def is_torch_loader(data: Any) -> bool:
    """Whether it is torch's DataLoader."""
    return _is_of("torch.utils.data", ("DataLoader",), data)


def _is_of(package: str, names: tuple[str, ...], data: Any) -> bool:
    """Whether it is of one of a package's classes; if nobody imported the package, it cannot be."""
    kinds = tuple(getattr(sys.modules.get(package), name, None) for name in names)
    return isinstance(data, tuple(kind for kind in kinds if kind is not None))


class LoaderFeed(DatasetFeed):
    """A loader, read by tf.data: from there on it is a dataset."""

    @classmethod
    def checked(
        cls, x: Any, tasks: Mapping[str, Task], owner: str, *, all_needed: bool, form: InputForm | None, values: bool
    ) -> DatasetFeed:
        """Checks the structure of its first batches, as of a dataset."""
        options: dict[str, Any] = {"all_needed": all_needed, "form": form, "values": values}
        given = super().checked(loader_dataset(x, owner), tasks, owner, **options)
        given.source = x
        return given


def loader_dataset(loader: Any, owner: str) -> Any:
    """A `tf.data.Dataset` of a loader's batches, as NumPy arrays; each pass over it is one over the loader.

    Its stream for a resumed training begins anywhere in a Grain `MapDataset`, whose passes are all alike; other
    loaders are read from their start. A DataLoader that shuffles gives another order in every process, so that
    nothing can go on from the middle of it.

    Args:
        loader: Of which `is_loader` holds.
        owner: For the messages.

    Raises:
        ValueError: If it has no batch.
    """
    first = list(itertools.islice(_batches(loader), _PEEK))
    if not first:
        raise ValueError(refusal(owner, "x", "must hold at least one batch", words(f"an empty {_name(loader)}")))
    spec = keras.tree.map_structure(_spec, first[0], first[-1])

    def read(make: Any) -> Any:
        return tf.data.Dataset.from_generator(make, output_signature=spec)

    size = _length(loader)
    dataset = read(lambda: _batches(loader))
    if size is not None:
        known = tf.data.INFINITE_CARDINALITY if size > _ENDLESS else size
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(known))
    dataset = dataset.prefetch(tf.data.AUTOTUNE)
    if size is not None and _is_of("grain", ("MapDataset",), loader):
        return register_restart(dataset, lambda n: read(lambda: _numbered(loader, int(n), size)))
    if _shuffles(loader):
        return register_restart(dataset, lambda _: _refuse_order(loader))
    return dataset


def _refuse_order(loader: Any) -> Any:
    """Refuses to begin in the middle of an order that nobody can repeat."""
    rule = "must give the same batches in every process where training has to go on from any of them"
    fix = "Give it shuffle=False, or take kmtl.data.from_arrays(..., shuffle=True), whose order its seed tells."
    raise ValueError(refusal("fit", "x", rule, words(f"a {_name(loader)} that shuffles"), fix))


def _shuffles(loader: Any) -> bool:
    """Whether torch draws the order of a loader."""
    random = ("RandomSampler", "SubsetRandomSampler", "WeightedRandomSampler")
    return is_torch_loader(loader) and _is_of("torch.utils.data", random, loader.sampler)


def _length(loader: Any) -> int | None:
    """Batches of a pass; None where nobody can say for sure."""
    if is_torch_loader(loader) and not hasattr(loader.dataset, "__getitem__"):
        # The length of an iterable dataset is a guess.
        return None
    try:
        return len(loader)
    except TypeError:
        return None


def _numbered(loader: Any, first: int, size: int) -> Iterator[Any]:
    """Passes one after another over what has an element for each number, from one of them on."""
    return (_arrays(loader[number % size]) for number in itertools.count(first))


def _batches(loader: Any) -> Iterator[Any]:
    """One pass."""
    return map(_arrays, loader)


def _arrays(batch: Any) -> Any:
    """A batch as tuples and dicts of NumPy arrays; torch makes lists of tuples, and leaves texts in a list."""
    if isinstance(batch, Mapping):
        return {name: _arrays(value) for name, value in batch.items()}
    if isinstance(batch, list | tuple) and not all(isinstance(one, str | bytes) for one in batch):
        return tuple(_arrays(one) for one in batch)
    return np.asarray(batch.detach().cpu() if hasattr(batch, "detach") else batch)


def _spec(one: Any, other: Any) -> Any:
    """What the batches have in common, from two of them; the first axis may differ in any other."""
    dtype = tf.string if one.dtype.kind in "USO" else one.dtype
    if one.ndim != other.ndim:
        return tf.TensorSpec(None, dtype)
    sides = [a if a == b else None for a, b in zip(one.shape[1:], other.shape[1:], strict=True)]
    return tf.TensorSpec([None, *sides] if one.ndim else [], dtype)


def _name(loader: Any) -> str:
    """What the loader is called."""
    return type(loader).__name__.lstrip("_")
