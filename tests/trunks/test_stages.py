"""The maps on the way to a trunk's last one."""

import itertools

import keras
import numpy as np
import pytest

from kmtl import trunks

# Ends of the encoder of the U-Net in TensorFlow's tutorial "Image segmentation", and the network's last layer.
MOBILENET = ["block_1_expand_relu", "block_3_expand_relu", "block_6_expand_relu", "block_13_expand_relu", "out_relu"]


@pytest.mark.parametrize(
    ("trunk", "options", "names"),
    [
        (trunks.convnet, {"widths": (4, 6, 8)}, ["conv1_activation", "conv2_activation", "conv3_activation", "pool3"]),
        (
            trunks.vgg,
            {"blocks": ((4, 1), (6, 2))},
            ["block1_conv1_activation", "block2_conv2_activation", "block2_pool"],
        ),
        (trunks.resnet, {"widths": (4, 6), "depths": 2}, ["stage1_block2_activation", "stage2_block2_activation"]),
    ],
)
@pytest.mark.parametrize("sides", [(32, 28), (None, None)])
def test_the_last_map_of_each_resolution_is_listed(trunk, options, names, sides):
    image = keras.Input((*sides, 1))
    features = trunk(image, pooling=None, **options)
    model = keras.Model(image, features)
    expected = [model.get_layer(f"trunk_{name}").output for name in names]
    # The first one is of the image's own size.
    for found, wanted in ((trunks.stages(features, full=True), expected), (trunks.stages(features), expected[1:])):
        assert [id(one) for one in found] == [id(one) for one in wanted]
    assert trunks.stages(features, most=1) == [features]


def test_a_map_counts_where_all_of_the_way_passes():
    image = keras.Input((32, 32, 1))
    features = trunks.inception(image, widths=(32, 32, 32), pooling=None)
    found = trunks.stages(features, full=True)
    assert [one.shape[1] for one in found] == [32, 16, 8]
    for one in found[:-1]:
        # What the last map is computed from, and nothing else; Keras refuses a graph that needs more.
        keras.Model(one, features)


def test_a_ready_model_gives_its_stages_out_of_one_call():
    image = keras.Input((64, 64, 3))
    model = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(64, 64, 3), alpha=0.35)
    scaled = keras.layers.Rescaling(2.0, offset=-1.0)
    found = trunks.stages(trunks.backbone(model, image, preprocess=scaled, pooling=None, dropout=0.5))
    whole = keras.Model(image, found)
    assert [layer.name for layer in whole.layers[1:]] == [scaled.name, model.name, "trunk_dropout"]
    assert {id(one) for one in whole.weights} == {id(one) for one in model.weights}
    parts = keras.Model(model.input, [model.get_layer(name).output for name in MOBILENET])
    pixels = np.random.default_rng(0).random((1, 64, 64, 3), dtype="float32")
    for one, other in zip(whole(pixels), parts(2 * pixels - 1), strict=True):
        np.testing.assert_array_equal(one, other)
    # Of the model's own inputs they are its tensors.
    own = trunks.stages(trunks.backbone(model, pooling=None))
    assert [id(one) for one in own] == [id(one) for one in parts.outputs]


def test_models_inside_of_models_are_opened_and_others_taken_as_they_are():
    layers = [keras.layers.Conv2D(width, 3, 2, padding="same") for width in (2, 3, 4)]
    inner = keras.Sequential(layers[:2])
    row = keras.Input((None, None, 2))
    outer = keras.Model(row, layers[2](inner(row)))
    image = keras.Input((20, 13, 2))
    found = trunks.stages(keras.layers.ReLU()(outer(image)), full=True)
    assert [tuple(one.shape[1:]) for one in found] == [(10, 7, 2), (5, 4, 3), (3, 2, 4)]
    pixels = np.random.default_rng(0).normal(size=(2, 20, 13, 2)).astype("float32")
    values = list(itertools.accumulate(layers, lambda value, layer: layer(value), initial=pixels))[1:]
    for one, other in zip(keras.Model(image, found)(pixels), [*values[:2], keras.ops.relu(values[2])], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_padding_and_enlarging_begin_no_stage():
    image = keras.Input((32, 32, 1))
    fine = keras.layers.Conv2D(2, 3, 2, padding="same")(image)
    coarse = keras.layers.Conv2D(3, 3, 2)(keras.layers.ZeroPadding2D()(fine))
    assert trunks.stages(coarse) == [fine, coarse]
    again = keras.layers.UpSampling2D()(coarse)
    assert trunks.stages(again) == [again]
    # A convolution without padding takes a few pixels off.
    assert trunks.stages(keras.layers.Conv2D(2, 3)(fine))[0].shape[1] == 14


def test_what_is_no_map_is_refused_with_all_that_is_wrong():
    with pytest.raises(
        ValueError, match=r"(?s)stages: `features` must be .*pooling=None.*`most` must be .*got 0.*`full`"
    ):
        trunks.stages(trunks.convnet(keras.Input((8, 8, 1))), most=0, full="yes")
