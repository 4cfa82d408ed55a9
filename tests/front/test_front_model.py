"""A front's plain model is the conditioned one at the preference that was asked for, whatever way it was told."""

import keras
import numpy as np
import pytest

import kmtl
from kmtl.front import Front, Point, condition

TASKS = ("zoo", "ant")
POINT = (0.9, 0.1)


def build():
    row = keras.Input((4,), name="row")
    hidden = keras.layers.ReLU()(keras.layers.LayerNormalization()(keras.layers.Dense(6)(row)))
    model = kmtl.MultiTaskModel.from_features(row, hidden, [kmtl.Regression(name, shape=(2,)) for name in TASKS])
    model.compile("sgd")
    return model


@pytest.fixture(scope="module")
def front():
    """A front of a model with random weights: nothing about it needs a training."""
    origin = build()
    both = condition(origin)
    generator = np.random.default_rng(1)
    for weight in both.weights:
        weight.assign(0.5 * generator.normal(size=weight.shape))
    points = [Point(shares, {}) for shares in ((1.0, 0.0), (0.5, 0.5), POINT)]
    return Front(build, origin, both, points, 1.0)


ASKED = {"shares": POINT, "by name": {"ant": 1.0, "zoo": 9.0}, "a point": Point(POINT, {}), "the corner": (0.0, 1.0)}


@pytest.mark.parametrize("asked", ASKED)
def test_it_is_the_conditioned_model_at_the_preference_asked_for(front, asked):
    rows = np.random.default_rng(2).normal(size=(5, 4)).astype("float32")
    shares = (0.0, 1.0) if asked == "the corner" else POINT

    def at(preference):
        given = {"row": rows, "preference": np.tile(np.float32(preference), (5, 1))}
        return {name: np.asarray(value) for name, value in front.conditioned(given).items()}

    plain, expected, middle = front.model(ASKED[asked])(rows), at(shares), at((0.5, 0.5))
    for name in TASKS:
        np.testing.assert_allclose(plain[name], expected[name], rtol=1e-4, atol=1e-4)
        assert np.abs(middle[name] - expected[name]).max() > 0.05


def test_its_loss_weights_are_the_preference(front):
    assert front.model(POINT).loss_weights == pytest.approx({"zoo": 1.8, "ant": 0.2})
