"""Any Keras model as a trunk."""

import re

import keras
import numpy as np
import pytest

from kmtl import trunks

SHAPE = (24, 24, 3)


@pytest.fixture
def image():
    return keras.Input(SHAPE, name="image")


@pytest.fixture
def batch(pixels):
    return pixels(2, *SHAPE)


def encoder(shape=SHAPE, name="encoder"):
    """A model of two named layers that ends in a map of 12 x 12 x 4."""
    pixels = keras.Input(shape, name="pixels")
    tensor = keras.layers.Conv2D(5, 3, padding="same", activation="relu", name="early")(pixels)
    return keras.Model(pixels, keras.layers.Conv2D(4, 3, 2, padding="same", name="late")(tensor), name=name)


def several():
    """A model with a dict of outputs, their keys not in the order of their layers' names."""
    model = encoder()
    tokens = keras.layers.Reshape((144, 4), name="aaa")(model.output)
    vector = keras.layers.Dense(2, name="zzz")(keras.layers.GlobalMaxPooling1D()(tokens))
    return keras.Model(model.input, {"vector": vector, "map": model.output, "tokens": tokens}, name="several")


@keras.saving.register_keras_serializable(package="test")
class Own(keras.Model):
    """A subclassed model, which has no symbolic inputs or outputs."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.convolution = keras.layers.Conv2D(4, 3)

    def call(self, pixels):
        found = self.convolution(pixels)
        return {"map": found, "mean": keras.ops.mean(found, axis=(1, 2))}


@pytest.fixture(scope="module")
def mobile():
    return keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(64, 64, 3), alpha=0.35)


@pytest.mark.long
def test_an_application_pooled(mobile, pixels):
    image = keras.Input((64, 64, 3))
    model = keras.Model(image, trunks.backbone(mobile, image, pooling="average"))
    batch = pixels(2, 64, 64, 3)
    np.testing.assert_allclose(model(batch), np.asarray(mobile(batch)).mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)


def test_an_applications_middle(mobile, pixels):
    image = keras.Input((64, 64, 3))
    model = keras.Model(image, trunks.backbone(mobile, image, output="block_6_expand_relu", pooling="max"))
    inner = keras.Model(mobile.input, mobile.get_layer("block_6_expand_relu").output)
    batch = pixels(2, 64, 64, 3)
    np.testing.assert_allclose(model(batch), np.asarray(inner(batch)).max(axis=(1, 2)), rtol=1e-4, atol=1e-6)
    assert model.count_params() < mobile.count_params()


def test_weights_of_ones_own(image, batch, tmp_path):
    trained = encoder()
    path = tmp_path / "encoder.weights.h5"
    trained.save_weights(path)
    fresh = encoder()
    model = keras.Model(image, trunks.backbone(fresh, image, weights=path))
    assert np.abs(fresh.get_weights()[0] - trained.get_weights()[0]).max() == 0
    np.testing.assert_array_equal(model(batch), keras.Model(image, trunks.backbone(trained, image))(batch))


def test_frozen_it_stands_still_in_training(image, batch):
    pixels = keras.Input(SHAPE)
    normal = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(4, 3, name="early")(pixels))
    ready = keras.Model(pixels, normal)
    features = trunks.backbone(ready, image, trainable=False, units=3)
    model = keras.Model(image, features)
    before = ready.get_weights()
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.fit(batch, np.ones((2, 3)), epochs=3, verbose=0)
    for old, new in zip(before, ready.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert [weight.path.split("/")[0] for weight in model.trainable_weights] == ["trunk_features"] * 2


def test_what_the_user_froze_stays_frozen(image):
    ready = encoder()
    ready.get_layer("early").trainable = False
    model = keras.Model(image, trunks.backbone(ready, image))
    assert {weight.path.split("/")[0] for weight in model.trainable_weights} == {"late"}


def test_the_grid_of_a_map(image, batch):
    ready = encoder()
    model = keras.Model(image, trunks.backbone(ready, image))
    cells = np.asarray(ready(batch)).reshape(2, 4, 3, 4, 3, 4).mean(axis=(2, 4))
    np.testing.assert_allclose(model(batch), cells.reshape(2, -1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("output", "width"), [("vector", 2), ("map", 64), ("tokens", 4), ("zzz", 2), ("early", 80)])
def test_one_of_several_outputs(image, output, width):
    assert trunks.backbone(several(), image, output=output).shape == (None, width)


@pytest.mark.parametrize("pooling", ["average", "max"])
def test_tokens_are_pooled(image, batch, pooling):
    ready = several()
    model = keras.Model(image, trunks.backbone(ready, image, output="tokens", pooling=pooling))
    tokens = np.asarray(ready(batch)["tokens"])
    expected = tokens.mean(axis=1) if pooling == "average" else tokens.max(axis=1)
    np.testing.assert_allclose(model(batch), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("output", ["map", "tokens", "early"])
def test_without_pooling_the_output_stays_as_it_is(image, batch, output):
    """And pooled, it is what the backbone gives by itself."""
    ready = several()
    inner = {**ready.output, "early": ready.get_layer("early").output}[output]
    bare = trunks.backbone(ready, image, output=output, pooling=None)
    pooled = trunks.pool(bare, units=5, normalization=None, name="mine")
    model = keras.Model(image, [bare, pooled])
    found, vector = model(batch)
    np.testing.assert_array_equal(found, keras.Model(ready.input, inner)(batch))
    whole = keras.Model(image, trunks.backbone(ready, image, output=output, units=5))
    whole.set_weights(model.get_weights())
    np.testing.assert_array_equal(vector, whole(batch))


def test_a_model_of_several_inputs_takes_a_dict_of_them():
    """In any order, as BERT's; or goes on from its own."""
    inputs = {name: keras.Input((4,), name=name) for name in ("token_ids", "padding_mask")}
    joined = keras.layers.Concatenate()([inputs["token_ids"] * 2.0, inputs["padding_mask"]])
    bert = keras.Model(inputs, {"pooled_output": joined, "other": joined[:, :1]})
    given = {name: keras.Input((4,), name=f"my_{name}") for name in ("padding_mask", "token_ids")}
    rows = [np.ones((1, 4)), np.full((1, 4), 3.0)]
    found = keras.Model(list(given.values()), trunks.backbone(bert, given, output="pooled_output"))(rows)
    np.testing.assert_array_equal(found, [[6.0] * 4 + [1.0] * 4])
    assert trunks.backbone(bert, output="pooled_output").shape == (None, 8)
    with pytest.raises(ValueError, match=r"^backbone: `image` must hold each input of the model, got \['token_ids'\]"):
        trunks.backbone(bert, {"token_ids": given["token_ids"]}, output="pooled_output")


def test_a_text_model_gives_its_sequence():
    """A pooled sequence leaves the padding out, as Keras carries its mask along."""
    words = keras.Input((None,), dtype="int32", name="words")
    ready = keras.Model(words, keras.layers.Embedding(9, 4, mask_zero=True)(words))
    sequence = trunks.backbone(ready, pooling=None)
    vector = trunks.pool(sequence, pooling="average", units=None)
    model = keras.Model(words, [sequence, vector])
    tokens, mean = model(np.array([[3, 5, 0, 0], [1, 2, 7, 8]]))
    assert sequence.shape == (None, None, 4)
    np.testing.assert_allclose(mean[0], np.asarray(tokens)[0, :2].mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(mean[1], np.asarray(tokens)[1].mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((5,), {}, "`features` must be a map or a sequence of known width, got (None, 5)."),
        ((4, None), {}, "`features` must be a map or a sequence of known width, got (None, 4, None)."),
        ((4, 4, 2), {"pooling": None}, "`pooling` must not be None for shape (None, 4, 4, 2), got None. Use 'auto'"),
        ((None, 4, 2), {"pooling": "grid"}, "`pooling` must not be 'grid' for shape (None, None, 4, 2), got 'grid'."),
        ((9, 2), {"pooling": "grid"}, "`pooling` must not be 'grid' for shape (None, 9, 2), got 'grid'."),
        ((9, 2), {"pooling": "max", "dropout": 1}, "`dropout` must be at least 0 and below 1, got 1."),
    ],
)
def test_what_cannot_be_pooled_is_refused(shape, options, message):
    with pytest.raises(ValueError, match=re.escape(f"pool: {message}")):
        trunks.pool(keras.Input(shape), **options)


def test_a_layer_called_twice_gives_its_first_output(image, batch):
    pixels = keras.Input(SHAPE)
    layer = keras.layers.Conv2D(3, 3, padding="same", name="twice")
    ready = keras.Model(pixels, layer(layer(pixels)))
    model = keras.Model(image, trunks.backbone(ready, image, output="twice", pooling="max"))
    np.testing.assert_allclose(model(batch), np.asarray(layer(batch)).max(axis=(1, 2)), rtol=1e-5)


def test_a_dict_in_and_a_dict_out(image, batch):
    """The form of KerasHub's image encoders."""
    inner = encoder()
    pixels = keras.Input(SHAPE, name="images")
    ready = keras.Model({"images": pixels}, {"pooled": keras.layers.GlobalAveragePooling2D()(inner(pixels))})
    model = keras.Model(image, trunks.backbone(ready, image))
    np.testing.assert_allclose(model(batch), np.asarray(inner(batch)).mean(axis=(1, 2)), rtol=1e-4, atol=1e-6)


def test_a_list_of_one_input(image, batch):
    inner = encoder()
    model = keras.Model(image, trunks.backbone(keras.Model([inner.input], [inner.output]), image))
    np.testing.assert_array_equal(model(batch), keras.Model(image, trunks.backbone(inner, image))(batch))


def test_without_an_image_it_goes_on_from_the_models_input(batch, image):
    ready = encoder()
    model = keras.Model(ready.input, trunks.backbone(ready))
    assert "early" in [layer.name for layer in model.layers]
    np.testing.assert_array_equal(model(batch), keras.Model(image, trunks.backbone(ready, image))(batch))


def test_two_trunks_of_one_model_share_it(image):
    ready = encoder()
    features = [trunks.backbone(ready, image, name=name) for name in ("one", "another")]
    assert keras.Model(image, features).count_params() == ready.count_params()


def test_a_sequential_model_not_built_yet(image, batch):
    ready = keras.Sequential([keras.layers.Conv2D(4, 3), keras.layers.Flatten()])
    model = keras.Model(image, trunks.backbone(ready, image))
    np.testing.assert_array_equal(model(batch), ready(batch))


def test_a_subclassed_model_saved_and_loaded(image, batch, tmp_path):
    ready = Own()
    model = keras.Model(image, trunks.backbone(ready, image, output="mean", units=5, dropout=0.2))
    model.save(tmp_path / "own.keras")
    loaded = keras.saving.load_model(tmp_path / "own.keras")
    np.testing.assert_array_equal(loaded(batch), model(batch))


def test_images_are_prepared_as_the_model_was_trained(image, batch):
    ready = encoder()
    layer = keras.layers.Rescaling(2.0, offset=-1.0)
    prepared = keras.Model(image, trunks.backbone(ready, image, preprocess=layer))
    plain = keras.Model(image, trunks.backbone(ready, image))
    np.testing.assert_allclose(prepared(batch), plain(batch * 2 - 1), rtol=1e-4, atol=1e-6)


def test_a_function_of_keras_prepares_and_is_saved(image, batch, tmp_path):
    """The reference is Keras's own arithmetic on arrays: channels reversed, means taken off."""

    def prepare(pixels):
        return keras.applications.resnet50.preprocess_input(pixels * 255.0)

    ready = encoder()
    model = keras.Model(image, trunks.backbone(ready, image, preprocess=prepare))
    model.save(tmp_path / "prepared.keras")
    loaded = keras.saving.load_model(tmp_path / "prepared.keras")
    expected = keras.Model(image, trunks.backbone(ready, image))(prepare(batch.copy()))
    for each in (model, loaded):
        np.testing.assert_allclose(each(batch), expected, rtol=1e-3, atol=1e-3)


def test_the_dense_layer_is_penalised(image):
    model = keras.Model(image, trunks.backbone(encoder(), image, units=7, l2=0.5))
    kernel = model.get_layer("trunk_features").kernel.numpy()
    assert [float(loss.numpy()) for loss in model.losses] == [pytest.approx(0.5 * (kernel**2).sum(), rel=1e-5)]


def test_the_dense_layer_is_plain(image, batch):
    """Kernel, bias and activation, and no normalisation, in training as in test."""
    ready = encoder()
    model, bare = (keras.Model(image, trunks.backbone(ready, image, units=units)) for units in (7, None))
    assert model.count_params() - bare.count_params() == 64 * 7 + 7
    kernel, bias = model.get_layer("trunk_features").weights
    bias.assign(np.linspace(-1, 1, 7))
    expected = np.maximum(np.asarray(bare(batch)) @ kernel.numpy() + bias.numpy(), 0.0)
    for training in (True, False):
        np.testing.assert_allclose(model(batch, training=training), expected, rtol=1e-4, atol=1e-6)


def two_inputs():
    image, mask = (keras.Input(SHAPE, name=name) for name in ("image", "mask"))
    return keras.Model({"image": image, "mask": mask}, keras.layers.Add()([image, mask]))


def called_elsewhere_first():
    layer = keras.layers.Conv2D(3, 3, name="wandering")
    layer(keras.Input(SHAPE))
    pixels = keras.Input(SHAPE)
    return keras.Model(pixels, layer(pixels))


def flat():
    pixels = keras.Input((24, 24))
    return keras.Model(pixels, keras.layers.Flatten()(pixels))


def volume():
    pixels = keras.Input(SHAPE)
    return keras.Model(pixels, keras.layers.Reshape((2, 12, 24, 3))(pixels))


def scalar():
    pixels = keras.Input(SHAPE)
    return keras.Model(pixels, keras.ops.mean(pixels, axis=(1, 2, 3)))


def listed():
    model = encoder()
    return keras.Model(model.input, [model.output, model.get_layer("early").output])


REFUSED = [
    (
        several,
        {},
        "`output` must choose one output, by key or by layer, got None. Choose one of: 'vector', 'map', 'tokens'.",
    ),
    (
        several,
        {"output": "vectr"},
        "`output` must be a key of the model's outputs or the name of one of its layers, got 'vectr'. "
        "Did you mean 'vector'?",
    ),
    (encoder, {"output": "erly"}, "got 'erly'. Did you mean 'early'?"),
    (listed, {}, "`output` must choose one output, by key or by layer, got None. Name its layer."),
    (Own, {}, "`output` must choose one output, by key or by layer, got None. Choose one of: 'map', 'mean'."),
    (Own, {"output": "men"}, "`output` must be a key of the model's outputs, got 'men'. Did you mean 'mean'?"),
    (
        called_elsewhere_first,
        {"output": "wandering"},
        "`output` must be a layer on the model's own path, got 'wandering'.",
    ),
    (two_inputs, {}, "`image` must be all that the model reads, got one of ['image', 'mask']. Pass all of them as a"),
    (
        lambda: encoder((32, 32, 3)),
        {},
        "`image` must have the shape (None, 32, 32, 3) that the model reads, got (None, 24, 24, 3). Build the model",
    ),
    (flat, {}, "`image` must have the shape (None, 24, 24) that the model reads"),
    (
        volume,
        {},
        "`model` must end in a vector, a sequence of tokens or a feature map of known width, got (None, 2, 12, 24, 3).",
    ),
    (scalar, {}, "`model` must end in a vector, a sequence of tokens or a feature map of known width, got (None,)."),
    (
        several,
        {"output": "vector", "pooling": "grid"},
        "`pooling` must not be 'grid' for an output of shape (None, 2), got 'grid'.",
    ),
    (
        several,
        {"output": "tokens", "pooling": "grid"},
        "`pooling` must not be 'grid' for an output of shape (None, 144, 4), got 'grid'.",
    ),
    (
        several,
        {"output": "vector", "pooling": None},
        "`pooling` must not be None for an output of shape (None, 2), got None. Choose a layer before the vector by",
    ),
    (encoder, {"pooling": None, "units": 3}, "`units` must be left out with pooling=None, which makes no vector"),
    (encoder, {"pooling": "mean"}, "`pooling` must be a known name, got 'mean'."),
    (encoder, {"units": 0}, "`units` must be a positive whole number, got 0."),
    (encoder, {"dropout": 1}, "`dropout` must be at least 0 and below 1, got 1."),
    (encoder, {"weights": "nowhere.weights.h5"}, "`weights` must be a file, got 'nowhere.weights.h5'."),
    (encoder, {"preprocess": "caffe"}, "`preprocess` must be a layer or a function, got 'caffe'."),
    (encoder, {"image": None, "preprocess": abs}, "`preprocess` must be None without an `image` to prepare"),
    (Own, {"image": None}, "`image` must be given for a model without inputs of its own, got None."),
]


@pytest.mark.parametrize(("make", "options", "message"), REFUSED)
def test_what_cannot_be_adapted_is_refused(image, make, options, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        trunks.backbone(make(), **({"image": image} | options))
    assert str(error.value).startswith("backbone: ")


def test_a_grey_image_for_a_model_of_three_channels():
    with pytest.raises(ValueError, match=re.escape("Repeat the channel: keras.layers.Concatenate()")):
        trunks.backbone(encoder(), keras.Input((24, 24, 1)))


@pytest.mark.parametrize("model", [None, "MobileNetV2", keras.layers.Dense(3), keras.applications.MobileNetV2])
def test_only_models_are_models(image, model):
    with pytest.raises(TypeError, match=r"backbone: `model` must be a keras\.Model, got "):
        trunks.backbone(model, image)


def test_a_list_of_inputs_is_told_to_be_named():
    image = keras.Input(SHAPE)
    with pytest.raises(TypeError, match=r"^backbone: `image` must be one tensor, or a dict .*, got a list of 2\. Name"):
        trunks.backbone(two_inputs(), [image, image])


def test_an_array_is_no_image(batch):
    with pytest.raises(TypeError, match="backbone: `image` must be a KerasTensor, got ndarray"):
        trunks.backbone(encoder(), batch)
