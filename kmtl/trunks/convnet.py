"""A plain convolutional trunk for small images."""

from collections.abc import Sequence
from typing import Any, Unpack

from kmtl._checks import Refusals
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
    stages,
)
from kmtl.trunks.pooling import halve


@shows_options()
def convnet(
    image: Any,
    widths: Sequence[int] = (32, 64, 128),
    *,
    kernel_size: int = 3,
    pool_first: bool = False,
    **options: Unpack[TrunkOptions],
) -> Any:
    """Builds convolution - normalisation - activation - max-pooling, once for each width.

    A side is halved only while it is longer than four pixels, so any image size builds and a small
    image keeps its positions. At the end stand a coarse grid of at most 4 x 4 cells, flattened, and a
    dense layer with normalisation and activation of its own. On a 32 x 32 x 1 image the defaults have
    356,000 weights, 262,656 of them in the dense layer and its normalisation.

    Args:
        image: `(batch, height, width, channels)`, floats in 0..1. Unknown height and width are allowed.
        widths: Channels of each stage.
        kernel_size: Side of every kernel, in pixels.
        pool_first: Whether to pool before the normalisation, which then has a quarter of the values to go through: a
            training step of a small trunk takes two thirds of the time on a CPU. Behind a rising activation, such as
            relu, the order makes no difference but to the statistics of the normalisation. It is not folded
            into the kernel at export.
        **options: Of every trunk: pooling, units, normalization, activation, dropout, l1, l2, synchronized
            and name; see `kmtl.trunks.Options`.

    Returns:
        Features `(batch, units)`, or of the pooled map's own width without `units`; with `pooling=None` the map
        `(batch, height, width, channels)`.

    Raises:
        TypeError: If `image` is not a `keras.KerasTensor`, or an option is unknown.
        ValueError: If any other argument breaks its rule; all offenders are named at once.

    >>> import keras
    >>> convnet(keras.Input((32, 32, 1)), widths=(8, 16), units=10).shape
    (None, 10)
    """
    chosen = options_of(convnet, options)
    tensor = image
    for index, width in enumerate(_valid_widths(image, widths, kernel_size, pool_first, chosen), start=1):
        pool = f"pool{index}"
        tensor = convolution(
            tensor, width, chosen, f"conv{index}", size=int(kernel_size), pool=pool if pool_first else None
        )
        tensor = tensor if pool_first else halve(tensor, name=chosen.part(pool))
    return end_of_trunk(tensor, chosen)


def _valid_widths(image: Any, widths: Any, kernel_size: Any, pool_first: Any, options: Options) -> tuple[int, ...]:
    """Returns the widths as a tuple, or refuses all that is wrong."""
    with Refusals("convnet") as refusals:
        check_image(refusals, image, options)
        checked = attempt(refusals, stages, "widths", widths)
        check_narrowest(refusals, "widths", widths, min(checked or (2,)), options)
        attempt(refusals, size, "kernel_size", kernel_size)
        if not isinstance(pool_first, bool):
            refusals.add("pool_first", "must be True or False", pool_first)
        options.check(refusals)
    return checked or ()
