"""How several source digits make a scene: placed beside each other, with the box and the pixels of each.

A digit is drawn upright, by bilinear interpolation, on a canvas of its own; a scene's pixel is the darkest of them.
What a digit covers is where its own ink is at least 64 of 255; its box is the smallest that holds these pixels, from
the outer edge of the first to that of the last. Where two digits cover a pixel, it belongs to the darker one, of
two that are equal to the first.
"""

from typing import Any

import numpy as np

from kmtl.data.built_in.digits import SOURCE_SIZE
from kmtl.data.built_in.transforms import draw, to_bytes

CANVAS = 64
MOST_DIGITS = 5
INK = 64
# Canvas pixels a source pixel: a source's side is 12 to 24 pixels.
SCALES = (1.5, 3.0)
# Largest share of the smaller of two boxes that lies in the other.
OVERLAP = 0.1

_TRIES = 40


def place(sources: Any, random: np.random.Generator) -> Any:
    """Draws some source digits, each in a size and at a place of its own, all of their ink on the canvas.

    The size of each is uniform, and so is its place over those where it shares at most `OVERLAP` of the smaller box
    with each digit before it. Where none was found, the scene is begun anew.

    Args:
        sources: `(digits, 8, 8)`, 0 is paper and 1 is ink.
        random: Where the random numbers come from.

    Returns:
        `(digits, 64, 64)`, uint8: each digit alone.

    >>> placed = place(np.ones((2, 8, 8)), np.random.default_rng(0))
    >>> placed.shape, placed.max(axis=(1, 2)).tolist()
    ((2, 64, 64), [255, 255])
    """
    while True:
        canvases = np.zeros((len(sources), CANVAS, CANVAS), np.uint8)
        boxes: list[Any] = []
        for canvas, source in zip(canvases, sources, strict=True):
            ink = _drawn(source, SCALES[0] + (SCALES[1] - SCALES[0]) * random.random())
            found = _free_corner(ink.shape, box_of(ink), boxes, random)
            if found is None:
                break
            top, left = found
            canvas[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
            boxes.append(box_of(ink) + np.array([left, top, left, top]))
        else:
            return canvases


def _drawn(source: Any, scale: float) -> Any:
    """A source digit in a size, cut to its ink, uint8."""
    # Interpolation spreads ink by one source pixel at most.
    side = int(np.ceil((SOURCE_SIZE + 1) * scale))
    ink = to_bytes(draw(source, angle=0.0, scale=scale, position=((side - 1) / 2, (side - 1) / 2), size=side))
    rows, columns = ink.any(axis=1).nonzero()[0], ink.any(axis=0).nonzero()[0]
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _free_corner(shape: Any, box: Any, boxes: list[Any], random: np.random.Generator) -> tuple[int, int] | None:
    """The first row and column for a digit on the canvas, clear of the boxes; None where none was found."""
    height, width = shape
    for _ in range(_TRIES):
        top, left = int(random.random() * (CANVAS + 1 - height)), int(random.random() * (CANVAS + 1 - width))
        if not boxes or shared(box + np.array([left, top, left, top]), np.array(boxes)).max() <= OVERLAP:
            return top, left
    return None


def box_of(ink: Any) -> Any:
    """The box of what a digit covers: left, top, right and bottom in pixels, `(4,)`.

    >>> canvas = np.zeros((CANVAS, CANVAS), np.uint8)
    >>> canvas[10:13, 20:22] = INK
    >>> box_of(canvas).tolist()
    [20, 10, 22, 13]
    """
    covered = ink >= INK
    rows, columns = covered.any(axis=1).nonzero()[0], covered.any(axis=0).nonzero()[0]
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])


def shared(box: Any, others: Any) -> Any:
    """What a box shares with others, as a share of the smaller of the two.

    Args:
        box: Left, top, right and bottom, `(4,)`.
        others: `(boxes, 4)`.

    Returns:
        `(boxes,)`.

    >>> shared(np.array([0, 0, 4, 4]), np.array([[3, 2, 13, 12], [4, 0, 8, 4]])).tolist()
    [0.125, 0.0]
    """
    sides = np.maximum(np.minimum(box[2:], others[:, 2:]) - np.maximum(box[:2], others[:, :2]), 0)
    areas = (others[:, 2:] - others[:, :2]).prod(axis=1)
    return sides.prod(axis=1) / np.minimum(areas, (box[2:] - box[:2]).prod())


def compose(inks: Any, digits: Any) -> tuple[Any, Any, Any]:
    """Lays digits over each other.

    Args:
        inks: `(digits, 64, 64)`, uint8: each digit alone.
        digits: `(digits,)`, 0 to 9.

    Returns:
        The image `(64, 64)`, uint8; the boxes `(5, 5)`, float32, each left, top, right and bottom in 0..1 and the
        digit, in rows of -1 where there are fewer digits; and the mask `(64, 64)`, uint8, 0 for paper, else 1 + digit.
    """
    boxes = np.full((MOST_DIGITS, 5), -1.0, np.float32)
    if not len(digits):
        return np.zeros((CANVAS, CANVAS), np.uint8), boxes, np.zeros((CANVAS, CANVAS), np.uint8)
    for row, ink, digit in zip(boxes, inks, digits, strict=False):
        row[:4], row[4] = box_of(ink) / CANVAS, digit
    image = inks.max(axis=0)
    mask = np.where(image >= INK, 1 + digits[inks.argmax(axis=0)], 0).astype(np.uint8)
    return image, boxes, mask
