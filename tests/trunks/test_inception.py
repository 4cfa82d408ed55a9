"""Inception modules."""

import keras

from kmtl import trunks


def convolution(before, after, size):
    return size * size * before * after + 4 * after


def module(before, width):
    reduce, narrow = width * 3 // 8, width // 16
    return (
        convolution(before, width // 4, 1)
        + convolution(before, reduce, 1)
        + convolution(reduce, width // 2, 3)
        + convolution(before, narrow, 1)
        + convolution(narrow, width // 8, 5)
        + convolution(before, width // 8, 1)
    )


def test_the_documented_number_of_weights():
    image = keras.Input((32, 32, 1))
    stem = convolution(1, 64, 3)
    dense = 16 * 256 * 128 + 4 * 128
    count = keras.Model(image, trunks.inception(image)).count_params()
    assert count == stem + module(64, 64) + module(64, 128) + module(128, 256) + dense == 726_768


def test_a_module_of_256_is_the_papers_first():
    """Module 3a, on 192 channels: 64; 96 before 128; 16 before 32; 32."""
    image = keras.Input((8, 8, 192))
    model = keras.Model(image, trunks.inception(image, (256,), units=None))
    layers = {layer.name.removeprefix("trunk_stage1_module1_"): layer for layer in model.layers}
    widths = {name: layers[name].filters for name in ("1x1", "3x3_reduce", "3x3", "5x5_reduce", "5x5", "pool_1x1")}
    assert widths == {"1x1": 64, "3x3_reduce": 96, "3x3": 128, "5x5_reduce": 16, "5x5": 32, "pool_1x1": 32}
    assert layers["join"].output.shape == (None, 8, 8, 256)


def test_depths_repeat_the_module():
    image = keras.Input((16, 16, 1))
    one, three = (keras.Model(image, trunks.inception(image, (32,), depths)).count_params() for depths in (1, 3))
    assert three - one == 2 * module(32, 32)
