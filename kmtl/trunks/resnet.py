"""Residual networks of basic blocks (He et al., 2016)."""

from collections.abc import Sequence
from typing import Any, Unpack

import keras

from kmtl._checks import Refusals
from kmtl.trunks.convolution import STEMS, apply_activation, convolution, first_convolution
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
from kmtl.trunks.pooling import strides


@shows_options()
def resnet(
    image: Any,
    widths: Sequence[int] = (32, 64, 128),
    depths: int | Sequence[int] = 2,
    *,
    stem: str = "auto",
    **options: Unpack[TrunkOptions],
) -> Any:
    """Builds stages of residual blocks, each of two 3 x 3 convolutions.

    The blocks are the paper's first version, activation after the addition: the later pre-activation
    form normalises after an addition, where batch normalisation cannot fold into a kernel at export. A
    stage after the first halves each side longer than four pixels. The last normalisation of a branch
    starts with scale 0 (without normalisation: a kernel of 0), so that every block starts as the
    identity (Goyal et al., Accurate, Large Minibatch SGD, 2017).

    `widths=(64, 128, 256, 512)` with the large stem, `pooling="average"` and `units=None` is the paper's
    18-layer network. On a 32 x 32 x 1
    image the defaults have 959,648 weights.

    Args:
        image: `(batch, height, width, channels)`, floats in 0..1. Unknown height and width are allowed.
        widths: Channels of each stage.
        depths: Blocks in each stage, or one number for all.
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

    Source: Deep Residual Learning for Image Recognition, CVPR 2016.

    >>> import keras
    >>> resnet(keras.Input((28, 28, 1)), widths=(8, 16), depths=1, units=10).shape
    (None, 10)
    """
    chosen = options_of(resnet, options)
    stages = _valid_stages(image, widths, depths, stem, chosen)
    return end_of_trunk(_stages(first_convolution(image, stages[0][0], chosen, stem), stages, chosen), chosen)


def _valid_stages(image: Any, widths: Any, depths: Any, stem: Any, options: Options) -> tuple[tuple[int, int], ...]:
    """Returns width and depth of each stage, or refuses all that is wrong."""
    with Refusals("resnet") as refusals:
        check_image(refusals, image, options)
        stages = check_stages(refusals, widths, depths)
        check_narrowest(refusals, "widths", widths, min((width for width, _ in stages), default=2), options)
        one_of(refusals, "stem", stem, STEMS)
        options.check(refusals)
    return stages


def _stages(tensor: Any, stages: tuple[tuple[int, int], ...], options: Options) -> Any:
    """Stacks the blocks; the first block of every stage but the first makes the map smaller."""
    for stage, (width, depth) in enumerate(stages, start=1):
        for block in range(1, depth + 1):
            step = strides(tensor) if stage > 1 and block == 1 else (1, 1)
            tensor = _block(tensor, width, step, options, f"stage{stage}_block{block}")
    return tensor


def _block(tensor: Any, width: int, step: tuple[int, int], options: Options, part: str) -> Any:
    """Adds two convolutions to the identity, projected by 1x1 where the shape changes."""
    branch = convolution(tensor, width, options, f"{part}_conv1", strides=step)
    branch = convolution(branch, width, options, f"{part}_conv2", activate=False, silent=True)
    if step != (1, 1) or tensor.shape[-1] != width:
        tensor = convolution(tensor, width, options, f"{part}_shortcut", size=1, strides=step, activate=False)
    total = keras.layers.Add(name=options.part(f"{part}_add"))([tensor, branch])
    return apply_activation(total, options, part)
