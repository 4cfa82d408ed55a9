"""The logs of the losses: parts that add up to the whole."""

import numpy as np
import pytest

from kmtl.metrics import TaskLossTracker

NAMES = ["zebra", "ant", "mole"]


def floats(tracker):
    return {key: float(value) for key, value in tracker.result().items()}


def test_each_loss_is_the_mean_over_the_labelled_examples_of_all_batches():
    tracker = TaskLossTracker(NAMES)
    tracker.update_state(np.array([8.0, 1.0, 3.0]), np.array([4.0, 1.0, 0.0]), np.array([1.0, 0.5, 2.0]))
    tracker.update_state(np.array([1.0, 7.0, 6.0]), np.array([1.0, 3.0, 2.0]), np.array([1.0, 0.5, 2.0]))
    logs = floats(tracker)
    assert list(logs) == ["loss", "zebra_loss", "ant_loss", "mole_loss", "zebra_weight", "ant_weight", "mole_weight"]
    assert [logs[f"{name}_loss"] for name in NAMES] == pytest.approx([9 / 5, 8 / 4, 9 / 2])
    assert [logs[f"{name}_weight"] for name in NAMES] == pytest.approx([1.0, 0.5, 2.0])
    assert logs["loss"] == pytest.approx(9 / 5 + 0.5 * 8 / 4 + 2.0 * 9 / 2)


def test_parts_add_up_when_weights_move_batches_differ_and_labels_are_missing():
    generator = np.random.default_rng(0)
    tracker = TaskLossTracker(NAMES, regularized=True)
    counted = np.zeros(3)
    weighted = np.zeros(3)
    for size in (8, 8, 3):
        counts = generator.integers(0, size + 1, 3).astype("float32")
        weights = generator.uniform(0.1, 2.0, 3).astype("float32")
        tracker.update_state(generator.uniform(size=3).astype("float32") * counts, counts, weights, 0.25 * size)
        counted, weighted = counted + counts, weighted + counts * weights
    logs = floats(tracker)
    assert logs["regularization"] == pytest.approx(0.25 * (8 + 8 + 3) / 3)
    parts = sum(logs[f"{name}_weight"] * logs[f"{name}_loss"] for name in NAMES)
    assert logs["loss"] == pytest.approx(parts + logs["regularization"])
    assert [logs[f"{name}_weight"] for name in NAMES] == pytest.approx(weighted / counted)


def test_a_task_without_labels_is_nan_and_no_part_of_the_loss():
    tracker = TaskLossTracker(NAMES)
    tracker.update_state(np.array([2.0, 0.0, 5.0]), np.array([2.0, 0.0, 1.0]), np.ones(3))
    logs = floats(tracker)
    assert np.isnan([logs["ant_loss"], logs["ant_weight"]]).all()
    assert logs["loss"] == 6.0


def test_nothing_seen_and_reset():
    tracker = TaskLossTracker(NAMES, regularized=True)
    empty = floats(tracker)
    assert (empty["loss"], empty["regularization"]) == (0.0, 0.0)
    tracker.update_state(np.ones(3), np.ones(3), np.ones(3), 4.0)
    assert floats(tracker)["loss"] == 7.0
    tracker.reset_state()
    assert floats(tracker)["loss"] == 0.0


def test_regularization_is_logged_where_there_is_any():
    assert "regularization" not in TaskLossTracker(NAMES).result()
