"""The gap between the minimum of a sum and the sum of the minima."""

import numpy as np
import pytest

import kmtl
from kmtl.evidence import Comparison, Run, conflict_gap

GRID = np.linspace(-3, 3, 6001)


def minima(losses, weights):
    """Each loss at the minimiser of the weighted sum on a grid, and at its own."""
    values = {name: loss(GRID) for name, loss in losses.items()}
    best = np.argmin(sum(weights[name] * values[name] for name in losses))
    return {name: found[best] for name, found in values.items()}, {name: found.min() for name, found in values.items()}


def test_the_minimum_of_a_sum_is_not_the_sum_of_the_minima():
    losses = {"left": lambda t: (t + 1) ** 2, "right": lambda t: (t - 1) ** 2}
    found = conflict_gap(*minima(losses, {"left": 1.0, "right": 1.0}))
    assert found.total == pytest.approx(2.0)
    assert found.by_task == pytest.approx({"left": 1.0, "right": 1.0})
    assert not found.is_below_zero


def test_a_common_minimiser_leaves_no_gap():
    losses = {"steep": lambda t: 5 * (t - 1) ** 2 + 3, "flat": lambda t: np.abs(t - 1)}
    found = conflict_gap(*minima(losses, {"steep": 2.0, "flat": 0.1}), weights={"steep": 2.0, "flat": 0.1})
    assert found.total == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("weight", [0.2, 1.0, 4.0])
def test_the_gap_of_two_parabolas(weight):
    losses = {"left": lambda t: (t + 1) ** 2, "right": lambda t: 3 * (t - 1) ** 2}
    found = conflict_gap(*minima(losses, {"left": weight, "right": 1.0}), weights={"left": weight})
    # w a (t + 1)^2 + 3 (t - 1)^2 has its minimum where it is 4 / (1 / w + 1 / 3).
    assert found.total == pytest.approx(4 / (1 / weight + 1 / 3), rel=1e-5)


def test_a_gap_below_zero_says_that_the_single_runs_are_no_optima():
    below = conflict_gap({"left": [0.5, 0.6], "right": [0.1, 0.1]}, {"left": [0.9, 1.01], "right": [0.1, 0.1]})
    assert below.is_below_zero
    assert "Below 0: the single-task losses are no optima" in str(below)
    noisy = conflict_gap({"left": [0.5, 1.6]}, {"left": [0.9, 1.7]})
    assert noisy.total < 0
    assert not noisy.is_below_zero
    assert "Below 0" not in str(noisy)


class Weighted:
    """What is read of a model."""

    def __init__(self, weights):
        self.loss_weights = weights


def compared(model):
    tasks = [kmtl.Regression("left"), kmtl.Regression("right")]
    scores = {task.name: {"mae": 1.0} for task in tasks}

    def run(seed, **losses):
        return Run(("left", "right"), seed, scores, {"loss": [3.0] * 2, **losses}, 1.0, 1)

    joint = [run(seed, left_loss=[9.0, 1.0 + seed], right_loss=[9.0, 1.0]) for seed in (0, 1)]
    # One model after the other.
    logs = {"stage": ["left alone", "right alone"], "left_loss": [0.5, np.nan], "right_loss": [np.nan, 0.5]}
    runs = {"separate": [run(seed, **logs) for seed in (0, 1)], "joint": joint}
    return Comparison(tasks, runs, "separate", {"joint": lambda: model} if model else {})


def test_a_comparison_is_read_at_its_last_epoch_under_its_own_weights():
    found = conflict_gap(compared(Weighted({"left": 2.0, "right": 1.0, "further": 7.0})))
    assert found.by_task == pytest.approx({"left": 2.0, "right": 0.5})
    # Totals of 1.5 and 3.5; Student's t for one degree of freedom at 0.975 is 12.706.
    assert found.interval == pytest.approx(12.7062 * np.sqrt(2) / np.sqrt(2), rel=1e-4)
    assert conflict_gap(compared(None)).total == pytest.approx(1.5)
    assert conflict_gap(compared(None), weights={"left": 0.0}).total == pytest.approx(0.5)
    assert conflict_gap(compared(None)["joint"]).by_task == conflict_gap(compared(None)).by_task
    assert found.table()["gap"].tolist() == pytest.approx([2.0, 0.5])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (({"a": 1.0}, None), "`separate` must be {task: loss}, got NoneType"),
        (([1.0], {"a": 1.0}), "`joint` must be {task: loss} or a Comparison, got list"),
        (({"a": np.nan}, {"a": 1.0}), r"`joint\['a'\]` must be a finite loss, or one a seed, got nan"),
        (({"a": 1.0, "b": 2.0}, {"a": 1.0}), r"`separate` must hold the tasks of `joint`, \['a', 'b'\], got \['a'\]"),
        (({"a": [1.0, 2.0]}, {"a": 1.0}), "`separate` must hold as many losses of every task as `joint`"),
        (({"angle": 1.0}, {"angle": 1.0}, {"angel": 2.0}), "`weights` must use task .* Did you mean 'angle'"),
        (({"a": 1.0}, {"a": 1.0}, {"a": -2.0}), r"`weights\['a'\]` must be a finite number of at least 0, got -2"),
    ],
)
def test_bad_losses_are_refused(given, message):
    with pytest.raises(ValueError, match=f"^conflict_gap: {message}"):
        conflict_gap(*given[:2], weights=given[2] if len(given) > 2 else None)


def test_a_comparison_stands_alone():
    with pytest.raises(ValueError, match=r"^conflict_gap: `separate` must be None beside a comparison, got losses\."):
        conflict_gap(compared(None), {"left": 1.0})
