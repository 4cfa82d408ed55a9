"""What joins a deep and a classical output: its two ends, and what it keeps."""

import numpy as np
import pytest

from kmtl.sharing import GatedMixture, StackedMixture

RANDOM = np.random.default_rng(0)
FEATURES = RANDOM.normal(size=(5, 4)).astype("float32")


def outputs(activation):
    """Deep and classical outputs of a kind; the classical one is sure of itself, as a tree is."""
    values = RANDOM.normal(size=(2, 5, 3)).astype("float32")
    if activation is None:
        return values
    if activation == "sigmoid":
        return np.stack([1 / (1 + np.exp(-values[0])), np.eye(3, dtype="float32")[[0, 1, 2, 0, 1]]])
    powers = np.exp(values[0])
    return np.stack([powers / powers.sum(-1, keepdims=True), np.eye(3, dtype="float32")[[0, 1, 2, 0, 1]]])


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
def test_an_open_gate_gives_the_deep_output_a_shut_one_the_classical_one(activation):
    layer, (deep, classical) = GatedMixture(activation), outputs(activation)
    half = np.asarray(layer([FEATURES, deep, classical]))
    np.testing.assert_allclose(half, (deep + classical) / 2, rtol=1e-6)
    for bias, wanted in ((50.0, deep), (-120.0, classical)):
        layer.last.bias.assign([bias])
        np.testing.assert_array_equal(np.asarray(layer([FEATURES, deep, classical])), wanted)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", None])
def test_a_stack_of_one_alone_gives_that_one(activation):
    layer, (deep, classical) = StackedMixture(activation), outputs(activation)
    layer.build([(None, 4), (None, 3), (None, 3)])
    for of_deep, wanted in ((1.0, deep), (0.0, classical)):
        layer.of_deep.assign([of_deep] * 3)
        layer.of_classical.assign([1 - of_deep] * 3)
        np.testing.assert_allclose(np.asarray(layer([FEATURES, deep, classical])), wanted, rtol=1e-4, atol=3e-6)


def test_a_gate_of_any_weights_gives_probabilities_and_asks_no_gradient_of_zeros_for_infinity():
    layer, (deep, classical) = GatedMixture("softmax", hidden=3), outputs("softmax")
    layer([FEATURES, deep, classical])
    layer.last.kernel.assign(RANDOM.normal(size=(3, 1)))
    mixed = np.asarray(layer([FEATURES, deep, classical]))
    np.testing.assert_allclose(mixed.sum(-1), 1.0, rtol=1e-6)
    assert np.isfinite(np.asarray(layer.gate(FEATURES, classical))).all()
    again = GatedMixture.from_config(layer.get_config())
    assert (again.hidden, again.activation) == (3, "softmax")


def test_outputs_are_float32_under_mixed_precision_and_other_activations_are_refused():
    with pytest.raises(ValueError, match="`activation` must be one of"):
        GatedMixture("tanh")
    layer, (deep, classical) = StackedMixture("softmax", dtype="mixed_float16"), outputs("softmax")
    assert layer([FEATURES.astype("float16"), deep, classical]).dtype == "float32"
