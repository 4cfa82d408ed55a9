"""The comparison: its arithmetic by hand, one real run, its refusals, its pictures."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmtl
from kmtl import training
from kmtl.evidence import Comparison, Run, compare, plot_samples
from kmtl.evidence.intervals import interval

# Names not in alphabetical order, one the beginning of the other, scores of different size.
TASKS = [kmtl.Regression("speed", unit="km/h"), kmtl.Classification("kind", 3), kmtl.Regression("kind_age")]


def run(seed, speed, accuracy=0.8, age=5.0, **more):
    scores = {"speed": {"mae": speed}, "kind": {"accuracy": accuracy}, "kind_age": {"mae": age}}
    return Run(tuple(scores), seed, scores, {}, **{"seconds": 1.0, "parameters": 100, **more})


@pytest.fixture
def by_hand():
    """Two seeds; speed is 10 % and 20 % lower (better), accuracy falls from 0.8 to 0.6 and 0.4 (worse)."""
    cheap, dear = {"parameters": 300, "latency": 0.1}, {"parameters": 603, "cost": 3.0, "latency": 0.2}
    runs = {
        "separate": [run(0, 10.0, seconds=15.0, **dear), run(1, 10.0, seconds=15.0, **dear)],
        "joint": [run(0, 9.0, 0.6, seconds=10.0, **cheap), run(1, 8.0, 0.4, seconds=14.0, **cheap)],
        "other": [run(0, 12.0), run(1, 8.0)],
    }
    return Comparison(TASKS, runs, "separate", {"joint": lambda: "the model"})


def test_changes_are_signed_so_that_negative_is_better(by_hand):
    assert by_hand["joint"].changes(TASKS[0], "mae") == pytest.approx([-10.0, -20.0])
    assert by_hand["joint"].changes(TASKS[1], "accuracy") == pytest.approx([25.0, 50.0])
    assert by_hand["joint"].by_task["kind"] == pytest.approx((37.5, 12.7062 * 12.5), rel=1e-4)


def test_delta_m_is_the_mean_over_metrics_then_seeds(by_hand):
    mean, half = by_hand.delta_m["joint"]
    seeds = [(-10 + 25 + 0) / 3, (-20 + 50 + 0) / 3]
    assert mean == pytest.approx(np.mean(seeds))
    # Student's t for one degree of freedom at 0.975 is 12.706.
    assert half == pytest.approx(12.7062 * np.std(seeds, ddof=1) / np.sqrt(2), rel=1e-4)
    # One metric a task: the other convention differs in its sign alone.
    assert by_hand.delta_p["joint"] == pytest.approx((-mean, half))
    assert by_hand["joint"].delta_m == (mean, half)


def test_a_table_has_a_row_a_recipe(by_hand):
    table = by_hand.table().set_index("recipe")
    assert table["speed mae"].tolist() == pytest.approx([10.0, 8.5, 10.0])
    assert table["cost"].tolist() == [3.0, 1.0, 1.0]
    assert table["seconds"].tolist() == [15.0, 12.0, 1.0]
    assert table["parameters"].tolist() == [603, 300, 100]
    assert table.loc["joint", "latency"] == pytest.approx(0.5)
    # Speed 1, 2.5, 2.5; accuracy 3, 1.5, 1.5; age 2 each.
    assert table["rank"].tolist() == pytest.approx([(2.5 + 1.5 + 2) / 3, (1 + 3 + 2) / 3, (2.5 + 1.5 + 2) / 3])
    # Two seeds far apart decide nothing.
    assert table["verdict"].tolist() == ["-", "tie", "tie"]
    assert by_hand.baselines == {"speed": {"mae": 10.0}, "kind": {"accuracy": 0.8}, "kind_age": {"mae": 5.0}}
    assert by_hand.model("joint") == by_hand["joint"].model == "the model"
    assert by_hand.model("other") is None


def test_a_row_has_a_row_a_metric(by_hand):
    found = by_hand["joint"]
    table = found.table()
    assert table["task"].tolist() == ["speed", "kind", "kind_age"]
    assert table["value"].tolist() == pytest.approx([8.5, 0.5, 5.0])
    assert table["unit"].tolist() == ["km/h", "", ""]
    # No change at all is a tie.
    assert table["verdict"].tolist() == ["tie", "tie", "tie"]
    assert found.costs() == {"parameters": (300, 603), "seconds": (12.0, 15.0), "cost": (1.0, 3.0)}
    assert found.baselines == by_hand.baselines


def test_another_row_can_be_the_baseline(by_hand):
    against = by_hand.against("joint")
    speed, accuracy = 100 * (1 / 9 + 2 / 8) / 2, -100 * (0.2 / 0.6 + 0.4 / 0.4) / 2
    assert against.delta_m["separate"][0] == pytest.approx((speed + accuracy) / 3)
    with pytest.raises(ValueError, match="Did you mean 'joint'"):
        by_hand.against("joit")
    with pytest.raises(ValueError, match="`runs` must hold every row under the same seeds"):
        Comparison(TASKS, {**by_hand.runs, "other": by_hand.runs["other"][:1]}, "separate")


def of_speeds(joint, separate=(10.0, 10.0, 10.0)):
    runs = {"separate": separate, "joint": joint}
    made = {name: [run(seed, value) for seed, value in enumerate(values)] for name, values in runs.items()}
    return Comparison(TASKS[:1], made, "separate")


def test_a_verdict_needs_the_interval_to_leave_zero_out():
    better, worse = of_speeds((9.0, 9.01, 9.02)), of_speeds((11.0, 11.01, 11.02))
    assert [found["joint"].table()["verdict"].item() for found in (better, worse)] == ["better", "worse"]
    assert [found.table()["verdict"].tolist()[1] for found in (better, worse)] == ["better", "worse"]
    single = of_speeds((9.0,), (10.0,))
    assert single.table()["verdict"].tolist() == ["-", "-"]
    assert single["joint"].table()["verdict"].tolist() == ["-"]
    for shown in (str(single), str(single["joint"])):
        assert "a single seed decides nothing" in shown
        assert "±" not in shown
        assert "no task" not in shown


def test_a_task_is_flagged_where_it_is_worse_beyond_chance():
    worse = of_speeds((11.0, 11.01, 11.02))
    assert worse.flags == {"joint": ("speed",)}
    assert worse.table()["worse"].tolist() == ["", "speed"]
    assert "'speed' of 'joint' (one-sided paired t tests over seeds, Holm over 1 tasks and 1 rows)" in str(worse)
    assert worse.conclusions()[0].startswith("'joint' is 10.1 ± 0.2 % worse than 'separate', at 1.00 of its cost")
    assert worse.conclusions()[1] == "'joint' harms speed."
    assert of_speeds((9.0, 9.01, 9.02)).flags == {"joint": ()}
    assert of_speeds((13.0, 10.0, 10.5)).flags == {"joint": ()}
    # Of one seed nothing is known.
    assert of_speeds((99.0,), (10.0,)).flags == {"joint": ()}
    # t = 3.86, p = .031: with a second row it has to be below .025.
    alone = of_speeds((10.2, 10.5, 10.6))
    both = Comparison(TASKS[:1], {**alone.runs, "other": alone.runs["separate"]}, "separate")
    assert (alone.flags, both.flags) == ({"joint": ("speed",)}, {"joint": (), "other": ()})


def test_a_baseline_near_zero_is_named_and_left_out():
    tasks = [kmtl.Regression("speed", metrics=["mae", keras.metrics.R2Score(name="r2")])]

    def scored(mae, r2):
        return [Run(("speed",), 0, {"speed": {"mae": mae, "r2": r2}}, {}, 1.0, 1)]

    for r2, change in ((-0.5, -160.0), (0.0, np.nan)):
        found = Comparison(tasks, {"separate": scored(10.0, r2), "joint": scored(9.0, 0.3)}, "separate")
        assert found["joint"].table()["change_percent"].tolist() == pytest.approx([-10.0, change], nan_ok=True)
        assert found.delta_m["joint"][0] == pytest.approx(-10.0 if np.isnan(change) else (-10 + change) / 2)
        for shown in (str(found), str(found["joint"])):
            assert ("speed r2, whose value of 'separate' is near 0" in shown) == np.isnan(change)


def test_a_metric_that_a_row_lacks_is_named_and_left_out(by_hand):
    runs = {**by_hand.runs, "other": [one._replace(scores={"speed": {"mae": 1.0}}) for one in by_hand.runs["other"]]}
    found = Comparison(TASKS, runs, "separate")
    assert [(task.name, metric) for task, metric in found.metrics] == [("speed", "mae")]
    assert "not compared       kind accuracy, which some rows lack" in str(found)
    assert found.delta_m["joint"][0] == pytest.approx(-15.0)


def test_interval_against_a_known_value():
    # Student's t for 4 degrees of freedom at 0.975 is 2.7764.
    values = [1.0, 2.0, 4.0, 7.0, 11.0]
    assert interval(values) == pytest.approx(2.7764 * np.std(values, ddof=1) / np.sqrt(5), rel=1e-4)


def test_pictures_show_and_tell_each_recipe(by_hand):
    forest, curves, costs = by_hand.pictures()
    (axis,) = forest.figure.axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["speed: mae", "kind: accuracy", "kind_age: mae"]
    joint, other = axis.containers
    assert (joint.get_label(), other.get_label()) == ("joint", "other")
    np.testing.assert_allclose(joint.lines[0].get_xdata(), [-15.0, 37.5, 0.0])
    # Half an interval to either side, at its metric's height.
    np.testing.assert_allclose(np.ptp(joint.lines[2][0].get_segments()[0], axis=0), [2 * 12.7062 * 5, 0.0], rtol=1e-4)
    assert np.round(joint.lines[0].get_ydata()).tolist() == [0, 1, 2]
    assert "joint: 3 tie, from -15.0 (speed mae) to +37.5 (kind accuracy)" in forest.description
    assert [mark.lines[0].get_xdata()[0] for mark in costs.figure.axes[0].containers] == [3.0, 1.0, 1.0]
    assert "joint: cost 1.00, delta_m +7.5" in costs.description
    assert curves.title == "Learning curves of joint and separate"
    marks = {mark.lines[0].get_marker() for mark in costs.figure.axes[0].containers}
    assert len(marks) == 3


def test_curves_of_a_recipe_are_those_of_the_stage_that_has_the_task():
    logs = {
        "stage": ["speed alone", "speed alone", "kind alone"],
        "speed_mae": [3.0, 2.0, np.nan],
        "kind_accuracy": [np.nan, np.nan, 0.5],
        "val_kind_accuracy": [np.nan, np.nan, 0.4],
    }
    alone = run(0, 1.0)._replace(history=logs)
    assert (alone.curve("speed_mae"), alone.curve("kind_accuracy"), alone.curve("loss")) == ([3.0, 2.0], [0.4], [])
    assert alone.logged("kind_accuracy") == [0.5]


def dataset(count=24, seed=0):
    """Images whose brightness tells everything, so that one epoch learns something."""
    random = np.random.default_rng(seed)
    x = random.random((count, 8, 8, 1)).astype("float32")
    y = {
        "speed": 100 * x.mean((1, 2, 3)),
        "kind": (x[:, 0, 0, 0] * 3).astype("int32"),
        "kind_age": x[:, 1, 1, 0].astype("float32"),
    }
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(24)


def network(tasks, width):
    image = keras.Input((8, 8, 1), name="image")
    features = keras.layers.Dense(width, activation="relu")(keras.layers.Flatten()(image))
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    return model


def build(tasks):
    return network(tasks, 8)


def wide(tasks):
    return network(tasks, 16)


@pytest.fixture(scope="module")
def real():
    options = {"validation": dataset(seed=2), "epochs": 2, "seeds": (3, 5), "builds": {"wide": wide}, "verbose": 0}
    return compare(build, TASKS, dataset(), dataset(seed=1), **options)


@pytest.mark.long
def test_compare_trains_every_row_once_a_seed(real):
    assert list(real.runs) == ["separate", "joint", "joint, equal cost", "wide"]
    assert {tuple(run.seed for run in runs) for runs in real.runs.values()} == {(3, 5)}
    joint, separate, longer, wider = (real.runs[name][0] for name in ("joint", "separate", "joint, equal cost", "wide"))
    # A task whose name starts like another's keeps its own metrics.
    assert joint.scores["kind"].keys() == {"accuracy"}
    assert joint.scores["kind_age"].keys() == {"mae"}
    assert [len(run.curve("kind_accuracy")) for run in (joint, separate, longer)] == [2, 2, 6]
    assert [run.cost for run in (separate, joint, longer, wider)] == pytest.approx([3.0, 1.0, 3.0, 1.0])
    assert joint.parameters == build(TASKS).count_params() < wider.parameters == wide(TASKS).count_params()
    # Three models of one task have the same trunk each.
    assert separate.parameters == joint.parameters + 2 * 8 * 65
    assert all(run.latency > 0 for run in (joint, separate))


@pytest.mark.long
def test_compare_scores_are_what_the_models_score(real):
    for name in ("joint", "separate"):
        logs = real.model(name).evaluate(dataset(seed=1), verbose=0, return_dict=True)
        for task, metric in real.metrics:
            found = real.runs[name][0].scores[task.name][metric]
            assert found == pytest.approx(logs[f"{task.name}_{metric}"], rel=1e-5)


def test_arrays_are_compared_as_batches_are_and_each_run_tells_what_is_left(capsys):
    ((x, y),) = kmtl.data.only(dataset(8), ["speed", "kind"]).as_numpy_iterator()
    options = {"epochs": 1, "seeds": 1, "batch_size": 4, "baseline": "joint"}
    recipes = {"joint": training.Joint(), "half": training.Joint(epochs=0.5)}
    given = {"validation": (x, y), "verbose": 2, "recipes": recipes, **options}
    found = compare(build, TASKS[:2], (x, y), (x, y, np.ones(8)), **given)
    shown = capsys.readouterr().out
    # Two rows against each other: nobody asked for single models.
    assert (list(found.runs), found.baseline) == (["joint", "half"], "joint")
    logs = found.model("joint").evaluate(x, y, verbose=0, return_dict=True)
    assert found.runs["joint"][0].scores["speed"]["mae"] == pytest.approx(logs["speed_mae"])
    assert found.runs["joint"][0].curve("speed_mae") == pytest.approx([logs["speed_mae"]])
    assert found.delta_m["half"][0] == 0.0
    assert "2 recipes under 1 seeds" in shown
    assert "half, seed 0" in shown
    assert [mark in shown for mark in ("1/2", "2/2")] == [True] * 2


def test_samples_are_drawn_with_their_labels_and_predictions():
    figure = plot_samples(build(TASKS), dataset(seed=1), count=5)
    shown = [axis for axis in figure.axes if axis.get_visible()]
    images, labels = next(iter(dataset(seed=1)))
    assert len(shown) == 5
    for axis, image, kind in zip(shown, images.numpy(), labels["kind"].numpy(), strict=False):
        np.testing.assert_array_equal(axis.images[0].get_array(), image[..., 0])
        lines = axis.get_title(loc="left").splitlines()
        assert [line.split()[0] for line in lines] == ["speed", "kind", "kind_age"]
        assert f"{kind} → " in lines[1]


def test_samples_of_several_inputs_and_of_text_are_drawn_and_written():
    picture, row = keras.Input((4, 4, 3), name="picture"), keras.Input((7,), name="row")
    text = keras.Input((), dtype="string", name="text")
    code = keras.ops.cast(keras.layers.Hashing(8)(text), "float32")[:, None]
    hidden = keras.layers.Concatenate()([keras.layers.Flatten()(picture), row, code])
    model = kmtl.MultiTaskModel.from_features({"picture": picture, "row": row, "text": text}, hidden, TASKS[:2])
    generator = np.random.default_rng(0)
    x = {
        "picture": generator.integers(0, 256, (3, 4, 4, 3)).astype("float32") / 255,
        "row": np.arange(21.0, dtype="float32").reshape(3, 7),
        "text": np.array(["a b", "c", "d" * 99]),
    }
    y = {"speed": np.array([1.0, np.nan, 3.0]), "kind": np.array([0, 1, 2])}
    axes = plot_samples(model, (x, y), count=2).axes
    assert len(axes) == 2
    np.testing.assert_array_equal(axes[1].images[0].get_array(), x["picture"][1])
    assert axes[0].get_xlabel().splitlines() == ["row: 0, 1, 2, 3, 4, 5 ...", "text: a b"]
    model = kmtl.MultiTaskModel.from_features(text, code, TASKS[:2])
    axes = plot_samples(model, (x["text"], y)).axes
    assert [axis.texts[0].get_text() for axis in axes[:3]] == ["text: a b", "text: c", f"text: {'d' * 60} ..."]
    assert axes[1].get_title(loc="left").startswith("speed ? → ")


def bad_build(tasks):
    return build(tasks[:1])


def unruly(tasks):
    model = build(tasks)
    model.layers[2].kernel.assign(np.random.default_rng().normal(size=model.layers[2].kernel.shape))
    return model


def test_a_build_that_differs_from_call_to_call_is_told():
    recipes = {"joint": training.Joint()}
    given = {"epochs": 1, "seeds": 1, "recipes": recipes, "baseline": "joint", "verbose": 0}
    with pytest.warns(UserWarning, match="another model under the same seed: .*kernel starts with other values"):
        compare(unruly, TASKS, dataset(16), dataset(16), **given)


def sharpness(truth, output):
    return keras.ops.mean(keras.ops.abs(output - truth), axis=-1)


UNTOLD = [kmtl.Regression("speed", metrics=["mae", sharpness]), TASKS[1]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tasks": []}, "`tasks` must hold kmtl tasks"),
        (
            {"tasks": TASKS[:1]},
            r"`tasks` must be 2 or more: of one task.*got \['speed'\].*give `recipes` and `baseline`",
        ),
        (
            {"tasks": UNTOLD},
            "must have metrics whose better end is known, got 'sharpness' of 'speed'. Let its name tell",
        ),
        ({"seeds": ()}, "`seeds` must be different"),
        ({"seeds": (1, 1)}, "`seeds` must be different"),
        ({"epochs": 0}, "`epochs` must be a whole number of at least 1"),
        ({"seeds": 0}, "`seeds` must be different whole numbers from 0 on, at least one, or how many, got 0"),
        ({"seeds": (0, -1)}, "`seeds` must be different whole numbers from 0 on"),
        ({"seeds": 2.5, "epochs": 0}, "(?s)`seeds` must be different.*`epochs` must be"),
        ({"build": build(TASKS)}, "`build` must be a function build.* got the model"),
        ({"build": lambda hp, tasks: (hp, tasks)}, r"got <lambda>\(hp, tasks\). Take the tasks first"),
        ({"tasks": dataset()}, r"`tasks` must hold kmtl tasks.*The order is compare\(build, tasks, train, test"),
        ({"train": iter([1]), "test": 7}, "(?s)a generator.*`test` must be what fit takes"),
        ({"build": bad_build}, "`build` must return a model of the tasks"),
        ({"build": lambda _: keras.Sequential([keras.Input((2,))])}, "`build` must return a compiled"),
        ({"recipes": {}}, "must be a dict of recipes by name"),
        ({"recipes": {"joint": training.Joint}}, "must be a recipe under a text"),
        ({"recipes": {"separate": training.Joint()}}, "must not call 'separate' what is none, without a `baseline`"),
        ({"builds": [build]}, "`builds` must be a dict of build functions by name, got list"),
        ({"builds": {"wide": 3}}, "`build` must be a function build"),
        ({"builds": {"joint": wide}}, "`builds` must have names that no recipe has, got 'joint'"),
        ({"baseline": "seperate"}, "`baseline` must be a row, got 'seperate'. Did you mean 'separate'"),
        ({"test": dataset().repeat()}, "compare: `test` must have an end, got an endless set"),
        ({"train": dataset().unbatch()}, "compare: `train` must yield batches, got single examples"),
        ({"train": {"speed": dataset()}}, "`train` must be one set of data|`train` must be what fit takes"),
    ],
)
def test_refusals(change, words):
    given = {"build": build, "tasks": TASKS, "epochs": 1, "seeds": (0,), "train": dataset(), "test": dataset()}
    with pytest.raises(ValueError, match=words):
        compare(verbose=0, **{**given, **change})
