"""A plain convolutional trunk for small images."""

from collections.abc import Callable, Sequence
from typing import Any

from kmtl._checks import Refusals
from kmtl.trunks.convolution import convolution, features
from kmtl.trunks.options import Options, attempt, check_image, check_narrowest, size, stages
from kmtl.trunks.pooling import halved


def convnet(
    image: Any,
    widths: Sequence[int] = (32, 64, 128),
    *,
    kernel_size: int = 3,
    units: int | None = 128,
    pooling: str = "auto",
    normalization: str | None = "batch",
    activation: str | Callable[[Any], Any] = "relu",
    dropout: float = 0.0,
    l1: float = 0.0,
    l2: float = 0.0,
    synchronized: bool = True,
    name: str = "trunk",
) -> Any:
    """Builds convolution - normalisation - activation - max-pooling, once for each width.

    A side is halved only while it is longer than four pixels, so any image size builds and a small
    image keeps its positions. At the end stand a coarse grid of at most 4 x 4 cells, flattened, and a
    dense layer with normalisation and activation of its own. On a 32 x 32 x 1 image the defaults have
    356,000 weights, 262,656 of them in the dense layer and its normalisation.

    Batch normalisation runs with momentum 0.9: with Keras's 0.99 the moving statistics of a short
    training are still close to their initial values, and a network that fits its training data fails
    in test mode. Choose `"group"` where batches are small: with batch statistics a training batch of one
    example has features that do not depend on it, so the trunk learns nothing from it.

    Args:
        image: `(batch, height, width, channels)`, floats in 0..1. Unknown height and width are allowed.
        widths: Channels of each stage.
        kernel_size: Side of every kernel, in pixels.
        units: Width of the dense layer at the end; None for no such layer.
        pooling: How the last map becomes a vector: `"grid"` of at most 4 x 4 averaged cells, which tells
            heads where things are; `"average"` or `"max"` over all positions, which does not; `"auto"`
            is the grid where the image's size is known, else the average.
        normalization: `"batch"`, `"group"`, `"layer"` or None.
        activation: A name that Keras knows, or a function of a tensor.
        dropout: Share of the features dropped in training, at least 0 and below 1.
        l1: Factor of the sum of absolute kernel weights, added to the loss.
        l2: Factor of the sum of squared kernel weights, added to the loss.
        synchronized: Whether batch statistics are taken over all replicas of a `tf.distribute` strategy,
            so that N replicas train as one does; on one device it changes nothing.
        name: Prefix of every layer's name; give each trunk of a model its own.

    Returns:
        Features `(batch, units)`, or of the pooled map's own width without `units`.

    Raises:
        TypeError: If `image` is not a `keras.KerasTensor`.
        ValueError: If any other argument breaks its rule; all offenders are named at once.

    >>> import keras
    >>> convnet(keras.Input((32, 32, 1)), widths=(8, 16), units=10).shape
    (None, 10)
    """
    options = Options(
        name=name,
        units=units,
        pooling=pooling,
        normalization=normalization,
        activation=activation,
        dropout=dropout,
        l1=l1,
        l2=l2,
        synchronized=synchronized,
    )
    tensor = image
    for index, width in enumerate(_checked(image, widths, kernel_size, options), start=1):
        tensor = convolution(tensor, width, options, f"conv{index}", size=int(kernel_size))
        tensor = halved(tensor, name=options.part(f"pool{index}"))
    return features(tensor, options)


def _checked(image: Any, widths: Any, kernel_size: Any, options: Options) -> tuple[int, ...]:
    """Returns the widths as a tuple, or refuses all that is wrong."""
    with Refusals("convnet") as refusals:
        check_image(refusals, image, options)
        checked = attempt(refusals, stages, "widths", widths)
        check_narrowest(refusals, "widths", widths, min(checked or (2,)), options)
        attempt(refusals, size, "kernel_size", kernel_size)
        options.check(refusals)
    return checked or ()
