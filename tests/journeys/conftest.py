"""What every journey begins with: an empty folder to work in, one seed, and a few small pictures with labels."""

import keras
import numpy as np
import pytest


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The folder that the user works in."""
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(7)
    return tmp_path


@pytest.fixture(scope="session")
def pictures():
    """`(48, 16, 16, 3)` in 0..1: a bright square in one of four corners, of some size."""
    return _scenes()[0]


@pytest.fixture
def labels():
    """What is to learn of the pictures: `corner`, 0 to 3, and `size` in pixels; some are missing."""
    return {name: values.copy() for name, values in _scenes()[1].items()}


def _scenes():
    generator = np.random.default_rng(5)
    images = generator.uniform(0.0, 0.3, (48, 16, 16, 3)).astype("float32")
    corner, size = generator.integers(0, 4, 48).astype("int32"), generator.integers(3, 8, 48).astype("float32")
    for image, place, side in zip(images, corner, size.astype(int), strict=True):
        down, right = 8 * (place // 2), 8 * (place % 2)
        image[down : down + side, right : right + side] = 1.0
    corner[::5], size[1::5] = -1, np.nan
    return images, {"corner": corner, "size": size}
