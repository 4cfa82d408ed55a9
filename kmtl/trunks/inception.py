"""Inception: convolutions of several sizes side by side (Szegedy et al., 2015)."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from kmtl._checks import Refusals
from kmtl.trunks.convolution import STEMS, convolution, features, opening
from kmtl.trunks.options import Options, check_image, check_narrowest, check_stages, one_of
from kmtl.trunks.pooling import halved


def inception(
    image: Any,
    widths: Sequence[int] = (64, 128, 256),
    depths: int | Sequence[int] = 1,
    *,
    stem: str = "auto",
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
    """Builds stages of Inception modules with max-pooling between them.

    A module joins four branches: 1 x 1; 1 x 1 then 3 x 3; 1 x 1 then 5 x 5; and max-pooling then 1 x 1.
    Of its channels they give a quarter, a half, an eighth and an eighth, with 3/8 and 1/16 before the
    3 x 3 and the 5 x 5: the proportions of the paper's first module, 3a. Normalisation after every
    convolution is that of the paper's sequel (Ioffe & Szegedy, 2015); the auxiliary classifiers, which
    it made needless, are left out. On a 32 x 32 x 1 image the defaults have 726,768 weights.

    Args:
        image: `(batch, height, width, channels)`, floats in 0..1. Unknown height and width are allowed.
        widths: Channels of each stage's modules, in multiples of 8.
        depths: Modules in each stage, or one number for all.
        stem: `"small"`, one 3 x 3 convolution; `"large"`, a 7 x 7 with step 2 and a max-pooling; `"auto"`,
            large for images known to exceed 64 pixels on both sides.
        units: Width of the dense layer at the end; None for no such layer.
        pooling: How the last map becomes a vector: `"grid"` (keeps where things are), `"average"` (the
            paper's), `"max"`, or `"auto"`, the grid where the image's size is known, else the average.
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

    Source: Going Deeper with Convolutions, CVPR 2015.

    >>> import keras
    >>> inception(keras.Input((28, 28, 1)), widths=(16, 32), units=10).shape
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
    stages = _checked(image, widths, depths, stem, options)
    return features(_stages(opening(image, stages[0][0], options, stem), stages, options), options)


def _checked(image: Any, widths: Any, depths: Any, stem: Any, options: Options) -> tuple[tuple[int, int], ...]:
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
            tensor = halved(tensor, name=options.part(f"stage{stage}_pool"), window=3)
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
