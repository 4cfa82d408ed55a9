"""What is recommended: the smallest that is not worse, chosen and reported on different rows, the same after a kill."""

import json
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmtl
from kmtl.evidence import recommend
from kmtl.evidence.recommendation import race
from kmtl.evidence.recommendation.candidates import Balanced, Weighed, affordable
from kmtl.evidence.recommendation.paired_scores import Change, RowScores, changes, row_scores
from kmtl.evidence.recommendation.serving_choice import ALONE, holds_up, smallest
from kmtl.training import stretched

TASKS = [kmtl.Classification("kind", 3), kmtl.Regression("size", unit="cm")]


def sets(rows=240):
    """Rows of four numbers; both labels follow from the same two of them."""
    x = np.random.default_rng(0).normal(size=(rows, 4)).astype("float32")
    labels = {
        "kind": (x[:, 0] > 0).astype("int32") + (x[:, 1] > 0),
        "size": (x[:, 0] + x[:, 1]).astype("float32"),
    }
    return [(x[part], {name: label[part] for name, label in labels.items()}) for part in np.split(np.arange(rows), 3)]


def build(tasks):
    row = keras.Input((4,), name="row")
    features = keras.layers.Dense(24, activation="relu")(row)
    model = kmtl.MultiTaskModel.from_features(row, features, tasks)
    model.compile(keras.optimizers.Adam(0.02), run_eagerly=True)
    return model


@keras.saving.register_keras_serializable(package="test_recommend")
def sharpness(truth, predicted):
    return predicted - 0 * truth


def scores_of(**values):
    return RowScores({name: {"mae": np.asarray(found, float)} for name, found in values.items()})


def test_a_change_is_signed_relative_and_its_error_is_the_jackknifes():
    task = kmtl.Regression("size")
    found = changes(scores_of(size=[1.1, 1.2, 1.0]), scores_of(size=[1.0, 1.0, 1.0]), [task])["size"]
    assert found.percent == pytest.approx(10.0)
    # Two groups: sqrt(1 / 2 * (10^2 + 10^2)).
    assert found.error == pytest.approx(10.0)
    up = kmtl.Classification("kind", 3)
    more = RowScores({"kind": {"accuracy": np.array([0.9, 0.9, 0.9])}})
    less = RowScores({"kind": {"accuracy": np.array([0.6, 0.6, 0.6])}})
    assert changes(more, less, [up])["kind"] == Change(pytest.approx(-50.0), pytest.approx(0.0))
    assert math.isnan(changes(scores_of(size=[1.0]), scores_of(size=[2.0]), [task])["size"].error)


def test_the_jackknife_agrees_with_the_error_of_a_mean():
    """Of a mean of rows, its jackknife over ten groups is the error of ten group means."""
    x, labels = sets()[0]
    model = build(TASKS)
    model.adapt(x, labels)
    found = row_scores(model, kmtl.data.from_arrays(x, labels, TASKS, shuffle=False), "test").values["size"]["mae"]
    errors = np.abs(model.predict(x, verbose=0)["size"][:, 0] - labels["size"])
    assert found[0] == pytest.approx(errors.mean(), rel=1e-5)
    means = np.array([errors[group::10].mean() for group in range(10)])
    jackknife = np.sqrt(9 / 10 * np.sum((found[1:] - found[1:].mean()) ** 2))
    assert jackknife == pytest.approx(means.std(ddof=1) / np.sqrt(10), rel=1e-3)


@pytest.mark.parametrize(
    ("accepted", "serves", "weights"),
    [
        # Half serves all: nothing larger is needed, however good.
        ({"a": ["half", "all"], "b": ["half", "all"]}, {"a": "half", "b": "half"}, 50),
        # One task lost: its own model beside half is smaller than all.
        ({"a": ["half", "all"], "b": []}, {"a": "half", "b": ALONE}, 95),
        # Of about the same size the better one.
        ({"a": ["all"], "b": ["half", "all"]}, {"a": "all", "b": "all"}, 98),
        ({"a": [], "b": []}, {"a": ALONE, "b": ALONE}, 100),
    ],
)
def test_the_smallest_models_are_chosen(accepted, serves, weights):
    candidates = {
        "half": (50, {"a": Change(-1.0, 1.0), "b": Change(-1.0, 1.0)}),
        "all": (98, {"a": Change(-9.0, 1.0), "b": Change(-9.0, 1.0)}),
    }
    choice = smallest(candidates, {"a": 55, "b": 45}, accepted)
    assert (choice.serves, choice.weights) == (serves, weights)


def test_candidates_go_half_of_the_way_to_one_length_unless_a_balancer_was_chosen():
    def chosen(tasks):
        model = build(tasks)
        model.compile("adam", balancer="si")
        return model

    found = Balanced(build)(TASKS).balancer
    assert (type(found), found.power) == (kmtl.balancers.Unit, 0.5)
    assert type(Balanced(chosen)(TASKS).balancer) is kmtl.balancers.SI
    assert type(Balanced(build)(TASKS[:1]).balancer) is kmtl.balancers.Equal


def test_a_margin_and_a_length():
    assert holds_up(Change(0.4, 1.0), 0.5)
    assert not holds_up(Change(0.6, 1.0), 0.5)
    assert not holds_up(Change(float("nan"), 1.0), 9.0)
    assert [affordable(left, 0.5) for left in (2.0, 0.75, 0.3)] == [2.0, 1.5, 0.0]


def folder_with_times(place):
    """A folder of a race whose steps were timed before: that is half of the work of so small a race."""
    place.mkdir()
    times = {"alone": 0.01, "joint, half the weights": 0.01, "joint, all the weights": 0.014}
    (place / "step_seconds.json").write_text(json.dumps(times))
    return place


@pytest.fixture(scope="module")
def raced(tmp_path_factory):
    """A race, and how it was asked for."""
    train, validation, test = sets()
    folder = folder_with_times(tmp_path_factory.mktemp("raced") / "race")
    options = {"test": test, "epochs": 2, "budget": 2.0, "folder": folder, "verbose": 0}
    return recommend(build, TASKS, train, validation, **options), options


def test_it_ships_one_face_and_reads_what_was_done_before(raced, tmp_path, monkeypatch):
    train, validation, test = sets()
    found, options = raced
    assert found.cost <= found.budget == 2.0
    assert list(found.model.predict(test[0][:2], verbose=0)) == ["kind", "size"]
    assert set(found.serves) == {"kind", "size"}
    held = keras.saving.load_model(_saved(found.model, tmp_path))
    np.testing.assert_allclose(
        held.predict(test[0], verbose=0)["size"], found.model.predict(test[0], verbose=0)["size"], atol=1e-5
    )
    # The report is of the test rows.
    size = np.abs(found.model.predict(test[0], verbose=0)["size"][:, 0] - test[1]["size"]).mean()
    assert found.scores["size"]["mae"] == pytest.approx(size, rel=1e-5)
    monkeypatch.setattr(kmtl.MultiTaskModel, "fit", None)  # Nothing is trained, and nothing timed, a second time.
    again = recommend(build, TASKS, train, validation, **options)
    assert str(again) == str(found)
    read = kmtl.evidence.load(options["folder"])
    assert str(read) == str(found)
    np.testing.assert_allclose(read.model.predict(test[0], verbose=0)["size"], held.predict(test[0], verbose=0)["size"])


class StoppedError(Exception):
    """What ends a training from outside."""


class Bomb(keras.callbacks.Callback):
    """Ends the joint training after its first epoch."""

    def on_epoch_end(self, epoch, logs=None):
        del logs
        if len(self.model.tasks) > 1 and epoch == 0:
            raise StoppedError


@pytest.mark.long
def test_a_race_that_was_stopped_goes_on_and_ends_alike(raced, tmp_path):
    train, validation, _ = sets()
    folder = folder_with_times(tmp_path / "stopped")
    whole, options = raced[0], {**raced[1], "folder": folder}
    with pytest.raises(StoppedError):
        recommend(build, TASKS, train, validation, callbacks=lambda: [Bomb()], **options)
    alone = {
        file: file.stat().st_mtime_ns for file in folder.glob("each-task-alone-0/*/finished/**/*") if file.is_file()
    }
    assert alone
    found = recommend(build, TASKS, train, validation, **options)
    assert str(found) == str(whole)
    assert alone == {file: file.stat().st_mtime_ns for file in alone}


def _saved(model, folder):
    model.save(folder / "model.keras")
    return folder / "model.keras"


@pytest.mark.long
def test_with_a_budget_of_one_it_says_that_it_guesses(monkeypatch):
    monkeypatch.setattr(race, "step_seconds", lambda *_: 0.01)
    train, validation, _ = sets()
    found = recommend(build, TASKS, train, validation, epochs=4, budget=1.0, verbose=0)
    assert found.cost <= 1.0 + 1e-9
    assert any("probes" in text for text in found.caveats)
    assert any("third of the validation data" in text for text in found.caveats)
    assert all(name != ALONE for name in found.serves.values())
    assert found.alone_scores == {}


@pytest.mark.long
def test_more_budget_buys_other_candidates_and_further_seeds(monkeypatch):
    monkeypatch.setattr(race, "step_seconds", lambda *_: 0.01)

    def starving(tasks):
        """Beside others the task `size` sees nothing of the features: no joint model holds up on it."""
        row = keras.Input((4,), name="row")
        features = keras.layers.Dense(24, activation="relu")(row)
        seen = {task.name: features for task in tasks}
        if len(tasks) > 1:
            seen["size"] = keras.layers.Rescaling(0.0)(features)
        model = kmtl.MultiTaskModel.from_features(row, seen, tasks)
        model.compile(keras.optimizers.Adam(0.1), run_eagerly=True)
        return model

    train, validation, test = sets()
    options = {"test": test, "epochs": 1, "budget": 20.0, "batch_size": 20, "verbose": 0}
    found = recommend(starving, TASKS, train, validation, **options)
    assert found.serves["size"] == ALONE
    seeds = {row["candidate"]: set() for row in found.tried}
    for row in found.tried:
        seeds[row["candidate"]].add(row["seed"])
    shipped = {name for name in found.serves.values() if name != ALONE}
    assert all(len(seeds[name]) > 1 for name in shipped)
    whole = "joint, all the weights"
    further = ["distilled", "gradients of one length", "more weight on size"]
    assert {f"{whole}, {name}" for name in further} <= set(seeds)


def test_the_weight_of_tasks_that_lost_grows_from_what_the_user_gave():
    def chosen(tasks):
        model = build(tasks)
        model.compile("adam", loss_weights={"size": 0.5})
        return model

    model = stretched(Weighed(Balanced(chosen), {"size": 9.0}), 2.0)(TASKS)
    assert model.loss_weights == {"kind": 1.0, "size": 4.5}
    assert isinstance(model.balancer, kmtl.balancers.Unit)


def test_bad_input_is_refused_before_anything_is_trained(monkeypatch):
    monkeypatch.setattr(kmtl.MultiTaskModel, "fit", None)
    train, validation, _ = sets()
    with pytest.raises(ValueError, match="recommend: `tasks` must be 2 or more"):
        recommend(build, TASKS[:1], train, validation, epochs=1)
    with pytest.raises(
        ValueError, match=r"(?s)recommend: `epochs`.*recommend: `budget` must be 1 or more.*`validation`"
    ):
        recommend(build, TASKS, train, None, epochs=0, budget=0.5)
    with pytest.raises(ValueError, match=r"recommend\(validation, .*\): `y\['size'\]` must have a label somewhere"):
        recommend(build, TASKS, train, (validation[0], {"kind": validation[1]["kind"]}), epochs=1)
    rows = tf.data.Dataset.from_tensor_slices(train)
    with pytest.raises(ValueError, match=r"recommend: `test` must have an end"):
        recommend(build, TASKS, train, validation, test=rows.batch(8).repeat(), epochs=1)
    # One label of a task is of one part: nothing would tell how it does in the other one.
    size = np.where(np.arange(80) == 0, validation[1]["size"], np.nan).astype("float32")
    with pytest.raises(ValueError, match=r"recommend\(validation, the part for .*\): `y\['size'\]` must have a label"):
        recommend(build, TASKS, train, (validation[0], {**validation[1], "size": size}), epochs=1)
    with pytest.raises(ValueError, match="recommend: `train` must yield batches, got single examples"):
        recommend(build, TASKS, rows, validation, epochs=1)
    odd = kmtl.Regression("size", metrics=[keras.metrics.MeanMetricWrapper(sharpness, name="sharpness")])
    with pytest.raises(ValueError, match="recommend: `tasks` must give 'size' a metric whose better end is known"):
        recommend(build, [TASKS[0], odd], train, validation, epochs=1)
