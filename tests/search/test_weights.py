import json
import shutil

import keras
import keras_tuner
import numpy as np
import pages
import planted
import pytest
import tensorflow as tf

import kmtl
from kmtl import _extras
from kmtl.search import _keras_tuner_private, tuners
from kmtl.search.cross_validation import splits
from kmtl.search.objectives import Constrained, DeltaM
from kmtl.search.roles import as_chief
from kmtl.search.space import Space, TaskSpace
from kmtl.search.weights import weights


def with_width(tasks, hp):
    """A build that draws something itself, and fails for one value of it."""
    width = hp.Choice("width", [4, 8, 9], default=4)
    if width == 9:
        raise RuntimeError("too wide\nfor this machine")
    one = keras.Input((1,), name="one")
    features = keras.layers.Dense(width, activation="relu")(one)
    model = kmtl.MultiTaskModel.from_features(one, features, tasks)
    model.compile(keras.optimizers.Adam(0.01), steps_per_execution=2, run_eagerly=True)
    return model


def drawn(space, model, **values):
    """Applies a space to a model with these values drawn."""
    hp = keras_tuner.HyperParameters()
    hp.values = dict(values)
    space.compile(hp, model)
    space.set(hp, model)
    return hp


def space(losses=None, **options):
    return TaskSpace(Space(**{"low": 0.1, "high": 10.0, **options}), losses or {"near": 1.0, "far": 1.0})


# What is drawn.


def test_weights_are_ratios_on_equal_losses_and_sum_to_the_number_of_tasks():
    chosen = space({"near": 0.25, "far": 250.0})
    found = chosen.weights({"weight_far": 3.0})
    assert sum(found.values()) == pytest.approx(2.0)
    assert found["far"] * 250.0 / (found["near"] * 0.25) == pytest.approx(3.0)
    other = space(chosen.losses, reference="far").weights({"weight_near": 1 / 3})
    assert other == pytest.approx(found)


def test_what_is_drawn_is_set_and_the_rest_of_compile_stays():
    model = with_width(planted.TASKS, keras_tuner.HyperParameters())
    options = {"pcgrad": {}, "cagrad": {"radius": (0.2, 0.8)}}
    chosen = space(balancers=options, learning_rate=(1e-4, 1e-1))
    assert chosen.names == ["weight_far", "balancer", "cagrad_radius", "learning_rate"]
    drawn(chosen, model, weight_far=3.0, balancer="cagrad", cagrad_radius=0.3, learning_rate=0.02)
    assert type(model.balancer).__name__ == "CAGrad"
    assert model.balancer.get_config()["radius"] == pytest.approx(0.3)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.02)
    assert model.loss_weights == pytest.approx({"near": 0.5, "far": 1.5})
    assert model.steps_per_execution == 2
    assert isinstance(model.optimizer, keras.optimizers.Adam)


def test_without_a_balancer_to_draw_the_builds_own_stays():
    model = with_width(planted.TASKS, keras_tuner.HyperParameters())
    model.compile("sgd", balancer="pcgrad")
    before = model.balancer
    hp = drawn(space(), model, weight_far=0.5)
    assert model.balancer is before
    assert [one.name for one in hp.space] == ["weight_far"]
    assert hp.space[0].default == 1.0


# The search itself.


@pytest.fixture
def eager():
    """Without graphs: of a few steps a trace takes longer than the steps."""
    with pages.eagerly():
        yield


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Four trials, of which some fail."""
    folder = tmp_path_factory.mktemp("searches")
    return weights(
        with_width,
        planted.TASKS,
        planted.data(4),
        planted.data(4),
        objective=DeltaM(planted.BASELINES),
        epochs=1,
        max_trials=4,
        seed=3,
        directory=folder / "weights",
        verbose=0,
    )


@pytest.mark.long
def test_the_table_shows_what_failed_and_why(found):
    table = found.table()
    failed = table[table["width"] == 9]
    assert 0 < len(failed) < len(table) == 4
    assert set(failed["status"]) == {"FAILED"}
    assert all("RuntimeError: too wide\nfor this machine" in cause for cause in failed["cause"])
    done = table[table["width"] != 9]
    assert list(done["score"]) == sorted(done["score"])
    assert not done["cause"].any()
    for text in ("RuntimeError: too wide", "4 trials; best is trial", "far_mse"):
        assert text in str(found)


@pytest.mark.long
def test_trials_report_every_task_and_the_score_follows_from_that(found):
    done = [trial for trial in found.trials if trial.score is not None]
    for trial in done:
        assert set(trial.metrics) == {"near_loss", "near_mse", "far_loss", "far_mse"}
        assert trial.score == pytest.approx(
            kmtl.metrics.delta_m(found.scores_of(trial), planted.BASELINES, found.tasks)
        )
    assert found.best.score == min(trial.score for trial in done)


@pytest.mark.long
def test_the_best_model_is_the_trial_s_own_ready_to_go_on(found):
    model = found.best_model()
    logs = model.evaluate(planted.data(4), verbose=0, return_dict=True)
    for name, value in found.best.metrics.items():
        assert logs[name] == pytest.approx(value, rel=1e-5)
    assert model.loss_weights == pytest.approx(found.best_weights, rel=1e-6)
    assert int(model.optimizer.iterations) == 4
    model.fit(planted.data(1), verbose=0)


def test_non_dominated_trials_are_those_that_brute_force_finds(found):
    done = [trial for trial in found.trials if trial.score is not None]
    pairs = {trial.name: (trial.metrics["near_mse"], trial.metrics["far_mse"]) for trial in done}
    kept = [
        name
        for name, pair in pairs.items()
        if not any(all(np.less_equal(other, pair)) and other != pair for other in pairs.values())
    ]
    assert [trial.name for trial in found.non_dominated()] == kept


def test_trials_are_points_of_a_trade_off_too(found):
    points = found.points
    shares = [point.preference[0] for point in points]
    assert shares == sorted(shares)
    for point, trial in zip(points, found.done, strict=True):
        near, far = point.preference
        assert near + far == pytest.approx(1.0)
        assert far / near == pytest.approx(trial.values["weight_far"])
    values, better = found.values({"far": "mse"})
    assert better == ["min", "min"]
    assert values[0].tolist() == [points[0].scores["near"]["mse"], points[0].scores["far"]["mse"]]
    with pytest.raises(ValueError, match="Did you mean 'near'"):
        found.values({"neer": "mse"})


def test_a_failed_trial_has_no_model(found):
    failed = next(trial for trial in found.trials if trial.status == "FAILED")
    with pytest.raises(ValueError, match=rf"trial {failed.name}, failed"):
        found.model_of(failed)


def test_a_search_that_ended_goes_on_with_more_trials_and_not_with_another_space(found, tmp_path):
    place = found.trials[0].place.parent
    options = {
        "objective": DeltaM(planted.BASELINES),
        "epochs": 1,
        "seed": 3,
        "directory": place,
        "verbose": 0,
    }
    data = planted.data()
    for changed, words in (({"space": Space(high=3.0)}, "'high': 3.0"), ({"epochs": 2}, "epochs was 1 and is 2")):
        with pytest.raises(ValueError, match=f"of another: .*{words}"):
            weights(with_width, planted.TASKS, data, data, **{**options, **changed})
    again = weights(with_width, planted.TASKS, data, data, max_trials=4, **options)
    assert again.trials == found.trials
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="files of something else"):
        weights(with_width, planted.TASKS, data, data, **{**options, "directory": tmp_path / "weights"})
    with pytest.raises(ValueError, match="files of something else"):
        weights(
            with_width, planted.TASKS, data, data, **{**options, "directory": tmp_path / "weights", "overwrite": True}
        )
    assert (tmp_path / "weights" / "notes.txt").read_text() == "mine"


def copied(found, folder):
    """The search's folder once more, with the options that continue it."""
    shutil.copytree(found.trials[0].place.parent, folder / "weights")
    return {
        "objective": DeltaM(planted.BASELINES),
        "epochs": 1,
        "seed": 3,
        "max_trials": 4,
        "directory": folder / "weights",
        "verbose": 0,
    }


def test_a_search_may_be_continued_in_another_role(found, tmp_path):
    copied(found, tmp_path)
    with as_chief("127.0.0.1:9999"), _keras_tuner_private.quiet():
        tuner = tuners.make_tuner("random", found.trainee, tmp_path / "weights", 5, 1, 3)
    assert sorted(tuner.oracle.trials) == [trial.name for trial in found.trials]
    assert tuner.tuner_id == "chief"


def test_a_trial_that_ended_in_the_moment_of_the_kill_is_not_repeated(found, tmp_path):
    options = copied(found, tmp_path)
    path = tmp_path / "weights" / "oracle.json"
    state = json.loads(path.read_text())
    last = state["end_order"].pop()
    state["ongoing_trials"] = {"tuner0": last}
    path.write_text(json.dumps(state))
    trainings = []
    data, count = planted.data(), lambda: trainings.append(1) or []
    again = weights(with_width, planted.TASKS, data, data, callbacks=count, **options)
    assert (trainings, again.events) == ([], [])
    assert [trial.score for trial in again.trials] == [trial.score for trial in found.trials]


def test_a_baseline_of_zero_is_refused_by_name_though_it_was_trained(tmp_path, monkeypatch):
    monkeypatch.setattr("kmtl.search.hypermodel.Trainee.alone", lambda *_: {"mse": 0.0})
    with pytest.raises(ValueError, match=r"(?s)`baselines` of 'near'.* 'mse'.*`baselines` of 'far'"):
        planted.search(tmp_path, objective="delta_m")


@pytest.mark.long
def test_a_constraint_takes_trained_baselines(tmp_path, monkeypatch):
    monkeypatch.setattr("kmtl.search.hypermodel.Trainee.alone", lambda *_: {"mse": 0.1})
    aim = Constrained("far", "mse", keep={"near": {"mse": 0.5}})
    result = planted.search(tmp_path, batches=8, objective=aim, max_trials=2, epochs=10)
    assert aim.baselines is None
    for trial in result.trials:
        assert (trial.score < 1.0) == (trial.metrics["near_mse"] <= 0.15)
    assert len({trial.score < 1.0 for trial in result.trials}) == 2


@pytest.mark.long
@pytest.mark.usefixtures("eager")
def test_no_success_names_the_causes(tmp_path):
    def broken():
        raise OSError("the disk is full")

    with pytest.raises(RuntimeError, match=r"none of 2 in(.|\n)*OSError: the disk is full"):
        planted.search(tmp_path, max_trials=2, callbacks=broken)


@pytest.mark.long
@pytest.mark.usefixtures("eager")
def test_a_score_that_is_no_number_is_a_cause(tmp_path):
    with pytest.raises(RuntimeError, match=r"the score is nan, from {'near_loss'"):
        planted.search(tmp_path, max_trials=1, epochs=1, objective=lambda scores: scores["far"]["mse"] * np.nan)


@pytest.mark.long
@pytest.mark.usefixtures("eager")
def test_baselines_that_are_not_given_are_those_of_compare_and_are_trained_once(tmp_path, monkeypatch, capsys):
    options = {"objective": "delta_m", "max_trials": 1, "epochs": 3, "seed": 4}
    found = planted.search(tmp_path, **options, verbose=2)
    shown = capsys.readouterr().out
    assert "2 baselines and 1 trials of up to 3 epochs: 9 epochs in all" in shown
    assert [f"{done}/9" in shown for done in (3, 6, 9)] == [True] * 3
    data = planted.data(1)
    alone = {"epochs": 3, "seeds": [4], "recipes": {"separate": kmtl.training.Separate()}, "verbose": 0}
    compared = kmtl.evidence.compare(planted.build, planted.TASKS, data, data, **alone)
    assert found.baselines["far"] == pytest.approx(compared.baselines["far"], rel=1e-5)
    assert found.baselines["near"] == pytest.approx(compared.baselines["near"], rel=1e-5)
    monkeypatch.setattr("kmtl.search.hypermodel.Trainee.alone", None)
    again = planted.search(tmp_path, **options)
    assert again.baselines == found.baselines
    assert again.best.score == found.best.score


def test_folds_measure_every_batch_once_and_train_on_the_others():
    numbered = planted.data().enumerate().map(lambda place, element: (place, element[1]))
    made = splits(numbered, 3)
    measured = [[int(place) for place, _ in split.validation] for split in made]
    assert sorted(place for fold in measured for place in fold) == list(range(8))
    for split, fold in zip(made, measured, strict=True):
        assert sorted(int(place) for place, _ in split.train) == [place for place in range(8) if place not in fold]


def test_folds_refuse_batches_that_change_places():
    labels = {"far": np.arange(64.0), "near": np.full(64, np.nan)}
    rows = tf.data.Dataset.from_tensor_slices((np.ones((64, 1)), labels))
    assert len(splits(rows.batch(4), 4)) == 4
    with pytest.raises(ValueError, match="reshuffle_each_iteration=False"):
        splits(rows.shuffle(64).batch(4), 4)
    assert len(splits(rows.shuffle(64, reshuffle_each_iteration=False).batch(4), 4)) == 4
    with pytest.raises(ValueError, match=r"`validation` .* got 17"):
        splits(rows.batch(4), 17)


@pytest.mark.long
@pytest.mark.usefixtures("eager")
def test_a_trial_of_folds_reports_the_mean_of_its_models(tmp_path):
    trainings = []

    class Count(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            trainings.append((self.params["epochs"], logs["val_far_mse"]))

    ones, labels = planted.data().unbatch().batch(32).get_single_element()
    # The folds' models end at different values.
    rows = ones, {**labels, "far": labels["far"] * np.linspace(0.5, 1.5, 32, dtype="float32")}
    result = weights(
        planted.build,
        planted.TASKS,
        rows,
        2,
        batch_size=16,
        objective=DeltaM(planted.BASELINES),
        epochs=1,
        max_trials=1,
        callbacks=lambda: [Count()],
        directory=tmp_path / "weights",
        verbose=0,
    )
    values = [value for _, value in trainings]
    assert len(set(values)) == 2
    assert result.best.metrics["far_mse"] == pytest.approx(np.mean(values))


# What is wrong is refused before the first trial.


def plain(_, hp):
    return keras.Sequential([keras.layers.Dense(hp.Int("width", 1, 2))])


def stubborn(_):
    return planted.build(planted.TASKS)


def uncompiled(tasks):
    model = planted.build(tasks)
    return kmtl.MultiTaskModel(model.inputs, model.output, tasks=planted.TASKS)


def weighted(tasks):
    model = planted.build(tasks)
    model.set_loss_weights({"near": 3.0})
    return model


def meddling(tasks, hp):
    hp.Float("weight_far", 1.0, 2.0)
    return planted.build(tasks)


def scheduled(tasks):
    model = planted.build(tasks)
    model.compile(keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 100)))
    return model


@pytest.mark.parametrize(
    ("build", "options", "words"),
    [
        (plain, {}, "compiled kmtl.MultiTaskModel, got a Sequential"),
        (uncompiled, {}, "one that is not compiled"),
        (weighted, {}, "must not set `loss_weights`"),
        (meddling, {}, "'weight_far'"),
        (scheduled, {"space": Space(learning_rate=(0.1, 0.2))}, "schedule"),
        (planted.build, {"tasks": planted.TASKS[:1]}, "`tasks` must be 2 or more, got ['near']"),
        (planted.build, {"tasks": planted.data()}, "The order is weights(build, tasks, train, validation)"),
        (lambda hp, tasks: (hp, tasks), {}, "function build(tasks), or build(tasks, hp), that makes"),
        (lambda hp: hp, {}, "Take the tasks first"),
        (planted.build(planted.TASKS), {}, "got the model '"),
        (stubborn, {"tasks": planted.TASKS[::-1]}, "of the tasks that it is given"),
        (planted.build, {"space": Space(reference="fur")}, "Did you mean 'far'"),
        (planted.build, {"space": {"low": 1.0}}, "`space` must be a kmtl.search.Space"),
        (planted.build, {"objective": "val_loss"}, "weighted loss"),
        (planted.build, {"objective": DeltaM({"far": {"mse": 1.0}})}, "none for 'near'"),
        (planted.build, {"tuner": "bayes"}, "'bayesian'"),
        (planted.build, {"tuner": "hyperband", "max_trials": 3}, "Hyperband counts"),
        (planted.build, {"tuner": "hyperband", "validation": 2}, "another tuner"),
        (planted.build, {"validation": 1}, "folds of at least 2"),
        (planted.build, {"epochs": 0}, "epochs"),
        (planted.build, {"max_trials": 2.5}, "max_trials"),
        (planted.build, {"seed": -1}, "seed"),
        (planted.build, {"callbacks": [keras.callbacks.TerminateOnNaN()]}, "function that makes"),
    ],
)
def test_what_cannot_be_searched_is_refused_and_leaves_no_folder(tmp_path, build, options, words):
    settings = {"objective": DeltaM(planted.BASELINES), "validation": planted.data(), "verbose": 0, **options}
    settings = {"tasks": planted.TASKS, "train": planted.data(), **settings}
    with pytest.raises(ValueError, match=r"^weights: ") as caught:
        weights(build, directory=tmp_path / "weights", **settings)
    assert words in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_all_that_is_wrong_of_a_space_is_told_at_once():
    with pytest.raises(ValueError, match="low < high") as caught:
        Space(low=2.0, high=1.0, learning_rate=0.1, balancers=["pcgrod"])
    for words in ("'pcgrad'", "`learning_rate` must be"):
        assert words in str(caught.value)
    for options, words in (({"d": (0.1, 0.2)}, "hyper-parameters of 'cagrad'"), ({"radius": 0.1}, "or as a list")):
        with pytest.raises(ValueError, match=f"^Space: .*{words}"):
            Space(balancers={"cagrad": options})


def test_all_that_is_wrong_is_told_at_once_before_anything_is_trained(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    data = planted.data()
    with pytest.raises(ValueError, match=r"`build` must be a function .* got <lambda>\(\)") as caught:
        weights(lambda: None, planted.TASKS, data, data, directory=tmp_path / "notes.txt" / "search", epochs=0)
    for words in ("`epochs` must be", "`directory` must be a folder", f"got the file {str(tmp_path / 'notes.txt')!r}"):
        assert words in str(caught.value)
    with pytest.raises(ValueError, match=r"`train` must be what fit takes: .*, got list") as caught:
        weights(planted.build, planted.TASKS, [1], iter([2]), directory=tmp_path / "search")
    assert "`validation`" in str(caught.value)


def test_without_tensorboard_the_line_that_installs_it_is_told(tmp_path, monkeypatch):
    real = _extras.importlib.import_module

    def without(name):
        if name.startswith("tensorboard"):
            raise ModuleNotFoundError(f"No module named {name!r}", name="tensorboard")
        return real(name)

    monkeypatch.setattr(_extras.importlib, "import_module", without)
    with pytest.raises(ImportError, match=r"'tensorboard.*pip install 'kmtl\[search\]'"):
        planted.search(tmp_path)
    assert not list(tmp_path.iterdir())


# The answer is known.


@pytest.mark.long
@pytest.mark.parametrize(
    ("tuner", "trials"),
    # Of the four random ones the third is near the ratio and the others on both sides of it.
    [("random", 4), pytest.param("bayesian", 8, marks=pytest.mark.slow)],
    ids=["random", "bayesian"],
)
def test_the_planted_weights_are_found(tmp_path, tuner, trials):
    result = planted.search(tmp_path, batches=8, epochs=10, tuner=tuner, max_trials=trials, seed=2)
    place = float(result.best_model().get_layer("place").kernel[0, 0])
    assert result.best_values["weight_far"] == pytest.approx(planted.RATIO, rel=0.35)
    assert place == pytest.approx(planted.PLACE, abs=0.06)


@pytest.mark.long
@pytest.mark.usefixtures("eager")
def test_hyperband_promotes_with_the_optimizer_s_state(tmp_path):
    result = planted.search(tmp_path, tuner="hyperband", max_trials=None, epochs=3)
    assert {trial.status for trial in result.trials} == {"COMPLETED"}
    promoted = [trial for trial in result.trials if trial.origin]
    assert promoted
    for trial in promoted:
        # A step an epoch: one epoch before the promotion, two after.
        assert int(result.model_of(trial).optimizer.iterations) == 3


@pytest.mark.long
@pytest.mark.usefixtures("eager")
def test_a_tuner_of_the_user_s_own(tmp_path):
    class Grid(keras_tuner.GridSearch):
        pass

    result = planted.search(tmp_path, tuner=Grid, max_trials=2, epochs=1)
    assert len(result.trials) == 2
    calls = []

    def factory(hypermodel, *, objective, directory, project_name, max_trials):
        calls.append(max_trials)
        return Grid(hypermodel, objective, max_trials, directory=directory, project_name=project_name)

    result = planted.search(tmp_path / "again", tuner=factory, max_trials=1, epochs=1)
    assert (calls, len(result.trials)) == ([1], 1)
