"""Inputs left out by chance in training."""

import keras
import numpy as np
import pytest

from kmtl.sharing import InputDropout


def test_inputs_are_left_out_at_the_rate_and_never_all_of_them():
    there = {"image": np.ones(4000, bool), "text": np.arange(4000) % 2 == 0}
    found = {name: np.asarray(one) for name, one in InputDropout(0.3, seed=1)(there, training=True).items()}
    # Both are there: each stays alone or both do, but for the rows in which both were drawn, which stay as they are.
    both = there["text"]
    assert found["image"][both].mean() == pytest.approx(0.7 + 0.3 * 0.3, abs=0.03)
    assert (found["image"] | found["text"]).all()
    # What is missing stays missing, and what is left alone stays.
    assert not found["text"][~both].any()
    assert found["image"][~both].all()


def test_nothing_is_left_out_in_inference_and_its_config_brings_it_back():
    layer = InputDropout.from_config(InputDropout(0.9, seed=3).get_config())
    assert (layer.rate, layer.seed) == (0.9, 3)
    there = [np.array([True, False]), np.array([True, True])]
    for one, other in zip(layer(there), there, strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(ValueError, match="`rate` must be a probability from 0 to below 1, got 1"):
        InputDropout(1)


def test_symbolic_shapes_are_kept():
    there = [keras.KerasTensor((None,), "bool"), keras.KerasTensor((None,), "bool")]
    assert [one.shape for one in InputDropout(0.5)(there)] == [(None,), (None,)]
