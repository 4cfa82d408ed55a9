"""Dynamic task prioritization: which indicator is read, and what it makes of it."""

import keras
import numpy as np
import pytest
from keras import ops

from kmtl.balancers.by_losses import DTP
from kmtl.balancers.by_losses.prioritizing import dtp_weights
from kmtl.tasks import BinaryClassification, Classification, Regression


def tasks():
    return [Classification("zebra", 3), Regression("ant"), BinaryClassification("mole")]


def prepared(given=None, **options):
    balancer = DTP(**{"scale": "paper", **options})
    balancer.prepare(tasks() if given is None else given)
    return balancer


def weigh(balancer, losses=None):
    losses = np.ones(len(balancer.tasks)) if losses is None else losses
    return np.asarray(balancer.weigh(losses=ops.array(losses, "float32")))


def focal(indicator, gamma=1.0):
    return -((1 - indicator) ** gamma) * np.log(indicator)


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0])
def test_the_weight_is_focal_and_falls_with_the_indicator(gamma):
    indicators = np.array([0.9, 0.5, 0.2])
    found = np.asarray(dtp_weights(ops.array(indicators, "float32"), gamma))
    np.testing.assert_allclose(found, focal(indicators, gamma), rtol=1e-5)
    assert found[0] < found[1] < found[2]


@pytest.mark.parametrize("indicator", [-0.5, 0.0, 1.0, 7.0])
def test_an_indicator_at_the_ends_is_clipped(indicator):
    clipped = min(max(indicator, 1e-3), 1 - 1e-3)
    found = dtp_weights(ops.array([indicator], "float32"), 1.0)
    np.testing.assert_allclose(found, focal(clipped), rtol=1e-3)
    assert float(found[0]) > 0


def test_all_weigh_one_before_the_first_epoch():
    np.testing.assert_array_equal(weigh(prepared()), [1.0, 1.0, 1.0])


def test_validation_comes_before_training_and_progress_stands_in_for_a_metric():
    balancer = prepared()
    weigh(balancer, [1.0, 4.0, 1.0])
    logs = {"zebra_accuracy": 0.1, "val_zebra_accuracy": 0.9, "mole_accuracy": 0.5, "ant_mae": 0.7, "ant_loss": 1.0}
    balancer.end_epoch(logs)
    np.testing.assert_allclose(weigh(balancer, [1.0, 4.0, 1.0]), focal(np.array([0.9, 0.75, 0.5])), rtol=1e-5)
    balancer.end_epoch({**logs, "val_ant_loss": 3.0})
    np.testing.assert_allclose(weigh(balancer)[1], focal(0.25), rtol=1e-5)


def test_progress_is_against_the_loss_itself_under_a_normaliser():
    balancer = prepared(normalize="initial", scale="sum")
    weigh(balancer, [1.0, 4.0, 1.0])
    balancer.end_epoch({"zebra_accuracy": 0.5, "mole_accuracy": 0.5, "ant_loss": 2.0})
    np.testing.assert_allclose(balancer.indicators.numpy(), 0.5, rtol=1e-6)


def test_without_a_first_loss_there_is_no_progress():
    balancer = prepared()
    balancer.end_epoch({"ant_loss": 2.0})
    np.testing.assert_array_equal(weigh(balancer), [1.0, 1.0, 1.0])


def test_an_epoch_without_validation_or_labels_stands_still():
    balancer = prepared()
    weigh(balancer)
    balancer.end_epoch({"val_zebra_accuracy": 0.9, "zebra_accuracy": 0.9, "mole_accuracy": 0.5, "ant_loss": 0.5})
    before = balancer.indicators.numpy()
    balancer.end_epoch({"zebra_accuracy": 0.2, "mole_accuracy": float("nan"), "ant_loss": float("nan")})
    np.testing.assert_array_equal(balancer.indicators.numpy(), before)


def test_indicators_are_smoothed_from_the_second_on():
    balancer = prepared(kpi_smoothing=0.75)
    for accuracy, expected in ((0.4, 0.4), (0.8, 0.5), (0.5, 0.5)):
        balancer.end_epoch({"zebra_accuracy": accuracy})
        np.testing.assert_allclose(balancer.indicators.numpy()[0], expected, rtol=1e-6)


def test_a_named_indicator_is_taken():
    given = [Classification("zebra", 3, metrics=["accuracy", keras.metrics.F1Score(name="f1")]), Regression("ant")]
    balancer = prepared(given, kpi={"zebra": "f1"})
    weigh(balancer, [2.0, 1.0])
    balancer.end_epoch({"zebra_accuracy": 0.9, "zebra_f1": 0.3, "ant_loss": 0.5})
    np.testing.assert_allclose(balancer.indicators.numpy(), [0.3, 0.5], rtol=1e-6)
    again = prepared(given, kpi={"zebra": "loss"})
    weigh(again, [2.0, 1.0])
    again.end_epoch({"zebra_accuracy": 0.9, "zebra_loss": 1.5, "ant_loss": 0.5})
    np.testing.assert_allclose(again.indicators.numpy(), [0.25, 0.5], rtol=1e-6)


def test_a_metric_where_more_is_better_comes_before_progress():
    given = [Regression("ant", metrics=["mae", keras.metrics.R2Score(name="r2")])]
    balancer = prepared(given)
    weigh(balancer)
    balancer.end_epoch({"ant_mae": 0.1, "ant_r2": 0.8, "ant_loss": 0.5})
    np.testing.assert_allclose(balancer.indicators.numpy(), [0.8], rtol=1e-6)


@pytest.mark.parametrize(
    ("kpi", "rule"),
    [
        ({"zebra": "acuracy"}, r"of 'zebra' must be one of its metrics or 'loss', got 'acuracy'\. Did you mean 'acc"),
        ({"ant": "mae"}, r"of 'ant' must be a metric of which more is better, got 'mae'\. 'loss' takes"),
        ({"bee": "mae"}, r"must use task names as keys, got 'bee'"),
    ],
)
def test_unfit_indicators_are_refused_before_training(kpi, rule):
    with pytest.raises(ValueError, match=f"^DTP: `kpi` {rule}"):
        prepared(kpi=kpi)


def test_an_indicator_that_compile_replaced_is_told():
    balancer = prepared(kpi={"zebra": "accuracy"})
    with pytest.raises(ValueError, match=r"`kpi` of 'zebra' must be in the logs, got logs without zebra_accuracy"):
        balancer.end_epoch({"zebra_loss": 1.0})


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"gamma": -1}, "`gamma` must be a finite number of at least 0, got -1"),
        ({"kpi_smoothing": 1.0}, "`kpi_smoothing` must be at least 0 and below 1, got 1.0"),
        ({"kpi": ["accuracy"]}, r"`kpi` must be None or \{task: metric\}, got"),
        ({"kpi": {"ant": 3}}, "`kpi` must hold names of metrics, got"),
    ],
)
def test_bad_options_are_refused(options, rule):
    with pytest.raises(ValueError, match=f"^DTP: {rule}"):
        DTP(**options)


def test_logs_need_tasks():
    with pytest.raises(ValueError, match=r"^DTP: `tasks` must be known to read logs, got none"):
        DTP().end_epoch({})
