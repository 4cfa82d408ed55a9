"""Normalisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmtl.trunks.normalization import group_count, normalized


def model(kind, **options):
    image = keras.Input((6, 6, 8))
    return keras.Model(image, normalized(image, kind, name="norm", **({"synchronized": False} | options)))


def test_batch_statistics_move_by_a_tenth(pixels):
    image = pixels(16, 6, 6, 8) + np.arange(8, dtype="float32")
    network = model("batch")
    network(image, training=True)
    _, _, mean, variance = network.get_weights()
    np.testing.assert_allclose(mean, 0.1 * image.mean(axis=(0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(variance, 0.9 + 0.1 * image.var(axis=(0, 1, 2)), rtol=1e-4)


def test_synchronized_statistics_are_the_plain_ones_on_one_device(pixels):
    image = pixels(16, 6, 6, 8)
    plain, together = model("batch"), model("batch", synchronized=True)
    assert together.get_layer("norm").synchronized
    np.testing.assert_allclose(together(image, training=True), plain(image, training=True), atol=1e-4)


def test_synchronized_statistics_have_second_derivatives():
    """Along one direction, against central differences of the first derivative."""
    rng = np.random.default_rng(2)
    image, direction = rng.normal(size=(2, 4, 6, 6, 8))
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        network = model("batch", synchronized=True)
    finally:
        keras.config.set_floatx("float32")
        keras.config.set_dtype_policy("float32")

    def slope(point):
        with tf.GradientTape() as tape:
            tape.watch(point)
            cubes = tf.reduce_sum(network(point, training=True) ** 3)
        return tf.reduce_sum(tape.gradient(cubes, point) ** 3)

    point = tf.constant(image)
    with tf.GradientTape() as tape:
        tape.watch(point)
        value = slope(point)
    exact = float(tf.reduce_sum(tape.gradient(value, point) * direction).numpy())
    near = (slope(point + 1e-5 * direction) - slope(point - 1e-5 * direction)).numpy() / 2e-5
    assert exact == pytest.approx(float(near), rel=1e-5)


@pytest.mark.parametrize(("kind", "axes", "split"), [("group", (1, 2, 4), 4), ("layer", 3, 8)])
def test_statistics_are_taken_over(kind, axes, split, pixels):
    """Eight channels are two groups of four; a layer normalisation takes each pixel's eight."""
    image = pixels(3, 6, 6, 8)
    parts = image.reshape(3, 6, 6, 2, split) if kind == "group" else image
    centred = parts - parts.mean(axis=axes, keepdims=True)
    expected = centred / np.sqrt(parts.var(axis=axes, keepdims=True) + 1e-3)
    np.testing.assert_allclose(model(kind)(image), expected.reshape(image.shape), atol=1e-4)


def test_none_is_no_layer():
    assert len(model(None).layers) == 1


@pytest.mark.parametrize("channels", [1, 2, 3, 7, 12, 32, 96, 640])
def test_groups_share_the_channels_evenly(channels):
    groups = group_count(channels)
    assert channels % groups == 0
    assert groups == 1 or channels // groups >= 4
    assert groups <= 32
