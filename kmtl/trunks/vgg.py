"""VGG: blocks of 3x3 convolutions (Simonyan & Zisserman, 2015)."""

from collections.abc import Sequence
from typing import Any, Unpack

from kmtl._checks import Refusals, refusal
from kmtl.trunks.convolution import convolution
from kmtl.trunks.features import end_of_trunk
from kmtl.trunks.options import (
    Options,
    TrunkOptions,
    attempt,
    check_image,
    check_narrowest,
    options_of,
    shows_options,
    size,
)
from kmtl.trunks.pooling import halve


@shows_options()
def vgg(
    image: Any,
    blocks: Sequence[tuple[int, int]] = ((64, 2), (128, 2), (256, 3)),
    **options: Unpack[TrunkOptions],
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
        **options: Of every trunk: pooling, units, normalization, activation, dropout, l1, l2, synchronized
            and name; see `kmtl.trunks.Options`.

    Returns:
        Features `(batch, units)`, or of the pooled map's own width without `units`; with `pooling=None` the map
        `(batch, height, width, channels)`.

    Raises:
        TypeError: If `image` is not a `keras.KerasTensor`, or an option is unknown.
        ValueError: If any other argument breaks its rule; all offenders are named at once.

    Source: Very Deep Convolutional Networks for Large-Scale Image Recognition, ICLR 2015.

    >>> import keras
    >>> vgg(keras.Input((28, 28, 1)), blocks=((8, 1), (16, 2)), units=10).shape
    (None, 10)
    """
    chosen = options_of(vgg, options)
    tensor = image
    for block, (width, depth) in enumerate(_valid_blocks(image, blocks, chosen), start=1):
        for index in range(1, depth + 1):
            tensor = convolution(tensor, width, chosen, f"block{block}_conv{index}")
        tensor = halve(tensor, name=chosen.part(f"block{block}_pool"))
    return end_of_trunk(tensor, chosen)


def _valid_blocks(image: Any, blocks: Any, options: Options) -> tuple[tuple[int, int], ...]:
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
