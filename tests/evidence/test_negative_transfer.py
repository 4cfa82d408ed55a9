"""Flags of negative transfer: the test and its correction by hand, and how often they flag where there is nothing."""

import keras
import numpy as np
import pytest
from scipy import stats

import kmtl
from kmtl import training
from kmtl.evidence import Comparison, Run, compare
from kmtl.evidence.comparisons.negative_transfer import holm, worse_p

REPETITIONS = 1000
# What a share of false flags of 5 % may be in so many tables: once in a thousand it is above.
HIGHEST = stats.binom.ppf(0.999, REPETITIONS, 0.05) / REPETITIONS


def test_p_is_that_of_a_one_sided_paired_t_test():
    base, row = np.array([4.0, 5.0, 6.5, 5.5]), np.array([4.5, 5.2, 7.5, 5.6])
    found = worse_p(row - base)
    assert found == pytest.approx(stats.ttest_rel(row, base, alternative="greater").pvalue)
    assert found == pytest.approx(1 - worse_p(base - row))


def test_equal_differences_are_no_certainty():
    # Counts of few rows are often equal; the sign test gives each seed a half.
    assert [worse_p([0.02] * count) for count in (2, 3, 5)] == [0.25, 0.125, 0.03125]
    assert worse_p([-0.02] * 3) == worse_p([0.0] * 3) == 1.0
    # As float32 tells scores.
    assert worse_p(np.float32([0.86, 0.9]) - np.float32([0.84, 0.88])) == 0.25
    assert np.isnan(worse_p([1.0]))
    assert np.isnan(worse_p([1.0, np.nan]))


def test_holm_by_hand():
    # 4 * .01, then 3 * .02, then 2 * .03 of at least that, and the last as it is, no less than the one before.
    found = holm({"d": 0.04, "a": 0.01, "c": 0.03, "b": 0.02, "untested": np.nan})
    assert [found[name] for name in "abcd"] == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert np.isnan(found["untested"])
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}


def flagged(worse):
    """Whether a table has a flag; `worse` is (rows, tasks, seeds), row less baseline."""
    p_values = {(row, task): worse_p(seeds) for row, tasks in enumerate(worse) for task, seeds in enumerate(tasks)}
    return min(holm(p_values).values()) <= 0.05


def share(draw, rows, tasks, seeds):
    """The share of tables with a flag: a baseline that all rows are held against, from one distribution."""
    random, count = np.random.default_rng(0), 0
    for _ in range(REPETITIONS):
        base, found = draw(random, (1, tasks, seeds)), draw(random, (rows, tasks, seeds))
        count += flagged((base - found) / base.mean(axis=-1, keepdims=True))
    return count / REPETITIONS


def accuracy(of):
    """Accuracies on so many test rows."""
    return lambda random, shape: random.binomial(of, 0.6, shape) / of


def error(random, shape):
    """Errors whose spread differs from task to task."""
    return 1 + random.normal(0, 0.05, shape) * (1 + np.arange(shape[1]))[:, None] / shape[1]


@pytest.mark.parametrize(
    ("draw", "rows", "tasks", "seeds"),
    [
        (error, 1, 2, 3),
        (accuracy(50), 2, 6, 2),
        pytest.param(error, 3, 40, 3, marks=pytest.mark.slow),
        pytest.param(error, 3, 6, 5, marks=pytest.mark.slow),
        pytest.param(accuracy(50), 3, 40, 2, marks=pytest.mark.long),
        pytest.param(accuracy(200), 3, 6, 3, marks=pytest.mark.slow),
        pytest.param(accuracy(1000), 2, 40, 5, marks=pytest.mark.slow),
    ],
)
def test_where_nothing_is_worse_one_table_of_twenty_is_flagged(draw, rows, tasks, seeds):
    assert share(draw, rows, tasks, seeds) <= HIGHEST


def test_what_is_worse_is_flagged_with_seeds_enough():
    def power(seeds):
        random = np.random.default_rng(1)
        harm = np.array([0.0, 0.0, 0.0, 0.1])[:, None]
        return np.mean([flagged([harm + random.normal(0, 0.03, (4, seeds))]) for _ in range(200)])

    assert power(5) > 0.9
    assert power(2) < 0.3


def test_flags_of_a_table_are_those_of_its_scores():
    tasks = [kmtl.Regression("age", metrics=["mae", "mse"]), kmtl.Classification("kind", 3)]
    random = np.random.default_rng(2)

    def runs(harm):
        scored = [
            (3 + 0.1 * random.normal(), 9 + 0.1 * random.normal(), 0.6 + 0.01 * random.normal()) for _ in range(5)
        ]
        return [
            Run((), seed, {"age": {"mae": mae, "mse": mse}, "kind": {"accuracy": accuracy - harm}}, {}, 1.0, 1)
            for seed, (mae, mse, accuracy) in enumerate(scored)
        ]

    found = Comparison(tasks, {"separate": runs(0.0), "joint": runs(0.1), "other": runs(0.0)}, "separate")
    assert found.flags == {"joint": ("kind",), "other": ()}
    base, joint = (
        np.array([[run.scores["age"][metric] for metric in ("mae", "mse")] for run in found.runs[name]])
        for name in ("separate", "joint")
    )
    # A task's metrics count as one, relative to the mean of the baseline.
    worse = ((joint - base) / base.mean(axis=0)).mean(axis=1)
    assert found["joint"].worse_p(tasks[0]) == pytest.approx(stats.ttest_1samp(worse, 0, alternative="greater").pvalue)


TASKS = [kmtl.BinaryClassification("left"), kmtl.BinaryClassification("right")]


def build(tasks):
    row = keras.Input((4,), name="row")
    model = kmtl.MultiTaskModel.from_features(row, keras.layers.Dense(3, activation="relu")(row), tasks)
    model.compile(keras.optimizers.Adam(0.05), run_eagerly=True)
    return model


def random_labels(random, count):
    labels = {task.name: random.integers(0, 2, count).astype("int32") for task in TASKS}
    return random.normal(size=(count, 4)).astype("float32"), labels


@pytest.mark.parametrize("tables", [pytest.param(1, marks=pytest.mark.long), pytest.param(100, marks=pytest.mark.slow)])
def test_of_real_runs_on_random_labels_few_are_flagged(tables):
    random, flags = np.random.default_rng(3), 0
    options = {"epochs": 1, "seeds": 3, "recipes": {"joint": training.Joint()}, "batch_size": 32, "verbose": 0}
    for _ in range(tables):
        test = kmtl.data.from_arrays(*random_labels(random, 400), TASKS, batch_size=400)
        found = compare(build, TASKS, random_labels(random, 32), test, **options)
        flags += any(found.flags["joint"])
    assert flags <= stats.binom.ppf(0.999, tables, 0.05)
