"""The pieces that the convolutional trunks are put together from."""

from typing import Any

import keras

from kmtl.trunks.normalization import normalized
from kmtl.trunks.options import Options
from kmtl.trunks.pooling import halved, known_size, reduced

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

    Returns:
        `(batch, height / step, width / step, width)`, rounded up.
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
    tensor = normalized(
        layer(tensor),
        options.normalization,
        name=options.part(f"{part}_norm"),
        gamma="zeros" if silent else "ones",
        synchronized=options.synchronized,
    )
    return activated(tensor, options, part) if activate else tensor


def activated(tensor: Any, options: Options, part: str) -> Any:
    """Applies the trunk's activation."""
    return keras.layers.Activation(options.activation, name=options.part(f"{part}_activation"))(tensor)


def opening(image: Any, width: int, options: Options, kind: str) -> Any:
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
        return halved(tensor, name=options.part("stem_pool"), window=3)
    return convolution(image, width, options, "stem")


def features(tensor: Any, options: Options) -> Any:
    """Ends a trunk: the map becomes a vector, then a dense layer, normalised, and dropout where asked for.

    Dropout comes last, so that all heads of an example see the same features missing.
    """
    return vector_features(reduced(tensor, options.pooling, name=options.name), options)


def vector_features(tensor: Any, options: Options) -> Any:
    """Ends a trunk whose features are a vector already.

    The dense layer is normalised as the convolutions are. Its inputs are activations, whose mean over
    the examples is far from 0; unnormalised, the first steps of Adam move every unit along that mean,
    and a relu pushed below 0 for all examples has no gradient to return by. On `digit_poses` (three
    tasks, Adam at 3e-3) 120 to 126 of 128 units were so lost after ten steps, none with batch
    normalisation; after eight epochs 0.31 and 0.97 of the digits were right.
    """
    if options.units is not None:
        layer = keras.layers.Dense(
            int(options.units),
            use_bias=options.normalization is None,
            kernel_initializer="he_normal",
            kernel_regularizer=options.regularizer(),
            name=options.part("features"),
        )
        name = options.part("features_norm")
        tensor = normalized(layer(tensor), options.normalization, name=name, synchronized=options.synchronized)
        tensor = activated(tensor, options, "features")
    if options.dropout:
        tensor = keras.layers.Dropout(float(options.dropout), name=options.part("dropout"))(tensor)
    return tensor
