"""Loss weights from data, by their formulas."""

import keras
import numpy as np
import pytest

import kmtl
from kmtl.search.from_data import by_difficulty, by_initial_loss, by_label_count, power_weights

TASKS = [kmtl.Regression("width", standardize=False), kmtl.Classification("kind", 3)]
X = np.linspace(0, 1, 40).reshape(10, 4).astype("float32")
Y = {"width": np.arange(10.0), "kind": np.array([0, 1, 2, -1, -1, -1, -1, -1, -1, 0])}


@pytest.mark.parametrize("exponent", [-2.0, -1.0, 0.0, 0.5, 1.0])
def test_weights_follow_the_power_and_have_mean_one(exponent):
    weights = by_label_count(X, TASKS, y=Y, exponent=exponent)
    assert weights["width"] / weights["kind"] == pytest.approx((10 / 4) ** exponent)
    assert sum(weights.values()) == pytest.approx(2.0)


def test_extreme_values_do_not_overflow():
    weights = power_weights({"a": 1e-30, "b": 1e30}, 8.0)
    assert weights == {"a": pytest.approx(0.0), "b": pytest.approx(2.0)}


def test_by_initial_loss_makes_the_terms_alike():
    inputs = keras.Input((4,))
    model = kmtl.MultiTaskModel.from_features(inputs, keras.layers.Dense(8)(inputs), TASKS)
    model.compile("adam")
    weights = by_initial_loss(model, X, y=Y)
    model.set_loss_weights(weights)
    logs = model.evaluate(X, Y, verbose=0, return_dict=True)
    terms = [weights[name] * logs[f"{name}_loss"] for name in model.tasks]
    assert terms[0] == pytest.approx(terms[1], rel=1e-5)
    assert logs["loss"] == pytest.approx(sum(terms), rel=1e-5)


def test_by_initial_loss_learns_missing_statistics():
    inputs = keras.Input((4,))
    model = kmtl.MultiTaskModel.from_features(inputs, keras.layers.Dense(8)(inputs), [kmtl.Regression("width")])
    model.compile("adam")
    assert by_initial_loss(model, X, y={"width": Y["width"]}) == {"width": 1.0}
    assert model.scalers["width"].is_learned


def test_refusals_name_the_task():
    with pytest.raises(ValueError, match=r"values\['kind'\]` must be above 0 and finite, got 0"):
        by_difficulty({"width": 1.0, "kind": 0.0})
    with pytest.raises(ValueError, match=r"values\['kind'\]"):
        by_label_count(X, TASKS, y={**Y, "kind": np.full(10, -1)})
    with pytest.raises(ValueError, match="must name the tasks"):
        by_difficulty({})
