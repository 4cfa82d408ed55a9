"""What holds of every recipe: missing labels, seeds, files, replicas, cost, and going on after a kill."""

import functools
import json
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from recipe_rows import RECIPES, TASKS, build, rows, train

import kmtl

# Rows of which another row shows the same code at work.
SHOWN_BY_OTHERS = {
    "alternating",
    "grouped",
    "heterogeneous",  # tests/training/test_heterogeneous.py trains it
    "indirect",
    "joint_longer",
    "label_concat",
    "tuned_adapters",
    "tuned_heads",
    "indirect_denoised",
    "message_passing_mean",
    "separate",  # tests/training/test_message_passing.py and test_grouped.py train it
    "tuned",  # tests/training/test_fine_tuned.py tunes copies
}
ROWS = [pytest.param(name, marks=pytest.mark.slow if name in SHOWN_BY_OTHERS else ()) for name in RECIPES]
every = pytest.mark.parametrize("name", ROWS)


def only(*names):
    """These rows in CI, and the others `slow`."""
    marked = [pytest.param(name, marks=() if name in names else pytest.mark.slow) for name in RECIPES]
    return pytest.mark.parametrize("name", marked)


# On two devices those whose steps are least like the plain one.
on_two = only("alternating", "mean_teacher", "message_passing")
# One of each way in which stages follow one another, and of what is kept between them; turns and messages, which have
# one stage, have kills in the tests of their own.
with_stages = only("distilled", "stacking")
# One of each graph that is left in the end; of the others it is that of the joint training, of models side by side as
# in bagging, or of layers that tests/sharing/test_every_layer.py exports.
with_graph = only(
    *("bagging", "boosting", "co_training", "heterogeneous_linear", "label_powerset", "output_sum", "stacking"),
    "tuned_adapters_stay",
)
# What cannot be, with the reason that its refusal gives: `{(recipe, what): part of the message}`.
REFUSED = {
    ("heterogeneous", "file"): "a file form other than pickle",
    ("heterogeneous", "export"): "must be one graph of TensorFlow, got a MixedModel with DecisionTreeClassifier",
}


@functools.cache
def trained(name):
    """The recipe, trained once."""
    return train(RECIPES[name][0])


@functools.cache
def untrained():
    """Outputs of the model before any training."""
    keras.utils.set_random_seed(0)
    model = build(TASKS)
    model.adapt(*rows())
    return outputs(model)


@functools.cache
def trained_outputs(name):
    """What the trained recipe predicts."""
    return outputs(trained(name).model)


def outputs(model):
    return model.predict(rows(seed=1)[0], verbose=0)


def same(one, other, **tolerance):
    for task in TASKS:
        np.testing.assert_allclose(one[task.name], other[task.name], **tolerance)


class Killed(BaseException):
    """What no code of kmtl catches, as a kill."""


class KillOnce(keras.callbacks.Callback):
    """Ends the process, so to speak, at the end of an epoch, counted over all stages."""

    left = 0

    def on_epoch_end(self, epoch, logs=None):
        del epoch, logs
        type(self).left -= 1
        if not type(self).left:
            raise Killed


@every
def test_it_trains_on_missing_labels(name):
    found = trained(name)
    assert list(found.model.tasks) == [task.name for task in TASKS]
    ended, start = trained_outputs(name), untrained()
    for task, values in ended.items():
        assert np.isfinite(values).all(), task
    logs = found.model.evaluate(*rows(seed=1), verbose=0, return_dict=True)
    assert np.isfinite([logs["kind_accuracy"], logs["speed_mae"]]).all()
    assert any(np.abs(start[task.name] - ended[task.name]).max() > 1e-4 for task in TASKS)


@every
def test_its_cost_is_as_counted(name):
    found = trained(name)
    assert found.cost == pytest.approx(RECIPES[name][1])
    assert len(found.history["stage"]) == sum(stage.epochs for stage in found.stages)


@with_stages
def test_a_killed_one_goes_on_and_ends_as_if_nothing_had_happened(name, tmp_path):
    # In the last epoch but one, behind what has ended; where one stage of two epochs is all, behind its first.
    KillOnce.left = max(2, sum(stage.epochs for stage in trained(name).stages) - 1)
    with pytest.raises(Killed):
        train(RECIPES[name][0], folder=tmp_path / name, callbacks=lambda: [KillOnce()], validation=None)
    KillOnce.left = -1
    found = train(RECIPES[name][0], folder=tmp_path / name, validation=None)
    for one, other in zip(found.model.get_weights(), trained(name).model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.cost == pytest.approx(trained(name).cost)


@every
def test_its_file_brings_it_back_or_is_refused(name, tmp_path):
    model = trained(name).model
    if (name, "file") in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name, "file"]):
            model.save(tmp_path / "model.keras")
        return
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    again.run_eagerly = True
    same(outputs(again), trained_outputs(name), rtol=1e-6)


@pytest.mark.long
@with_graph
def test_it_is_served_or_says_why_not(name, tmp_path):
    model, x = trained(name).model, rows(seed=1)[0]
    if (name, "export") in REFUSED:
        with pytest.raises((ValueError, NotImplementedError), match=REFUSED[name, "export"]):
            kmtl.export.saved_model(model, tmp_path / "served")
        return
    path = kmtl.export.saved_model(model, tmp_path / "served")
    served = tf.saved_model.load(str(path)).signatures["serving_default"](image=tf.constant(x))
    same({key: value.numpy() for key, value in served.items()}, trained_outputs(name), rtol=1e-4, atol=1e-5)
    kmtl.export.litert(model, tmp_path / "model.tflite")


@pytest.fixture(scope="module")
def replicated(request):
    """What became of the recipes that are asked for on two devices, which only a process of its own can have."""
    script = pathlib.Path(__file__).parents[1] / "recipe_replicas.py"
    asked = [item for item in request.session.items if getattr(item, "originalname", "") == ON_TWO.__name__]
    names = [item.callspec.params["name"] for item in asked]
    found = subprocess.run([sys.executable, str(script), *names], capture_output=True, text=True, check=False)
    assert not found.returncode, found.stderr[-3000:]
    return json.loads(found.stdout.splitlines()[-1])


@pytest.mark.long
@on_two
def test_it_trains_on_two_replicas_or_says_why_not(name, replicated):
    wanted = REFUSED.get((name, "replicas"), "")
    assert replicated[name] == "" if not wanted else wanted in replicated[name]


ON_TWO = test_it_trains_on_two_replicas_or_says_why_not
