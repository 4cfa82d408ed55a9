"""VGG: blocks of 3x3 convolutions (Simonyan & Zisserman, 2015)."""

from collections.abc import Callable, Sequence
from typing import Any

from kmtl._checks import Refusals, refusal
from kmtl.trunks.convolution import convolution, features
from kmtl.trunks.options import Options, attempt, check_image, check_narrowest, size
from kmtl.trunks.pooling import halved


def vgg(
    image: Any,
    blocks: Sequence[tuple[int, int]] = ((64, 2), (128, 2), (256, 3)),
    *,
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
    """Builds blocks of 3 x 3 convolutions, each block followed by a max-pooling.

    The default is the first three blocks of the paper's 16-layer network; two more of `(512, 3)` make
    it whole. It departs from the paper in three points: batch normalisation after every convolution,
    which came out a month later and made the paper's staged training unnecessary; a coarse grid and one
    dense layer, normalised too, in place of two of 4096 units; and pooling stops at four pixels a side,
    so that any image size builds. On a 32 x 32 x 1 image the defaults have 2,262,592 weights.

    Args:
        image: `(batch, height, width, channels)`, floats in 0..1. Unknown height and width are allowed.
        blocks: Channels and number of convolutions of each block.
        units: Width of the dense layer at the end; None for no such layer.
        pooling: How the last map becomes a vector: `"grid"` (keeps where things are), `"average"`,
            `"max"`, or `"auto"`, the grid where the image's size is known, else the average.
        normalization: `"batch"` (momentum 0.9), `"group"`, `"layer"` or None.
        activation: A name that Keras knows, or a function of a tensor.
        dropout: Share of the features dropped in training, at least 0 and below 1.
        l1: Factor of the sum of absolute kernel weights, added to the loss.
        l2: Factor of the sum of squared kernel weights, added to the loss.
        synchronized: Whether batch statistics are taken over all replicas of a `tf.distribute` strategy.
        name: Prefix of every layer's name; give each trunk of a model its own.

    Returns:
        Features `(batch, units)`, or of the pooled map's own width without `units`.

    Raises:
        TypeError: If `image` is not a `keras.KerasTensor`.
        ValueError: If any other argument breaks its rule; all offenders are named at once.

    Source: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015.

    >>> import keras
    >>> vgg(keras.Input((28, 28, 1)), blocks=((8, 1), (16, 2)), units=10).shape
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
    for block, (width, depth) in enumerate(_checked(image, blocks, options), start=1):
        for index in range(1, depth + 1):
            tensor = convolution(tensor, width, options, f"block{block}_conv{index}")
        tensor = halved(tensor, name=options.part(f"block{block}_pool"))
    return features(tensor, options)


def _checked(image: Any, blocks: Any, options: Options) -> tuple[tuple[int, int], ...]:
    """Returns the blocks as pairs, or refuses all that is wrong."""
    with Refusals("vgg") as refusals:
        check_image(refusals, image, options)
        checked = attempt(refusals, _pairs, "blocks", blocks)
        check_narrowest(refusals, "blocks", blocks, min((width for width, _ in checked or ()), default=2), options)
        options.check(refusals)
    return checked or ()


def _pairs(owner: str, argument: str, value: Any) -> tuple[tuple[int, int], ...]:
    """Returns at least one pair of positive whole numbers, or refuses."""
    try:
        pairs = tuple((size(owner, argument, width), size(owner, argument, depth)) for width, depth in value)
    except (TypeError, ValueError):
        pairs = ()
    if not pairs:
        fix = "Give each block as (channels, convolutions), for example ((64, 2), (128, 2))."
        raise ValueError(refusal(owner, argument, "must hold pairs of positive whole numbers", value, fix))
    return pairs
