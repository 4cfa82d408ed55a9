"""Residual networks."""

import keras
import numpy as np
import pytest

from kmtl import trunks


def convolution(before, after, size=3):
    return size * size * before * after + 4 * after


def test_the_documented_number_of_weights():
    image = keras.Input((32, 32, 1))
    total = convolution(1, 32)
    for before, width in ((32, 32), (32, 64), (64, 128)):
        total += convolution(before, width) + 3 * convolution(width, width)
        total += convolution(before, width, size=1) if before != width else 0
    count = keras.Model(image, trunks.resnet(image)).count_params()
    assert count == total + 16 * 128 * 128 + 4 * 128 == 959_648


def test_the_papers_eighteen_layers():
    """The published network has 11,689,512 weights, 513,000 of them in the classifier left out here."""
    image = keras.Input((224, 224, 3))
    features = trunks.resnet(image, (64, 128, 256, 512), pooling="average", units=None)
    model = keras.Model(image, features)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 11_689_512 - 513_000
    assert model.get_layer("trunk_stage4_block2_activation").output.shape == (None, 7, 7, 512)


@pytest.mark.parametrize("normalization", ["batch", "group", "layer", None])
def test_a_fresh_block_is_the_identity(normalization, pixels):
    image = keras.Input((16, 16, 3))
    features = trunks.resnet(image, (8,), 3, normalization=normalization, units=None)
    whole = keras.Model(image, features)
    stem = keras.Model(image, whole.get_layer("trunk_stem_activation").output)
    batch = pixels(2, 16, 16, 3)
    cells = np.reshape(stem(batch), (2, 4, 4, 4, 4, 8)).mean(axis=(2, 4))
    np.testing.assert_allclose(whole(batch), cells.reshape(2, -1), rtol=1e-5, atol=1e-6)


def test_a_branch_learns_from_its_first_steps(pixels):
    image = keras.Input((8, 8, 1))
    model = keras.Model(image, trunks.resnet(image, (4,), 1, units=2, normalization=None))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    silent = model.get_layer("trunk_stage1_block1_conv2")
    assert np.abs(silent.get_weights()[0]).max() == 0
    model.train_on_batch(pixels(8, 8, 8, 1), pixels(8, 2) + 1.0)
    assert np.abs(silent.get_weights()[0]).max() > 0


@pytest.mark.parametrize(
    ("side", "stem", "kernel"),
    [(64, "auto", 3), (65, "auto", 7), (None, "auto", 3), (65, "small", 3), (16, "large", 7)],
)
def test_large_images_get_the_large_stem(side, stem, kernel):
    image = keras.Input((side, side, 3))
    model = keras.Model(image, trunks.resnet(image, (4,), 1, stem=stem))
    assert model.get_layer("trunk_stem").kernel_size == (kernel, kernel)


def test_depths_count_per_stage():
    image = keras.Input((16, 16, 1))
    deep, even = (keras.Model(image, trunks.resnet(image, (4, 4), depths)) for depths in ((1, 3), 2))
    blocks = [layer.name for layer in deep.layers if layer.name.endswith("_add")]
    assert blocks == ["trunk_stage1_block1_add"] + [f"trunk_stage2_block{block}_add" for block in (1, 2, 3)]
    assert deep.count_params() == even.count_params()
