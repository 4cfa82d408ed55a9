"""How a source digit is placed on the canvas: one geometry, drawn by SciPy and by TensorFlow.

Coordinates are in pixels, x to the right and y down. A pixel's coordinates are
those of its centre: the pixel of row i and column j is at (j, i), as
`matplotlib.pyplot.imshow` draws it. A canvas of 32 pixels so reaches from -0.5
to 31.5 and has its centre at (15.5, 15.5); a source of 8 pixels has its centre at
(3.5, 3.5).

A pose is an angle (degrees, counter-clockwise as one sees the picture), a scale
(canvas pixels a source pixel) and a position (where the source's centre lies on
the canvas). The source's point (u, v) lands at

    x = position_x + scale * ( cos(angle) * (u - 3.5) + sin(angle) * (v - 3.5))
    y = position_y + scale * (-sin(angle) * (u - 3.5) + cos(angle) * (v - 3.5))

A canvas pixel takes the bilinear interpolation of the source, whose outside is 0.
"""

from typing import Any

import numpy as np
import tensorflow as tf

from kmtl.data.built_in.digits import SOURCE_SIZE

ANGLES = (-45.0, 45.0)
SCALES = (1.5, 2.5)
CANVAS = 32

_CENTRE = (SOURCE_SIZE - 1) / 2
# Interpolation spreads ink to the next pixel centre beyond the source.
_REACH = (SOURCE_SIZE + 1) / 2


def poses(uniform: Any, xp: Any = np) -> tuple[Any, Any, Any]:
    """Turns uniform random numbers into poses that keep the whole digit on the canvas.

    Angle and scale are uniform in -45..45 degrees and in 1.5..2.5. The position is
    then uniform where no ink is cut off, which leaves a large, turned digit little
    room around the middle:

        reach = 4.5 * scale * (|cos(angle)| + |sin(angle)|)
        reach - 1 <= x, y <= 32 - reach

    Args:
        uniform: Numbers in `[0, 1)`, `(poses, 4)`.
        xp: The module that computes, `numpy` or `tensorflow`.

    Returns:
        Angle `(poses,)` in degrees, scale `(poses,)`, and position `(poses, 2)` as
        x and y in pixels, in the dtype of `uniform`.

    >>> angle, scale, position = poses(np.array([[0.5, 0.5, 0.0, 1.0]]))
    >>> angle.tolist(), scale.tolist(), position.tolist()
    ([0.0], [2.0], [[8.0, 23.0]])
    """
    angle = ANGLES[0] + (ANGLES[1] - ANGLES[0]) * uniform[:, 0]
    scale = SCALES[0] + (SCALES[1] - SCALES[0]) * uniform[:, 1]
    radians = angle * (np.pi / 180)
    reach = (_REACH * scale * (xp.abs(xp.cos(radians)) + xp.abs(xp.sin(radians))))[:, None]
    position = reach - 1 + (CANVAS + 1 - 2 * reach) * uniform[:, 2:]
    return angle, scale, position


def inverse_affine(angle: Any, scale: Any, position: Any, xp: Any = np) -> Any:
    """Gives the matrix that finds a canvas point in the source: `(u, v) = matrix @ (x, y, 1)`.

    Args:
        angle: Degrees, `(...)`.
        scale: Canvas pixels a source pixel, `(...)`.
        position: Canvas point of the source's centre, `(..., 2)`.
        xp: The module that computes, `numpy` or `tensorflow`.

    Returns:
        The matrices flattened by rows, `(..., 6)`.
    """
    radians = angle * (np.pi / 180)
    cos, sin = xp.cos(radians) / scale, xp.sin(radians) / scale
    x, y = position[..., 0], position[..., 1]
    return xp.stack([cos, -sin, _CENTRE - (cos * x - sin * y), sin, cos, _CENTRE - (sin * x + cos * y)], axis=-1)


def draw(source: Any, angle: float, scale: float, position: Any, size: int = CANVAS) -> Any:
    """Draws one source digit with SciPy.

    Args:
        source: `(8, 8)`.
        angle: Degrees, counter-clockwise.
        scale: Canvas pixels a source pixel.
        position: Canvas point (x, y) of the source's centre.
        size: Height and width of the canvas.

    Returns:
        The canvas, `(size, size)`, float64.

    >>> canvas = draw(np.ones((8, 8)), angle=0.0, scale=2.0, position=(15.5, 15.5))
    >>> canvas[15, 6:11].tolist()
    [0.0, 0.25, 0.75, 1.0, 1.0]
    """
    from scipy import ndimage

    across, down = inverse_affine(np.float64(angle), np.float64(scale), np.asarray(position, np.float64)).reshape(2, 3)
    # SciPy counts rows first, so that both the rows and the columns of the matrix change places.
    matrix, offset = [[down[1], down[0]], [across[1], across[0]]], [down[2], across[2]]
    shape = (size, size)
    return ndimage.affine_transform(source, matrix, offset, shape, order=1, mode="grid-constant", cval=0.0)


def draw_batch(sources: Any, angle: Any, scale: Any, position: Any, size: int = CANVAS) -> Any:
    """Draws a batch of source digits in one TensorFlow op.

    Args:
        sources: `(batch, 8, 8)`, float32.
        angle: Degrees, `(batch,)`, float32.
        scale: Canvas pixels a source pixel, `(batch,)`, float32.
        position: Canvas points (x, y) of the sources' centres, `(batch, 2)`, float32.
        size: Height and width of the canvas.

    Returns:
        The canvases, `(batch, size, size, 1)`, float32.
    """
    matrices = inverse_affine(angle, scale, position, tf)
    # The op's last two numbers are those of a perspective, of which there is none.
    canvases = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(sources, tf.float32)[..., None],
        transforms=tf.pad(matrices, [[0, 0], [0, 2]]),
        output_shape=[size, size],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="CONSTANT",
    )
    return tf.ensure_shape(canvases, (None, size, size, 1))


def to_bytes(canvas: Any) -> Any:
    """Rounds grey values of 0..1 to uint8."""
    return np.rint(np.asarray(canvas) * 255).astype(np.uint8)
