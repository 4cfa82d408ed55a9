"""Dynamic weight averaging, over epochs and over windows of steps."""

import numpy as np
import pytest
from keras import ops

from kmtl.balancers.by_losses import DWA
from kmtl.tasks import Regression

TASKS = [Regression("zebra"), Regression("ant"), Regression("mole")]
ONES = ops.ones((3,))


def prepared(count=3, **options):
    balancer = DWA(**{"scale": "paper", **options})
    balancer.prepare(TASKS[:count])
    return balancer


def ended(balancer, *losses):
    logs = {f"{task.name}_loss": float(loss) for task, loss in zip(balancer.tasks, losses, strict=True)}
    # What else stands in the logs is not read.
    balancer.end_epoch({"loss": 77.0, "val_ant_loss": 55.0, "ant_weight": 3.0, **logs})


def weigh(balancer, **options):
    return np.asarray(balancer.weigh(losses=ops.ones((len(balancer.tasks),)), **options))


def test_epochs_are_the_peers():
    """LibMTL 4336804 and TorchJD 0.18.0 in float64, T = 2: weights of epochs 0 to 4."""
    epochs = [[1.62497709, 1.22260230], [1.62108030, 1.07130430], [1.37236597, 0.95593977], [1.22013229, 0.79526839]]
    expected = [[1.0, 1.0], [1.0, 1.0], [1.03032888, 0.96967112], [0.98856575, 1.01143425], [1.01428627, 0.98571373]]
    balancer = prepared(2)
    found = [weigh(balancer)]
    for losses in epochs:
        ended(balancer, *losses)
        found.append(weigh(balancer))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_slower_task_weighs_more():
    balancer = prepared()
    ended(balancer, 1.0, 0.4, 1.2)
    ended(balancer, 0.8, 0.3, 1.5)
    np.testing.assert_allclose(weigh(balancer), [0.92947, 0.90653, 1.16400], atol=1e-5)


def test_a_low_temperature_follows_the_slowest_task():
    balancer = prepared(temperature=0.01)
    ended(balancer, 1.0, 1.0, 1.0)
    ended(balancer, 0.5, 0.6, 0.9)
    np.testing.assert_allclose(weigh(balancer), [0.0, 0.0, 3.0], atol=1e-6)


@pytest.mark.parametrize("missing", [float("nan"), None])
def test_an_epoch_without_labels_stands_still(missing):
    balancer = prepared()
    ended(balancer, 1.0, 0.4, 1.2)
    logs = {"zebra_loss": 9.0, "ant_loss": 0.3, "mole_loss": 9.0}
    del logs["zebra_loss"]
    balancer.end_epoch(logs if missing is None else {**logs, "zebra_loss": missing})
    assert balancer.number.numpy().tolist() == [1.0, 2.0, 2.0]
    ended(balancer, 0.8, 0.3, 1.5)
    ratios = np.array([0.8, 1.0, 1.5 / 9.0])
    expected = 3 * np.exp(ratios / 2) / np.exp(ratios / 2).sum()
    np.testing.assert_allclose(weigh(balancer), expected, rtol=1e-6)


def test_weights_are_shared_among_the_tasks_that_are_there():
    balancer = prepared()
    ended(balancer, 1.0, 0.4, 1.2)
    ended(balancer, 0.8, 0.3, 1.5)
    two = prepared(2)
    ended(two, 1.0, 0.4)
    ended(two, 0.8, 0.3)
    np.testing.assert_allclose(weigh(balancer, present=ops.array([True, True, False]))[:2], weigh(two), rtol=1e-6)


def test_a_window_compares_a_tasks_own_last_steps():
    balancer, generator = prepared(window=3, temperature=0.5), np.random.default_rng(0)
    seen = [[], [], []]
    for step in range(12):
        losses, present = generator.uniform(0.5, 2.0, 3).astype("float32"), np.array([True, step % 3 > 0, True])
        for history, loss, here in zip(seen, losses, present, strict=True):
            history.extend([loss] * int(here))
        found = np.asarray(balancer.weigh(losses=ops.array(losses), present=ops.array(present)))
        ratios = np.array([np.mean(h[-3:]) / np.mean(h[-6:-3]) if len(h) >= 6 else 1.0 for h in seen])
        powers = np.exp(ratios / 0.5) * present
        np.testing.assert_allclose(found, present.sum() * powers / powers.sum(), rtol=1e-5)
    assert ratios.min() < 1 < ratios.max()


def test_a_window_reads_no_logs():
    balancer = prepared(window=1)
    ended(balancer, 1.0, 1.0, 1.0)
    assert not balancer.number.numpy().any()


@pytest.mark.parametrize("window", [None, 1])
def test_a_negative_loss_is_a_failure_of_its_step_only(window):
    balancer = prepared(window=window)
    balancer.weigh(losses=ops.array([1.0, -1.0, 1.0]))
    ended(balancer, 1.0, -1.0, 1.0)
    assert float(balancer.failures) == 1
    assert np.isfinite(balancer.memory.numpy()).all()
    assert np.isfinite(weigh(balancer)).all()
    assert float(balancer.failures) == 1


def test_bounds_shift_the_epochs():
    balancer, twin = prepared(lower_bounds={"ant": -2.0}), prepared()
    for losses in ([1.0, -1.0, 1.0], [0.8, -1.5, 0.9]):
        ended(balancer, *losses)
        ended(twin, losses[0], losses[1] + 2.0, losses[2])
    np.testing.assert_allclose(weigh(balancer), weigh(twin), rtol=1e-6)


def test_logs_need_tasks():
    with pytest.raises(ValueError, match=r"^DWA: `tasks` must be known to read logs, got none\. Call `prepare"):
        DWA().end_epoch({"ant_loss": 1.0})


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"temperature": 0}, "`temperature` must be a finite number above 0, got 0"),
        ({"window": 0}, "`window` must be a whole number of at least 1, got 0"),
        ({"window": 2.5}, "`window` must be a whole number of at least 1, got 2.5"),
    ],
)
def test_bad_options_are_refused(options, rule):
    with pytest.raises(ValueError, match=f"^DWA: {rule}"):
        DWA(**options)
