"""What must hold for every trunk, whatever its layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import cases

from kmtl import trunks

NAMES = ["vgg", "convnet", "resnet", "inception"]


def kernels(model):
    return [layer.kernel.numpy() for layer in model.layers if hasattr(layer, "kernel")]


def settle(model):
    """Gives every weight a value of its own, so that a swap or a loss of one shows."""
    rng = np.random.default_rng(5)
    model.set_weights([np.abs(value) * 0.5 + rng.random(value.shape) * 0.2 for value in model.get_weights()])
    return model


def numbers(tensor):
    return keras.ops.convert_to_numpy(tensor)


def penalty(model):
    return float(numbers(sum(model.losses)))


@pytest.mark.parametrize(
    ("side", "channels"),
    [(8, 3), pytest.param(28, 1, marks=pytest.mark.slow), (32, 3), pytest.param(224, 3, marks=pytest.mark.long)],
)
def test_any_size_builds(build, side, channels):
    assert build((side, side, channels)).output.shape == (None, 6)


def test_known_sizes_cost_the_same_weights(build):
    assert len({build((side, side, 1)).count_params() for side in (8, 28, 64)}) == 1


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 50, 2)])
def test_odd_shapes_run(build, shape, pixels):
    features = numbers(build(shape)(pixels(2, *shape)))
    assert features.shape == (2, 6)
    assert np.isfinite(features).all()


def test_unknown_size_is_the_global_average_of_any_size(build, pixels):
    loose = settle(build((None, None, 3)))
    for shape in ((24, 36, 3), (40, 40, 3)):
        fixed = build(shape, pooling="average")
        fixed.set_weights(loose.get_weights())
        image = pixels(2, *shape)
        np.testing.assert_allclose(loose(image), fixed(image), rtol=1e-5)


@pytest.mark.parametrize("pooling", ["auto", "max"])
def test_the_map_pooled_is_the_trunk_itself(build, pooling, pixels):
    """Number for number, under the same names; its options go with the vector and not with the map."""
    end = {"pooling": pooling, "units": 5, "normalization": "layer", "activation": "tanh", "l2": 0.1}
    whole = settle(build((24, 20, 2), **end))
    bare = build((24, 20, 2), pooling=None, normalization="layer", activation="tanh", l2=0.1)
    both = keras.Model(bare.input, [trunks.pool(bare.output, **end), bare.output])
    both.set_weights(whole.get_weights())
    image = pixels(2, 24, 20, 2)
    vector, last = both(image)
    np.testing.assert_array_equal(vector, whole(image))
    assert last.shape == (2, *bare.output.shape[1:])
    assert [layer.name for layer in both.layers] == [layer.name for layer in whole.layers]
    assert penalty(both) == pytest.approx(penalty(whole), rel=1e-6)


@pytest.mark.parametrize("shape", [(32, 24, 1), (None, None, 3)])
def test_without_pooling_it_is_a_map(build, shape, pixels):
    """Behind the last halving of every trunk in the table, with nothing added to its weights."""
    model = build(shape, pooling=None)
    found = numbers(model(pixels(2, 32, 24, shape[-1])))
    assert found.shape[0] == 2
    assert found.shape[3] == model.output.shape[3] >= 16
    assert found.shape[1] / found.shape[2] == 32 / 24
    assert model.count_params() == build(shape, pooling="average", units=None).count_params()
    assert not any(isinstance(layer, keras.layers.Dense) for layer in model.layers)


def test_dropout_of_a_map_takes_whole_channels(build, pixels):
    model = build((16, 16, 1), pooling=None, dropout=0.4, activation="softplus", normalization=None)
    kept = numbers(model(pixels(8, 16, 16, 1), training=True)) != 0
    assert (kept.all(axis=(1, 2)) | ~kept.any(axis=(1, 2))).all()
    assert kept.mean() == pytest.approx(0.6, abs=0.15)


@pytest.mark.parametrize("pooling", cases(["average", "max"], "average", others="slow"))
def test_only_the_grid_knows_where(build, pooling):
    image = np.zeros((2, 64, 64, 1), "float32")
    image[0, 18:22, 18:22] = image[1, 34:38, 34:38] = 1.0
    blind, seeing = (build((64, 64, 1), pooling=kind, units=None) for kind in (pooling, "grid"))
    seeing.set_weights(blind.get_weights())
    first, second = numbers(blind(image))
    np.testing.assert_allclose(first, second, atol=1e-5)
    first, second = numbers(seeing(image))
    assert np.abs(first - second).max() > 0.1 * np.abs(first).max()


def test_penalties_are_those_of_the_kernels(build):
    model = settle(build((16, 16, 1), l1=0.03, l2=0.2))
    expected = sum(0.03 * np.abs(kernel).sum() + 0.2 * (kernel**2).sum() for kernel in kernels(model))
    assert penalty(model) == pytest.approx(expected, rel=1e-5)


def test_no_penalty_unless_asked(build):
    assert build((16, 16, 1)).losses == []


def test_dropout_drops_and_rescales_in_training_only(build, pixels):
    dropping = build((16, 16, 1), normalization=None, dropout=0.25, units=400, activation="softplus")
    whole = build((16, 16, 1), normalization=None, units=400, activation="softplus")
    whole.set_weights(dropping.get_weights())
    image = pixels(4, 16, 16, 1)
    expected = numbers(whole(image, training=True))
    np.testing.assert_array_equal(dropping(image), expected)
    dropped = numbers(dropping(image, training=True))
    kept = dropped != 0
    assert kept.mean() == pytest.approx(0.75, abs=0.06)
    np.testing.assert_allclose(dropped[kept], (expected / 0.75)[kept], rtol=1e-5)


# The momentum is one function's for every trunk.
@pytest.mark.long
@pytest.mark.parametrize("build", cases(NAMES, "resnet", others="slow"), indirect=True)
def test_test_mode_follows_training_mode_within_ninety_steps(build, pixels):
    """Momentum 0.9 leaves 0.0001 of the initial statistics after ninety steps; 0.99 would leave 0.4.

    The features differ between examples only, their mean being normalised away, so that what is left
    shows more clearly than in a convolution's output.
    """
    model = build((16, 16, 1))
    image = pixels(16, 16, 16, 1)
    step = tf.function(lambda: model(image, training=True))
    gaps = []
    for steps in (60, 30):
        for _ in range(steps):
            features = step()
        gaps.append(np.abs(features - model(image, training=False)).max())
    assert gaps[1] < 0.005 * np.abs(features).max()
    assert gaps[1] == pytest.approx(0.9**30 * gaps[0], rel=0.1)


@pytest.mark.parametrize(
    ("normalization", "axis"),
    [("batch", 0), pytest.param("group", 1, marks=pytest.mark.slow), pytest.param("layer", 1, marks=pytest.mark.long)],
)
def test_features_are_normalized_before_their_activation(build, normalization, axis, pixels):
    """Six units are one group. The variance comes short of 1 by Keras's epsilon of 0.001."""
    linear, bent = (build((16, 16, 1), normalization=normalization) for _ in range(2))
    linear = keras.Model(linear.input, linear.get_layer("trunk_features_norm").output)
    bent.set_weights(linear.get_weights())
    image = pixels(8, 16, 16, 1)
    features = numbers(linear(image, training=True))
    np.testing.assert_allclose(features.mean(axis), 0.0, atol=1e-4)
    np.testing.assert_allclose(features.std(axis), 1.0, atol=0.02)
    np.testing.assert_allclose(bent(image, training=True), np.maximum(features, 0.0), atol=1e-5)


@pytest.mark.parametrize("normalization", cases(["layer", "group", None], "layer", others="slow"))
def test_other_normalizations_see_one_example_at_a_time(build, normalization, pixels):
    model = build((16, 16, 1), normalization=normalization)
    image = pixels(4, 16, 16, 1)
    alone = np.concatenate([model(image[index : index + 1], training=True) for index in range(4)])
    np.testing.assert_allclose(model(image, training=True), alone, atol=1e-5)


def test_batch_normalization_folds_into_the_kernels(build, pixels):
    model, plain = settle(build((16, 16, 2))), build((16, 16, 2), normalization=None)
    for layer in filter(lambda layer: hasattr(layer, "kernel"), plain.layers):
        source = model.get_layer(layer.name)
        norm = model.get_layer(f"{layer.name}_norm")
        gamma, beta, mean, variance = norm.get_weights()
        scale = gamma / np.sqrt(variance + norm.epsilon)
        layer.set_weights([source.get_weights()[0] * scale, beta - mean * scale])
    image = pixels(3, 16, 16, 2)
    np.testing.assert_allclose(plain(image), model(image), rtol=1e-4)


@pytest.mark.parametrize("synchronized", [True, False])
def test_all_statistics_are_synchronized_or_none(build, synchronized):
    layers = build((16, 16, 1), synchronized=synchronized).layers
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert {norm.synchronized for norm in norms} == {synchronized}


def test_saved_and_loaded_it_is_the_same(build, pixels, tmp_path):
    model = settle(build((16, 16, 1), dropout=0.1, l1=0.1))
    model.save(tmp_path / "trunk.keras")
    loaded = keras.saving.load_model(tmp_path / "trunk.keras")
    image = pixels(2, 16, 16, 1)
    np.testing.assert_array_equal(loaded(image), model(image))
    assert penalty(loaded) == pytest.approx(penalty(model), rel=1e-6)


# Every layer is stock Keras's, whose export Keras tests.
@pytest.mark.long
@pytest.mark.parametrize("build", cases(NAMES, "resnet", others="slow"), indirect=True)
def test_exported_it_is_the_same(build, pixels, tmp_path):
    model = settle(build((16, 16, 1)))
    model.export(tmp_path / "saved", verbose=False)
    image = pixels(2, 16, 16, 1)
    served = tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(served.serve(image), model(image), rtol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("build", cases(NAMES, "inception", others="slow"), indirect=True)
def test_xla_and_graph_agree(build, pixels):
    model = settle(build((16, 16, 1)))
    image = tf.constant(pixels(4, 16, 16, 1))

    def features():
        return model(image, training=True)

    compiled, plain = (numbers(tf.function(features, jit_compile=jit)()) for jit in (True, False))
    np.testing.assert_allclose(compiled, plain, atol=1e-4 * np.abs(plain).max())


@pytest.mark.parametrize("normalization", cases(["layer", "batch", "group"], "batch", others="slow"))
def test_half_precision_is_near_full(build, normalization, pixels):
    image = pixels(4, 16, 16, 1)
    full = build((16, 16, 1), normalization=normalization)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = build((16, 16, 1), normalization=normalization)
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(full.get_weights())
    features = half(image, training=True)
    assert features.dtype == "float16"
    assert {weight.dtype for weight in half.weights} == {"float32"}
    expected = numbers(full(image, training=True))
    np.testing.assert_allclose(numbers(features).astype("float32"), expected, atol=0.02 * np.abs(expected).max())


def test_two_trunks_live_in_one_model(build):
    first, second = build((16, 16, 1), name="wide"), build((16, 16, 1), name="deep")
    joint = keras.Model(first.input, keras.layers.Add()([first.output, second(first.input)]))
    assert joint.count_params() == 2 * first.count_params()
    names = [layer.name.removeprefix("wide_") for layer in first.layers[1:]]
    assert names == [layer.name.removeprefix("deep_") for layer in second.layers[1:]]
    assert not set(names) & {layer.name for layer in first.layers}


def test_images_stay_channels_last(build):
    keras.config.set_image_data_format("channels_first")
    try:
        first = build((16, 20, 3))
    finally:
        keras.config.set_image_data_format("channels_last")
    last = build((16, 20, 3))
    assert [layer.output.shape for layer in first.layers] == [layer.output.shape for layer in last.layers]


@pytest.mark.parametrize("activation", ["gelu", keras.activations.tanh])
def test_activation_reaches_every_layer(build, activation):
    model = build((16, 16, 1), activation=activation)
    used = {layer.activation for layer in model.layers if isinstance(layer, keras.layers.Activation)}
    assert used == {keras.activations.get(activation)}
    assert model.get_layer("trunk_features_activation").output is model.output
    assert {layer.activation for layer in model.layers if hasattr(layer, "kernel")} == {keras.activations.linear}


def test_every_layer_is_stock_keras(build):
    layers = build((36, 36, 1), dropout=0.1).layers
    assert all(type(layer).__module__.startswith("keras.") for layer in layers)
    assert not any(isinstance(layer, keras.layers.Lambda) for layer in layers)
