"""What trunks refuse, and that they say so in the one form."""

import inspect
import re

import keras
import numpy as np
import pytest

from kmtl import trunks
from kmtl.trunks.options import TrunkOptions

IMAGE = (16, 16, 1)

SHARED = [
    ({"units": 0}, "`units` must be a positive whole number, got 0."),
    ({"units": 1, "normalization": "group"}, "`units` must be 2 or more where each example is normalized by itself"),
    ({"units": 1, "normalization": "layer"}, "`units` must be 2 or more where each example is normalized by itself"),
    ({"units": 2.5}, "`units` must be a positive whole number, got 2.5."),
    (
        {"pooling": None, "units": 8},
        "`units` must be left out with pooling=None, which makes no vector, got 8.",
    ),
    ({"pooling": "averge"}, "`pooling` must be a known name, got 'averge'. Did you mean 'average'?"),
    ({"normalization": "bacth"}, "`normalization` must be a known name, got 'bacth'. Did you mean 'batch'?"),
    ({"normalization": True}, "`normalization` must be a known name, got True. Known: 'batch', 'group', 'layer'."),
    ({"activation": "rellu"}, "`activation` must be a known name, got 'rellu'. Did you mean 'relu'?"),
    ({"activation": None}, "`activation` must be a known name, got None."),
    ({"dropout": 1.0}, "`dropout` must be at least 0 and below 1, got 1.0."),
    ({"dropout": -0.1}, "`dropout` must be at least 0 and below 1, got -0.1."),
    ({"dropout": float("nan")}, "`dropout` must be at least 0 and below 1, got nan."),
    ({"l1": -1}, "`l1` must be a finite number of at least 0, got -1."),
    ({"l2": float("inf")}, "`l2` must be a finite number of at least 0, got inf."),
    ({"name": "my trunk"}, "`name` must be a plain name, got 'my trunk'."),
]

OWN = [
    (trunks.convnet, {"widths": ()}, "convnet: `widths` must hold at least one size, got ()."),
    (trunks.convnet, {"widths": (8, 0)}, "convnet: `widths` must hold positive whole numbers, got (8, 0)."),
    (trunks.convnet, {"widths": (8, 2.5)}, "convnet: `widths` must hold positive whole numbers, got (8, 2.5)."),
    (trunks.convnet, {"widths": "32"}, "convnet: `widths` must hold positive whole numbers, got '32'."),
    (trunks.convnet, {"kernel_size": 0}, "convnet: `kernel_size` must be a positive whole number, got 0."),
    (trunks.convnet, {"widths": (8, 1), "normalization": "layer"}, "convnet: `widths` must leave every layer"),
    (trunks.vgg, {"blocks": ()}, "vgg: `blocks` must hold pairs of positive whole numbers, got ()."),
    (trunks.vgg, {"blocks": (8, 16)}, "vgg: `blocks` must hold pairs of positive whole numbers, got (8, 16)."),
    (trunks.vgg, {"blocks": ((8, 0),)}, "vgg: `blocks` must hold pairs of positive whole numbers, got ((8, 0),)."),
    (
        trunks.vgg,
        {"blocks": ((8, 2, 1),)},
        "vgg: `blocks` must hold pairs of positive whole numbers, got ((8, 2, 1),).",
    ),
    (trunks.vgg, {"blocks": ((1, 2),), "normalization": "layer"}, "vgg: `blocks` must leave every layer"),
    (trunks.resnet, {"widths": ()}, "resnet: `widths` must hold at least one size, got ()."),
    (trunks.resnet, {"depths": 0}, "resnet: `depths` must hold positive whole numbers, got 0."),
    (trunks.resnet, {"depths": (1, 2)}, "resnet: `depths` must hold one number for each of 3 widths, got (1, 2)."),
    (trunks.resnet, {"stem": "big"}, "resnet: `stem` must be a known name, got 'big'."),
    (trunks.resnet, {"widths": 1, "normalization": "layer"}, "resnet: `widths` must leave every layer"),
    (trunks.inception, {"widths": (8, 20)}, "inception: `widths` must be multiples of 8"),
    (trunks.inception, {"widths": (16,), "normalization": "layer"}, "inception: `widths` must leave every layer"),
    (trunks.inception, {"depths": (1,)}, "inception: `depths` must hold one number for each of 3 widths, got (1,)."),
    (trunks.inception, {"stem": "larg"}, "inception: `stem` must be a known name, got 'larg'. Did you mean 'large'?"),
]

IMAGES = [
    (lambda: keras.Input((16, 16)), ValueError, "`image` must have shape (batch, height, width, channels), got"),
    (lambda: keras.Input((4, 16, 16, 1)), ValueError, "`image` must have shape (batch, height, width, channels), got"),
    (lambda: keras.Input((16, 16, None)), ValueError, "`image` must have known channels and no side of 0, got"),
    (lambda: keras.Input((16, 0, 1)), ValueError, "`image` must have known channels and no side of 0, got"),
    (lambda: keras.Input(IMAGE, dtype="uint8"), ValueError, "`image` must hold floats, got 'uint8'. Scale it to 0..1"),
    (lambda: np.zeros((2, *IMAGE)), TypeError, "`image` must be a KerasTensor, got ndarray."),
    (lambda: IMAGE, TypeError, "`image` must be a KerasTensor, got tuple."),
]

FUNCTIONS = [trunks.convnet, trunks.vgg, trunks.resnet, trunks.inception]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("options", "message"), SHARED)
def test_bad_options_are_refused(function, options, message):
    with pytest.raises(ValueError, match=re.escape(f"{function.__name__}: {message}")):
        function(keras.Input(IMAGE), **options)


@pytest.mark.parametrize(("function", "options", "message"), OWN)
def test_bad_shapes_of_a_trunk_are_refused(function, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        function(keras.Input(IMAGE), **options)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("image", "kind", "message"), IMAGES)
def test_what_is_no_image_is_refused(function, image, kind, message):
    with pytest.raises(kind, match=re.escape(f"{function.__name__}: {message}")):
        function(image())


def test_numpy_scalars_are_numbers(tmp_path):
    """They come from a search's sampler or an array of settings, and must be saved like Python's own."""
    image = keras.Input(IMAGE)
    kernel, width = np.array([3, 8])
    share = np.float32(0.5)
    features = trunks.convnet(
        image, np.array([4, 8]), kernel_size=kernel, units=width, dropout=share, l1=share, l2=np.float64(0.1)
    )
    keras.Model(image, features).save(tmp_path / "numpy.keras")
    loaded = keras.saving.load_model(tmp_path / "numpy.keras")
    assert loaded.output.shape == (None, 8)
    assert loaded.get_layer("trunk_dropout").rate == 0.5
    assert loaded.get_layer("trunk_conv1").kernel_regularizer.l1 == 0.5
    assert trunks.resnet(image, (4, 4), np.int64(1), units=width).shape == (None, 8)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_grid_needs_a_known_size(function):
    with pytest.raises(ValueError, match="`pooling` must not be 'grid' for an image of unknown size"):
        function(keras.Input((None, 16, 1)), pooling="grid")


@pytest.mark.parametrize("function", [*FUNCTIONS, trunks.backbone, trunks.pool])
def test_an_unknown_option_is_refused_with_its_near_match(function):
    with pytest.raises(TypeError, match=f"{function.__name__}: `poolin` must be .*, got 'max'. Did you mean 'pooling'"):
        function(keras.Input(IMAGE), poolin="max")


def test_every_option_is_shown_in_the_signature_with_its_default():
    """Of a trunk as of a ready model, whose own layers have their normalisation and their width."""
    named = TrunkOptions.__annotations__
    for function, own in ((trunks.vgg, {}), (trunks.backbone, {"units": None, "normalization": None})):
        parameters = inspect.signature(function).parameters
        shown = {name: parameters[name].default for name in named}
        assert shown == {**vars(trunks.Options()), **own}
        assert {name: parameters[name].annotation for name in named} == named
    convnet = inspect.signature(trunks.convnet).parameters
    assert list(convnet)[:5] == ["image", "widths", "kernel_size", "pool_first", "pooling"]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_all_offenders_are_told_at_once(function):
    with pytest.raises(ValueError, match="`image`") as error:
        function(keras.Input((16, 16)), units=0, dropout=2, normalization="none")
    lines = str(error.value).splitlines()
    assert [line.split("`")[1] for line in lines] == ["image", "units", "dropout", "normalization"]
