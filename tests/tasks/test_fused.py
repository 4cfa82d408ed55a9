"""Many heads of one form as one kernel: the same weights give the same outputs as separate heads."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import cases
from kinds import KINDS

from kmtl.tasks import FusedHeads, build_heads

NAMES = ["zebra", "ant", "mole", "bee"]
WIDTH = 5


@pytest.fixture(params=[name for name, kind in KINDS.items() if kind.linear])
def kind(request):
    """The kinds whose heads are dense layers."""
    return KINDS[request.param]


def both(kind, **options):
    """A separate and a fused model of the same four heads, with the same weights."""
    tasks = [kind.make(name, **options) for name in NAMES]
    models = []
    for fuse in (False, True):
        features = keras.Input((WIDTH,))
        models.append(keras.Model(features, build_heads(features, tasks, fuse=fuse)))
    separate, fused = models
    (layer,) = [layer for layer in fused.layers if isinstance(layer, FusedHeads)]
    copy_weights(separate, layer)
    for name in NAMES:
        for model in models:
            if hasattr(model.get_layer(name) if name in layer_names(model) else None, "learn"):
                size = tasks[0].units
                model.get_layer(name).learn(np.full(size, len(name)), np.full(size, 1 + len(name)))
    return separate, fused, layer


def layer_names(model):
    return [layer.name for layer in model.layers]


def dense_layers(model, name):
    """The dense layers of one separate head, first to last."""
    own = [layer for layer in model.layers if layer.name == name or layer.name.startswith(f"{name}_")]
    return [layer for layer in own if isinstance(layer, keras.layers.Dense)]


def copy_weights(separate, layer):
    """Gives the fused kernels the weights of the separate heads, and random biases to both."""
    heads = [dense_layers(separate, name) for name in NAMES]
    generator = np.random.default_rng(3)
    for depth, (kernel, bias) in enumerate(zip(layer.kernels, layer.biases, strict=True)):
        for head in heads:
            head[depth].bias.assign(generator.normal(size=head[depth].bias.shape))
        kernels = [head[depth].kernel.numpy() for head in heads]
        kernel.assign(np.concatenate(kernels, axis=1) if depth == 0 else np.stack(kernels))
        bias.assign(np.stack([head[depth].bias.numpy() for head in heads]))


def rows(n=7):
    return np.random.default_rng(4).normal(size=(n, WIDTH)).astype("float32")


@pytest.mark.parametrize("hidden", cases([(), (6,), (6, 4, 3)], (6, 4, 3)))
def test_outputs_equal_those_of_separate_heads(kind, hidden):
    separate, fused, _ = both(kind, hidden=hidden)
    assert list(fused.output) == list(separate.output) == NAMES
    expected, found = separate(rows()), fused(rows())
    for name in NAMES:
        assert fused.output[name].shape == separate.output[name].shape
        np.testing.assert_allclose(found[name], expected[name], rtol=2e-5, atol=1e-6, err_msg=name)
    assert np.abs(expected["zebra"] - expected["ant"]).max() > 1e-3


def test_penalties_equal_those_of_separate_heads(kind):
    separate, fused, _ = both(kind, hidden=(6, 4), l1=0.03, l2=0.07)
    separate(rows())
    fused(rows())
    expected = sum(float(loss) for loss in separate.losses)
    assert sum(float(loss) for loss in fused.losses) == pytest.approx(expected, rel=1e-5)
    assert expected > 0


def test_a_slice_of_a_kernel_gets_its_own_tasks_gradient_alone(kind):
    separate, fused, layer = both(kind, hidden=(6, 4))
    weights = layer.kernels + layer.biases
    for place, name in enumerate(NAMES):
        with tf.GradientTape() as tape:
            target = tf.reduce_sum(fused(rows())[name] ** 2)
        gradients = tape.gradient(target, [weight.value for weight in weights])
        with tf.GradientTape() as tape:
            target = tf.reduce_sum(separate(rows())[name] ** 2)
        head = dense_layers(separate, name)
        expected = tape.gradient(target, [dense.kernel.value for dense in head] + [dense.bias.value for dense in head])
        for index, (gradient, own) in enumerate(zip(gradients, expected, strict=True)):
            by_task = np.split(gradient, len(NAMES), axis=1) if index == 0 else np.asarray(gradient)
            np.testing.assert_allclose(by_task[place], own, rtol=1e-4, atol=1e-5)
            others = [part for other, part in enumerate(by_task) if other != place]
            assert not np.any(others), (name, index)


def test_dropout_drops_hidden_units_in_training_and_keeps_their_mean():
    layer = FusedHeads(NAMES, 1, hidden=(400,), dropout=0.5)
    quiet = {name: float(output[0, 0]) for name, output in layer(np.ones((1, WIDTH), "float32")).items()}
    layer.kernels[0].assign(np.abs(layer.kernels[0].numpy()))
    layer.kernels[1].assign(np.full_like(layer.kernels[1].numpy(), 1 / 400))
    still = layer(np.ones((64, WIDTH), "float32"), training=False)
    noisy = layer(np.ones((64, WIDTH), "float32"), training=True)
    assert set(quiet) == set(NAMES)
    for name in NAMES:
        assert np.ptp(still[name]) == 0
        assert np.ptp(noisy[name]) > 0
        assert float(np.mean(noisy[name])) == pytest.approx(float(still[name][0, 0]), rel=0.05)
    assert np.abs(noisy["zebra"] - noisy["ant"]).max() > 0


def test_each_head_starts_as_a_dense_layer_of_its_own_would():
    layer = FusedHeads(NAMES, 3, hidden=(50,))
    layer.build((None, 40))
    for kernel, (fan_in, fan_out) in zip(layer.kernels, [(40, 50), (50, 3)], strict=True):
        limit = np.sqrt(6 / (fan_in + fan_out))
        assert np.abs(kernel.numpy()).max() <= limit
        assert kernel.numpy().std() == pytest.approx(limit / np.sqrt(3), rel=0.1)
    assert not any(np.any(bias.numpy()) for bias in layer.biases)


def test_it_survives_a_file_and_mixed_precision(tmp_path):
    features = keras.Input((WIDTH,))
    options = {"hidden": (4,), "activation": "sigmoid", "dropout": 0.5, "l1": 0.1, "l2": 0.2, "dtype": "mixed_float16"}
    model = keras.Model(features, FusedHeads(NAMES, 2, **options, name="heads")(features))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.get_layer("heads").get_config() == model.get_layer("heads").get_config()
    for name in NAMES:
        assert model.output[name].dtype == "float32"
        np.testing.assert_array_equal(again(rows())[name], model(rows())[name])


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match=r"FusedHeads: `names` must not be empty"):
        FusedHeads([], 1)
    with pytest.raises(ValueError, match=r"FusedHeads: `hidden` must hold positive whole numbers"):
        FusedHeads(NAMES, 1, hidden=(0,))
