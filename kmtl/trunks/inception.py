"""Inception: convolutions of several sizes side by side (Szegedy et al., 2015)."""

from collections.abc import Sequence
from typing import Any, Unpack

import keras

from kmtl._checks import Refusals
from kmtl.trunks.convolution import STEMS, convolution, first_convolution
from kmtl.trunks.features import end_of_trunk
from kmtl.trunks.options import (
    Options,
    TrunkOptions,
    check_image,
    check_narrowest,
    check_stages,
    one_of,
    options_of,
    shows_options,
)
from kmtl.trunks.pooling import halve


@shows_options()
def inception(
    image: Any,
    widths: Sequence[int] = (64, 128, 256),
    depths: int | Sequence[int] = 1,
    *,
    stem: str = "auto",
    **options: Unpack[TrunkOptions],
) -> Any:
    """Builds stages of Inception modules with max-pooling between them.

    A module joins four branches: 1 x 1; 1 x 1 then 3 x 3; 1 x 1 then 5 x 5; and max-pooling then 1 x 1.
    Of its channels they give a quarter, a half, an eighth and an eighth, with 3/8 and 1/16 before the
    3 x 3 and the 5 x 5: the proportions of the paper's first module, 3a. Normalisation after every
    convolution is that of the paper's sequel (Ioffe & Szegedy, 2015); the auxiliary classifiers, which
    it made needless, are left out, and its pooling is `"average"`. On a 32 x 32 x 1 image the defaults
    have 726,768 weights.

    Args:
        image: `(batch, height, width, channels)`, floats in 0..1. Unknown height and width are allowed.
        widths: Channels of each stage's modules, in multiples of 8.
        depths: Modules in each stage, or one number for all.
        stem: `"small"`, one 3 x 3 convolution; `"large"`, a 7 x 7 with step 2 and a max-pooling; `"auto"`,
            large for images known to exceed 64 pixels on both sides.
        **options: Of every trunk: pooling, units, normalization, activation, dropout, l1, l2, synchronized
            and name; see `kmtl.trunks.Options`.

    Returns:
        Features `(batch, units)`, or of the pooled map's own width without `units`; with `pooling=None` the map
        `(batch, height, width, channels)`.

    Raises:
        TypeError: If `image` is not a `keras.KerasTensor`, or an option is unknown.
        ValueError: If any other argument breaks its rule; all offenders are named at once.

    Source: Going Deeper with Convolutions, CVPR 2015.

    >>> import keras
    >>> inception(keras.Input((28, 28, 1)), widths=(16, 32), units=10).shape
    (None, 10)
    """
    chosen = options_of(inception, options)
    stages = _valid_stages(image, widths, depths, stem, chosen)
    return end_of_trunk(_stages(first_convolution(image, stages[0][0], chosen, stem), stages, chosen), chosen)


def _valid_stages(image: Any, widths: Any, depths: Any, stem: Any, options: Options) -> tuple[tuple[int, int], ...]:
    """Returns width and depth of each stage, or refuses all that is wrong."""
    with Refusals("inception") as refusals:
        check_image(refusals, image, options)
        stages = check_stages(refusals, widths, depths)
        check_narrowest(refusals, "widths", widths, min((width // 16 for width, _ in stages), default=2), options)
        if any(width % 8 for width, _ in stages):
            refusals.add("widths", "must be multiples of 8, so that four branches can share them", widths)
        one_of(refusals, "stem", stem, STEMS)
        options.check(refusals)
    return stages


def _stages(tensor: Any, stages: tuple[tuple[int, int], ...], options: Options) -> Any:
    """Stacks the modules, with a smaller map for every stage but the first."""
    for stage, (width, depth) in enumerate(stages, start=1):
        if stage > 1:
            tensor = halve(tensor, name=options.part(f"stage{stage}_pool"), window=3)
        for module in range(1, depth + 1):
            tensor = _module(tensor, width, options, f"stage{stage}_module{module}")
    return tensor


def _module(tensor: Any, width: int, options: Options, part: str) -> Any:
    """Joins the four branches along the channels."""
    one = convolution(tensor, width // 4, options, f"{part}_1x1", size=1)
    three = convolution(tensor, width * 3 // 8, options, f"{part}_3x3_reduce", size=1)
    three = convolution(three, width // 2, options, f"{part}_3x3", size=3)
    five = convolution(tensor, max(1, width // 16), options, f"{part}_5x5_reduce", size=1)
    five = convolution(five, width // 8, options, f"{part}_5x5", size=5)
    pool = keras.layers.MaxPooling2D(
        3, 1, padding="same", data_format="channels_last", name=options.part(f"{part}_pool")
    )
    pooled = convolution(pool(tensor), width // 8, options, f"{part}_pool_1x1", size=1)
    return keras.layers.Concatenate(name=options.part(f"{part}_join"))([one, three, five, pooled])
