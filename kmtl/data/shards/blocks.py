"""Examples as a user has them, from a dataset or a Python iterable, checked and in blocks of arrays."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from kmtl._checks import Refusals, refusal, words
from kmtl.data.columns import narrowed
from kmtl.data.shards.manifests import DTYPES, Spec
from kmtl.data.shards.records import Block, specs_of
from kmtl.feeding.errors import elements_of

_OWNER = "write_shards"
_BLOCK = 256
_FORM = "must hold (x, {task: label}) or (x, {task: label}, {task: weight})"


def blocks(dataset: Any, batched: bool | None) -> Iterator[Block]:
    """Yields the examples in blocks, all of one form.

    Args:
        dataset: A `tf.data.Dataset` or an iterable.
        batched: Whether its elements are batches; None tells by a dataset's spec.

    Raises:
        ValueError: If the first example cannot be written, or one is unlike it, with its number.
    """
    number, first = 0, None
    for element in _elements(dataset, batched):
        block = _block(element, number)
        if first is None:
            first = block
            _check_writable(block)
        _check_alike(first, block, number)
        yield block
        number += len(block)


def _elements(dataset: Any, batched: bool | None) -> Iterator[Any]:
    """Batches as NumPy arrays; a single example of an iterable is a batch of one."""
    if isinstance(dataset, tf.data.Dataset):
        batches = dataset
        if not (is_batched(dataset) if batched is None else batched):
            static = all(spec.shape.is_fully_defined() for spec in tf.nest.flatten(dataset.element_spec))
            # What has no static shape may differ from example to example, which is for the checks here to tell.
            batches = dataset.batch(_BLOCK if static else 1)
        yield from elements_of(batches, dataset)
    else:
        known = map(_arrays, dataset)
        yield from known if batched else (tf.nest.map_structure(lambda array: array[None], one) for one in known)


def is_batched(dataset: Any) -> bool:
    """Whether every part of an element has a first axis of unknown size, as batches have."""
    shapes = [spec.shape for spec in tf.nest.flatten(dataset.element_spec)]
    return all(shape.rank is not None and shape.rank > 0 and shape[0] is None for shape in shapes)


def _arrays(element: Any) -> Any:
    """An element with its leaves as arrays, so that lists are values and no structure."""
    if isinstance(element, Mapping):
        return {name: _arrays(item) for name, item in element.items()}
    return tuple(map(_arrays, element)) if isinstance(element, tuple) else _array(element)


def _array(value: Any) -> Any:
    """A value as an array; text and bytes as objects, since NumPy cuts zeros off the end of bytes."""
    value = value.numpy() if hasattr(value, "numpy") else value
    if isinstance(value, str | bytes):
        return np.array(value, dtype=object)
    array = narrowed(value if np.ma.isMaskedArray(value) else np.asarray(value))
    return array.astype(object) if array.dtype.kind in "US" else array


def _block(element: Any, number: int) -> Block:
    """One batch as a block, or the reason why it is none."""
    if not isinstance(element, tuple) or len(element) not in (2, 3) or not _is_named(element[1]):
        got = words(f"{type(element).__name__} as example {number}")
        raise ValueError(refusal(_OWNER, "dataset", _FORM, got))
    x, labels, *rest = element
    if isinstance(x, list | tuple):
        got = words(f"a {type(x).__name__} as example {number}")
        raise ValueError(refusal(_OWNER, "dataset", "must hold one input, or a dict of them by name", got))
    given = rest[0] if rest else {}
    weights = given if isinstance(given, Mapping) else dict.fromkeys(labels, given)
    block = Block(
        {str(name): _input(value, number) for name, value in (x if isinstance(x, Mapping) else {"": x}).items()},
        {name: _label(value) for name, value in labels.items()},
        {name: _label(value) for name, value in weights.items()},
    )
    lengths = {len(array) if array.ndim else None for part in block for array in part.values()}
    if len(lengths) > 1 or None in lengths:
        got = words(f"parts of length {sorted(map(str, lengths))} in the batch of example {number}")
        raise ValueError(refusal(_OWNER, "dataset", "must hold as many examples in every part of a batch", got))
    return block


def _input(value: Any, number: int) -> Any:
    """An input as an array, of which nothing may be behind a mask of `np.ma`."""
    array = _array(value)
    if np.ma.is_masked(array):
        got = words(f"masked values in the inputs of example {number}")
        raise ValueError(refusal(_OWNER, "dataset", "must have all of its inputs", got, "Only labels may be missing."))
    return np.asarray(array)


def _is_named(labels: Any) -> bool:
    """Whether labels are a dict by task."""
    return isinstance(labels, Mapping) and bool(labels) and all(isinstance(name, str) for name in labels)


def _label(value: Any) -> Any:
    """A label as int64 or float32, one behind a mask of `np.ma` as missing; what is no number stays, to be refused."""
    array = _array(value)
    if array.dtype.kind in "iub" and array.dtype != np.uint64:
        return np.ma.filled(array.astype(np.int64), -1)
    return np.ma.filled(array.astype(np.float32), np.nan) if tf.as_dtype(array.dtype).is_floating else array


def _check_writable(block: Block) -> None:
    """Refuses what a record cannot hold, all parts at once."""
    with Refusals(_OWNER) as refusals:
        for name, spec in specs_of(block.inputs).items():
            if spec.dtype not in DTYPES:
                refusals.add("dataset", f"must hold inputs of {sorted(DTYPES)}", _form_of("x", name, spec), "Cast it.")
        for name, spec in specs_of(block.labels).items():
            if spec.dtype not in ("int64", "float32"):
                refusals.add("dataset", "must hold numbers as labels", _form_of("labels", name, spec))
        for name, spec in specs_of(block.weights).items():
            if name not in block.labels:
                refusals.add("dataset", f"must hold weights of the tasks {list(block.labels)}", name)
            elif spec.shape or spec.dtype not in ("int64", "float32"):
                refusals.add("dataset", "must hold one weight an example", _form_of("weights", name, spec))


def _form_of(part: str, name: str, spec: Spec) -> str:
    """A part and its form, for a message."""
    where = f"{part}[{name!r}]" if name else part
    return words(f"{where} of {spec.dtype} {spec.shape}")


def _check_alike(first: Block, block: Block, number: int) -> None:
    """Refuses a block of another form than the first."""
    for part, wanted, found in zip(Block._fields, first, block, strict=True):
        expected, given = specs_of(wanted), specs_of(found)
        if expected != given:
            names = [name for name in {**expected, **given} if expected.get(name) != given.get(name)]
            rule = f"must hold examples alike, with {part} {_form(expected, names)}"
            got = words(f"{_form(given, names)} as example {number}")
            raise ValueError(refusal(_OWNER, "dataset", rule, got, "Bring them to one shape and dtype first."))


def _form(specs: Mapping[str, Spec], names: Iterable[str]) -> str:
    """Some specs for a message."""
    listed = [f"{name or 'x'} of {specs[name].dtype} {specs[name].shape}" for name in names if name in specs]
    return ", ".join(listed) or "none"
