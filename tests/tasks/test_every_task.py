"""What every kind of task keeps: one row of the table in tests/kinds.py a kind."""

import json

import keras
import numpy as np
import pytest
from keras import ops
from kinds import TOLD_ELSEWHERE

from kmtl._checks import Refusals
from kmtl.losses import group_tasks
from kmtl.tasks import BinaryClassification, Classification, MultiLabel, Regression, Task
from kmtl.tasks.shapes import known_shape, same_shape

COMMON = {"hidden": (5, 3), "dropout": 0.25, "l1": 0.01, "l2": 0.02}


@keras.saving.register_keras_serializable(package="tests")
def absolute_gap(labels, predictions):
    return ops.mean(ops.abs(labels - predictions), axis=-1)


@keras.saving.register_keras_serializable(package="tests")
class Scaled(keras.losses.Loss):
    def __init__(self, factor=1.0, **options):
        super().__init__(**options)
        self.factor = factor

    def call(self, y_true, y_pred):
        return self.factor * ops.mean(ops.square(y_true - y_pred), axis=-1)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def restored(task):
    """Through JSON, as a `.keras` file does it."""
    return keras.saving.deserialize_keras_object(json.loads(json.dumps(keras.saving.serialize_keras_object(task))))


FEATURES = {"vector": (6,), "sequence": (4, 6), "map": (2, 2, 6)}


def head_of(task):
    features = keras.Input(FEATURES[task.features])
    return keras.Model(features, task.head(features))


def rows_for(task, count):
    """Features of some examples."""
    return np.random.default_rng(0).normal(size=(count, *FEATURES[task.features])).astype("float32")


def kernels_of(model):
    return [weight for weight in model.trainable_weights if len(weight.shape) > 1]


def built_on(kind):
    """All classes that are built on a class."""
    for one in kind.__subclasses__():
        yield one
        yield from built_on(one)


def test_every_kind_has_a_row(kinds):
    subclasses = {kind for kind in built_on(Task) if kind.__module__.startswith("kmtl.")}
    assert subclasses - TOLD_ELSEWHERE == {type(kind.make("zebra")) for kind in kinds.values()}


def test_labels_predictions_and_missing_values_agree(kind):
    task = kind.make("zebra")
    labels = kind.draw(np.random.default_rng(0), 5)
    assert str(labels.dtype) == task.label_dtype
    assert same_shape(labels.shape, (5, *task.label_shape))
    assert task.fits(labels.shape)
    assert task.output_shape[-1] == task.units
    assert ops.convert_to_numpy(task.present(ops.array(labels))).all()
    labels[1] = task.missing
    assert ops.convert_to_numpy(task.present(ops.array(labels))).reshape(5, -1).all(axis=1).tolist() == [
        True, False, True, True, True,
    ]  # fmt: skip
    assert same_shape(task.shaped(ops.array(labels), outputs_for(task, 5)).shape, (5, *task.loss_shape))


def test_what_is_present_is_told_alike_of_arrays_and_of_tensors(kind):
    task = kind.make("zebra")
    labels = kind.draw(np.random.default_rng(0), 5)
    labels[2] = task.missing
    found = task.present(labels)
    assert isinstance(found, np.ndarray)
    np.testing.assert_array_equal(found, ops.convert_to_numpy(task.present(ops.array(labels))))
    symbolic = task.present(keras.KerasTensor(labels.shape, labels.dtype))
    assert (symbolic.shape, symbolic.dtype) == (labels.shape, "bool")


def test_labels_of_nobody_are_all_missing(kind):
    task = kind.make("zebra")
    for labels in (task.absent_labels(3), ops.convert_to_numpy(task.absent_label_tensor(3))):
        assert (labels.shape, labels.dtype) == ((3, *known_shape(task.label_shape)), task.label_dtype)
        assert not task.present(labels).any()


def test_a_class_beyond_the_dtype_does_not_wrap_around_into_a_valid_one(kind):
    task = kind.make("zebra")
    if task.label_dtype == "int32":
        huge = np.full((1, *task.label_shape), 2**32 + 1)
        assert (task.cast_labels(huge) == 2**31 - 1).all()
        assert (ops.convert_to_numpy(task.cast_label_tensor(ops.array(huge, dtype="int64"))) == 2**31 - 1).all()
    whole = kind.draw(np.random.default_rng(0), 5)
    assert task.cast_labels(whole.astype("float64" if whole.dtype.kind == "f" else "int64")).dtype == task.label_dtype


def test_labels_of_another_shape_or_dtype_are_refused_and_all_at_once(kind):
    task = kind.make("zebra")
    with pytest.raises(ValueError, match="Demo") as caught, Refusals("Demo") as refusals:
        task.check_labels(refusals, "y", np.dtype(object), (5, 9, 9, 9))
    text = str(caught.value)
    assert "`y['zebra']` must be numbers, got object" in text
    assert "`y['zebra']` must have shape (batch" in text
    with Refusals("Demo") as refusals:
        task.check_labels(refusals, "y", np.dtype(task.label_dtype), (None, *task.label_shape))


def test_values_that_are_no_label_are_refused_by_the_look_at_the_data(kind):
    task = kind.make("zebra")
    labels = kind.draw(np.random.default_rng(0), 6)
    labels[0] = task.missing
    good, bad = task.statistics(), task.statistics()
    good.update(labels, np.ones(6))
    with Refusals("Demo") as refusals:
        good.refuse(refusals, "y['zebra']", needed=True, learns=True)
    assert (good.examples, good.labelled) == (6, 5)
    labels[1] = -2 if task.label_dtype == "int32" else np.inf
    bad.update(labels, np.full(6, -1.0))
    with pytest.raises(ValueError, match="Demo") as caught, Refusals("Demo") as refusals:
        bad.refuse(refusals, "y['zebra']")
    rule = "must lie in 0.." if task.label_dtype == "int32" else "must be finite or NaN"
    assert f"`y['zebra']` {rule}" in str(caught.value)
    assert "`sample_weight['zebra']` must be finite and at least 0" in str(caught.value)
    none = task.statistics()
    none.update(task.absent_labels(4), np.full(4, np.nan))
    with (
        pytest.raises(ValueError, match=r"must have a label somewhere, got none in 4 examples"),
        Refusals("D") as found,
    ):
        none.refuse(found, "y", needed=True)


def outputs_for(task, count, seed=3):
    """Random outputs: probabilities where they add up to 1."""
    scores = np.random.default_rng(seed).uniform(0.1, 0.9, (count, *task.output_shape)).astype("float32")
    sums_to_1 = (task.weighs_classes and task.units > 1) or task.kind == "two_labels"
    return scores / scores.sum(axis=-1, keepdims=True) if sums_to_1 else scores


def test_decisions_have_the_shape_of_labels_and_are_what_is_read(kind):
    task = kind.make("zebra")
    outputs = outputs_for(task, 5)
    read = {key: ops.convert_to_numpy(value) for key, value in task.read(outputs).items()}
    assert ["_".join(filter(None, (task.name, key))) for key in read] == task.read_keys()
    if not task.decides:
        assert task.decide(outputs) is None
        if "" in read:
            np.testing.assert_array_equal(read[""].reshape(5, -1), task.metric_outputs(outputs).reshape(5, -1))
            assert read[""].shape == (5, *task.label_shape)
        return
    decided = ops.convert_to_numpy(task.decide(ops.array(outputs)))
    assert (decided.dtype, decided.shape) == ("int64", (5, *task.label_shape))
    named = decided if task.label_names is None else np.array(task.label_names, "S")[decided]
    np.testing.assert_array_equal(read["label"], named)
    assert read["probability"].shape == decided.shape
    assert ((read["probability"] > 0) & (read["probability"] <= 1)).all()


def test_a_line_of_text_tells_label_and_output(kind):
    task = kind.make("zebra")
    label, output = kind.draw(np.random.default_rng(0), 1)[0], outputs_for(task, 1)[0]
    line = task.describe(label, output)
    assert line.startswith("zebra ")
    assert "?" not in line
    assert "?" in task.describe(None, output)
    assert "?" in task.describe(task.absent_labels(1)[0], output)


def test_one_loss_a_label_and_none_of_what_is_missing(kind):
    task = kind.make("zebra")
    labels, outputs = kind.draw(np.random.default_rng(2), 6), outputs_for(task, 6)
    (group,) = group_tasks([task], {"zebra": task.resolved_loss()}, {})
    expected = np.asarray(kind.rows(ops.cast(labels, "float64"), ops.cast(outputs, "float64")))
    weights = np.linspace(0.5, 2.0, 6)
    gone = np.zeros(expected.shape, bool)
    gone[1] = True
    if kind.parts:
        gone[2, 0] = True
    rows = gone[:, 0].reshape(-1, *[1] * (labels.ndim - 1))
    labels = np.where(gone.reshape(labels.shape) if gone.size == labels.size else rows, task.missing, labels)
    sums, counts = group.sums(group.examples({"zebra": labels}, {"zebra": outputs}, {"zebra": weights}))
    there = ~gone
    if task.dense_axes:
        assert int(counts[0]) == there.sum()
        whole = (expected * there * weights[:, None]).sum()
    else:
        assert int(counts[0]) == 5
        means = (expected * there).sum(axis=1) / np.maximum(there.sum(axis=1), 1)
        whole = (means * weights).sum()
    assert float(sums[0]) == pytest.approx(whole, rel=1e-5)


def test_shaping_keeps_each_examples_label_in_its_row(kind):
    task = kind.make("zebra")
    if None in task.label_shape:
        return  # Such labels come in one form alone.
    labels = kind.draw(np.random.default_rng(0), 4)
    flat = ops.convert_to_numpy(task.shaped(ops.array(labels)))
    column = ops.convert_to_numpy(task.shaped(ops.array(labels.reshape(4, -1))))
    np.testing.assert_array_equal(flat.reshape(4, -1), labels.reshape(4, -1))
    np.testing.assert_array_equal(column, flat)


def test_default_loss_is_the_one_that_is_documented(kind):
    task = kind.make("zebra")
    generator = np.random.default_rng(1)
    labels = kind.draw(generator, 6)
    scores = outputs_for(task, 6)
    loss = task.resolved_loss()
    call = loss.call if isinstance(loss, keras.losses.Loss) else loss
    values = ops.convert_to_numpy(call(task.shaped(ops.array(labels)), ops.array(scores))).reshape(6, -1).mean(axis=1)
    expected = np.mean(np.asarray(kind.rows(ops.cast(labels, "float64"), ops.cast(scores, "float64"))), axis=1)
    np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_default_metrics_have_a_known_better_end(kind):
    task = kind.make("zebra")
    assert task.metric_names()
    for name in [*task.metric_names(), "loss"]:
        assert task.direction(name) in {"max", "min"}


def test_every_option_survives_the_file(kind):
    task = kind.make("zebra", **COMMON, metrics=[keras.metrics.MeanMetricWrapper(absolute_gap, name="gap"), "mse"])
    again = restored(task)
    assert again == task
    assert again.get_config() == task.get_config()
    assert again.metric_names() == ["gap", "mse"]
    assert (again.hidden, again.dropout, again.l1, again.l2) == ((5, 3), 0.25, 0.01, 0.02)
    assert json.dumps(again.get_config()) == json.dumps(task.get_config())


def test_two_tasks_are_equal_if_their_options_are(kind):
    assert kind.make("zebra") == kind.make("zebra")
    assert hash(kind.make("zebra")) == hash(kind.make("zebra"))
    assert kind.make("zebra") != kind.make("ant")
    assert kind.make("zebra") != kind.make("zebra", l2=0.1)
    assert kind.make("zebra") != "zebra"


def test_head_is_named_float32_and_of_the_tasks_width(kind):
    model = head_of(kind.make("zebra", **COMMON))
    task = kind.make("zebra", **COMMON)
    assert model.output.shape == (None, *task.output_shape)
    assert model.output.dtype == "float32"
    assert model.layers[-1].name == "zebra"
    kernels = [weight.shape[-2:] for weight in kernels_of(model)]
    # Of K ordered classes K - 1 questions are asked, or one score; four states have three parameters.
    fewer = (
        {"ordinal": 1, "two_labels": 1} if "link" not in task.get_config() or task.link == "corn" else {"ordinal": 3}
    )
    assert kernels == [(6, 5), (5, 3), (3, task.units - fewer.get(task.kind, 0))]


def test_head_stays_float32_in_mixed_precision(kind):
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        task = kind.make("zebra", hidden=4)
        model = head_of(task)
        assert model.output.dtype == "float32"
        assert model(rows_for(task, 2)).dtype == "float32"
    finally:
        keras.config.set_dtype_policy(policy)


def test_penalties_fall_on_every_kernel_and_on_nothing_else(kind):
    task = kind.make("zebra", hidden=4, l1=0.5, l2=0.25)
    model = head_of(task)
    model(rows_for(task, 2))
    kernels = [np.asarray(weight.numpy(), "float64") for weight in kernels_of(model)]
    expected = sum(0.5 * np.abs(kernel).sum() + 0.25 * (kernel**2).sum() for kernel in kernels)
    assert sum(float(loss) for loss in model.losses) == pytest.approx(expected, rel=1e-5)
    assert not head_of(kind.make("ant")).losses


def test_dropout_acts_in_training_only(kind):
    task = kind.make("zebra", hidden=64, dropout=0.9)
    model, rows = head_of(task), rows_for(task, 4)
    np.testing.assert_array_equal(model(rows, training=False), model(rows, training=False))
    assert np.abs(model(rows, training=True) - model(rows, training=False)).max() > 0


@pytest.mark.parametrize(
    "options",
    [
        {"loss": keras.losses.Huber(delta=0.3)},
        {"loss": keras.losses.MeanSquaredError},
        {"loss": absolute_gap},
        {"loss": Scaled(factor=3.0)},
        {"loss": "log_cosh", "standardize": False, "unit": "px", "shape": 2},
        {"metrics": [keras.metrics.RootMeanSquaredError(name="rms"), absolute_gap, keras.metrics.R2Score]},
    ],
)
def test_objects_of_losses_and_metrics_survive_the_file(options):
    task = Regression("zebra", **options)
    again = restored(task)
    assert again == task
    truth, guess = ops.array([[0.0], [1.0], [7.0]]), ops.array([[0.1], [4.0], [2.0]])
    losses = [task.resolved_loss(), again.resolved_loss()]
    calls = [loss.call if isinstance(loss, keras.losses.Loss) else loss for loss in losses]
    np.testing.assert_array_equal(calls[0](truth, guess), calls[1](truth, guess))


def test_class_options_survive_the_file():
    for task in (
        Classification("zebra", 2, label_names=["class_name", "config"], class_weight={1: 2, 0: 0.5}),
        Classification("zebra", 3, label_names=("a", "b", "c"), class_weight="balanced"),
        BinaryClassification("zebra", label_names=["no", "yes"], loss=keras.losses.BinaryFocalCrossentropy(gamma=3.0)),
        MultiLabel("zebra", 2, label_names=["fever", "cough"], metrics=[keras.metrics.AUC(curve="PR", name="pr")]),
    ):
        again = restored(task)
        assert again == task
        assert again.label_names == task.label_names
        assert again.class_weight == task.class_weight


def test_loading_runs_no_code_of_the_files():
    with pytest.warns(UserWarning, match="lambda"):
        config = keras.saving.serialize_keras_object(Regression("zebra", loss=lambda y, p: ops.mean(y - p, axis=-1)))
    text = json.dumps(config)
    with pytest.raises(ValueError, match=r"^Regression\('zebra'\): `loss` must be a Keras loss, got '__lambda__'"):
        keras.saving.deserialize_keras_object(json.loads(text))


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"dropout": 1.0}, "`dropout` must be below 1, got 1.0"),
        ({"dropout": -0.1}, "`dropout` must be a finite number of at least 0, got -0.1"),
        ({"l1": -1}, "`l1` must be a finite number of at least 0, got -1"),
        ({"l2": float("nan")}, "`l2` must be a finite number of at least 0, got nan"),
        ({"hidden": (8, 0)}, r"`hidden` must hold positive whole numbers, got \(8, 0\)"),
        ({"hidden": "64"}, "`hidden` must hold positive whole numbers, got '64'"),
        ({"loss": "msee"}, "`loss` must be a Keras loss, got 'msee'"),
        ({"loss": 3}, "`loss` must be a name, a keras.losses.Loss or a function, got 3"),
        ({"metrics": {"mae": "mae"}}, "`metrics` must be a list of metrics, got {'mae': 'mae'}"),
        ({"metrics": ["mae", 3]}, r"`metrics` must be a list of metrics, got \['mae', 3\]"),
        ({"metrics": ["mae", "mae"]}, r"`metrics` must have different names, got \['mae', 'mae'\]"),
    ],
)
def test_bad_options_are_refused_with_the_tasks_name(kind, options, rule):
    with pytest.raises(ValueError, match=rf"^{type(kind.make('zebra')).__name__}\('zebra'\): {rule}") as caught:
        kind.make("zebra", **options)
    assert len(str(caught.value).splitlines()) == 1


DIRECTIONS = {
    "max": "accuracy acc binary_accuracy sparse_categorical_accuracy top_k_categorical_accuracy balanced_accuracy auc"
    " auc_1 pr_auc precision recall precision_at_recall recall_at_precision sensitivity_at_specificity f1_score"
    " fbeta_score r2_score mean_io_u mean_iou binary_io_u one_hot_iou miou cosine_similarity pearson_correlation"
    " concordance_correlation Accuracy AUC map50",
    "min": "loss mae mse rmse mape msle mean_absolute_error root_mean_squared_error binary_crossentropy kl_divergence"
    " hinge squared_hinge poisson huber log_cosh logcosh mean_squared_logarithmic_error crossentropy hamming_loss"
    " mean_absolute_error_1 mae_2 delta_m top_error",
}


@pytest.mark.parametrize(("name", "end"), [(name, end) for end, names in DIRECTIONS.items() for name in names.split()])
def test_directions_of_metrics(name, end):
    task = Classification("accident_error", 3)
    assert task.direction(name) == end
    assert task.direction(f"accident_error_{name}") == end
    assert task.direction(f"val_accident_error_{name}") == end
    assert task.direction(f"val_accident_error_weighted_{name}") == end


@pytest.mark.parametrize(
    "name", ["sharpness", "acceleration", "curious", "previous", "true_positives", "weight", "surface"]
)
def test_directions_that_nobody_can_know_are_refused(name):
    with pytest.raises(ValueError, match=r"`direction` needs a metric whose better end is known, got "):
        Regression("angle").direction(f"val_angle_{name}")


def test_every_metric_of_keras_that_has_a_better_end_is_in_the_table():
    unknown = {"Metric", "Mean", "Sum", "MeanMetricWrapper"} | {
        f"{truth}{sign}" for truth in ("True", "False") for sign in ("Positives", "Negatives")
    }
    options = {
        "MeanIoU": [2], "IoU": [2, [0]], "OneHotIoU": [2, [0]], "OneHotMeanIoU": [2], "PrecisionAtRecall": [0.5],
        "RecallAtPrecision": [0.5], "SensitivityAtSpecificity": [0.5], "SpecificityAtSensitivity": [0.5],
    }  # fmt: skip
    for name in dir(keras.metrics):
        kind = getattr(keras.metrics, name)
        if isinstance(kind, type) and issubclass(kind, keras.metrics.Metric) and name not in unknown:
            metric = kind(*options.get(name, []))
            expected = "min" if any(word in name for word in ("Error", "entropy", "inge", "Poisson", "KL")) else "max"
            assert Regression("angle").direction(metric.name) == expected, metric.name
