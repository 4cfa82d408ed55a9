"""Random changes of images that leave every label as it is, drawn from a key alone."""

from typing import Any

import tensorflow as tf

from kmtl._types import Tensor

# As shares of a side: how far an image is shifted, and the sides of the patch that is cut out.
_SHIFT = 1 / 8
_PATCH = (0.2, 0.5)
# Factors of the contrast; brightness and noise in standard deviations of the image.
_CONTRAST = (0.5, 1.5)
_BRIGHTNESS = 0.25
_NOISE = 0.1


def shifted(images: Any, key: Any) -> Tensor:
    """Shifts each image by up to an eighth of its sides; what comes in at an edge is mirrored.

    Args:
        images: `(batch, height, width, channels)`.
        key: Of the draw, `(2,)`: the same key gives the same shifts.

    >>> image = tf.reshape(tf.range(8.0), (1, 8, 1, 1))
    >>> set(tf.reshape(shifted(image, [0, 2]), [-1]).numpy().tolist()) <= set(range(8))
    True
    """
    for axis in (1, 2):
        side = tf.shape(images)[axis]
        most = tf.cast(tf.cast(side, tf.float32) * _SHIFT, tf.int32)
        far = _drawn((tf.shape(images)[0],), key, axis, -most, most + 1, tf.int32)
        places = tf.range(side)[None, :] + far[:, None]
        mirrored = side - 1 - tf.abs(side - 1 - tf.abs(places))
        images = tf.gather(images, mirrored, axis=axis, batch_dims=1)
    return images


def disturbed(images: Any, key: Any) -> Tensor:
    """Changes contrast and brightness of each image, adds noise, and fills a patch with its mean.

    All of it is in measures of the image itself, so that it is the same for 0..1 and for 0..255, and an image of zeros,
    which stands for a missing one, stays as it is.

    Args:
        images: `(batch, height, width, channels)`.
        key: Of the draw, `(2,)`.
    """
    images = tf.cast(images, tf.float32)
    mean = tf.reduce_mean(images, axis=(1, 2), keepdims=True)
    spread = tf.math.reduce_std(images, axis=(1, 2, 3), keepdims=True)
    each = (tf.shape(images)[0], 1, 1, 1)
    contrast = _drawn(each, key, 1, *_CONTRAST)
    brightness = _drawn(each, key, 2, -_BRIGHTNESS, _BRIGHTNESS)
    noise = tf.random.stateless_normal(tf.shape(images), _folded(key, 3))
    changed = mean + (images - mean) * contrast + spread * (brightness + _NOISE * noise)
    return tf.where(_patches(images, key), mean, changed)


def _patches(images: Any, key: Any) -> Tensor:
    """Which pixels lie in the patch of their image, `(batch, height, width, 1)`."""
    inside = tf.ones((1, 1, 1, 1), "bool")
    for axis in (1, 2):
        side = tf.shape(images)[axis]
        length = _drawn((tf.shape(images)[0], 1), key, 10 + axis, *_PATCH)
        middle = _drawn((tf.shape(images)[0], 1), key, 20 + axis, 0.0, 1.0)
        places = (tf.cast(tf.range(side), tf.float32) + 0.5) / tf.cast(side, tf.float32)
        near = tf.abs(places[None, :] - middle) < length / 2
        inside = inside & (near[:, :, None, None] if axis == 1 else near[:, None, :, None])
    return inside


def _drawn(shape: Any, key: Any, number: int, least: Any, most: Any, dtype: Any = tf.float32) -> Tensor:
    """Uniform numbers from a key; each number of a draw is another one."""
    return tf.random.stateless_uniform(shape, _folded(key, number), minval=least, maxval=most, dtype=dtype)


def _folded(key: Any, number: int) -> Any:
    """The key of one of several draws."""
    return tf.random.experimental.stateless_fold_in(key, number)
