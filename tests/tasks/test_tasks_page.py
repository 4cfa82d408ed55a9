"""The blocks of docs/tasks.md run, and the kind that they define is a whole one."""

import contextlib
import re
from pathlib import Path

import keras
import numpy as np
import pages
import pytest
from keras import ops

from kmtl.losses import group_tasks

PAGE = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What the blocks define, run once in a folder of their own."""
    folder, names = tmp_path_factory.mktemp("page"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        keras.utils.set_random_seed(3)
        for code in BLOCKS:
            # The last one trains for long, the others for a few steps.
            with contextlib.nullcontext() if "epochs=30" in code else pages.eagerly():
                exec(compile(code.replace("epochs=5", "epochs=1, batch_size=128"), "docs/tasks.md", "exec"), names)
    return names


@pytest.mark.long
def test_the_blocks_train_what_they_say(page):
    errors = page["history"]["direction_angular_error"]
    # Chance is 90 degrees.
    assert errors[0] > 30
    assert errors[-1] < 12
    np.testing.assert_array_equal(page["output"], page["model"].predict(page["rows"], verbose=0)["direction"])
    assert type(page["again"].tasks["direction"]) is page["Direction"]
    assert set(page["history"]) > {"direction_weight", "direction_loss", "strong_accuracy"}


def test_its_metric_and_what_is_read_are_those_of_the_angle(page):
    task, labels, output = page["tasks"][0], page["wind"]["direction"], page["output"]
    angles = np.degrees(np.arctan2(output[:, 1], output[:, 0]))
    np.testing.assert_allclose(ops.convert_to_numpy(task.read(output)[""]), angles, rtol=1e-4, atol=1e-3)
    there = ~np.isnan(labels)
    gap = np.abs((labels - angles + 180) % 360 - 180)[there]
    found = page["model"].evaluate(page["rows"], page["wind"], verbose=0, return_dict=True)
    assert found["direction_angular_error"] == pytest.approx(gap.mean(), rel=1e-3)
    assert task.direction("angular_error") == "min"
    assert re.fullmatch(r"direction -?[\d.]+ → -?[\d.]+ deg", task.describe(labels[1], output[1]))
    assert (task.read_keys(), task.label_columns(["direction", "x"])) == (["direction"], ["direction"])


def test_its_missing_labels_reach_nothing_and_it_is_never_stacked_with_others(page):
    tasks = [page["Direction"](name) for name in ("a", "b", "c", "d")]
    groups = group_tasks(tasks, {task.name: task.resolved_loss() for task in tasks}, {})
    assert [group.names for group in groups] == [["a"], ["b"], ["c"], ["d"]]
    outputs = {"a": np.array([[1.0, 0.0], [0.0, 1.0], [np.nan, 0.0]], "float32")}
    labels = {"a": np.array([90.0, 90.0, np.nan])}
    sums, counts = groups[0].sums(groups[0].examples(labels, outputs))
    assert (float(sums[0]), float(counts[0])) == (pytest.approx(1.0, abs=1e-6), 2.0)


def test_every_name_of_the_table_is_one_of_a_task(page):
    names = re.findall(r"`([a-z_]+)(?:\([a-z_, ]*\))?`", "\n".join(re.findall(r"^\| (`[^|]*) \|", PAGE, re.MULTILINE)))
    assert len(names) > 25
    assert [name for name in names if not hasattr(page["Direction"], name)] == []
