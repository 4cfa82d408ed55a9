"""Keras's own losses and metrics on labels that are numbers of classes: as on the same labels one-hot."""

import keras
import numpy as np
import pytest

import kmtl
from kmtl._checks import Refusals
from kmtl.losses import TaskGroup
from kmtl.metrics import TaskMetrics, reported
from kmtl.model.compile_arguments import settings

GENERATOR = np.random.default_rng(11)
LABELS = GENERATOR.integers(0, 3, 12)
LABELS[[2, 7]] = -1
THERE = LABELS >= 0
OUTPUTS = GENERATOR.dirichlet(np.ones(3), 12).astype("float32")
WEIGHTS = GENERATOR.uniform(0.5, 2.0, 12).astype("float32")
ONE_HOT = np.eye(3, dtype="float32")[LABELS[THERE]]
SORT = kmtl.Classification("sort", 3)

METRICS = [
    keras.metrics.F1Score(average="macro"),
    keras.metrics.FBetaScore(average="weighted", beta=2.0),
    keras.metrics.CategoricalAccuracy(),
    keras.metrics.TopKCategoricalAccuracy(2),
    keras.metrics.CategoricalCrossentropy(label_smoothing=0.1),
    keras.metrics.KLDivergence(),
    keras.metrics.CategoricalHinge(),
    keras.metrics.AUC(),
    keras.metrics.AUC(multi_label=True, num_labels=3),
    keras.metrics.Precision(class_id=1, thresholds=0.3),
    keras.metrics.Recall(top_k=2),
    keras.metrics.PrecisionAtRecall(0.5),
    keras.metrics.OneHotMeanIoU(3, dtype="float32"),
]


def plain(metric):
    return type(metric).from_config(metric.get_config())


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_a_metric_is_that_of_one_hot_labels(metric):
    found = settings({"sort": SORT}, None, None, {"sort": [metric]}, None)
    group = TaskGroup([SORT], None)
    for weighted in (False, True):
        rows = reported([SORT], {} if weighted else {"sort": [metric]}, {"sort": [metric]} if weighted else {})
        measured = TaskMetrics([group], [rows[-1]._replace(metric=plain(metric))])
        seen = group.examples({"sort": LABELS}, {"sort": OUTPUTS}, {"sort": WEIGHTS})
        measured.update_state([seen])
        stock = plain(metric)
        stock.update_state(ONE_HOT, OUTPUTS[THERE], sample_weight=WEIGHTS[THERE] if weighted else None)
        assert float(measured.result()[rows[-1].key]) == pytest.approx(float(stock.result()), rel=1e-5)
    assert found.reported[-1].metric is metric


LOSSES = [
    keras.losses.CategoricalCrossentropy(label_smoothing=0.2),
    keras.losses.CategoricalFocalCrossentropy(alpha=0.5),
    keras.losses.KLDivergence(),
    "categorical_crossentropy",
    "categorical_hinge",
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: getattr(loss, "name", loss))
def test_a_loss_is_that_of_one_hot_labels(loss):
    resolved = settings({"sort": SORT}, {"sort": loss}, None, None, None).losses["sort"]
    group = TaskGroup([SORT], resolved)
    sums, counts = group.sums(group.examples({"sort": LABELS}, {"sort": OUTPUTS}))
    stock = keras.losses.get(loss)
    values = (stock.call if isinstance(stock, keras.losses.Loss) else stock)(ONE_HOT, OUTPUTS[THERE])
    assert (float(sums[0]), float(counts[0])) == (pytest.approx(float(np.sum(values)), rel=1e-5), THERE.sum())


def test_of_pixels_too():
    task = kmtl.Segmentation("mask", 3, shape=(2, 2))
    labels, outputs = LABELS.reshape(3, 2, 2), OUTPUTS.reshape(3, 2, 2, 3)
    loss = keras.losses.CategoricalCrossentropy()
    settings({"mask": task}, {"mask": loss}, None, {"mask": [METRICS[0]]}, None)
    group = TaskGroup([task], loss)
    seen = group.examples({"mask": labels}, {"mask": outputs})
    sums, counts = group.sums(seen)
    assert float(sums[0] / counts[0]) == pytest.approx(float(loss(ONE_HOT, OUTPUTS[THERE])), rel=1e-5)
    measured = TaskMetrics([group], reported([task], {"mask": [plain(METRICS[0])]}, {}))
    measured.update_state([seen])
    stock = plain(METRICS[0])
    stock.update_state(ONE_HOT, OUTPUTS[THERE])
    assert float(measured.result()["mask_f1_score"]) == pytest.approx(float(stock.result()), rel=1e-5)


@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_a_class_that_the_loss_ignores_is_as_good_as_missing(weights):
    loss = keras.losses.SparseCategoricalCrossentropy(ignore_class=0)
    group = TaskGroup([SORT], loss)
    given = None if weights is None else {"sort": weights}
    sums, counts = group.sums(group.examples({"sort": LABELS}, {"sort": OUTPUTS}, given))
    stock = loss(LABELS[THERE], OUTPUTS[THERE], None if weights is None else weights[THERE])
    assert float(counts[0]) == (LABELS > 0).sum() < THERE.sum()
    if weights is None:
        assert float(sums[0] / counts[0]) == pytest.approx(float(stock), rel=1e-5)
    else:
        # A weight multiplies a loss and leaves the count alone.
        chosen = LABELS > 0
        exact = (weights * -np.log(OUTPUTS[np.arange(12), LABELS]))[chosen].sum() / chosen.sum()
        assert float(sums[0] / counts[0]) == pytest.approx(float(exact), rel=1e-5)


REFUSED = [
    (kmtl.Regression("age"), "accuracy", "outputs that equal their label. Use 'mae'"),
    (kmtl.Regression("age"), keras.metrics.BinaryAccuracy(), "yes-or-no"),
    (kmtl.Regression("age"), keras.metrics.AUC(), "yes-or-no"),
    (kmtl.Regression("box", shape=3), keras.metrics.CategoricalAccuracy(), "a score a class"),
    (SORT, keras.metrics.Accuracy(), "outputs that equal their label. Use 'accuracy'"),
    (kmtl.BinaryClassification("yes"), keras.metrics.CategoricalAccuracy(), "a score a class"),
    (kmtl.BinaryClassification("yes"), "sparse_categorical_accuracy", "a score a class"),
    (kmtl.MultiLabel("marks", 3), keras.metrics.SparseCategoricalAccuracy(), "a score a class"),
    (SORT, keras.metrics.F1Score(), "give one number"),
    (SORT, keras.metrics.MeanIoU(3), "class that was decided. Give it sparse_y_pred=False"),
]


@pytest.mark.parametrize(("task", "metric", "words"), REFUSED)
def test_a_metric_of_something_else_is_refused(task, metric, words):
    with pytest.raises(ValueError, match=f"^compile: `metrics` of '{task.name}' must .*{words}"):
        settings({task.name: task}, None, None, {task.name: [metric]}, None)


@pytest.mark.parametrize(
    ("task", "shape"),
    [
        (SORT, (None, 3)),
        (kmtl.BinaryClassification("yes"), (8, 2)),
        (kmtl.Segmentation("mask", 3, shape=(2, 2)), (8, 2, 2, 3)),
    ],
)
def test_one_hot_labels_are_told_to_become_numbers(task, shape):
    refusals = Refusals("fit")
    task.check_labels(refusals, "y", "float32", shape)
    (message,) = refusals.messages
    assert "must hold the number of a class" in message
    assert message.endswith("one-hot. Pass numpy.argmax(labels, axis=-1), and -1 where missing.")
