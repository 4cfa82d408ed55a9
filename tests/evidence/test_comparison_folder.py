"""What a comparison keeps: done runs are not done again, others are refused, several processes share the work."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from recipe_rows import TASKS, build, rows
from shared_comparison import OPTIONS, RECIPES, Slow, scores

import kmtl
from kmtl import training
from kmtl.evidence import compare, load
from kmtl.evidence.comparisons import run_claims
from kmtl.evidence.comparisons.comparison_folder import ComparisonFolder
from kmtl.evidence.comparisons.data_digest import data_digest

SCRIPT = pathlib.Path(__file__).parents[1] / "shared_comparison.py"


def compared(folder, **options):
    given = {**OPTIONS, "folder": folder, **options}
    sets = given.pop("train", rows()), given.pop("test", rows(seed=1))
    return compare(given.pop("build", build), given.pop("tasks", TASKS), *sets, **given)


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


def test_finished_runs_are_read_and_only_new_ones_trained(real, tmp_path):
    folder, found = shutil.copytree(real[0], tmp_path / "copy"), real[1]
    again = Counting()
    # Only the look whether `build` is the same each time: two models.
    assert str(compared(folder, build=again)) == str(found)
    assert again.calls == 2
    more = Counting()
    wider = compared(folder, build=more, recipes={**RECIPES, "half": training.Joint(epochs=0.5)}, seeds=1)
    assert more.calls == 3
    # A row more under one of the seeds: what all rows have is read.
    with pytest.warns(UserWarning, match="load: not finished: 'half' under seed 1; only seeds under which"):
        assert str(load(folder)) == str(wider)


def test_a_comparison_is_read_back_without_any_training(real, tmp_path):
    folder, found = real
    read = load(folder)
    assert (read.tasks, read.baseline, str(read)) == (TASKS, "joint", str(found))
    logs = read.model("longer").evaluate(*rows(seed=1), verbose=0, return_dict=True)
    assert logs["speed_mae"] == pytest.approx(read.runs["longer"][0].scores["speed"]["mae"], rel=1e-5)
    configurations = [json.loads(run.read_text())["configuration"] for run in folder.glob("*/run.json")]
    assert sorted((one["recipe"]["epochs"], one["seed"]) for one in configurations) == [(1, 0), (1, 1), (2, 0), (2, 1)]
    plan = (folder / "comparison.json").read_text()
    (tmp_path / "comparison.json").write_text(plan.replace("kmtl>Regression", "kmtl>Nobody"))
    for run in folder.glob("*/run.json"):
        shutil.copytree(run.parent, tmp_path / run.parent.name)
    with pytest.raises(ValueError, match=r"load: `folder` must hold tasks that can be made again, got .*Import what"):
        load(tmp_path)


def slower(tasks):
    model = build(tasks)
    model.optimizer.learning_rate = 1e-5
    return model


HIDDEN = kmtl.Classification("kind", 3, hidden=(4,))


def shifted():
    x, y = rows()
    return x, {**y, "speed": y["speed"] + 1}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"epochs": 2}, "got epochs 1 there and 2 here. Give another folder"),
        ({"train": shifted()}, r"got data train labels \d+ there and \d+ here"),
        ({"train": (rows()[0] / 2, rows()[1])}, r"got data train inputs \d+ there and \d+ here"),
        ({"batch_size": 4}, "got data train batches 3 there and 6 here"),
        ({"validation": rows(seed=2)}, "got data validation None there and some here"),
        ({"recipes": {"joint": training.Joint(epochs=3.0)}}, "got 'joint' recipe epochs 1.0 there and 3.0 here"),
        (
            {"tasks": [kmtl.Classification("kind", 3, hidden=(4,)), TASKS[1]]},
            r"got tasks kind config hidden \[\] there",
        ),
        ({"tasks": TASKS[::-1]}, "got order .* there and .* here"),
        ({"build": slower}, r"got 'joint' built model \"learning_rate\": 0.0.* there and \"learning_rate\": 9.9.*e-06"),
    ],
)
def test_a_folder_of_another_comparison_is_refused_with_what_differs(real, change, told):
    with pytest.raises(ValueError, match=f"(?s)compare: `folder` must hold this comparison.* {told}"):
        compared(real[0], **change)


def test_a_model_that_cannot_tell_its_settings_is_trained_anew(tmp_path):
    class Silent(keras.layers.Layer):
        def __init__(self, make):
            super().__init__()
            self.inner = make()

        def call(self, values):
            return self.inner(values)

    def silent(tasks):
        image = keras.Input((4, 4, 1), name="image")
        features = Silent(lambda: keras.layers.Dense(4))(keras.layers.Flatten()(image))
        model = kmtl.MultiTaskModel.from_features(image, features, tasks)
        model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
        return model

    given = {"build": silent, "recipes": {"joint": training.Joint()}, "seeds": 1}
    for _ in range(2):
        with pytest.warns(UserWarning, match="makes a model that cannot tell its settings: no run is known again"):
            found = compared(tmp_path, **given)
    assert len(list(tmp_path.glob("*/run.json"))) == 2
    assert found.model("joint") is None


def test_what_is_no_folder_of_a_comparison(tmp_path):
    with pytest.raises(
        ValueError, match=r"^load: `folder` must be one that compare or recommend with folder=... filled, got"
    ):
        load(tmp_path)
    files = ComparisonFolder(tmp_path)
    shared = {"tasks": {"speed": keras.saving.serialize_keras_object(TASKS[1])}}
    files.begin(shared, {"joint": {"configuration": {}, "runs": {0: "ab", 1: "cd"}}}, "joint")
    with pytest.raises(ValueError, match="must hold a seed under which every row is finished, got none; 2 runs are"):
        load(tmp_path)
    with pytest.raises(ValueError, match="`folder` must name a folder"):
        load(3)


def test_data_are_known_by_what_stays_the_same():
    x, y = rows()
    data = kmtl.data.from_arrays(x, y, TASKS, batch_size=8)
    told = data_digest(data)
    turned = x[::-1], {name: values[::-1] for name, values in y.items()}
    other = data_digest(kmtl.data.from_arrays(*turned, TASKS, batch_size=8))
    assert (other["order"] != told["order"], {**other, "order": told["order"]}) == (True, told)
    assert data_digest(data.unbatch().shuffle(24).batch(8)) == {**told, "order": "drawn anew"}
    augmented = data_digest(data.map(lambda x, y: (x + keras.random.uniform(()), y)))
    assert augmented == {**told, "inputs": "drawn anew", "order": "drawn anew"}
    assert data_digest(data.map(lambda x, y: (x + 1, y)))["inputs"] != told["inputs"]


def test_data_that_change_by_themselves_are_told_once_something_is_kept(tmp_path):
    shuffled = tf.data.Dataset.from_tensor_slices(rows()).shuffle(24).batch(8)
    with pytest.warns(UserWarning, match="`train` changes by itself from pass to pass, as by tf.data's own shuffle"):
        compared(tmp_path, train=shuffled, seeds=1, recipes={"joint": training.Joint(epochs=0.5)})


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

    # The first run ends; the third epoch is the second one of the longer.
    with pytest.raises(Killed):
        compared(tmp_path, callbacks=lambda: [KillThird()], seeds=1)
    found = compared(tmp_path, callbacks=lambda: [KillThird()], seeds=1)
    # What was not backed up at the end of the second epoch is done again.
    assert len(epochs) == 3 + 1
    assert found.runs["longer"][0].scores == real[1].runs["longer"][0].scores


def test_a_claim_is_free_when_its_process_is_gone(tmp_path):
    lines = [
        "import pathlib, runpy",
        f"claim = runpy.run_path({run_claims.__file__!r})['claim']",
        f"with claim(pathlib.Path({str(tmp_path)!r})) as mine:",
        "    print(mine, flush=True)",
        "    input()",
    ]
    code = "\n".join(lines)
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout.readline().strip() == "True"
    with run_claims.claim(tmp_path) as mine:
        assert not mine
    holder.kill()
    holder.communicate()
    with run_claims.claim(tmp_path) as mine:
        assert mine


def started(folder):
    """The script in a process of its own."""
    paths = os.pathsep.join([str(SCRIPT.parents[1]), str(SCRIPT.parent)])
    command, environment = [sys.executable, str(SCRIPT), str(folder)], {**os.environ, "PYTHONPATH": paths}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def told(process):
    """What the script printed."""
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err[-3000:]
    return json.loads(out.strip().splitlines()[-1])


def assert_same(one, other):
    for name, runs in one.items():
        for mine, yours in zip(runs, other[name], strict=True):
            for task, metrics in mine.items():
                assert metrics == pytest.approx(yours[task], rel=1e-5)


@pytest.mark.long
def test_killed_at_a_random_moment_two_processes_share_what_is_left(tmp_path, real):
    killed = started(tmp_path)
    while not (tmp_path / "comparison.json").exists():
        time.sleep(0.02)
    time.sleep(np.random.default_rng().uniform(0, 3))
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    # Between the end of a training and its scores there is a moment, too.
    trained = [*tmp_path.glob("*/run.json"), *tmp_path.glob("*/stages/joint/finished/backup-*")]
    finished = len({file.relative_to(tmp_path).parts[0] for file in trained})
    other = started(tmp_path)
    here, trained_here = compared(tmp_path, callbacks=lambda: [Slow()]), Slow.trainings
    found = told(other)
    # Each run was trained once, by whichever came first, and both have all of them.
    assert found["trainings"] + trained_here == 4 - finished
    for one in (found["scores"], scores(here)):
        assert_same(one, scores(real[1]))
