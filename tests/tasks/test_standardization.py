"""From a standardised value back to the label's own unit."""

import json

import keras
import numpy as np
import pytest

from kmtl.tasks import Unstandardize


@pytest.fixture
def layer():
    made = Unstandardize(name="angle")
    made.build((None, 2))
    return made


def test_it_is_the_identity_until_it_learns(layer):
    rows = np.array([[1.0, -2.0], [0.5, 3.0]], "float32")
    assert not layer.is_learned
    np.testing.assert_array_equal(layer(rows), rows)


def test_each_element_has_its_own_mean_and_scale(layer):
    layer.learn(np.array([10.0, -5.0]), [2.0, 0.5])
    assert layer.is_learned
    np.testing.assert_allclose(layer(np.array([[1.0, 1.0], [-1.0, 4.0]], "float32")), [[12.0, -4.5], [8.0, -3.0]])


def test_no_optimizer_touches_the_statistics_and_a_file_keeps_them(layer, tmp_path):
    assert layer.trainable_weights == []
    layer.learn([10.0, -5.0], [2.0, 0.5])
    rows = keras.Input((2,))
    model = keras.Model(rows, layer(rows))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras").get_layer("angle")
    assert again.is_learned
    np.testing.assert_array_equal(again(np.ones((1, 2), "float32")), [[12.0, -4.5]])
    assert json.loads(json.dumps(again.get_config())) == layer.get_config()


def test_it_stays_float32_in_mixed_precision():
    narrow = Unstandardize(dtype="mixed_float16")
    assert narrow(np.ones((1, 2), "float16")).dtype == "float32"
