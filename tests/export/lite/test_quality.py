import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from states import with_scales

import kmtl
import kmtl.export
from kmtl.export.lite import scoring
from kmtl.export.lite.quality import quality


@keras.saving.register_keras_serializable("tests.export")
def own_share(truth, outputs):
    return keras.ops.mean(keras.ops.abs(truth - outputs), axis=-1)


@pytest.fixture(scope="module")
def model(data):
    """Four kinds of tasks; one has a metric with state, one a metric whose better end nobody knows."""
    keras.utils.set_random_seed(3)
    row = keras.Input((5,), name="row")
    tasks = [
        kmtl.Regression("size", shape=(2,)),
        kmtl.Classification("kind", 3),
        kmtl.BinaryClassification("big", metrics=["accuracy", keras.metrics.AUC(name="auc")]),
        kmtl.Regression("age", metrics=[own_share]),
    ]
    hidden = keras.layers.Dense(16, activation="tanh")(row)
    model = kmtl.MultiTaskModel.from_features(row, hidden, tasks)
    model.compile("adam")
    model.adapt(*data)
    return with_scales(model)


@pytest.fixture(scope="module")
def data():
    """Labels with holes: single ones, one element of a vector, and a task that has none at all."""
    generator = np.random.default_rng(7)
    x = generator.normal(size=(150, 5)).astype("float32")
    kind, size = generator.integers(-1, 3, 150), generator.normal(size=(150, 2)).astype("float32")
    size[::4, 0] = np.nan
    return x, {"kind": kind, "size": size, "big": generator.integers(0, 2, 150)}


@pytest.fixture(scope="module")
def other(model):
    """The same model with one output layer moved, as a conversion that harms one task would leave it."""
    moved = keras.models.clone_model(model)
    moved.set_weights(model.get_weights())
    layer = moved.get_layer("kind")
    kernel, bias = layer.get_weights()
    layer.set_weights([kernel, np.add(bias, [0.0, 9.0, 0.0])])
    return moved


@pytest.fixture(scope="module")
def exact(model, tmp_path_factory):
    return kmtl.export.litert(model, tmp_path_factory.mktemp("lite") / "m.tflite")


@pytest.fixture(scope="module")
def harmed(other, tmp_path_factory):
    return kmtl.export.litert(other, tmp_path_factory.mktemp("lite") / "m.tflite")


def table(found):
    return {(row.task, row.metric): row for row in found.rows}


@pytest.mark.long
def test_metrics_are_those_of_evaluate(model, exact, data):
    logs = model.evaluate(*data, return_dict=True, verbose=0)
    found = table(quality(model, exact, *data))
    assert list(found) == [
        ("size", "mae"),
        ("size", "r2_against_keras"),
        ("kind", "accuracy"),
        ("big", "accuracy"),
        ("big", "auc"),
        ("age", "r2_against_keras"),
    ]
    for (task, metric), row in found.items():
        if metric != "r2_against_keras":
            assert row.before == pytest.approx(logs[f"{task}_{metric}"], rel=1e-5)
            assert row.after == pytest.approx(row.before, rel=1e-4)


def test_the_models_own_metrics_keep_their_state(model, exact, data):
    model.evaluate(*data, verbose=0)
    variables = [variable for metric in model.metrics for variable in metric.variables]
    before = [variable.numpy() for variable in variables]
    assert sum(map(np.count_nonzero, before)) > 100
    quality(model, exact, *data)
    for variable, values in zip(variables, before, strict=True):
        np.testing.assert_array_equal(variable.numpy(), values)


def test_only_the_harmed_task_is_worse(model, other, harmed, data):
    kind = data[1]["kind"]
    outputs = {name: part(data[0])["kind"].numpy().argmax(axis=1) for name, part in (("a", model), ("b", other))}
    shares = {name: np.mean(chosen[kind >= 0] == kind[kind >= 0]) for name, chosen in outputs.items()}
    found = quality(model, harmed, *data)
    row = table(found)["kind", "accuracy"]
    assert (row.before, row.after) == pytest.approx((shares["a"], shares["b"]))
    assert row.change == pytest.approx(100 * (shares["a"] - shares["b"]) / shares["a"])
    assert max(abs(row.change) for row in found.rows if row.task != "kind") < 0.1
    agreed = table(quality(model, harmed, data[0]))["kind", "agreement_with_keras"]
    assert agreed.after == pytest.approx(np.mean(outputs["a"] == outputs["b"]))
    assert agreed.change == pytest.approx(100 * (1 - agreed.after))


def test_a_dataset_gives_what_its_arrays_give(model, exact, data):
    batches = tf.data.Dataset.from_tensor_slices(data).batch(64)
    assert quality(model, exact, batches).rows == quality(model, exact, *data).rows
    assert quality(model, exact, batches).samples == 150


def test_a_metric_whose_better_end_nobody_knows_is_shown_and_not_judged(model, exact, data):
    labels = {"age": np.linspace(-1.0, 1.0, 150)}
    found = [row for row in quality(model, exact, data[0], labels).rows if row.task == "age"]
    assert [(row.metric, row.change is None) for row in found] == [("own_share", True), ("r2_against_keras", False)]


def test_a_saved_model_and_a_part_of_the_tasks(model, data, tmp_path):
    saved = kmtl.export.saved_model(model, tmp_path / "saved")
    assert quality(model, saved, *data).worst < 0.1
    part = kmtl.export.litert(model, tmp_path / "m.tflite", ["age", "size"])
    assert [row.task for row in quality(model, part, data[0]).rows] == ["size", "age"]


def test_the_table_is_readable(model, harmed, data):
    found = quality(model, harmed, *data)
    lines = str(found).splitlines()
    assert lines[0] == f"{harmed}: 150 samples, before (Keras model) and after"
    assert lines[1].split() == ["task", "metric", "before", "after", "change", "%"]
    assert lines[4].split()[:2] == ["kind", "accuracy"]
    assert lines[4].split()[-1].startswith("+")
    assert found.worst == max(row.change for row in found.rows)


def test_the_worse_signature_counts():
    task, expected = kmtl.BinaryClassification("big"), np.array([[0.1], [0.9], [0.8], [0.2]])
    plain = type("Model", (), {"tasks": {"big": task}, "metrics": ()})
    after = {"big": [expected, 1 - expected]}
    rows = scoring.rows(plain, {"big": np.array([0, 1, 1, -1])}, {"big": expected}, after)
    assert rows == (scoring.TaskQuality("big", "accuracy", 1.0, 0.0, 100.0),)


def test_r2_is_that_of_the_element_that_agrees_least():
    expected = np.array([[1000.0, 1.0, 7.0], [3000.0, 3.0, 7.0]])
    found = expected + np.array([[20.0, 0.5, 0.7], [-20.0, -0.5, -0.7]])
    plain = type("Model", (), {})
    (row,) = scoring.rows(plain, {}, {"size": expected}, {"size": [found]})
    assert row.after == pytest.approx(1 - 0.5**2 / 1.0**2)
    (row,) = scoring.rows(plain, {}, {"size": expected[:, 2:]}, {"size": [found[:, 2:]]})
    assert row.after == pytest.approx(1 - 0.7**2 / 7.0**2)
    for broken, change in ((np.nan, math.inf), (0.0, 0.0)):
        (row,) = scoring.rows(plain, {}, {"size": 0 * expected}, {"size": [0 * expected + broken]})
        assert row.change == change


@pytest.mark.parametrize(
    ("before", "after", "direction", "percent"),
    [
        (0.5, 0.6, "max", -20.0),
        (0.5, 0.6, "min", 20.0),
        (-2.0, -1.0, "min", 50.0),
        (0.0, 0.0, "min", 0.0),
        (0.0, 1.0, "max", -math.inf),
        (0.5, math.nan, "max", math.inf),
    ],
)
def test_a_change_for_the_worse_is_positive(before, after, direction, percent):
    assert scoring.change(before, after, direction) == percent


def test_what_does_not_fit_is_refused(model, exact, data, tmp_path):
    x, y = data
    endless = tf.data.Dataset.from_tensor_slices(data).batch(50).repeat()
    for arguments, words in (
        ((tmp_path / "none", x[:, :3]), r"(?s)`artifact` must be .*`x` must have the shape \(None, 5\)"),
        ((exact, x[:, :3], y), r"`x` must have shape \(batch, 5\), got \(150, 3\)"),
        ((exact, x, {"kinds": y["kind"]}), "`y` .*'kinds'"),
        ((exact, endless), r"`x` must end, got a dataset without end. Cut it with take\(n\)"),
        ((exact, endless.take(0)), "`x` must hold at least one batch, got none"),
    ):
        with pytest.raises(ValueError, match=words):
            quality(model, *arguments)
    row = keras.Input((5,), name="row")
    wider = keras.Model(row, {"kind": keras.layers.Dense(4)(row), "new": keras.layers.Dense(1)(row)})
    with pytest.raises(ValueError, match=r"`artifact` must give tasks of the model in its shapes, got \{'kind'"):
        quality(wider, exact, x)
    with pytest.raises(ValueError, match="`artifact` must give tasks of the model in its shapes, got "):
        quality(keras.Model(row, {"new": wider.output["new"]}), exact, x)


def test_a_later_batch_that_does_not_fit_is_refused_too(model, exact):
    spec = (tf.TensorSpec(None, tf.float32), {"kind": tf.TensorSpec((None,), tf.int32)})
    widths = [5, 5, 4]
    stream = tf.data.Dataset.from_generator(
        lambda: ((np.ones((2, width), "float32"), {"kind": np.zeros(2, "int32")}) for width in widths),
        output_signature=spec,
    )
    with pytest.raises(
        ValueError, match=r"^quality: `x` must have the shape \(None, 5\) for input 'row', got \(2, 4\)"
    ):
        quality(model, exact, stream)
