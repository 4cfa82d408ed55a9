"""One number a pixel."""

import keras
import numpy as np
import pytest
from mistakes import Case, check_refused, parameters

import kmtl
from kmtl.losses import group_tasks
from kmtl.metrics import TaskMetrics, reported
from kmtl.tasks import DenseRegression
from kmtl.tasks.relative_errors import ShareWithinFactor

GENERATOR = np.random.default_rng(4)
LABELS = GENERATOR.uniform(-1.0, 6.0, (3, 4, 5)).astype("float32")
OUTPUTS = (LABELS + GENERATOR.normal(0.0, 1.0, LABELS.shape))[..., None].astype("float32")


def measured(task, labels, outputs, weights=None):
    """Sum and count of the loss, and the metrics."""
    (group,) = group_tasks([task], {task.name: task.resolved_loss()}, {})
    metrics = TaskMetrics([group], reported([task], {}, {task.name: task.metrics}))
    seen = group.examples({task.name: labels}, {task.name: outputs}, None if weights is None else {task.name: weights})
    metrics.update_state([seen])
    return *(float(part[0]) for part in group.sums(seen)), {key: float(v) for key, v in metrics.result().items()}


@pytest.mark.parametrize("shape", [(4, 5), None])
def test_ignored_and_missing_pixels_are_the_same_to_loss_and_metrics(shape):
    task = DenseRegression("depth", shape=shape, ignore=0, metrics=["mae", "abs_rel", "rmse", "delta_1", "delta_2"])
    gone = GENERATOR.random(LABELS.shape) < 0.4
    weights = GENERATOR.uniform(0.0, 2.0, LABELS.shape).astype("float32")
    found = [measured(task, np.where(gone, fill, LABELS), OUTPUTS, weights) for fill in (np.nan, 0.0)]
    assert found[0] == found[1]
    truth, guess, weight = LABELS[~gone], OUTPUTS[..., 0][~gone], weights[~gone]
    above = truth > 0
    ratio = np.where(guess > 0, np.maximum(truth / guess, guess / truth), np.inf)
    assert found[0][:2] == (pytest.approx(np.sum(weight * (truth - guess) ** 2), rel=1e-5), len(truth))
    assert found[0][2] == pytest.approx(
        {
            "depth_mae": np.average(abs(truth - guess), weights=weight),
            "depth_abs_rel": np.average((abs(truth - guess) / truth)[above], weights=weight[above]),
            "depth_rmse": np.sqrt(np.average((truth - guess) ** 2, weights=weight)),
            "depth_delta_1": np.average((ratio < 1.25)[above], weights=weight[above]),
            "depth_delta_2": np.average((ratio < 1.25**2)[above], weights=weight[above]),
        },
        rel=1e-5,
    )


def test_of_labels_that_are_nowhere_positive_the_relative_errors_are_nan():
    values = measured(DenseRegression("depth"), -abs(LABELS), OUTPUTS)[2]
    assert [np.isnan(values[f"depth_{name}"]) for name in ("mae", "abs_rel", "rmse", "delta_1")] == [0, 1, 0, 1]


def test_absent_labels_take_the_output_s_places_and_others_are_refused():
    task = DenseRegression("depth")
    assert measured(task, task.absent_labels(3), OUTPUTS)[:2] == (0.0, 0.0)
    image = keras.Input((4, 4, 1), name="image")
    tasks = [task, kmtl.Segmentation("mask", 2)]
    model = kmtl.MultiTaskModel.from_features(image, image, tasks)
    model.compile("sgd", run_eagerly=True)
    pixels = GENERATOR.random((3, 4, 4, 1), dtype="float32")
    labels = {"depth": pixels[..., 0], "mask": np.ones((3, 4, 5), "int32")}
    form = r"^fit: `y\['{}'\]` must have the output's places, \(4, 4\), got \(4, 5\)\. Resize .*shape="
    with pytest.raises(ValueError, match=form.format("mask")):
        model.fit(pixels, labels, verbose=0)
    with pytest.raises(ValueError, match=form.format("depth")):
        model.fit(pixels, {"depth": LABELS, "mask": labels["mask"][..., :4]}, verbose=0)
    assert model.optimizer.iterations == 0


PIXELS = GENERATOR.random((3, 4, 4, 1), dtype="float32")
GOOD = {"mask": (PIXELS[..., 0] > 0.5).astype("int32"), "depth": PIXELS[..., 0] + 1}


@pytest.fixture(scope="module")
def model():
    image = keras.Input((4, 4, 1), name="image")
    tasks = [DenseRegression("depth", shape=(4, 4), ignore=0), kmtl.Segmentation("mask", 2, shape=(4, 4), ignore=255)]
    made = kmtl.MultiTaskModel.from_features(image, image, tasks)
    made.compile("sgd", run_eagerly=True)
    return made


def wrong(name, says, **changes):
    return Case(name, lambda model: model.fit(PIXELS, {**GOOD, **changes}, verbose=0), says)


MISTAKES = [
    wrong(
        "mask of another size", "`y['mask']` must have shape (batch, 4, 4), got (3, 4, 5)", mask=np.ones((3, 4, 5), int)
    ),
    wrong("depth of another size", "`y['depth']` must have shape (batch, 4, 4), got (3, 4, 5)", depth=LABELS),
    wrong("one-hot mask", "`y['mask']` | looks one-hot | numpy.argmax", mask=np.eye(2, dtype=int)[GOOD["mask"]]),
    wrong("floats for classes", "`y['mask']` must be integers | float32 | Cast to int", mask=GOOD["depth"]),
    wrong(
        "mask ignored everywhere", "`y['mask']` must have a label somewhere | none in 3", mask=np.full((3, 4, 4), 255)
    ),
    wrong("no depth anywhere", "`y['depth']` must have a label somewhere | none in 3", depth=0 * GOOD["depth"]),
    wrong(
        "class out of range", "`y['mask']` must lie in 0..1, or be -1 where missing, got 1..2", mask=GOOD["mask"] + 1
    ),
    wrong("infinite depth", "`y['depth']` must be finite or NaN, got 48 infinite", depth=GOOD["depth"] * np.inf),
    wrong("constant depth", "`y['depth']` must vary | standardize=False", depth=np.ones((3, 4, 4))),
    Case(
        "weights of another size",
        lambda model: model.fit(PIXELS, GOOD, sample_weight={"depth": np.ones((3, 4, 5))}, verbose=0),
        "`sample_weight['depth']` must",
    ),
]


@pytest.mark.parametrize("case", parameters(pixels=MISTAKES))
def test_labels_that_are_no_such_maps_are_refused(case, model):
    check_refused(case, model)


def test_outputs_come_back_in_the_label_s_unit():
    task = DenseRegression("depth", shape=(4, 5))
    statistics = task.statistics()
    statistics.update(LABELS)
    features = keras.Input((2, 5, 3))
    model = keras.Model(features, task.head(features))
    model.get_layer("depth").learn(statistics.mean, statistics.scale)
    kernel, _ = model.get_layer("depth_standardized").get_weights()
    model.get_layer("depth_standardized").set_weights([0 * kernel, np.array([2.0])])
    expected = LABELS.mean() + 2 * LABELS.std()
    np.testing.assert_allclose(model(np.ones((1, 2, 5, 3))), np.full((1, 4, 5, 1), expected), rtol=1e-5)
    plain = DenseRegression("depth", shape=(4, 5), standardize=False)
    layers = keras.Model(features, plain.head(features)).layers[1:]
    assert [layer.name for layer in layers] == ["depth_values", "depth_enlarged", "depth"]


def test_the_better_end_of_each_metric_is_known():
    task = DenseRegression("depth", metrics=["mae", "abs_rel", "rmse", "delta_1", "delta_2", "delta_3"])
    ends = {name: task.direction(f"val_depth_{name}") for name in task.metric_names()}
    assert ends == {**dict.fromkeys(("mae", "abs_rel", "rmse"), "min"), **dict.fromkeys(list(ends)[3:], "max")}
    assert task.direction("depth_weighted_delta_1") == "max"
    metric = ShareWithinFactor(2)
    assert type(metric).from_config(metric.get_config()).power == 2


def test_a_picture_gets_label_and_output_on_one_scale():
    from matplotlib.figure import Figure

    task = DenseRegression("depth", unit="m", ignore=0)
    axis = Figure().subplots()
    axis.imshow(np.zeros((8, 8)))
    label, output = np.array([[0.0, 3.0], [np.nan, 8.0]]), np.array([[[1.5], [3.5]], [[2.5], [8.0]]])
    task.draw(axis, label, output)
    truth, shown, bar = axis.child_axes
    np.testing.assert_array_equal(truth.images[0].get_array().mask, [[True, False], [True, False]])
    np.testing.assert_array_equal(shown.images[0].get_array(), output[..., 0])
    assert {one.images[0].get_clim() for one in (truth, shown)} == {(1.5, 8.0)}
    assert [text.get_text() for text in bar.get_xticklabels()] == ["1.50", "8.00 m"]
    task.draw(axis, None, output)
    assert len(axis.child_axes) == 5
    assert axis.child_axes[3].get_position().x0 > truth.get_position().x1
    assert task.describe(label, output) == "depth mae 0.250 m"
    assert task.describe(None, output) == task.describe(np.full((2, 2), np.nan), output) == "depth ?"


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"shape": 32}, r"`shape` must be \(height, width\), got 32"),
        ({"ignore": "0"}, "`ignore` must be a finite number, got '0'"),
        ({"decoder": 2.5}, "`decoder` must be a number of channels"),
        ({"standardize": 1}, "`standardize` must be True or False, got 1"),
    ],
)
def test_bad_options_are_refused(options, rule):
    with pytest.raises(ValueError, match=rf"^DenseRegression\('depth'\): {rule}"):
        DenseRegression("depth", **options)


def test_options_survive_the_file():
    task = DenseRegression("depth", unit="m", shape=(4, 6), ignore=0.0, decoder=0, standardize=False, loss="mae")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(task))
    assert again == task
    assert (again.shape, again.ignore, again.decoder, again.unit) == ((4, 6), 0.0, None, "m")
