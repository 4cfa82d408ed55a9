"""Normalisation."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmtl.trunks.normalization import group_count, normalize


@pytest.fixture(params=[(6, 6, 8), (8,)], ids=["map", "vector"])
def shape(request):
    return request.param


def model(kind, shape=(6, 6, 8), **options):
    image = keras.Input(shape)
    return keras.Model(image, normalize(image, kind, name="norm", **({"synchronized": False} | options)))


def test_batch_statistics_move_by_a_tenth(shape, pixels):
    image = pixels(16, *shape) + np.arange(8, dtype="float32")
    network = model("batch", shape)
    network(image, training=True)
    _, _, mean, variance = network.get_weights()
    channel = image.reshape(-1, 8)
    np.testing.assert_allclose(mean, 0.1 * channel.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(variance, 0.9 + 0.1 * channel.var(axis=0), rtol=1e-4)


def test_synchronized_statistics_are_the_plain_ones_on_one_device(shape, pixels):
    image = pixels(16, *shape)
    plain, together = model("batch", shape), model("batch", shape, synchronized=True)
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


@pytest.mark.parametrize("kind", ["group", "layer"])
def test_statistics_are_taken_over(kind, shape, pixels):
    """Eight channels are two groups of four; a layer normalisation takes each pixel's eight."""
    image = pixels(3, *shape)
    parts = image.reshape(3, -1, 2, 4) if kind == "group" else image
    axes = (1, 3) if kind == "group" else -1
    centred = parts - parts.mean(axis=axes, keepdims=True)
    expected = centred / np.sqrt(parts.var(axis=axes, keepdims=True) + 1e-3)
    np.testing.assert_allclose(model(kind, shape)(image), expected.reshape(image.shape), atol=1e-4)


def test_none_is_no_layer():
    assert len(model(None).layers) == 1


@pytest.mark.parametrize("channels", [1, 2, 3, 7, 12, 32, 96, 640])
def test_groups_share_the_channels_evenly(channels):
    groups = group_count(channels)
    assert channels % groups == 0
    assert groups == 1 or channels // groups >= 4
    assert groups <= 32
