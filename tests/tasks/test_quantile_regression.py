"""Quantiles: that they never cross, where they begin, their loss, and how far apart they are afterwards."""

import math

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import kmtl
from kmtl.tasks.quantile_regression import OrderedQuantiles, PinballLoss, pinball, quantile_name
from kmtl.tasks.spread import smallest_covering

MANY = tuple(np.round(np.arange(0.01, 1.0, 0.01), 2))


@pytest.mark.parametrize("quantiles", [(0.05, 0.5, 0.95), (0.5, 0.9), (0.1, 0.4), (0.3,), MANY])
@pytest.mark.parametrize("size", [1e-3, 1.0, 300.0])
def test_quantiles_never_cross_whatever_the_head_says(quantiles, size):
    layer = OrderedQuantiles(quantiles)
    layer.build((None, len(quantiles)))
    layer.learn([1e4], [3.0])
    rows = np.random.default_rng(1).normal(0.0, size, (500, len(quantiles))).astype("float32")
    outputs = layer(rows).numpy()
    assert outputs.shape == rows.shape
    assert np.isfinite(outputs).all()
    # Not by rounding either.
    assert (np.diff(outputs, axis=1) >= 0).all()


@pytest.mark.parametrize("quantiles", [(0.05, 0.5, 0.95), (0.5, 0.9), (0.1, 0.4), MANY])
def test_they_begin_as_those_of_a_normal_distribution_of_the_labels(quantiles):
    layer = OrderedQuantiles(quantiles)
    layer.build((None, len(quantiles)))
    layer.learn([10.0], [2.0])
    expected = scipy.stats.norm(10.0, 2.0).ppf(quantiles)
    np.testing.assert_allclose(layer(np.zeros((1, len(quantiles)), "float32"))[0], expected, rtol=1e-5)
    # Twice as uncertain: twice as far from the one nearest the median.
    layer.multiply_spread(2.0)
    middle = expected[np.argmin(np.abs(np.array(quantiles) - 0.5))]
    found = layer(np.zeros((1, len(quantiles)), "float32"))[0]
    np.testing.assert_allclose(found, middle + 2 * (expected - middle), rtol=1e-5)


def test_the_quantiles_of_the_labels_have_the_least_loss_of_all_constants():
    task = kmtl.QuantileRegression("price", (0.1, 0.5, 0.8))
    labels = np.random.default_rng(2).exponential(3.0, 41).astype("float32")
    (best,) = task.constant_outputs(np.append(labels, np.nan))
    least = pinball(task.quantiles, labels[:, None], best[None].astype("float32")).numpy().mean()
    for place in range(3):
        others = np.tile(best, (len(labels), 1))
        others[:, place] = labels
        losses = [
            pinball(task.quantiles, labels[:, None], row[None]).numpy().mean() for row in others.astype("float32")
        ]
        assert min(losses) >= least - 1e-6


def test_the_loss_has_a_slope_at_the_quantile_itself_and_where_steps_vanish():
    layer, loss = OrderedQuantiles((0.05, 0.5, 0.95)), PinballLoss((0.05, 0.5, 0.95))
    for row in ([0.0, 0.0, 0.0], [-500.0, 3.0, -500.0], [500.0, -3.0, 500.0]):
        given = tf.constant([row])
        with tf.GradientTape() as tape:
            tape.watch(given)
            outputs = layer(given)
            value = loss.call(tf.stop_gradient(outputs[:, 1:2]), outputs)
        assert np.isfinite(value).all()
        assert np.isfinite(tape.gradient(value, given)).all()


def test_it_is_read_by_the_names_of_its_quantiles():
    task = kmtl.QuantileRegression("price", quantiles=(0.05, 0.5, 0.975), unit="EUR")
    outputs = np.float32([[8.0, 12.0, 15.0]])
    read = task.read(outputs)
    assert {key: value.tolist() for key, value in read.items()} == {
        "": [12.0], "q05": [8.0], "q50": [12.0], "q97_5": [15.0],
    }  # fmt: skip
    assert task.describe(None, outputs[0]) == "price ? → 12.0 (8.0 to 15.0) EUR"
    assert [quantile_name(one) for one in (0.005, 0.1, 0.25)] == ["q00_5", "q10", "q25"]
    # Pairs from without inwards, by what they promise.
    five = kmtl.QuantileRegression("price", quantiles=(0.05, 0.25, 0.5, 0.75, 0.95))
    assert list(five.intervals(np.arange(5.0)[None])) == [0.9, 0.5]
    assert kmtl.QuantileRegression("price", quantiles=(0.9,)).intervals(np.zeros((1, 1))) == {}


@pytest.mark.parametrize("given", [(0.5, 0.1), (0.1, 0.1), (0.0, 0.5), (0.5, 1.0), (), "0.5", 0.5, (0.1, np.nan)])
def test_quantiles_that_are_none_are_refused(given):
    rule = r"QuantileRegression\('price'\): `quantiles` must be numbers in \(0, 1\), each above the one before"
    with pytest.raises(ValueError, match=rule):
        kmtl.QuantileRegression("price", quantiles=given)


def test_another_loss_is_refused_by_the_task_and_by_compile():
    with pytest.raises(ValueError, match=r"QuantileRegression\('price'\): `loss` must be left out: the kind has one"):
        kmtl.QuantileRegression("price", loss="mae")
    row = keras.Input((2,))
    model = kmtl.MultiTaskModel.from_features(row, row, [kmtl.QuantileRegression("price"), kmtl.Regression("size")])
    with pytest.raises(ValueError, match=r"compile: `loss` of 'price' must be left out: its kind has one of its own"):
        model.compile("adam", loss="mae")
    model.compile("adam", loss={"size": "mae"}, metrics={"price": ["coverage"]})
    with pytest.raises(ValueError, match=r"`direction` needs a metric whose better end is known, got 'coverage'"):
        model.tasks["price"].direction("coverage")


def test_the_factor_is_the_smallest_under_which_the_outermost_hold_enough():
    task, random = kmtl.QuantileRegression("price", (0.1, 0.5, 0.9)), np.random.default_rng(3)
    middle = random.normal(size=(99, 1))
    outputs = np.hstack([middle - random.uniform(0.1, 1, (99, 1)), middle, middle + random.uniform(0.1, 1, (99, 1))])
    labels = (middle + random.standard_t(3, (99, 1)))[:, 0]
    factor = task.spread_factor(labels, outputs)

    def held(values):
        return int(((values[:, 0] <= labels) & (labels <= values[:, 2])).sum())

    # Of 99, ceil(100 * 0.8): what split conformal prediction asks for.
    assert held(task.with_spread(outputs, factor * (1 + 1e-9))) == math.ceil(100 * 0.8)
    assert held(task.with_spread(outputs, factor * (1 - 1e-6))) == math.ceil(100 * 0.8) - 1
    assert smallest_covering(np.arange(4.0), 0.9) == math.inf
    assert task.spread_factor(np.append(labels, np.nan), np.vstack([outputs, outputs[:1]])) == factor
