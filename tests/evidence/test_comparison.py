"""The comparison: its arithmetic by hand, one real run, its refusals, its pictures."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmtl
from kmtl.evidence import Comparison, Run, compare, plot_samples
from kmtl.evidence.intervals import interval

# Names not in alphabetical order, one the beginning of the other, scores of different size.
TASKS = [kmtl.Regression("speed", unit="km/h"), kmtl.Classification("kind", 3), kmtl.Regression("kind_age")]


def run(seed, scores, seconds=1.0, parameters=100):
    return Run(tuple(scores), seed, scores, {}, seconds, parameters)


@pytest.fixture
def by_hand():
    """Two seeds; speed is 10 % and 20 % lower (better), accuracy falls from 0.8 to 0.6 and 0.4 (worse)."""
    joint = [
        run(0, {"speed": {"mae": 9.0}, "kind": {"accuracy": 0.6}, "kind_age": {"mae": 5.0}}, 10.0, 300),
        run(1, {"speed": {"mae": 8.0}, "kind": {"accuracy": 0.4}, "kind_age": {"mae": 5.0}}, 14.0, 300),
    ]
    separate = {
        "speed": [run(seed, {"speed": {"mae": 10.0}}, 4.0, 200) for seed in (0, 1)],
        "kind": [run(seed, {"kind": {"accuracy": 0.8}}, 6.0, 201) for seed in (0, 1)],
        "kind_age": [run(seed, {"kind_age": {"mae": 5.0}}, 5.0, 202) for seed in (0, 1)],
    }
    return Comparison(TASKS, joint, separate, {"joint": "the model"})


def test_changes_are_signed_so_that_negative_is_better(by_hand):
    assert by_hand.changes(TASKS[0], "mae") == pytest.approx([-10.0, -20.0])
    assert by_hand.changes(TASKS[1], "accuracy") == pytest.approx([25.0, 50.0])


def test_delta_m_is_the_mean_over_metrics_then_seeds(by_hand):
    mean, half = by_hand.delta_m
    seeds = [(-10 + 25 + 0) / 3, (-20 + 50 + 0) / 3]
    assert mean == pytest.approx(np.mean(seeds))
    # Student's t for one degree of freedom at 0.975 is 12.706.
    assert half == pytest.approx(12.7062 * np.std(seeds, ddof=1) / np.sqrt(2), rel=1e-4)


def test_table_costs_and_baselines(by_hand):
    table = by_hand.table()
    assert table["task"].tolist() == ["speed", "kind", "kind_age"]
    assert table["joint"].tolist() == pytest.approx([8.5, 0.5, 5.0])
    assert table["unit"].tolist() == ["km/h", "", ""]
    # Two seeds far apart decide nothing; no change at all is a tie.
    assert table["verdict"].tolist() == ["tie", "tie", "tie"]
    assert by_hand.costs() == {"parameters": (300, 603), "seconds": (12.0, 15.0)}
    assert by_hand.baselines == {"speed": {"mae": 10.0}, "kind": {"accuracy": 0.8}, "kind_age": {"mae": 5.0}}


def test_verdict_needs_the_interval_to_leave_zero_out():
    joint = [run(seed, {"speed": {"mae": 9.0 + seed / 100}}) for seed in range(3)]
    worse = [run(seed, {"speed": {"mae": 11.0 + seed / 100}}) for seed in range(3)]
    alone = {"speed": [run(seed, {"speed": {"mae": 10.0}}) for seed in range(3)]}
    assert Comparison(TASKS[:1], joint, alone, {}).table()["verdict"].tolist() == ["better"]
    assert Comparison(TASKS[:1], worse, alone, {}).table()["verdict"].tolist() == ["worse"]
    single = Comparison(TASKS[:1], joint[:1], {"speed": alone["speed"][:1]}, {})
    assert single.table()["verdict"].tolist() == ["-"]
    assert "a single seed decides nothing" in str(single)
    assert "±" not in str(single)


def test_a_baseline_near_zero_is_named_and_left_out():
    tasks = [kmtl.Regression("speed", metrics=["mae", keras.metrics.R2Score(name="r2")])]
    joint = [run(0, {"speed": {"mae": 9.0, "r2": 0.3}})]
    for r2, change in ((-0.5, -160.0), (0.0, np.nan)):
        alone = {"speed": [run(0, {"speed": {"mae": 10.0, "r2": r2}})]}
        found = Comparison(tasks, joint, alone, {})
        assert found.table()["change_percent"].tolist() == pytest.approx([-10.0, change], nan_ok=True)
        assert found.delta_m[0] == pytest.approx(-10.0 if np.isnan(change) else (-10 + change) / 2)
        assert ("not counted        speed r2, whose single-task value is near 0" in str(found)) == np.isnan(change)


def test_interval_against_a_known_value():
    # Student's t for 4 degrees of freedom at 0.975 is 2.7764.
    values = [1.0, 2.0, 4.0, 7.0, 11.0]
    assert interval(values) == pytest.approx(2.7764 * np.std(values, ddof=1) / np.sqrt(5), rel=1e-4)


def dataset(count=96, seed=0):
    """Images whose brightness tells everything, so that one epoch learns something."""
    random = np.random.default_rng(seed)
    x = random.random((count, 8, 8, 1)).astype("float32")
    y = {
        "speed": 100 * x.mean((1, 2, 3)),
        "kind": (x[:, 0, 0, 0] * 3).astype("int32"),
        "kind_age": x[:, 1, 1, 0].astype("float32"),
    }
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(32)


def build(tasks):
    image = keras.Input((8, 8, 1), name="image")
    features = keras.layers.Dense(8, activation="relu")(keras.layers.Flatten()(image))
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def real():
    return compare(build, TASKS, dataset(), dataset(seed=1), validation=dataset(seed=2), epochs=2, seeds=(3, 5))


@pytest.mark.long
def test_compare_trains_every_model_once_a_seed(real):
    assert [run.seed for run in real.joint] == [3, 5]
    assert list(real.separate) == ["speed", "kind", "kind_age"]
    assert all(runs[0].tasks == (name,) and len(runs) == 2 for name, runs in real.separate.items())
    # A task whose name starts like another's keeps its own metrics.
    assert real.joint[0].scores["kind"].keys() == {"accuracy"}
    assert real.joint[0].scores["kind_age"].keys() == {"mae"}
    assert len(real.joint[0].history["val_kind_accuracy"]) == 2
    assert real.joint[0].parameters == build(TASKS).count_params()
    # The twin of one task has the same trunk and only its own head.
    head = 8 + 1 + 3
    assert real.separate["speed"][0].parameters == 8 * 64 + 8 + head


@pytest.mark.long
def test_compare_scores_are_what_the_models_score(real):
    logs = real.model.evaluate(dataset(seed=1), verbose=0, return_dict=True)
    assert real.joint[0].scores["speed"]["mae"] == pytest.approx(logs["speed_mae"])
    logs = real.models["kind"].evaluate(kmtl.data.only(dataset(seed=1), ["kind"]), verbose=0, return_dict=True)
    assert real.separate["kind"][0].scores["kind"]["accuracy"] == pytest.approx(logs["kind_accuracy"])


@pytest.mark.long
def test_same_seed_same_numbers(real):
    again = compare(build, TASKS, dataset(), dataset(seed=1), epochs=2, seeds=(5,), verbose=0)
    assert again.joint[0].scores == real.joint[1].scores
    assert again.separate["kind_age"][0].scores == real.separate["kind_age"][1].scores


@pytest.mark.long
def test_another_joint_model_is_held_against_the_same_single_models(real):
    again = compare(build, TASKS, dataset(), dataset(seed=1), epochs=1, seeds=(3, 5), separate=real, verbose=0)
    assert again.separate == real.separate
    assert again.models["kind"] is real.models["kind"]
    assert again.model is not real.model
    assert [len(run.history["loss"]) for run in again.joint] == [1, 1]


def test_single_models_of_other_seeds_are_refused(by_hand):
    with pytest.raises(ValueError, match=r"^compare: `separate` must hold runs of every task under the same seeds"):
        compare(build, TASKS, dataset(), dataset(), epochs=1, seeds=(0,), separate=by_hand)


def test_arrays_are_compared_as_batches_are_and_each_training_tells_what_is_left(capsys):
    ((x, y),) = kmtl.data.only(dataset(8), ["speed", "kind"]).as_numpy_iterator()
    options = {"epochs": 1, "seeds": 1, "batch_size": 4}
    found = compare(build, TASKS[:2], (x, y), (x, y, np.ones(8)), validation=(x, y), verbose=2, **options)
    shown = capsys.readouterr().out
    assert [run.seed for run in found.joint] == [0]
    logs = found.model.evaluate(x, y, verbose=0, return_dict=True)
    assert found.joint[0].scores["speed"]["mae"] == pytest.approx(logs["speed_mae"])
    assert found.joint[0].history["val_speed_mae"] == pytest.approx([logs["speed_mae"]])
    assert "3 trainings of 1 epochs each" in shown
    assert "Training 'kind' alone (1 task), seed 0" in shown
    assert [mark in shown for mark in ("1/3", "2/3", "3/3")] == [True] * 3


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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tasks": []}, "`tasks` must hold kmtl tasks"),
        ({"seeds": ()}, "`seeds` must be different"),
        ({"seeds": (1, 1)}, "`seeds` must be different"),
        ({"epochs": 0}, "`epochs` must be a whole number of at least 1"),
        ({"seeds": 0}, "`seeds` must be different whole numbers from 0 on, at least one, or how many, got 0"),
        ({"seeds": (0, -1)}, "`seeds` must be different whole numbers from 0 on"),
        ({"seeds": 2.5}, "`seeds` must be different"),
        ({"build": build(TASKS)}, "`build` must be a function build.* got the model"),
        ({"build": lambda hp, tasks: (hp, tasks)}, r"got <lambda>\(hp, tasks\). Take the tasks first"),
        ({"tasks": dataset()}, r"`tasks` must hold kmtl tasks.*The order is compare\(build, tasks, train, test"),
        ({"train": iter([1]), "test": 7}, "(?s)a generator.*`test` must be what fit takes"),
        ({"build": bad_build}, "`build` must return a model of the tasks"),
        ({"build": lambda _: keras.Sequential([keras.Input((2,))])}, "`build` must return a compiled"),
        ({"tasks": [kmtl.Regression("joint")]}, "must not be named 'joint'"),
    ],
)
def test_refusals(change, words):
    given = {"build": build, "tasks": TASKS, "epochs": 1, "seeds": (0,), "train": dataset(), "test": dataset()}
    with pytest.raises(ValueError, match=words):
        compare(verbose=0, **{**given, **change})
