"""Temperatures, thresholds, sets and intervals: closed forms on arrays, and one small model."""

import functools
import json
import math

import keras
import numpy as np
import pytest
import states

import kmtl
import kmtl.export
from kmtl.evidence import calibrate, conformal
from kmtl.evidence.trust.calibration_fits import (
    best_temperature,
    best_threshold,
    calibration_error,
    f1,
    log_loss,
    tempered,
)
from kmtl.evidence.trust.conformal_scores import quantile
from kmtl.tasks.logits import logits_layer

RANDOM = np.random.default_rng(0)
ROWS = 160
X = 3 * RANDOM.normal(size=(ROWS, 4, 4, 1)).astype("float32")
BINARIES = ["red", "old", "wet"]
TASKS = ["kind", *BINARIES, "tags", "mask", "grade", "rank", "big"]


def made_anew():
    keras.utils.set_random_seed(3)
    image = keras.Input((4, 4, 1), name="image")
    pixels = keras.layers.Conv2D(3, 3, strides=2, padding="same", name="trunk")(image)
    tasks = [kmtl.Classification("kind", 3), *(kmtl.BinaryClassification(name, hidden=3) for name in BINARIES)]
    tasks += [kmtl.MultiLabel("tags", 2), kmtl.Segmentation("mask", 2, shape=(4, 4)), kmtl.Regression("size")]
    tasks += [kmtl.OrdinalRegression("grade", 4), kmtl.OrdinalRegression("rank", 4, link="cumulative")]
    tasks += [kmtl.QuantileRegression("price", (0.1, 0.5, 0.9)), kmtl.HeteroscedasticRegression("speed", unit="mm")]
    both = {"map": pixels, "vector": keras.layers.Flatten()(pixels)}
    heads = kmtl.tasks.build_heads(both, tasks, fuse=True)
    # A head of the user's own: its activation is a layer.
    heads["big"] = keras.layers.Activation("sigmoid", name="big")(keras.layers.Dense(1, name="raw")(both["vector"]))
    # And one that is no sigmoid of a linear layer.
    half = keras.layers.Dense(1, "sigmoid", name="whole")(both["vector"])
    heads["odd"] = keras.layers.Rescaling(0.5, name="odd")(half)
    tasks += [kmtl.BinaryClassification("big"), kmtl.BinaryClassification("odd")]
    made = kmtl.MultiTaskModel(image, heads, tasks=tasks)
    made.compile("adam")
    # As after a training: no bias is 0.
    random = np.random.default_rng(6)
    for variable in made.trainable_variables:
        if "bias" in variable.name:
            variable.assign(random.normal(size=variable.shape))
    made.adapt(X, dict.fromkeys(("size", "price", "speed"), X.mean((1, 2, 3))))
    return made


model = states.Reused(made_anew)


@functools.cache
def examples():
    """Labels as a model twice too sure of itself would meet them, of which a fifth is missing."""
    random, found = np.random.default_rng(7), model()
    outputs, labels = found.predict(X, verbose=0), {}
    for name, task in found.tasks.items():
        if task.decides:
            chances = task.tempered(np.float64(task.class_probabilities(outputs[name])), 2.0)
            drawn = (np.log(chances) + random.gumbel(size=chances.shape)).argmax(-1).astype("int32")
            labels[name] = np.where(random.random(drawn.shape) < 0.2, -1, drawn)
    low, middle, high = outputs["price"].T
    mean, deviation = outputs["speed"].T
    side = random.normal(size=ROWS)
    values = {
        "size": outputs["size"][:, 0] + random.normal(size=ROWS),
        "price": middle + 1.6 * np.where(side < 0, middle - low, high - middle) * side,
        "speed": mean + 3.0 * deviation * random.normal(size=ROWS),
    }
    return labels | {name: np.where(random.random(ROWS) < 0.2, np.nan, value) for name, value in values.items()}


Y = examples()


@pytest.fixture
def made():
    """The model, with the thresholds that its tasks began with."""
    found = model()
    before = dict(found.tasks)
    yield found
    found.tasks.update(before)


def test_the_temperature_is_that_which_the_labels_were_drawn_with():
    random = np.random.default_rng(1)
    raw = random.normal(size=(20000, 5)) * 3
    labels = (raw / 2.5 + random.gumbel(size=raw.shape)).argmax(axis=1)
    sure = tempered(np.exp(raw) / np.exp(raw).sum(1, keepdims=True), 1.0)
    found = best_temperature(labels, sure)
    # Its standard error is 1 / sqrt(n var(logit)): under 0.02.
    assert found == pytest.approx(2.5, abs=0.06)
    assert calibration_error(labels, tempered(sure, found)) < 0.02 < 0.1 < calibration_error(labels, sure)
    grid = [log_loss(labels, tempered(sure, other)) for other in np.linspace(1, 4, 31)]
    assert log_loss(labels, tempered(sure, found)) <= min(grid)


def test_a_head_that_is_calibrated_is_left_alone_and_one_that_is_always_right_keeps_finite_weights():
    labels = np.array([0, 0, 0, 1])
    assert best_temperature(labels, np.tile([0.75, 0.25], (4, 1))) == pytest.approx(1.0, abs=1e-3)
    assert 0 < best_temperature(np.zeros(3, int), np.tile([0.75, 0.25], (3, 1))) < 0.1


def test_thresholds_are_the_best_of_all_cuts():
    from sklearn.metrics import confusion_matrix, f1_score

    random = np.random.default_rng(2)
    labels = (random.random(200) < 0.25).astype("int64")
    scores = np.round(np.clip(0.3 * labels + 0.6 * random.random(200), 0, 1), 2).astype("float32")
    cuts = np.linspace(-0.005, 1.005, 102)
    found = best_threshold(labels, scores, f1)
    assert f1_score(labels, scores > found) == pytest.approx(max(f1_score(labels, scores > cut) for cut in cuts))

    def paid(cut):
        _, alarms, misses, _ = confusion_matrix(labels, scores > cut, labels=[0, 1]).ravel()
        return alarms + 4 * misses

    found = best_threshold(labels, scores, kmtl.evidence.trust.calibration_fits.cost(1.0, 4.0))
    assert paid(found) == min(map(paid, cuts))
    assert best_threshold(np.zeros(5, int), scores[:5], f1) is None
    near = np.nextafter(np.float32([0.3, 0.3]), np.float32([0, 1]))
    assert (near > np.float32(best_threshold(np.array([0, 1]), near, f1))).tolist() == [False, True]


def test_folding_divides_the_logits_of_every_kind_of_head(made):
    before = made.predict(X, verbose=0)
    found = calibrate(made, X, Y)
    after = made.predict(X, verbose=0)
    assert [row.task for row in found.rows] == TASKS
    assert found.skipped == {"odd": "no softmax or sigmoid of a linear layer"}
    for row in found.rows:
        assert 1.2 < row.temperature < 5
        task = made.tasks[row.task]
        given, told = (np.asarray(task.class_probabilities(one[row.task]), "float64") for one in (before, after))
        np.testing.assert_allclose(np.log(told), np.log(task.tempered(given, row.temperature)), rtol=1e-3, atol=1e-4)
        # A median may move.
        assert task.kind == "ordinal" or (given.argmax(-1) == told.argmax(-1)).all()
    # What no temperature belongs to is as it was, bit by bit.
    for name in ("size", "odd"):
        np.testing.assert_array_equal(before[name], after[name])


def test_uncertainty_is_scaled_in_the_model_and_then_what_the_labels_show(made):
    before = made.predict(X, verbose=0)
    found = {row.task: row for row in calibrate(made, X, Y, tasks=["price", "speed"]).spreads}
    after = made.predict(X, verbose=0)
    # Labels were drawn with a deviation of 1.6 half widths to each side, and of three deviations.
    for name, wanted in {"price": 1.6 * 1.2816, "speed": 3.0}.items():
        row, task = found[name], made.tasks[name]
        assert row.factor == pytest.approx(wanted, rel=0.2)
        np.testing.assert_allclose(after[name], task.with_spread(before[name], row.factor), rtol=1e-4, atol=1e-4)
        # What it says of the label itself is the same, bit by bit.
        np.testing.assert_array_equal(*(np.asarray(task.metric_outputs(one[name])) for one in (before, after)))
        promised, covered, covers = row.intervals[0]
        assert covered < promised - 0.2
        assert covers == pytest.approx(promised, abs=0.05)
        assert row.width[1] == pytest.approx(row.width[0] * row.factor, rel=1e-6)
    # Conformal prediction: at least 0.8 of the labels, and no more than one more.
    assert 0 <= found["price"].intervals[0][2] - 0.8 <= 2 / found["price"].labels
    repeated = calibrate(made, X, Y, tasks=["price", "speed"])
    assert [row.factor for row in repeated.spreads] == pytest.approx([1.0, 1.0], rel=1e-4)
    assert "covered after" in str(repeated)


def test_too_few_labels_tell_no_uncertainty(made):
    few = {"price": np.where(np.arange(ROWS) < 2, Y["price"], np.nan)}
    with pytest.raises(ValueError, match=r"must label task 'price' often enough .* got a factor of inf from \d labels"):
        calibrate(made, X, few, tasks=["price"])


def test_what_is_told_is_what_keras_measures_and_calibrating_again_finds_nothing(made):
    before = made.evaluate(X, Y, verbose=0, return_dict=True)
    found = calibrate(made, (X, Y))
    after = made.evaluate(X, Y, verbose=0, return_dict=True)
    for row in found.rows:
        loss = f"{row.task}_loss"
        assert row.log_loss[1] < row.log_loss[0]
        # An example's loss is the mean over the labels that it has; elsewhere one label counts as much as another.
        if row.task != "tags":
            assert row.log_loss == pytest.approx((before[loss], after[loss]), rel=1e-4)
    again = calibrate(made, X, Y)
    assert [row.temperature for row in again.rows] == pytest.approx([1.0] * len(TASKS), rel=2e-3)
    assert found.table()["labels"].tolist() == [int((Y[name] >= 0).sum()) for name in TASKS]
    # Three columns of panels: a task of classes each, and two that tell intervals.
    assert len(found.plot().axes) == 12


def test_thresholds_are_part_of_the_model_and_of_what_is_exported(made, tmp_path):
    import tensorflow as tf

    tasks = ["red", "tags", "big"]
    old = made.tasks["red"]
    calibrate(made, X, Y, thresholds="cost", costs=(1.0, 3.0))
    assert old.threshold == 0.5
    found = {name: made.tasks[name].threshold for name in tasks}
    # With calibrated probabilities it pays to say yes from c_fp / (c_fp + c_fn) = 1/4 on, up to chance.
    assert all(np.max(value) < 0.5 for value in found.values())
    assert len(found["tags"]) == 2
    raw = made.predict(X, verbose=0)
    expected = {name: (raw[name] > np.float32(found[name])).astype("int64") for name in tasks}
    made.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    assert {name: again.tasks[name].threshold for name in tasks} == found
    for name in tasks:
        decided = keras.ops.convert_to_numpy(again.tasks[name].decide(raw[name]))
        np.testing.assert_array_equal(decided.reshape(expected[name].shape), expected[name])
    path = kmtl.export.saved_model(made, tmp_path / "served", tasks=tasks, decode=True)
    read = tf.saved_model.load(str(path)).signatures["decoded"](image=tf.constant(X))
    for name in tasks:
        np.testing.assert_array_equal(read[f"{name}_label"].numpy().reshape(expected[name].shape), expected[name])
    told = json.loads((path / "assets.extra" / "kmtl.json").read_text())["tasks"]
    assert {name: told[name]["threshold"] for name in tasks} == {**found, "tags": list(found["tags"])}


def test_wrong_requests_are_refused_and_change_nothing(made):
    before = states.values(made)
    for options, words in [
        ({"tasks": ["kin"]}, "`tasks` must be tasks of the model, got 'kin'. Did you mean 'kind'"),
        ({"tasks": ["size", "odd"]}, "must not name 'size'.*no task of classes.*\n.*'odd'.*no softmax"),
        ({"thresholds": "f2"}, "`thresholds` must be the name of a rule"),
        ({"thresholds": "cost"}, "`costs` must be two numbers"),
        ({"costs": (1, 2)}, "`costs` must be two numbers"),
    ]:
        with pytest.raises(ValueError, match=f"(?s){words}"):
            calibrate(made, X, Y, **options)
    with pytest.raises(ValueError, match=r"must lie in 0\.\.2"):
        calibrate(made, X, {**Y, "kind": Y["kind"] + 7})
    with pytest.raises(ValueError, match="must label task 'kind', got none"):
        calibrate(made, X, {**Y, "kind": np.full(ROWS, -1)})
    with pytest.raises(ValueError, match="`threshold` must be a probability"):
        kmtl.BinaryClassification("red", threshold=1.5)
    with pytest.raises(ValueError, match="one probability or 3"):
        kmtl.MultiLabel("red", 3, threshold=[0.5])
    states.assert_equal(before, states.values(made))


def test_a_layer_that_serves_two_tasks_is_not_touched():
    x = keras.Input((2,), name="x")
    shared = keras.layers.Dense(2, "softmax", name="both")
    heads = {"a": shared(x), "b": shared(keras.layers.Dense(2)(x))}
    assert logits_layer(heads["a"]) is shared
    made = kmtl.MultiTaskModel(x, heads, tasks=[kmtl.Classification("a", 2), kmtl.Classification("b", 2)])
    with pytest.raises(ValueError, match="its last layer 'both' serves other tasks too"):
        calibrate(made, np.zeros((2, 2)), {"a": np.array([0, 1])})


def test_the_quantile_is_the_smallest_that_covers():
    random = np.random.default_rng(3)
    for n in (1, 9, 10, 19, 100):
        scores = random.random((n, 1))
        for alpha in (0.05, 0.1, 0.5):
            found = quantile(scores, alpha)[0]
            # Split conformal's own condition, in whole numbers: at least (n + 1)(1 - alpha) scores within.
            enough = math.ceil(round((n + 1) * (1 - alpha), 6))
            assert (np.inf if enough > n else np.sort(scores[:, 0])[enough - 1]) == found


@pytest.mark.parametrize("method", ["lac", "aps"])
def test_sets_and_intervals_hold_the_truth_as_often_as_promised(made, method):
    # The model knows nothing of these labels: what is covered is the method's work alone.
    half = ROWS // 2
    first = {name: values[:half] for name, values in Y.items()}
    found = conformal(made, X[:half], first, alpha=0.2, method=method)
    assert list(found.quantiles) == [name for name in made.tasks if name != "mask"]
    own = found.coverage(X[:half], first)
    # On the labels that it stands on, (n + 1)(1 - alpha) of n are within, rounded up, and no more unless they tie.
    for row in own.rows:
        assert 0.8 <= row["covered"] <= 1.0
    covered = {row["task"]: row["covered"] for row in own.rows}
    assert [covered[name] for name in ("size", "price", "speed")] == pytest.approx([0.8] * 3, abs=0.03)
    other = found.coverage(X[half:], {name: values[half:] for name, values in Y.items()})
    covered = [row["covered"] for row in other.rows]
    assert np.mean(covered) > 0.76
    assert [row["labels"] for row in other.rows if row["task"] == "tags"] == [int((Y["tags"][half:] >= 0).sum())]
    assert "intervals" in str(found)
    assert "80 % promised" in str(other)


def test_sets_and_intervals_have_the_labels_shapes(made):
    found = conformal(made, X, Y, tasks=["kind", "red", "tags", "size"])
    sets, intervals = found.predict_sets(X[:5]), found.predict_intervals(X[:5])
    assert {name: one.shape for name, one in sets.items()} == {"kind": (5, 3), "red": (5, 2), "tags": (5, 2, 2)}
    assert {name: one.shape for name, one in intervals.items()} == {"size": (5, 2)}
    assert intervals["size"].mean(-1) == pytest.approx(made.predict(X[:5], verbose=0)["size"][:, 0], rel=1e-5)
    few = conformal(made, X[:4], {"size": np.arange(4.0)}, tasks=["size"])
    assert np.isinf(few.quantiles["size"]).all()
    with pytest.raises(
        ValueError, match=r"(?s)`alpha` must lie between.*`method` must be.*must name tasks with one label"
    ):
        conformal(made, X, Y, alpha=1.0, method="raps", tasks=["mask"])
