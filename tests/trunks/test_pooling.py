"""Pooling to a grid."""

import itertools

import keras
import numpy as np
import pytest

from kmtl.trunks import pooling


def pooled(image, kind):
    symbol = keras.Input(image.shape[1:])
    return np.asarray(keras.Model(symbol, pooling.to_vector(symbol, kind, name="demo"))(image))


def cells(side):
    """Where the cells of a side begin and end, with the shorter ones at its two ends."""
    window = -(-side // 4)
    count = -(-side // window)
    start = -((count * window - side) // 2)
    edges = [max(0, start + window * index) for index in range(count)] + [side]
    return list(itertools.pairwise(edges))


@pytest.mark.parametrize("shape", [(8, 8), (7, 10), (4, 3), (1, 5), (9, 30), (56, 13)])
def test_each_cell_is_the_mean_of_its_pixels(shape, pixels):
    image = pixels(2, *shape, 3)
    means = [image[:, a:b, c:d].mean(axis=(1, 2)) for a, b in cells(shape[0]) for c, d in cells(shape[1])]
    assert len(cells(shape[0])) <= 4
    np.testing.assert_allclose(pooled(image, "grid"), np.concatenate(means, axis=1), rtol=1e-5)


@pytest.mark.parametrize("kind", ["mean", "max"])
def test_global_pooling(kind, pixels):
    image = pixels(2, 6, 5, 3)
    name = {"mean": "average", "max": "max"}[kind]
    np.testing.assert_allclose(pooled(image, name), getattr(image, kind)(axis=(1, 2)), rtol=1e-5)


def test_auto_is_the_grid_where_the_size_is_known(pixels):
    image = pixels(2, 12, 8, 3)
    np.testing.assert_array_equal(pooled(image, "auto"), pooled(image, "grid"))
    symbol = keras.Input((12, None, 3))
    loose = keras.Model(symbol, pooling.to_vector(symbol, "auto", name="demo"))
    np.testing.assert_allclose(loose(image), pooled(image, "average"), rtol=1e-6)


@pytest.mark.parametrize(("side", "half"), [(4, 4), (5, 3), (8, 4), (3, 3), (31, 16)])
def test_sides_are_halved_down_to_the_grid(side, half):
    assert pooling.halve(keras.Input((side, 64, 1)), name="demo").shape == (None, half, 32, 1)
