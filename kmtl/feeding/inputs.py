"""What a model takes as inputs, and what is wrong with those it is given."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np

from kmtl._checks import Refusals, near, words
from kmtl._keras_private import layer_behind


class InputForm(NamedTuple):
    """The inputs of a model as plain data, so that worker processes can pickle it.

    Attributes:
        shapes: Shape of each input without the batch axis, by name; an unknown size is None.
        texts: Names of the inputs that are text.
        loose: Names of the inputs that may be ragged or sparse.
        is_keyed: Whether the model was built on a dict of inputs.

    >>> form = InputForm.of(keras.Input((8,), name="image"))
    >>> form.shapes
    {'image': (8,)}
    """

    shapes: dict[str, tuple[int | None, ...]]
    texts: frozenset[str]
    loose: frozenset[str]
    is_keyed: bool

    @classmethod
    def of(cls, inputs: Any) -> "InputForm | None":
        """Reads the form off a model's `input`; None if it is nested or may be left out, which is Keras's to judge."""
        tensors = dict(inputs) if isinstance(inputs, Mapping) else {t.name: t for t in keras.tree.flatten(inputs)}
        layers = [layer_behind(tensor) for tensor in tensors.values()]
        if not tensors or any(layer is None or getattr(layer, "optional", False) for layer in layers):
            return None
        shapes = {str(name): tuple(tensor.shape[1:]) for name, tensor in tensors.items()}
        texts = frozenset(str(name) for name, tensor in tensors.items() if tensor.dtype == "string")
        loose = frozenset(str(name) for name, tensor in tensors.items() if tensor.sparse or tensor.ragged)
        return cls(shapes, texts, loose, isinstance(inputs, Mapping))

    def check(self, refusals: Refusals, given: Any) -> None:
        """Records inputs that are missing, unknown, of a wrong shape or dtype, or of different lengths.

        Args:
            refusals: Where to record.
            given: Arrays, tensors or tensor specs, each with the batch axis.
        """
        given = keras.tree.map_structure(lambda value: value if hasattr(value, "shape") else np.asarray(value), given)
        found = self._by_name(refusals, given)
        argument = "x[{!r}]" if isinstance(given, Mapping) or len(self.shapes) > 1 else "x"
        for name, value in found.items():
            self._check_one(refusals, argument.format(name), name, value)
        lengths = {name: size for name, value in found.items() if (size := _length(value)) is not None}
        if len(set(lengths.values())) > 1:
            refusals.add("x", "must hold as many examples in every input", lengths)

    def _by_name(self, refusals: Refusals, given: Any) -> dict[str, Any]:
        """The inputs by name; records missing and unknown ones."""
        if isinstance(given, Mapping):
            for name in self.shapes:
                if name not in given:
                    refusals.add("x", "must hold every input by name", list(given), f"Name it {name!r}.")
            for key in given:
                if self.is_keyed and key not in self.shapes:
                    refusals.add("x", "must hold the model's inputs only", key, near(str(key), self.shapes))
            return {name: given[name] for name in self.shapes if name in given}
        values = keras.tree.flatten(given)
        if len(values) != len(self.shapes):
            got = words(f"{len(values)} values" if len(values) != 1 else "one array")
            rows = values and all(np.ndim(value) == 0 for value in values)
            fix = "Make one of the rows: numpy.array(x), padded where they are of unlike lengths." if rows else ""
            refusals.add("x", f"must hold one array an input: {list(self.shapes)}", got, fix)
            return {}
        return dict(zip(self.shapes, values, strict=True))

    def _check_one(self, refusals: Refusals, argument: str, name: str, value: Any) -> None:
        """Records a wrong shape or dtype."""
        shape, wanted = _shape(value), self.shapes[name]
        if _is_loose(value):
            if name not in self.loose:
                fix = "Pad every example to one shape: ragged.to_tensor(), tf.sparse.to_dense(sparse)."
                refusals.add(argument, "must be dense numbers", words(_told(value)), fix)
            return
        if np.ma.is_masked(value):
            fix = "Only labels may be missing; fill or drop these inputs."
            refusals.add(argument, "must be finite", words("masked values"), fix)
        is_text = _kind(value) not in "iufbc"
        if is_text and name not in self.texts:
            refusals.add(argument, "must be numbers", words(f"dtype {value.dtype}"), "Cast it to float32.")
        elif name in self.texts:
            _check_text(refusals, argument, value)
        if shape is not None and (not shape or not _fits(shape[1:], wanted)):
            rule = f"must have shape {str((None, *wanted)).replace('None', 'batch', 1)}"
            refusals.add(argument, rule, shape)


def _check_text(refusals: Refusals, argument: str, value: Any) -> None:
    """Records what is no text: numbers, a value that is missing, bytes in another code than UTF-8."""
    if _kind(value) not in "OSU":
        refusals.add(argument, "must be text", words(f"dtype {value.dtype}"), "Make it text: x.astype(str).")
    elif isinstance(value, np.ndarray) and value.dtype.kind != "U":
        wrong = [(row, item) for row, item in enumerate(value.ravel().tolist()) if not _is_text(item)]
        if wrong:
            row, item = wrong[0]
            got = words(f"{item!r} as value {row}" + (f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""))
            refusals.add(argument, "must be text in UTF-8", got, 'A text that is missing is "".')


def _is_text(item: Any) -> bool:
    """Whether it is a string, or the bytes of one."""
    if not isinstance(item, bytes):
        return isinstance(item, str)
    try:
        item.decode()
    except UnicodeDecodeError:
        return False
    return True


def _shape(value: Any) -> tuple[int | None, ...] | None:
    """Shape with the batch axis; None if even the rank is unknown."""
    rank = getattr(value.shape, "rank", len(value.shape) if isinstance(value.shape, tuple) else None)
    return None if rank is None else tuple(value.shape)


def _is_loose(value: Any) -> bool:
    """Whether it has no regular shape: a ragged or sparse tensor or its spec, or an array of lists."""
    first = _first(value)
    return isinstance(first, list | tuple | np.ndarray) or type(first).__name__.startswith(("Ragged", "Sparse"))


def _first(value: Any) -> Any:
    """The first element of an array of objects; anything else stays what it is."""
    objects = isinstance(value, np.ndarray) and value.dtype.kind == "O" and value.size
    return value.ravel()[0] if objects else None if isinstance(value, np.ndarray) else value


def _told(value: Any) -> str:
    """What it is, in words."""
    first = _first(value)
    return "rows of unlike lengths" if isinstance(first, list | tuple | np.ndarray) else f"a {type(first).__name__}"


def _length(value: Any) -> int | None:
    """Number of examples, if known."""
    shape = _shape(value)
    return shape[0] if shape else None


def _kind(value: Any) -> str:
    """NumPy's letter for the dtype, of an array or a spec; what NumPy does not know is no text."""
    try:
        return np.dtype(getattr(value.dtype, "as_numpy_dtype", value.dtype)).kind
    except TypeError:
        return "f"


def _fits(shape: tuple[int | None, ...], wanted: tuple[int | None, ...]) -> bool:
    """Whether sizes agree, an unknown one with anything; a last axis of 1 may come or go, as in Keras."""
    if len(shape) == len(wanted) + 1 and shape[-1] in (1, None):
        shape = shape[:-1]
    elif len(shape) == len(wanted) - 1 and wanted[-1] == 1:
        wanted = wanted[:-1]
    return len(shape) == len(wanted) and all(
        a is None or b is None or a == b for a, b in zip(shape, wanted, strict=True)
    )
