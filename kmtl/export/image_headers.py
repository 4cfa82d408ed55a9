"""How many pixels an image file claims to have, read off its first bytes: a small file may unpack to gigabytes."""

from typing import Any

import numpy as np
import tensorflow as tf

UNKNOWN = 2**63 - 1
_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR"
_JPEG, _GIF, _BMP = b"\xff\xd8\xff", b"GIF8", b"BM"
_LONGEST_SIDE = 2**31 - 1
# Blocks of one GIF; a frame takes two.
_MOST_BLOCKS = 4096
_IMAGE, _EXTENSION = 0x2C, 0x21
# What may stand behind a block's first byte: its own fields, and a table of colours.
_LONGEST_FIELDS = 16 + 3 * 256


def pixels(file: Any) -> Any:
    """Reads the pixels that decoding a file would make, without decoding it.

    PNG, JPEG and BMP tell height and width. TensorFlow unpacks a GIF's frames all, on a canvas as large as the largest
    of them; so its pixels are those of the canvas or of all frames together, whichever are more.

    Args:
        file: The bytes of a file, a string tensor without axes.

    Returns:
        An int64 tensor without axes, `UNKNOWN` for what is none of the four; a graph fails on a file that is cut off
        within its header.

    >>> int(pixels(tf.io.encode_png(tf.zeros((3, 5, 1), tf.uint8))))
    15
    """

    def starts(mark: bytes) -> Any:
        return tf.strings.substr(file, 0, len(mark)) == mark

    forms = [(_PNG, _of_png), (_JPEG, _of_jpeg), (_GIF, _of_gif), (_BMP, _of_bmp)]
    cases = [(starts(mark), lambda read=read: read(file)) for mark, read in forms]
    return tf.case(cases, default=lambda: tf.constant(UNKNOWN, tf.int64))


def _number(file: Any, place: int, size: int, big_endian: bool = False) -> Any:
    """An unsigned number of some bytes at a place."""
    digits = tf.cast(tf.io.decode_raw(tf.strings.substr(file, place, size), tf.uint8), tf.int64)
    powers = 256 ** np.arange(size, dtype=np.int64)
    return tf.reduce_sum(digits * tf.constant(powers[::-1] if big_endian else powers))


def _area(height: Any, width: Any) -> Any:
    """Pixels of two sides, which a forged file may tell to be larger than numbers go."""
    return tf.minimum(height, _LONGEST_SIDE) * tf.minimum(width, _LONGEST_SIDE)


def _of_png(file: Any) -> Any:
    return _area(_number(file, 20, 4, big_endian=True), _number(file, 16, 4, big_endian=True))


def _of_jpeg(file: Any) -> Any:
    height, width, _ = tf.unstack(tf.cast(tf.image.extract_jpeg_shape(file), tf.int64))
    return _area(height, width)


def _of_bmp(file: Any) -> Any:
    height = _number(file, 22, 4)
    # A negative height tells that rows come from the top.
    return _area(tf.minimum(height, 2**32 - height), _number(file, 18, 4))


def _of_gif(file: Any) -> Any:
    """Walks over the blocks of a GIF."""
    content = tf.cast(tf.io.decode_raw(file, tf.uint8), tf.int32)
    ends = _chain_ends(content)
    last = tf.size(content)
    padded = tf.pad(content, [[0, _LONGEST_FIELDS]])

    def sides(place: Any) -> Any:
        return tf.cast(tf.stack([padded[place] + 256 * padded[place + 1] for place in (place, place + 2)]), tf.int64)

    def table(place: Any) -> Any:
        """Bytes of the table of colours that a byte of flags tells of."""
        flags = padded[place]
        return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)

    def is_block(place: Any, *_: Any) -> Any:
        return (padded[place] == _IMAGE) | (padded[place] == _EXTENSION)

    def walk(place: Any, canvas: Any, total: Any) -> tuple[Any, Any, Any]:
        is_image = padded[place] == _IMAGE
        frame = tf.where(is_image, sides(place + 5), 0)
        chain = tf.where(is_image, place + 11 + table(place + 9), place + 2)
        behind = tf.minimum(tf.gather(ends, tf.minimum(chain, last)) + 1, last)
        return behind, tf.maximum(canvas, frame), total + _area(frame[0], frame[1])

    start = (tf.minimum(13 + table(10), last), sides(6), tf.constant(0, tf.int64))
    end, canvas, total = tf.while_loop(is_block, walk, start, maximum_iterations=_MOST_BLOCKS)
    return tf.where(is_block(end), UNKNOWN, tf.maximum(_area(canvas[0], canvas[1]), total))


def _chain_ends(content: Any) -> Any:
    """For each place, where the chain of GIF's sub-blocks that begins there ends: each is a length and as many bytes.

    All chains at once, each step twice as long as the one before: a forged file may hold a million links.
    """
    size = tf.size(content)
    places = tf.range(size + 1)
    lengths = tf.pad(content, [[0, 1]])
    step = tf.minimum(tf.where(lengths > 0, places + lengths + 1, places), size)

    def settled(step: Any) -> Any:
        return tf.reduce_any(tf.gather(step, step) != step)

    return tf.while_loop(settled, lambda step: (tf.gather(step, step),), (step,))[0]
