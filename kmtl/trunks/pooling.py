"""Making maps smaller, and the last map into a vector that still knows where things are."""

from typing import Any

import keras

from kmtl.trunks.sequence_layers import TokenPooling

POOLINGS = ("auto", "grid", "average", "max")

CELLS = 4


def strides(tensor: Any) -> tuple[int, int]:
    """Returns the step that halves each side still longer than the grid, and leaves the others.

    A side of four is the grid itself, so small images keep their positions however deep the trunk
    is. A side of unknown size is always halved; "same" padding keeps that legal down to one pixel.

    >>> strides(keras.Input((28, 4, 1))), strides(keras.Input((None, 3, 1)))
    ((2, 1), (2, 1))
    """
    high, wide = tensor.shape[1:3]
    return _stride(high), _stride(wide)


def _stride(side: int | None) -> int:
    """Returns 2 for a side that may be halved, else 1."""
    return 2 if side is None or side > CELLS else 1


def halve(tensor: Any, *, name: str, window: int | None = None) -> Any:
    """Max-pools each side still longer than the grid to half, rounded up.

    Args:
        tensor: `(batch, height, width, channels)`.
        name: Name of the layer.
        window: Side of the pooling window; the step itself by default.

    Returns:
        The smaller map, or the same tensor where no side is long enough.
    """
    step = strides(tensor)
    if step == (1, 1):
        return tensor
    layer = keras.layers.MaxPooling2D(
        step if window is None else window, step, padding="same", data_format="channels_last", name=name
    )
    return layer(tensor)


def known_size(tensor: Any) -> bool:
    """Tells whether height and width are known when the graph is built."""
    return None not in tensor.shape[1:3]


def to_vector(tensor: Any, pooling: str, *, name: str) -> Any:
    """Turns a map or a sequence into a vector; a vector stays as it is.

    `"grid"` averages a larger map over at most four by four equal cells and flattens them, because
    a task such as the position of an object needs to know *where* a feature was seen, which a global
    average forgets. It needs a known size: the width of the vector, and so the next layer's kernel,
    depends on it. `"auto"` is the grid where the size is known and the global average where not.

    The cells come from one average pooling rather than Keras's adaptive pooling, which takes eight
    times as long in a train step (24 ms against 3 on a 64x32x32x64 map, two cores) and exports as
    four poolings and two gathers.

    Of a sequence the tokens count that its mask leaves.

    Args:
        tensor: `(batch, height, width, channels)`, `(batch, tokens, width)` or `(batch, width)`.
        pooling: `"auto"`, `"grid"`, `"average"` or `"max"`; the grid for a map alone.
        name: Prefix of the layers' names.

    Returns:
        `(batch, cells * channels)` for a grid, else `(batch, channels)`.
    """
    rank = len(tensor.shape)
    if rank == 2:
        return tensor
    if pooling == "grid" or (pooling == "auto" and rank == 4 and known_size(tensor)):
        return keras.layers.Flatten(data_format="channels_last", name=f"{name}_flatten")(_cells(tensor, name))
    if rank == 3:
        return TokenPooling("max" if pooling == "max" else "average", name=f"{name}_pool")(tensor)
    kind = keras.layers.GlobalMaxPooling2D if pooling == "max" else keras.layers.GlobalAveragePooling2D
    return kind(data_format="channels_last", name=f"{name}_pool")(tensor)


def _cells(tensor: Any, name: str) -> Any:
    """Averages a map over at most `CELLS` by `CELLS` cells; "same" padding counts real pixels only."""
    window = tuple(-(-side // CELLS) for side in tensor.shape[1:3])
    if window == (1, 1):
        return tensor
    layer = keras.layers.AveragePooling2D(window, padding="same", data_format="channels_last", name=f"{name}_grid")
    return layer(tensor)
