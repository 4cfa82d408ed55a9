"""A mean and a deviation: likelihood, scores, slopes, where they begin, and how wide they are afterwards."""

import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

import kmtl
from kmtl.losses import group_tasks
from kmtl.tasks.heteroscedastic_regression import MeanAndDeviation
from kmtl.tasks.normal_distribution import NormalLikelihood, half_width, normal_crps, normal_log_loss

RANDOM = np.random.default_rng(0)
LABELS = RANDOM.normal(size=40).astype("float32")
OUTPUTS = np.stack([RANDOM.normal(size=40), RANDOM.uniform(0.2, 3, 40)], axis=1).astype("float32")


def test_scores_are_those_of_the_normal_distribution():
    expected = -scipy.stats.norm(OUTPUTS[:, 0], OUTPUTS[:, 1]).logpdf(LABELS)
    np.testing.assert_allclose(normal_log_loss(LABELS, OUTPUTS), expected, rtol=1e-5)
    np.testing.assert_allclose(NormalLikelihood().call(LABELS, OUTPUTS), expected, rtol=1e-5)
    # Of hardly any deviation the probability score is the absolute error.
    sure = np.stack([OUTPUTS[:, 0], np.full(40, 1e-4)], axis=1).astype("float32")
    np.testing.assert_allclose(normal_crps(LABELS, sure), np.abs(LABELS - OUTPUTS[:, 0]), atol=1e-4)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_beta_weighs_the_slopes_by_a_power_of_the_variance(beta):
    outputs = tf.constant(OUTPUTS)
    with tf.GradientTape() as tape:
        tape.watch(outputs)
        loss = tf.reduce_sum(NormalLikelihood(beta).call(LABELS, outputs))
    gap, deviation = LABELS - OUTPUTS[:, 0], OUTPUTS[:, 1]
    weight = deviation ** (2 * beta)
    slopes = np.stack([-weight * gap / deviation**2, weight * (1 / deviation - gap**2 / deviation**3)], axis=1)
    np.testing.assert_allclose(tape.gradient(loss, outputs), slopes, rtol=1e-4, atol=1e-5)
    if beta == 1.0:
        # The mean learns as by half the squared error, however uncertain it is.
        np.testing.assert_allclose(slopes[:, 0], -gap, rtol=1e-5)


@pytest.mark.parametrize("beta", [0.0, 0.1, 0.5, 1.0])
def test_balancers_that_take_a_logarithm_know_the_least_that_the_loss_can_be(beta):
    task = kmtl.HeteroscedasticRegression("size", beta=beta)
    deviations = np.geomspace(1e-3, 10.0, 20001).astype("float32")
    outputs = np.stack([np.zeros_like(deviations), deviations], axis=1)
    least = NormalLikelihood(beta).call(np.zeros_like(deviations), outputs).numpy().min()
    assert task.lowest_loss == pytest.approx(least, rel=1e-4)
    balancer = kmtl.balancers.get("gls", lower_bounds={"ant": 2.0})
    balancer.prepare([task, kmtl.Regression("ant")])
    np.testing.assert_allclose(balancer.bounds(2), [least, 2.0], rtol=1e-4)


@pytest.mark.parametrize("shape", [(), (3,)])
def test_it_begins_at_mean_and_deviation_of_the_labels(shape):
    count = int(np.prod(shape))
    layer = MeanAndDeviation(shape)
    layer.build((None, 2 * count))
    layer.learn(np.arange(count) + 5.0, np.arange(count) + 2.0)
    expected = np.stack([np.arange(count) + 5.0, np.arange(count) + 2.0], axis=-1).reshape(1, *shape, 2)
    np.testing.assert_allclose(layer(np.zeros((1, 2 * count), "float32")), expected, rtol=1e-5)
    wild = layer(np.array([[0.0] * count + [-1e4] * count, [1e4] * count + [1e4] * count], "float32")).numpy()
    assert np.isfinite(wild).all()
    assert (wild[..., 1] > 0).all()
    layer.multiply_spread(3.0)
    wider = layer(np.zeros((1, 2 * count), "float32")).numpy()
    np.testing.assert_allclose(wider[..., 0], expected[..., 0])
    np.testing.assert_allclose(wider[..., 1], 3 * expected[..., 1], rtol=1e-5)


def test_a_vectors_loss_is_the_mean_over_the_elements_that_are_there():
    labels = RANDOM.normal(5.0, 4.0, (6, 2)).astype("float32")
    outputs = RANDOM.uniform(0.5, 2.0, (6, 2, 2)).astype("float32")
    labels[0, 1], labels[1] = np.nan, np.nan
    vector = kmtl.HeteroscedasticRegression("size", shape=2, beta=0.5)
    layer = MeanAndDeviation((2,), name="size")
    layer.build((None, 4))
    layer.learn([4.0, 6.0], [2.0, 5.0])
    (group,) = group_tasks([vector], {"size": vector.resolved_loss()}, {"size": layer})
    sums, counts = group.sums(group.examples({"size": labels}, {"size": outputs}))
    standard = (labels - [4.0, 6.0]) / [2.0, 5.0]
    mean, deviation = (outputs[..., 0] - [4.0, 6.0]) / [2.0, 5.0], outputs[..., 1] / [2.0, 5.0]
    values = -deviation * scipy.stats.norm(mean, deviation).logpdf(standard)
    assert int(counts[0]) == 5
    assert float(sums[0]) == pytest.approx(np.nansum(np.nanmean(values[[0, 2, 3, 4, 5]], axis=1)), rel=1e-5)


def test_the_factor_is_the_likeliest_of_normal_errors_and_the_smallest_that_holds_enough_of_any():
    task, random = kmtl.HeteroscedasticRegression("size"), np.random.default_rng(1)
    outputs = np.stack([random.normal(size=19999), random.uniform(0.2, 3, 19999)], axis=1)
    labels = outputs[:, 0] + 1.7 * outputs[:, 1] * random.normal(size=19999)
    # The standard error of a quantile of 20,000: 0.7 %.
    assert task.spread_factor(labels, outputs) == pytest.approx(1.7, rel=0.025)
    # Twenty wild labels more would make the likeliest one a hundred times as large.
    labels[:20] = 1e5
    factor = task.spread_factor(np.append(labels, np.nan), np.vstack([outputs, outputs[:1]]))
    assert factor == pytest.approx(1.7, rel=0.025)
    (low, high) = task.intervals(task.with_spread(outputs, factor * (1 + 1e-9)))[0.9]
    assert ((low[:, 0] <= labels) & (labels <= high[:, 0])).sum() == 18000


def test_intervals_are_those_of_the_normal_distribution():
    task = kmtl.HeteroscedasticRegression("size")
    (low, high) = task.intervals(OUTPUTS)[0.9]
    np.testing.assert_allclose(
        np.hstack([low, high]), OUTPUTS[:, :1] + [[-1.64485, 1.64485]] * OUTPUTS[:, 1:], rtol=1e-4
    )
    assert half_width(0.5) == pytest.approx(scipy.stats.norm.ppf(0.75))


def test_it_is_read_and_told_and_what_it_is_not_is_refused():
    task = kmtl.HeteroscedasticRegression("box", shape=2, unit="px")
    outputs = np.float32([[[10.0, 1.0], [20.0, 2.5]]])
    assert {key: value.tolist() for key, value in task.read(outputs).items()} == {
        "": [[10.0, 20.0]], "deviation": [[1.0, 2.5]],
    }  # fmt: skip
    assert task.describe([9.0, np.nan], outputs[0]) == "box 9.0, ? → 10.0 ± 1.0, 20.0 ± 2.5 px"
    with pytest.raises(ValueError, match=r"HeteroscedasticRegression\('box'\): `beta` must be a number in \[0, 1\]"):
        kmtl.HeteroscedasticRegression("box", beta=1.5)
    with pytest.raises(ValueError, match=r"`shape` must be \(\) or \(n,\), got \(2, 2\)"):
        kmtl.HeteroscedasticRegression("box", shape=(2, 2))
    with pytest.raises(ValueError, match=r"`loss` must be left out: the kind has one of its own, got 'mse'"):
        kmtl.HeteroscedasticRegression("box", loss="mse")
    with pytest.raises(ValueError, match="must have outputs that one dense layer gives"):
        kmtl.sharing.AveragedHeads.from_tasks([task, kmtl.HeteroscedasticRegression("one", shape=2)], mean="one")


def test_metrics_beside_the_default_ones_are_there_to_be_asked_for():
    given = keras.Input((2,))
    task = kmtl.HeteroscedasticRegression("size", metrics=["nll", "coverage", keras.metrics.RootMeanSquaredError()])
    model = kmtl.MultiTaskModel(given, {"size": keras.layers.Identity(name="size")(given)}, tasks=[task])
    model.compile("sgd", run_eagerly=True)
    found = model.evaluate(OUTPUTS, {"size": LABELS}, verbose=0, return_dict=True)
    gap, deviation = LABELS - OUTPUTS[:, 0], OUTPUTS[:, 1]
    assert found["size_nll"] == pytest.approx(found["size_loss"], rel=1e-5)
    assert found["size_coverage"] == pytest.approx(np.mean(np.abs(gap) <= 1.64485 * deviation))
    assert found["size_root_mean_squared_error"] == pytest.approx(np.sqrt(np.mean(gap**2)), rel=1e-5)
    assert task.direction("nll") == "min"
