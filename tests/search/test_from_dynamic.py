"""Fixed weights out of the logs of a run with moving ones."""

import keras
import numpy as np
import pytest

import kmtl
from kmtl.search import from_dynamic


def trained(balancer, epochs=4):
    keras.utils.set_random_seed(1)
    row = keras.Input((4,), name="row")
    tasks = [kmtl.Regression("zoo", standardize=False), kmtl.Regression("ant", standardize=False)]
    model = kmtl.MultiTaskModel.from_features(row, keras.layers.Dense(8, activation="tanh")(row), tasks)
    model.compile(keras.optimizers.Adam(0.05), balancer=balancer)
    rows = np.random.default_rng(1).normal(size=(64, 4)).astype("float32")
    model.fit(rows, {"zoo": rows[:, 0], "ant": 100 * rows[:, 1]}, epochs=epochs, verbose=0)
    return model


def test_the_weights_are_the_mean_of_the_last_epochs_logs():
    model = trained("uncertainty")
    logs = model.history.history
    for last, count in ((0.5, 2), (1.0, 4), (0.01, 1)):
        means = {name: np.mean(logs[f"{name}_weight"][-count:]) for name in ("zoo", "ant")}
        expected = {name: 2 * mean / sum(means.values()) for name, mean in means.items()}
        for given in (model, model.history, logs):
            assert from_dynamic(given, last=last) == pytest.approx(expected, abs=1e-5)
    assert from_dynamic(model)["zoo"] > 1.001  # the task with the small loss
    assert from_dynamic({"a_weight": [9.0, 1.0, float("nan")], "b_weight": [9.0, 3.0, 3.0]}) == {"a": 0.5, "b": 1.5}


def test_equal_weights_stay_equal_and_the_second_run_takes_them():
    weights = from_dynamic(trained("equal"))
    assert weights == {"zoo": 1.0, "ant": 1.0}
    model = trained("equal", epochs=1)
    model.compile("adam", loss_weights=weights)
    assert model.loss_weights == weights


def test_what_has_no_logs_is_told():
    for wrong in (trained("equal", epochs=1).history.history.get("nothing"), {"loss": [1.0]}, {}):
        with pytest.raises(ValueError, match="`model` must have logs of its tasks' weights"):
            from_dynamic(wrong)
    with pytest.raises(ValueError, match="`last` must be above 0"):
        from_dynamic({"a_weight": [1.0]}, last=0)
