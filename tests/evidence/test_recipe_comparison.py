"""Recipes as rows of one table: by hand, and trained; what is done is not done again."""

import keras
import numpy as np
import pytest
from recipe_rows import TASKS, build, rows

import kmtl
from kmtl import training
from kmtl.evidence import RecipeComparison, Run, compare

RECIPES = {"joint": training.Joint(), "longer": training.Joint(epochs=2.0)}


def run(seed, mae, **more):
    return Run(("age",), seed, {"age": {"mae": mae}}, {}, **{"seconds": 2.0, "parameters": 10, **more})


@pytest.fixture
def by_hand():
    found = {
        "separate": [run(0, 10.0, cost=2.0, latency=0.2), run(1, 10.0, cost=2.0, latency=0.2)],
        "joint": [run(0, 9.0, latency=0.1), run(1, 9.2, latency=0.1)],
        "other": [run(0, 12.0), run(1, 8.0)],
    }
    return RecipeComparison([kmtl.Regression("age")], found, "separate", {})


def test_each_row_is_held_against_the_baseline_by_seed(by_hand):
    table = by_hand.table().set_index("recipe")
    # Two seeds: Student's t at 0.975 is 12.706.
    half = 12.7062 * np.std([-10.0, -8.0], ddof=1) / np.sqrt(2)
    assert by_hand.delta_m["joint"] == pytest.approx((-9.0, half), rel=1e-4)
    assert table.loc["joint", ["age mae", "cost", "latency"]].tolist() == pytest.approx([9.1, 1.0, 0.5])
    assert table["verdict"].tolist() == ["-", "tie", "tie"]


def test_another_row_can_be_the_baseline(by_hand):
    against = by_hand.against("joint")
    assert against.delta_m["separate"][0] == pytest.approx(100 * (1 / 9 + 0.8 / 9.2) / 2)
    assert by_hand["joint"].costs() == {"parameters": (10, 10), "seconds": (2.0, 2.0)}
    with pytest.raises(ValueError, match="Did you mean 'joint'"):
        by_hand.against("joit")


def compared(folder, **options):
    given = {"epochs": 1, "recipes": RECIPES, "seeds": 2, "batch_size": 8, "verbose": 0, "folder": folder, **options}
    return compare(given.pop("build", build), TASKS, rows(), rows(seed=1), **given)


def test_sets_by_task_are_compared_where_every_recipe_takes_them():
    x, y = rows()
    sets = {"kind": (x, {"kind": y["kind"]}), "speed": (x[:16], {"speed": y["speed"][:16]})}
    options = {"epochs": 1, "seeds": 1, "batch_size": 8, "verbose": 0}
    found = compare(build, TASKS, sets, rows(seed=1), recipes={"by turns": training.Alternating()}, **options)
    # Three batches and two: the models alone see their own set each.
    assert found.table()["cost"].tolist() == pytest.approx([1.0, 1.0])
    with pytest.raises(ValueError, match="`train` must be one set of data, got 2 by name"):
        compare(build, TASKS, sets, rows(seed=1), recipes=RECIPES, **options)


class Counting:
    """A build function that counts its calls."""

    calls = 0

    def __call__(self, tasks):
        self.calls += 1
        return build(tasks)


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return folder, compared(folder)


def test_recipes_are_trained_and_the_separate_models_added(real):
    _, found = real
    assert list(found.runs) == ["separate", "joint", "longer"]
    assert [run.seed for run in found.runs["joint"]] == [0, 1]
    assert found.table()["cost"].tolist() == pytest.approx([2.0, 1.0, 2.0])
    assert all(run.latency > 0 for run in found.runs["joint"])
    logs = found.model("joint").evaluate(*rows(seed=1), verbose=0, return_dict=True)
    assert logs["speed_mae"] == pytest.approx(found.runs["joint"][0].scores["speed"]["mae"], rel=1e-5)


def test_finished_runs_are_read_and_only_new_ones_trained(real):
    folder, found = real
    again = Counting()
    # Only the look whether `build` is the same each time: two models.
    read = compared(folder, build=again)
    assert again.calls == 2
    assert str(read) == str(found)
    more = Counting()
    compared(folder, build=more, recipes={**RECIPES, "half": training.Joint(epochs=0.5)})
    assert more.calls == 4


def test_other_data_epochs_or_models_are_other_runs(real):
    folder, found = real
    x, y = rows()
    y = {**y, "speed": y["speed"] + 1}
    other = compare(build, TASKS, (x, y), rows(seed=1), epochs=1, recipes=RECIPES, seeds=1, verbose=0, folder=folder)
    assert other.runs["joint"][0].scores != found.runs["joint"][0].scores

    def slower(tasks):
        model = build(tasks)
        model.optimizer.learning_rate = 1e-5
        return model

    assert compared(folder, build=slower, seeds=1).runs["joint"][0].scores != found.runs["joint"][0].scores


class Killed(BaseException):
    """As a kill."""


def test_a_killed_comparison_goes_on_inside_the_run(tmp_path, real):
    epochs = []

    class KillThird(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            del epoch, logs
            epochs.append(1)
            if len(epochs) == 3:
                raise Killed

    # Two single models end; the third epoch is the joint one's.
    with pytest.raises(Killed):
        compared(tmp_path, callbacks=lambda: [KillThird()], seeds=1)
    found = compared(tmp_path, callbacks=lambda: [KillThird()], seeds=1)
    assert len(epochs) == 3 + 1 + 2
    assert found.runs["joint"][0].scores == real[1].runs["joint"][0].scores


def test_a_build_that_differs_from_call_to_call_is_told():
    random = np.random.default_rng(0)

    def unruly(tasks):
        model = build(tasks)
        model.layers[2].kernel.assign(random.normal(size=model.layers[2].kernel.shape))
        return model

    with pytest.warns(UserWarning, match="another model under the same seed: .*kernel starts with other values"):
        compared(None, build=unruly, recipes={"joint": training.Joint()}, seeds=1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"recipes": {}}, "must be a dict of recipes by name"),
        ({"recipes": {"joint": training.Joint}}, "must be a recipe under a text"),
        ({"recipes": None}, "must be left out without `recipes`"),
    ],
)
def test_what_are_no_recipes(given, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        compared(tmp_path, **given)
