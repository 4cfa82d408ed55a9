"""A task with `where` counts on the examples whose other labels have the values told, and nowhere else."""

import json

import keras
import numpy as np
import pandas as pd
import pytest
from kinds import KINDS

import kmtl
from kmtl.evidence import plot_samples
from kmtl.evidence.labelled_outputs import labelled_outputs
from kmtl.losses import group_tasks
from kmtl.tasks import TaskSpace, named_tasks

FACE = kmtl.Classification("face", 3, label_names=["none", "left", "right"])


def sums_of(tasks, labels, outputs, weights=None):
    groups = group_tasks(tasks, {task.name: task.resolved_loss() for task in tasks}, {})
    found = {}
    for group in groups:
        sums, counts = group.sums(group.examples(labels, outputs, weights))
        found |= {name: (float(sums[i]), float(counts[i])) for i, name in enumerate(group.names)}
    return found


@pytest.mark.parametrize("stacked", [False, True])
def test_of_every_kind_it_is_as_if_the_other_labels_were_missing(kind_name, stacked):
    kind, generator = KINDS[kind_name], np.random.default_rng(5)
    face = generator.integers(-1, 3, (12, 1)).astype("int32")
    names = ["a", "b", "c", "d"] if stacked else ["a"]
    # Of stacked tasks each has a space of its own.
    spaces = dict(zip(names, [["left", 2], "none", 1, None], strict=False))
    values = {"a": (1, 2), "b": (0,), "c": (1,), "d": (-1, 0, 1, 2)}
    free = [kind.make(name) for name in names]
    bound = [kind.make(name, where=space and {"face": space}) for name, space in spaces.items()]
    drawn = {name: kind.draw(generator, 12) for name in names}
    outputs = {}
    for task in free:
        shape = task.output_shape
        one = generator.dirichlet(np.ones(shape[-1]), (12, *shape[:-1]))
        outputs[task.name] = generator.uniform(0.1, 0.9, (12, 1)) if shape == (1,) else one
    outputs |= {"face": np.full((12, 3), 1 / 3)}
    missing = {}
    for task in free:
        label = drawn[task.name].copy()
        label[~np.isin(face[:, 0], values[task.name])] = task.missing
        missing[task.name] = label
    weights = {names[0]: generator.uniform(0.5, 2.0, 12).astype("float32")}
    got = sums_of([FACE, *bound], {"face": face, **drawn}, outputs, weights)
    assert got == sums_of([FACE, *free], {"face": face, **missing}, outputs, weights)
    assert 0 < got["a"][1] < (12 if not free[0].dense_axes else 12 * 16)


def test_conditions_chain_and_all_must_hold():
    tasks = [
        kmtl.BinaryClassification("sharp"),
        kmtl.BinaryClassification("face", where={"sharp": True}),
        kmtl.Regression("age", where={"face": 1}),
        kmtl.Regression("both", where={"face": 1, "pose": {0, 2}}),
        kmtl.OrdinalRegression("pose", 3),
    ]
    labels = {
        "sharp": np.array([1, 0, 1, -1, 1]),
        "face": np.array([1, 1, 0, 1, 1], "uint8"),
        "age": np.arange(5.0),
        "both": np.arange(5.0),
        "pose": np.array([0, 0, 0, 0, 1]),
    }
    found = TaskSpace(tasks).mask(labels)
    np.testing.assert_array_equal(found["face"], [1, -1, 0, -1, 1])
    np.testing.assert_array_equal(found["age"], [0, np.nan, np.nan, np.nan, 4])
    np.testing.assert_array_equal(found["both"], [0, np.nan, np.nan, np.nan, np.nan])
    again = TaskSpace(tasks).mask(found)
    assert all(np.array_equal(again[name], found[name], equal_nan=found[name].dtype.kind == "f") for name in labels)
    without = {name: label for name, label in labels.items() if name != "pose"}
    assert np.isnan(TaskSpace(tasks).mask(without)["both"]).all()


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"face": 1.5}, "must map names of tasks to whole numbers"),
        ({"face": -1}, "must map names of tasks to whole numbers"),
        ({"face": []}, "must map names of tasks to whole numbers"),
        ("face", "must be a dict"),
        ({"box": 1}, "must name other tasks, got 'box'"),
    ],
)
def test_what_is_no_condition_is_refused_by_the_task(where, message):
    with pytest.raises(ValueError, match=message):
        kmtl.Regression("box", where=where)


def test_conditions_that_cannot_hold_are_refused_all_at_once():
    tasks = [
        FACE,
        kmtl.Regression("age"),
        kmtl.MultiLabel("marks", 2),
        kmtl.Regression("one", where={"fce": 1}),
        kmtl.Regression("two", where={"age": 1}),
        kmtl.Regression("three", where={"face": 3}),
        kmtl.Regression("four", where={"face": "lft"}),
        kmtl.Regression("five", where={"marks": 1}),
        kmtl.BinaryClassification("six", where={"seven": 1}),
        kmtl.BinaryClassification("seven", where={"six": 1}),
    ]
    with pytest.raises(ValueError, match="Did you mean 'face'") as refused:
        named_tasks(tasks)
    lines = str(refused.value).splitlines()
    assert len(lines) == 7
    for name, line in zip(("one", "two", "three", "four", "five", "six", "seven"), lines, strict=True):
        assert line.startswith("MultiTaskModel: `where")
        assert repr(name) in line
    assert "0..2" in lines[2]
    assert "'left'" in lines[3]
    assert "task.alone()" in lines[0]


def test_the_condition_is_saved_and_a_task_without_one_has_the_config_of_before():
    task = kmtl.Regression("box", shape=2, where={"face": ["left", 2], "pose": 1})
    again = keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(task))))
    assert again == task
    assert again.where == {"face": ("left", 2), "pose": (1,)}
    assert "where" not in kmtl.Regression("box").get_config()
    assert task.alone() == kmtl.Regression("box", shape=2)


def model_of(tasks):
    keras.utils.set_random_seed(2)
    given = keras.Input((3,), name="given")
    features = keras.layers.Dense(4, activation="tanh")(given)
    model = kmtl.MultiTaskModel.from_features(given, features, tasks)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def faces():
    generator = np.random.default_rng(1)
    x = generator.normal(size=(16, 3)).astype("float32")
    face = generator.integers(-1, 2, 16).astype("int32")
    size = generator.normal(10.0, 4.0, 16).astype("float32")
    kind = generator.integers(0, 3, 16).astype("int32")
    # Where there is no face, labels and weights may be anything.
    size[face != 1] = 1e6
    kind[face == 0] = 2
    weights = {"size": np.where(face == 1, generator.uniform(0.5, 2.0, 16), -1.0).astype("float32")}
    return x, {"face": face, "size": size, "kind": kind}, weights


OPTIONS = {"class_weight": "balanced", "label_names": ["a", "b", "c"]}


@pytest.fixture(scope="module")
def fitted(faces):
    where = {"where": {"face": 1}}
    tasks = [
        kmtl.BinaryClassification("face"),
        kmtl.Regression("size", **where),
        kmtl.Classification("kind", 3, **OPTIONS, **where),
    ]
    model = model_of(tasks)
    history = model.fit(faces[0], faces[1], sample_weight=faces[2], batch_size=8, shuffle=False, verbose=0).history
    return model, history


def by_hand(labels):
    outside = labels["face"] != 1
    size, kind = labels["size"].copy(), labels["kind"].copy()
    size[outside], kind[outside] = np.nan, -1
    return {"face": labels["face"], "size": size, "kind": kind}


def test_a_training_is_the_one_with_labels_missing_by_hand(faces, fitted):
    """Loss, gradients, metrics, the scale of the regression and balanced class weights."""
    model, history = fitted
    x, labels, weights = faces
    plain = [kmtl.BinaryClassification("face"), kmtl.Regression("size"), kmtl.Classification("kind", 3, **OPTIONS)]
    other = model_of(plain)
    masked = by_hand(labels)
    assert other.fit(x, masked, sample_weight=weights, batch_size=8, shuffle=False, verbose=0).history == history
    for one, two in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert float(model.scalers["size"].mean[0]) == pytest.approx(labels["size"][labels["face"] == 1].mean(), rel=1e-5)
    assert model.evaluate(x, labels, verbose=0) == other.evaluate(x, masked, verbose=0)


def test_it_holds_in_a_saved_model_a_dataset_and_reports(faces, fitted, tmp_path):
    model, _ = fitted
    x, labels, _ = faces
    model.save(tmp_path / "faces.keras")
    again = keras.saving.load_model(tmp_path / "faces.keras")
    assert again.tasks["size"].where == {"face": (1,)}
    data = kmtl.data.from_arrays(x, labels, list(again.tasks.values()), batch_size=8)
    assert again.evaluate(data, verbose=0) == pytest.approx(model.evaluate(x, labels, verbose=0), rel=1e-5)
    reports = kmtl.callbacks.ClassificationReports((x, labels), verbose=False)
    reports.set_model(model)
    reports.on_epoch_end(0)
    support = reports.reports[0]["kind"].values["weighted avg"]["support"]
    assert support == (labels["face"] == 1).sum()
    titles = [axis.get_title(loc="left") for axis in plot_samples(model, data, count=16).axes[:16]]
    assert ["size ?" not in title for title in titles] == (labels["face"] == 1).tolist()


@pytest.mark.long
def test_calibration_and_advice_look_at_the_same_rows(faces, fitted):
    model, (x, labels, _) = fitted[0], faces
    found, masked = labelled_outputs(model, (x, labels), None, "calibrate"), by_hand(labels)
    for name, (truth, _) in found.items():
        np.testing.assert_array_equal(truth, masked[name])
    whole, hand = (kmtl.evidence.advise(model, (x, given)).table() for given in (labels, masked))
    pd.testing.assert_frame_equal(whole, hand)


def test_a_model_of_one_task_alone_learns_from_data_in_its_space(faces, fitted):
    x, labels, _ = faces
    tasks = list(fitted[0].tasks.values())
    data = kmtl.data.in_task_space(kmtl.data.from_arrays(x, labels, tasks, batch_size=16), tasks)
    np.testing.assert_array_equal(next(iter(data))[1]["size"], by_hand(labels)["size"])
    with pytest.raises(ValueError, match=r"must name tasks beside it, got 'face'.*in_task_space"):
        model_of([tasks[1]])


@pytest.mark.long
def test_compare_measures_each_task_in_its_space(faces, fitted):
    x, labels, _ = faces
    tasks = list(fitted[0].tasks.values())[:2]
    data = kmtl.data.from_arrays(x, {name: labels[name] for name in ("face", "size")}, tasks, batch_size=16)
    recipes = {"separate": kmtl.training.Separate()}
    found = kmtl.evidence.compare(model_of, tasks, data, data, epochs=1, seeds=[0], recipes=recipes, verbose=0)
    alone = found.model("separate")
    assert alone.tasks["size"] == kmtl.Regression("size")
    assert float(alone.scalers["size"].mean[0]) == float(fitted[0].scalers["size"].mean[0])
