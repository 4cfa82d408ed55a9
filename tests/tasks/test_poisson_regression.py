"""Counts: their loss, where they begin, unequal exposures, and what is no count."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from sklearn.metrics import mean_poisson_deviance

import kmtl
from kmtl._checks import Refusals
from kmtl.tasks.poisson_regression import LogLink, half_poisson_deviance, poisson_deviance

RANDOM = np.random.default_rng(0)
COUNTS = RANDOM.poisson(3.0, (200, 1)).astype("float32")
RATES = RANDOM.gamma(2.0, 1.5, (200, 1)).astype("float32")


def test_the_loss_is_half_of_the_deviance_and_pulls_as_the_likelihood_does():
    assert (COUNTS == 0).any()
    expected = mean_poisson_deviance(COUNTS, RATES)
    assert float(ops.mean(poisson_deviance(COUNTS, RATES))) == pytest.approx(expected, rel=1e-5)
    assert float(ops.mean(half_poisson_deviance(COUNTS, RATES))) == pytest.approx(expected / 2, rel=1e-5)
    rates = tf.constant(RATES)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(rates)
        own, theirs = half_poisson_deviance(COUNTS, rates), keras.losses.poisson(COUNTS, rates)
    np.testing.assert_allclose(tape.gradient(own, rates), tape.gradient(theirs, rates), rtol=1e-4, atol=1e-6)
    # Keras's falls below 0; a balancer that takes logarithms has none of it.
    assert float(ops.min(theirs)) < 0 <= float(ops.min(own))


def test_rates_under_weights_of_exposure_are_counts_with_an_offset():
    exposure = RANDOM.uniform(0.2, 3.0, 200)
    labels, weights = kmtl.PoissonRegression.rates(COUNTS[:, 0], exposure)

    def gap(rates):
        """Weighted loss of the rates, less minus the logarithm of Poisson's probability of the counts; sums."""
        means = exposure[:, None] * rates
        weighted = float(ops.sum(weights * half_poisson_deviance(labels[:, None], rates)))
        return weighted - np.sum(means - COUNTS * np.log(means))

    # The two differ by the same number whatever the rates are.
    gaps = [gap(rates) for rates in (RATES, 0.3 * RATES, 2.5 * RATES, np.flip(RATES, 0))]
    np.testing.assert_allclose(gaps, gaps[0], rtol=1e-4)


def test_a_count_without_exposure_is_refused_and_a_missing_one_needs_none():
    labels, weights = kmtl.PoissonRegression.rates([np.nan, 4.0], [0.0, 2.0])
    np.testing.assert_array_equal(labels, np.float32([np.nan, 2.0]))
    assert weights.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match=r"rates: `exposure` must be above 0 and finite, got 2 of 3 that are not"):
        kmtl.PoissonRegression.rates([1.0, 2.0, 3.0], [0.0, np.inf, 1.0])
    with pytest.raises(ValueError, match=r"rates: `exposure` must be one a count, got \(1,\)"):
        kmtl.PoissonRegression.rates([1.0, 2.0], [1.0])


def model_of(task):
    row = keras.Input((2,), name="row")
    made = kmtl.MultiTaskModel.from_features(row, row, [task])
    made.compile("sgd", run_eagerly=True)
    return made


def test_it_begins_at_the_mean_count_and_a_file_keeps_that(tmp_path):
    model = model_of(kmtl.PoissonRegression("claims"))
    x, y = np.zeros((3, 2), "float32"), {"claims": np.float32([0.0, 7.0, np.nan])}
    model.adapt(x, y)
    np.testing.assert_allclose(model.predict(x, verbose=0)["claims"], 3.5, rtol=1e-6)
    model.save(tmp_path / "m.keras")
    np.testing.assert_allclose(keras.saving.load_model(tmp_path / "m.keras")(x)["claims"], 3.5, rtol=1e-6)
    plain = model_of(kmtl.PoissonRegression("claims", standardize=False))
    assert plain.scalers == {}
    np.testing.assert_allclose(plain(x)["claims"], 1.0)


@pytest.mark.parametrize("logit", [-1000.0, -60.0, 19.0, 21.0, 1000.0])
def test_nothing_overflows_and_the_loss_pulls_however_wrong_the_rate_is(logit):
    layer = LogLink()
    given = tf.constant([[logit]])
    for count in (0.0, 5.0):
        with tf.GradientTape() as tape:
            tape.watch(given)
            loss = half_poisson_deviance(tf.constant([[count]]), layer(given))
        slope = float(tape.gradient(loss, given)[0, 0])
        assert np.isfinite(float(loss[0]))
        assert np.isfinite(slope)
        assert slope >= 0 if logit > 2 else slope <= 1e-6
        assert logit < 2 or slope > 1


def test_what_is_no_count_is_refused_before_training():
    model = model_of(kmtl.PoissonRegression("claims"))
    x = np.zeros((4, 2), "float32")
    with pytest.raises(ValueError, match=r"fit: `y\['claims'\]` must be at least 0, got 2 below it\. A count is 0 or"):
        model.fit(x, {"claims": np.float32([1.0, -1.0, -2.0, np.nan])}, verbose=0)
    with pytest.raises(ValueError, match=r"fit: `y\['claims'\]` must be above 0 somewhere, got 0 in all 3 of them"):
        model.fit(x, {"claims": np.float32([0.0, 0.0, 0.0, np.nan])}, verbose=0)
    # A rate need not be whole, and the same count everywhere is a rate, too.
    model.fit(x, {"claims": np.float32([0.5, 0.5, 0.5, np.nan])}, verbose=0)
    assert kmtl.PoissonRegression("claims").possible(np.array([-1.0, 0.0, np.nan, np.inf])).tolist() == [
        *(False, True, True, False)
    ]


def test_a_head_of_ones_own_that_may_fall_below_0_is_refused_and_gets_its_exponential():
    row = keras.Input((2,), name="row")
    plain = keras.Model(row, {"claims": keras.layers.Dense(1, name="claims")(row)})
    task = kmtl.PoissonRegression("claims")
    with pytest.raises(
        ValueError, match=r"must be the count to be expected, got logits: its last layer has no exponen"
    ):
        kmtl.MultiTaskModel.from_model(plain, [task])
    found = kmtl.MultiTaskModel.from_model(plain, [task], from_logits=True)
    x = np.float32([[1.0, 2.0]])
    np.testing.assert_allclose(found(x)["claims"], np.exp(plain(x)["claims"]), rtol=1e-6)
    positive = keras.Model(row, {"claims": keras.layers.Dense(1, "softplus", name="claims")(row)})
    kmtl.MultiTaskModel.from_model(positive, [task])


def test_recipes_that_take_any_value_for_an_output_refuse_it():
    from kmtl.training.classical import refuse_task

    refusals = Refusals("Demo")
    assert refuse_task(refusals, kmtl.PoissonRegression("claims"))
    assert not refuse_task(refusals, kmtl.Regression("size"))
