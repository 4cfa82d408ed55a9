"""The pieces that the convolutional trunks are put together from."""

from typing import Any

import keras

from kmtl.trunks.normalization import normalize
from kmtl.trunks.options import Options
from kmtl.trunks.pooling import halve, known_size

STEMS = ("auto", "small", "large")

_LARGE = 64


def convolution(
    tensor: Any,
    width: int,
    options: Options,
    part: str,
    *,
    size: int = 3,
    strides: tuple[int, int] = (1, 1),
    activate: bool = True,
    silent: bool = False,
    pool: str | None = None,
) -> Any:
    """Convolves, normalises and activates.

    Kernels start from He et al.'s normal distribution (Delving Deep into Rectifiers, ICCV 2015), which
    keeps the variance of a relu network from layer to layer; Keras's default, Glorot's, halves it each
    time. The order convolution, normalisation, activation lets batch normalisation fold into the kernel
    at export. The bias is left out where a normalisation brings its own.

    Args:
        tensor: `(batch, height, width, channels)`.
        width: Channels of the output.
        options: What the trunk's layers share.
        part: Name of the convolution within the trunk.
        size: Side of the kernel.
        strides: Step down and across.
        activate: Whether to end with the activation.
        silent: Whether to start at an output of 0, for the end of a residual branch.
        pool: Name of a max-pooling between kernel and normalisation; None is none.

    Returns:
        `(batch, height / step, width / step, width)`, rounded up; half of that behind a pooling.
    """
    plain = options.normalization is None
    layer = keras.layers.Conv2D(
        width,
        size,
        strides,
        padding="same",
        data_format="channels_last",
        use_bias=plain,
        kernel_initializer="zeros" if silent and plain else "he_normal",
        kernel_regularizer=options.regularizer(),
        name=options.part(part),
    )
    tensor = layer(tensor)
    tensor = normalize(
        tensor if pool is None else halve(tensor, name=options.part(pool)),
        options.normalization,
        name=options.part(f"{part}_norm"),
        gamma="zeros" if silent else "ones",
        synchronized=options.synchronized,
    )
    return apply_activation(tensor, options, part) if activate else tensor


def apply_activation(tensor: Any, options: Options, part: str) -> Any:
    """Applies the trunk's activation."""
    return keras.layers.Activation(options.activation, name=options.part(f"{part}_activation"))(tensor)


def first_convolution(image: Any, width: int, options: Options, kind: str) -> Any:
    """Reads the image: one 3x3 convolution, or for large images 7x7 with step 2 and a max-pooling.

    Args:
        image: `(batch, height, width, channels)`.
        width: Channels of the output.
        options: What the trunk's layers share.
        kind: `"small"`, `"large"`, or `"auto"`: large if both sides are known to exceed 64 pixels.

    Returns:
        The first feature map.
    """
    if kind == "large" or (kind == "auto" and known_size(image) and min(image.shape[1:3]) > _LARGE):
        tensor = convolution(image, width, options, "stem", size=7, strides=(2, 2))
        return halve(tensor, name=options.part("stem_pool"), window=3)
    return convolution(image, width, options, "stem")
