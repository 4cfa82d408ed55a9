"""The verdict on planted data: scales, conflicts, both, neither."""

import keras
import numpy as np
import pytest

import kmtl
from kmtl.evidence import advise

X = np.random.default_rng(0).normal(size=(96, 4)).astype("float32")


def model_of(names):
    keras.utils.set_random_seed(0)
    image = keras.Input((4,))
    features = keras.layers.Dense(6)(image)
    model = kmtl.MultiTaskModel.from_features(
        image, features, [kmtl.Regression(name, standardize=False) for name in names]
    )
    # One head for all, so that only the labels tell the gradients apart.
    model.compile("sgd")
    kernel = model.get_layer(names[0]).kernel.numpy()
    for name in names:
        model.get_layer(name).kernel.assign(kernel)
    return model


CASES = {
    "equal": {"zebra": 10 * X[:, 0], "ant": 10 * X[:, 0] + X[:, 1]},
    "unit": {"zebra": 1000 * X[:, 0], "ant": 10 * X[:, 0]},
    "upgrad": {"zebra": 10 * X[:, 0], "ant": -10 * X[:, 0]},
    "nash": {"zebra": 1000 * X[:, 0], "ant": -10 * X[:, 0]},
}


@pytest.mark.parametrize("balancer", CASES)
def test_planted_data_gets_its_verdict(balancer):
    model = model_of(["zebra", "ant"])
    before = model.get_weights()
    advice = advise(model, X, CASES[balancer], batches=3)
    assert advice.balancer == balancer
    assert balancer in advice.verdict
    assert list(advice.tasks.index) == ["zebra", "ant"]
    assert advice.tasks["batches"].tolist() == [3, 3]
    assert advice.tasks["share"].sum() == pytest.approx(1)
    assert "zebra" in str(advice)
    assert (advice.pairs["cosine"][0] < -0.5) == (balancer in ("upgrad", "nash"))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_a_task_without_labels_and_a_model_that_shares_nothing():
    model = model_of(["zebra", "ant", "bee"])
    labels = {**CASES["equal"], "bee": np.full(96, np.nan, "float32")}
    assert advise(model, X, labels, batches=2).tasks.loc["bee", "batches"] == 0
    lone = kmtl.MultiTaskModel.from_features(
        image := keras.Input((4,)), keras.layers.Dense(3)(image), [kmtl.Regression("zebra")]
    )
    with pytest.raises(ValueError, match=r"gramians: `model` must be compiled"):
        advise(lone, X, {"zebra": X[:, 0]})
    lone.compile("sgd")
    with pytest.raises(ValueError, match=r"must have trainable weights that tasks share"):
        advise(lone, X, {"zebra": X[:, 0]})
    with pytest.raises(ValueError, match=r"advise: `batches` must be a whole number of at least 1"):
        advise(model, X, labels, batches=0)
