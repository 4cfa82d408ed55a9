"""VGG."""

import itertools

import keras
import numpy as np

from kmtl import trunks


def test_the_documented_number_of_weights():
    image = keras.Input((32, 32, 1))
    widths = [1, 64, 64, 128, 128, 256, 256, 256]
    convolutions = sum(9 * before * after + 4 * after for before, after in itertools.pairwise(widths))
    count = keras.Model(image, trunks.vgg(image)).count_params()
    assert count == convolutions + 16 * 256 * 128 + 4 * 128 == 2_262_592


def test_the_papers_sixteen_layers():
    """13 convolutions of 14,714,688 weights with their biases, the figure of the published network."""
    image = keras.Input((224, 224, 3))
    blocks = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
    features = trunks.vgg(image, blocks, normalization=None, units=None, pooling="average")
    model = keras.Model(image, features)
    assert model.count_params() == 14_714_688
    assert model.get_layer("trunk_block5_pool").output.shape == (None, 7, 7, 512)


def test_kernels_keep_the_variance_of_a_deep_plain_network(pixels):
    """With Keras's own initialiser eight relu layers leave about 1/256 of it."""
    image = keras.Input((16, 16, 16))
    whole = keras.Model(image, trunks.vgg(image, ((32, 8),), normalization=None, units=None))
    model = keras.Model(image, whole.get_layer("trunk_block1_conv8_activation").output)
    noise = pixels(4, 16, 16, 16) - 0.5
    share = np.mean(np.square(model(noise))) / np.mean(np.square(noise))
    assert 0.1 < share < 4.0
