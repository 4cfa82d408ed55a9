"""Examples as records, and records as batches: `tf.train.Example`, which other tools read too."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from kmtl.data.shards.manifests import Manifest, Spec
from kmtl.tasks import Task
from kmtl.tasks.shapes import known_shape

_Feature = tf.train.Feature


class Block(NamedTuple):
    """Some examples as arrays, the first axis of each being the example's.

    Attributes:
        inputs: By name; a single unnamed input is "".
        labels: By task, int64 or float32.
        weights: By task, int64 or float32; empty without weights.
    """

    inputs: dict[str, Any]
    labels: dict[str, Any]
    weights: dict[str, Any]

    def __len__(self) -> int:
        """Number of examples."""
        return len(next(iter(self.inputs.values())))


def specs_of(arrays: Mapping[str, Any]) -> dict[str, Spec]:
    """Dtype and shape of one example of each array."""
    return {name: Spec(_dtype(array), array.shape[1:]) for name, array in arrays.items()}


def _dtype(array: Any) -> str:
    """TensorFlow's name of an array's dtype, NumPy's where it has none."""
    if array.dtype.kind == "O":
        return "string" if all(isinstance(item, str | bytes) for item in array.ravel()) else "object"
    try:
        return tf.as_dtype(array.dtype).name
    except TypeError:
        return str(array.dtype)


def serialize(block: Block) -> list[bytes]:
    """One record an example: numeric inputs as raw bytes, text as it is, labels and weights as lists of numbers."""
    columns = {input_key(name): _input_column(array) for name, array in block.inputs.items()}
    columns |= {f"label/{name}": _label_column(array) for name, array in block.labels.items()}
    columns |= {f"weight/{name}": _label_column(array.astype("float32")) for name, array in block.weights.items()}
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    features = (tf.train.Features(feature=row) for row in rows)
    return [tf.train.Example(features=one).SerializeToString(deterministic=True) for one in features]


def input_key(name: str) -> str:
    """Name of an input's feature.

    >>> input_key(""), input_key("image")
    ('x', 'x/image')
    """
    return f"x/{name}" if name else "x"


def _input_column(array: Any) -> list[Any]:
    """One feature of bytes an example."""
    if array.dtype.kind == "O":
        rows = [[_as_bytes(item) for item in row] for row in array.reshape(len(array), -1)]
    else:
        rows = [[row.tobytes()] for row in array]
    return [_Feature(bytes_list=tf.train.BytesList(value=row)) for row in rows]


def _as_bytes(text: Any) -> bytes:
    """Text as UTF-8, bytes as they are."""
    return text.encode() if isinstance(text, str) else bytes(text)


def _label_column(array: Any) -> list[Any]:
    """One feature of whole numbers or of floats an example."""
    rows = array.reshape(len(array), -1).tolist()
    if array.dtype.kind == "i":
        return [_Feature(int64_list=tf.train.Int64List(value=row)) for row in rows]
    return [_Feature(float_list=tf.train.FloatList(value=row)) for row in rows]


def parser(manifest: Manifest, labels: Sequence[str]) -> Callable[[Any], tuple[Any, Any, Any]]:
    """A function from a vector of records to their inputs, labels by task, and weights by task.

    Args:
        manifest: What the records hold.
        labels: Tasks whose labels, and weights, are wanted.
    """
    weights = [name for name in manifest.weights if name in labels]
    features = {input_key(name): _input_feature(spec) for name, spec in manifest.inputs.items()}
    features |= {f"label/{name}": _label_feature(manifest.labels[name]) for name in labels}
    features |= {f"weight/{name}": tf.io.FixedLenFeature((), tf.float32) for name in weights}

    def parse(records: Any) -> tuple[Any, Any, Any]:
        given = tf.io.parse_example(records, features)
        inputs = {name: _decode(given[input_key(name)], spec) for name, spec in manifest.inputs.items()}
        return (
            inputs[""] if list(inputs) == [""] else inputs,
            {name: given[f"label/{name}"] for name in labels},
            {name: given[f"weight/{name}"] for name in weights},
        )

    return parse


def _input_feature(spec: Spec) -> Any:
    """How an input lies in a record."""
    return tf.io.FixedLenFeature(spec.shape if spec.dtype == "string" else (), tf.string)


def _label_feature(spec: Spec) -> Any:
    """How a label lies in a record."""
    return tf.io.FixedLenFeature(spec.shape, tf.float32 if spec.dtype == "float32" else tf.int64)


def _decode(values: Any, spec: Spec) -> Any:
    """One input of a batch, `(batch, *shape)`."""
    if spec.dtype == "string":
        return values
    return tf.reshape(tf.io.decode_raw(values, tf.as_dtype(spec.dtype)), (-1, *spec.shape))


def of_tasks(
    tasks: Sequence[Task], carried: Sequence[str], weighted: bool
) -> Callable[[Any, Any, Any], tuple[Any, ...]]:
    """A function that gives parsed batches every task's label, missing where none was written, and weight.

    Args:
        tasks: The tasks.
        carried: Names of those whose labels are there.
        weighted: Whether there are weights; a task without any weighs 1.
    """

    def complete(x: Any, labels: Any, weights: Any) -> tuple[Any, ...]:
        count = tf.shape(tf.nest.flatten(x)[0])[0]
        filled = {
            task.name: _label(task, labels[task.name]) if task.name in carried else _missing(task, count)
            for task in tasks
        }
        if not weighted:
            return x, filled
        return x, filled, {task.name: weights.get(task.name, tf.ones((count,))) for task in tasks}

    return complete


def _label(task: Task, label: Any) -> Any:
    """A label in its task's form."""
    cast = task.cast_label_tensor(label)
    return cast if None in task.label_shape else tf.reshape(cast, (-1, *task.label_shape))


def _missing(task: Task, count: Any) -> Any:
    """Labels that are not there."""
    return tf.ensure_shape(task.absent_label_tensor(count), (None, *known_shape(task.label_shape)))
