"""One table of small trunks, which every test of trunks runs over."""

import keras
import numpy as np
import pytest

from kmtl import trunks

SMALL = {
    "vgg": (trunks.vgg, {"blocks": ((8, 1), (16, 2))}),
    "convnet": (trunks.convnet, {"widths": (8, 16)}),
    "resnet": (trunks.resnet, {"widths": (8, 16), "depths": 1}),
    "inception": (trunks.inception, {"widths": (32, 32)}),
}


@pytest.fixture(autouse=True)
def seeded():
    """Seeds every test alike."""
    keras.utils.set_random_seed(7)


@pytest.fixture(params=SMALL)
def build(request):
    """A function from an image and options to a model whose output is one small trunk's features."""
    function, small = SMALL[request.param]

    def model(shape, **options):
        image = keras.Input(shape, name="image")
        units = {} if options.get("pooling", "auto") is None else {"units": 6}
        return keras.Model(image, function(image, **units | small | options))

    return model


@pytest.fixture
def pixels():
    """A function that draws images, the same on every call."""
    return lambda *shape: np.random.default_rng(3).random(shape, dtype="float32")
