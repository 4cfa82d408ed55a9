"""A kernel an input against one dense layer on all of them."""

import keras
import numpy as np
import pytest

from kmtl.sharing import ConceptExpansion

GENERATOR = np.random.default_rng(6)
INPUTS = [GENERATOR.normal(size=(4, width)).astype("float32") for width in (3, 5, 2)]


def stacked(layer):
    """The dense layer that it is, its kernel the kernels on top of each other."""
    dense = keras.layers.Dense(layer.units, layer.activation)
    dense.build((None, 10))
    dense.set_weights([np.concatenate([np.asarray(kernel) for kernel in layer.kernels]), layer.bias])
    return dense


def test_it_is_one_dense_layer_and_a_missing_input_leaves_out_its_part():
    layer = ConceptExpansion(6, activation="tanh")
    layer(INPUTS)
    layer.bias.assign(GENERATOR.normal(size=6))
    np.testing.assert_allclose(layer(INPUTS), stacked(layer)(np.concatenate(INPUTS, axis=1)), rtol=1e-5, atol=1e-6)
    there = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 1, 0]], bool)
    # What stands in a missing row is never looked at.
    given = [np.where(mask[:, None], one, np.nan) for mask, one in zip(there, INPUTS, strict=True)]
    zeros = [np.where(mask[:, None], one, 0) for mask, one in zip(there, INPUTS, strict=True)]
    found = layer(given, present=list(there))
    np.testing.assert_allclose(found, stacked(layer)(np.concatenate(zeros, axis=1)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(found[3], np.tanh(layer.bias), rtol=1e-5)


def test_its_kernels_are_drawn_as_those_of_the_dense_layer():
    keras.utils.set_random_seed(1)
    layer = ConceptExpansion(200)
    layer.build([(None, 30), (None, 170)])
    limit = np.sqrt(6 / (200 + 200))
    for kernel in layer.kernels:
        assert 0.99 * limit < np.abs(kernel).max() <= limit


def test_bad_options_and_inputs_are_refused():
    with pytest.raises(ValueError, match=r"^ConceptExpansion: `units` must be a whole number"):
        ConceptExpansion(0)
    with pytest.raises(ValueError, match=r"^ConceptExpansion: `inputs` must be two or more"):
        ConceptExpansion(3)(keras.Input((3,)))
