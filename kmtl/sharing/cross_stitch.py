"""Towers of several tasks that read each other."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from keras import ops

from kmtl._checks import is_number, near, require
from kmtl.sharing.branches import checked_shapes, either_mask, in_order, merged_sides

_BY = ("layer", "channel")


@keras.saving.register_keras_serializable(package="kmtl")
class CrossStitch(keras.layers.Layer):
    r"""Mixes what the layers of K towers, one a task, give: each goes on with its own and some of the others'.

        y_i = sum_j a_ij x_j

    `a` is learned, one number a pair of tasks, or one a pair and channel. It starts with `own` on the diagonal and
    `(1 - own) / (K - 1)` off it, so that a row sums to 1; the identity makes K networks that share nothing. Put one
    behind each block of the towers. The authors train the towers alone first and let `a` learn 100 to 1000 times as
    fast as the rest: `compile(learning_rate_multipliers={"cross_stitch": 100.0})`, by the layer's name.

    Source: Misra et al., "Cross-Stitch Networks for Multi-Task Learning", CVPR 2016.

    Shapes: a list of K tensors of one shape `(batch, ..., channels)`, or a dict of them, whose order is that of its
    names; the same form out.

    Args:
        own: Share of its own features that a task begins with.
        by: `"layer"` or `"channel"`: what has a number of its own.
        **kwargs: Keras layer options.

    Raises:
        ValueError: If an option is out of range, or the tensors have not one shape.

    >>> row = keras.Input((8,))
    >>> towers = {task: keras.layers.Dense(4, activation="relu")(row) for task in ("depth", "normals")}
    >>> mixed = CrossStitch()(towers)
    >>> {task: features.shape for task, features in mixed.items()}
    {'depth': (None, 4), 'normals': (None, 4)}
    """

    def __init__(self, own: float = 0.9, *, by: str = "layer", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        require(is_number(own), "CrossStitch", "own", "must be a finite number", own)
        self.own = float(own)
        require(by in _BY, "CrossStitch", "by", "must be 'layer' or 'channel'", by, near(str(by), _BY))
        self.by = by

    def build(self, input_shape: Any) -> None:
        """Makes the matrix."""
        shapes = checked_shapes("CrossStitch", input_shape, one_width="Project them to one width first.")
        count, (*sides, channels) = len(shapes), shapes[0]
        start = np.full((count, count), (1 - self.own) / (count - 1))
        np.fill_diagonal(start, self.own)
        # Each number stands against a whole tensor, or against its channels.
        ones = (1,) * len(sides)
        self.matrix = self.add_weight(
            shape=(count, count, *ones, channels if self.by == "channel" else 1),
            initializer=keras.initializers.Constant(start.reshape(count, count, *ones, 1).tolist()),
            name="matrix",
        )

    def call(self, inputs: Any) -> Any:
        """Mixes the tensors.

        Args:
            inputs: A list or a dict of tensors.
        """
        stacked = ops.stack(in_order(inputs), axis=0)
        mixed = [ops.sum(row * stacked, axis=0) for row in ops.unstack(ops.convert_to_tensor(self.matrix), axis=0)]
        return dict(zip(sorted(inputs), mixed, strict=True)) if isinstance(inputs, Mapping) else mixed

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The mask of padding, where all of the towers have one: a place counts where it counts in any."""
        mask = either_mask(previous_mask)
        return None if mask is None else [mask] * len(inputs)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of the tensors, for each."""
        shape = (*merged_sides(in_order(input_shape)), in_order(input_shape)[0][-1])
        if isinstance(input_shape, Mapping):
            return dict.fromkeys(sorted(input_shape), shape)
        return [shape] * len(input_shape)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "own": self.own, "by": self.by}
