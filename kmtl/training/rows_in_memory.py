"""All rows of a data set in memory, from which folds and samples are taken."""

from typing import Any, NamedTuple, Self

import keras
import numpy as np
import tensorflow as tf

from kmtl.feeding.order import Order, stream_rows
from kmtl.feeding.resume import register_restart, stream_from


class Rows(NamedTuple):
    """Rows in memory.

    Attributes:
        x: Inputs, arrays in any structure.
        y: `{task: labels}`.
        weights: Sample weights as they came, or None.
        batch_size: Rows a batch of the set that they are of.

    >>> data = tf.data.Dataset.from_tensor_slices((np.arange(5.0), {"age": np.arange(5.0)})).batch(2)
    >>> rows = rows_of(data)
    >>> len(rows.x), rows.take([3, 0]).y["age"].tolist()
    (5, [3.0, 0.0])
    """

    x: Any
    y: dict[str, Any]
    weights: Any
    batch_size: int

    @property
    def number(self) -> int:
        """How many there are."""
        return len(keras.tree.flatten(self.x)[0])

    def take(self, places: Any) -> Self:
        """The rows at some places, in that order."""
        places = np.asarray(places, "int64")
        parts = keras.tree.map_structure(lambda array: array[places], self._parts)
        return self._replace(**dict(zip(("x", "y", "weights"), parts, strict=False)))

    @property
    def _parts(self) -> tuple[Any, ...]:
        """Inputs and labels, and weights if there are any."""
        return tuple(part for part in (self.x, self.y, self.weights) if part is not None)

    def dataset(self, *, seed: int = 0, shuffle: bool = True) -> Any:
        """A dataset of batches of them; shuffled, each pass has an order of its own that the seed gives."""
        parts, size = self._parts, self.batch_size
        order = Order(self.number, shuffle, seed)
        with tf.device("CPU"):
            held = keras.tree.map_structure(tf.constant, parts)

        def gathered(numbers: Any) -> Any:
            return keras.tree.map_structure(lambda tensor: tf.gather(tensor, numbers), held)

        batches = order.once(size).map(gathered).prefetch(tf.data.AUTOTUNE)
        return register_restart(batches, lambda first: stream_rows(first, parts, size, shuffle, seed))


def rows_of(data: Any) -> Rows:
    """Reads one pass of a dataset of batches into memory, in the order of its stream."""
    size = int(data.cardinality())
    # The stream's order is the same in every process; plain iteration goes on from where the last one stood.
    batches = list((stream_from(data, 0).take(size) if size > 0 else data).as_numpy_iterator())
    x, y, *weights = keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches)
    return Rows(x, dict(y), weights[0] if weights else None, len(keras.tree.flatten(batches[0])[0]))
