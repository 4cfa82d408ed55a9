"""The model as a graph, where parts of it are models themselves."""

import keras
import numpy as np
import pytest

import kmtl
from kmtl.tasks import build_heads

TASKS = [kmtl.Regression("width", unit="mm"), kmtl.Regression("area")]
X = np.random.default_rng(0).random((32, 5)).astype("float32")
Y = {"width": 100 + 50 * X[:, 0], "area": X[:, 1]}


def nested():
    """A model whose heads, with their way back to the unit, are a model inside it."""
    features = keras.Input((4,))
    heads = keras.Model(features, build_heads(features, TASKS), name="heads")
    inputs = keras.Input((5,))
    return kmtl.MultiTaskModel(inputs, heads(keras.layers.Dense(4, name="trunk")(inputs)), tasks=TASKS)


def test_statistics_are_found_inside_a_model_inside():
    model = nested()
    assert list(model.scalers) == ["width", "area"]
    model.compile("adam")
    model.fit(X, Y, verbose=0)
    np.testing.assert_allclose(model.scalers["width"].mean, [Y["width"].mean()], rtol=1e-5)


@pytest.mark.parametrize("balancer", ["equal", "uncertainty", "pcgrad"])
def test_a_task_of_weight_zero_trains_nothing_and_disturbs_nothing(balancer):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((5,))
    features = keras.layers.Dense(4, name="trunk")(inputs)
    model = kmtl.MultiTaskModel.from_features(inputs, features, TASKS)
    model.compile(keras.optimizers.SGD(0.1), loss_weights={"width": 0.0}, balancer=balancer)
    head = model.get_layer("width_standardized").get_weights()
    logs = model.fit(X, Y, verbose=0).history
    for left, right in zip(head, model.get_layer("width_standardized").get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)
    assert logs["width_weight"] == [0.0]
    # The other task alone is present, so its balanced weight is 1.
    assert logs["area_weight"] == pytest.approx([1.0])
