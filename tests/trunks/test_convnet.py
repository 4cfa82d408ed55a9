"""The plain convolutional trunk."""

import keras
import numpy as np
import pytest

from kmtl import trunks


def count(**options):
    image = keras.Input((32, 32, 1))
    return keras.Model(image, trunks.convnet(image, **options)).count_params()


def test_the_documented_number_of_weights():
    convolutions = 9 * (1 * 32 + 32 * 64 + 64 * 128)
    norms = 4 * (32 + 64 + 128)
    dense = 4 * 4 * 128 * 128 + 4 * 128
    assert dense == 262_656
    assert count() == convolutions + norms + dense == 356_000


@pytest.mark.parametrize(("kernel_size", "units"), [(5, 10), (1, 3)])
def test_kernel_size_and_units_count(kernel_size, units):
    expected = kernel_size**2 * (1 * 4 + 4 * 6) + 4 * (4 + 6) + 16 * 6 * units + 4 * units
    assert count(widths=(4, 6), kernel_size=kernel_size, units=units) == expected


def test_one_width_is_one_stage():
    assert count(widths=8) == count(widths=(8,))


@pytest.mark.parametrize(("units", "dense"), [(10, 10), (None, 0)])
def test_without_normalization_each_kernel_has_a_bias(units, dense):
    normal, plain = (count(widths=(8, 16), units=units, normalization=kind) for kind in ("batch", None))
    assert normal - plain == 3 * (8 + 16 + dense)


def test_pooling_first_only_moves_the_normalization():
    """A rising activation passes the maximum on; a normalisation sees other statistics."""
    image = keras.Input((16, 16, 1))
    x = np.random.default_rng(0).random((2, 16, 16, 1), dtype="float32")
    plain, norm = ([], [])
    for found, normalization in ((plain, None), (norm, "batch")):
        for pool_first in (False, True):
            keras.utils.set_random_seed(0)
            features = trunks.convnet(image, widths=(3, 4), normalization=normalization, pool_first=pool_first)
            found.append(keras.Model(image, features))
    np.testing.assert_allclose(plain[0](x), plain[1](x), atol=1e-6)
    assert norm[0].count_params() == norm[1].count_params()
    kinds = [type(layer).__name__ for layer in norm[1].layers[1:5]]
    assert kinds == ["Conv2D", "MaxPooling2D", "BatchNormalization", "Activation"]
    assert not np.allclose(norm[0](x, training=True), norm[1](x, training=True), atol=1e-3)
