"""Metrics of each task over the examples that carry its label; tests/test_partial_labels.py holds the numbers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from kmtl.losses import group_tasks
from kmtl.metrics import TaskMetrics, reported, resolve
from kmtl.tasks import BinaryClassification, Classification, MultiLabel, Regression

TASKS = [Regression("zebra"), Classification("ant", 3), BinaryClassification("mole"), MultiLabel("bee", 2)]


def distance(labels, predictions):
    return ops.sqrt(ops.sum(ops.square(labels - predictions), axis=-1))


def build(tasks, metrics=None, weighted=None):
    groups = group_tasks(tasks, {task.name: task.resolved_loss() for task in tasks}, {})
    metrics = {task.name: task.metrics for task in tasks} if metrics is None else metrics
    return groups, TaskMetrics(groups, reported(tasks, metrics, weighted or {}))


def update(groups, metrics, labels, predictions, weights=None):
    metrics.update_state([group.examples(labels, predictions, weights) for group in groups])


def values(metrics):
    return {key: float(value) for key, value in metrics.result().items()}


def drawn(n, seed=0):
    generator = np.random.default_rng(seed)
    labels = {
        "zebra": generator.normal(size=n).astype("float32"),
        "ant": generator.integers(0, 3, n),
        "mole": generator.integers(0, 2, n),
        "bee": generator.integers(0, 2, (n, 2)),
    }
    predictions = {name: generator.uniform(size=(n, width)) for name, width in zip(labels, (1, 3, 1, 2), strict=True)}
    return labels, predictions, {name: generator.uniform(0.1, 3.0, n) for name in labels}


def test_keys_stand_in_task_order_with_keras_names():
    metrics = {"bee": ["accuracy"], "zebra": ["mae", keras.metrics.RootMeanSquaredError(name="rms")], "mole": ["acc"]}
    weighted = {"zebra": ["mae", "mse"], "ant": ["accuracy"]}
    rows = reported(TASKS, metrics, weighted)
    assert [row.key for row in rows] == [
        "zebra_mae", "zebra_rms", "zebra_weighted_mae", "zebra_mse", "ant_accuracy", "mole_acc", "bee_accuracy",
    ]  # fmt: skip
    assert [row.weighted for row in rows] == [False, False, True, True, True, False, False]
    _, made = build(TASKS, metrics, weighted)
    assert list(made.result()) == [row.key for row in rows]


def test_names_and_values_are_those_of_keras_where_nothing_is_missing():
    """The same metrics of a plain Keras model whose outputs are its inputs."""
    labels, predictions, weights = drawn(11)
    inputs = {name: keras.Input((array.shape[1],), name=f"given_{name}") for name, array in predictions.items()}
    outputs = {name: keras.layers.Identity(name=name)(tensor) for name, tensor in inputs.items()}
    names = {
        "zebra": ["mae", "mse", "mape"],
        "ant": ["accuracy", "sparse_top_k_categorical_accuracy"],
        "mole": ["accuracy", "AUC", "Precision"],
        "bee": ["binary_accuracy"],
    }
    weighted = {name: [own[0]] for name, own in names.items()} | {"zebra": ["mae", "RootMeanSquaredError"]}
    model = keras.Model(list(inputs.values()), outputs)
    model.compile(metrics=names, weighted_metrics=weighted, loss=dict.fromkeys(outputs, "mse"))
    labels = {name: label.reshape(len(label), -1) for name, label in labels.items()}
    given = list(predictions.values())
    expected = model.evaluate(given, labels, sample_weight=weights, batch_size=4, verbose=0, return_dict=True)
    groups, metrics = build(TASKS, names, weighted)
    for start in range(0, 11, 4):
        part = [
            {name: item[start : start + 4] for name, item in whole.items()} for whole in (labels, predictions, weights)
        ]
        update(groups, metrics, *part)
    expected = {key: value for key, value in expected.items() if not key.endswith("loss")}
    assert values(metrics) == pytest.approx(expected, rel=1e-5)


def test_batches_of_any_size_weigh_by_their_examples():
    labels, predictions, weights = drawn(10)
    labels["zebra"][[1, 8, 9]] = np.nan
    labels["ant"][:5] = -1
    groups, metrics = build(TASKS, weighted={"zebra": ["mae"]})
    update(groups, metrics, labels, predictions, weights)
    whole = values(metrics)
    metrics.reset_state()
    for rows in (slice(0, 3), slice(3, 4), slice(4, 10)):
        update(
            groups,
            metrics,
            *({name: item[rows] for name, item in part.items()} for part in (labels, predictions, weights)),
        )
    assert values(metrics) == pytest.approx(whole, rel=1e-6)
    keep = ~np.isnan(labels["zebra"])
    gaps = np.abs(labels["zebra"] - predictions["zebra"][:, 0])[keep]
    assert whole["zebra_mae"] == pytest.approx(gaps.mean(), rel=1e-5)
    assert whole["zebra_weighted_mae"] == pytest.approx(np.average(gaps, weights=weights["zebra"][keep]), rel=1e-5)


def test_objects_are_reset_with_the_rest():
    groups, metrics = build(TASKS, {"mole": [keras.metrics.AUC(name="auc"), "accuracy"]})
    labels, predictions, _ = drawn(20)
    update(groups, metrics, labels, predictions)
    first = values(metrics)
    metrics.reset_state()
    assert all(np.isnan(value) for value in values(metrics).values())
    update(groups, metrics, labels, predictions)
    assert values(metrics) == first
    auc = keras.metrics.AUC()
    auc.update_state(labels["mole"], predictions["mole"])
    assert first["mole_auc"] == pytest.approx(float(auc.result()))


def test_metrics_of_elements_pool_them_and_metrics_of_vectors_see_complete_ones():
    nan = np.nan
    labels = {"zebra": np.array([[3.0, 4.0], [nan, 1.0], [nan, nan], [6.0, 0.0]], "float32")}
    guess = {"zebra": np.array([[0.0, 0.0], [5.0, 4.0], [7.0, 7.0], [0.0, 8.0]], "float32")}
    own = [
        "mae", "cosine_similarity", distance, keras.metrics.R2Score(name="r2"), keras.metrics.MeanAbsoluteError(),
        keras.metrics.CosineSimilarity(name="cosine"),
    ]  # fmt: skip
    task = Regression("zebra", shape=2, metrics=own)
    groups, metrics = build([task])
    update(groups, metrics, labels, guess)
    found = values(metrics)
    assert found["zebra_mae"] == found["zebra_mean_absolute_error"] == pytest.approx((3 + 4 + 3 + 6 + 8) / 5)
    assert found["zebra_distance"] == pytest.approx((5 + 10) / 2)
    guess["zebra"][0] = [4.0, 3.0]
    metrics.reset_state()
    update(groups, metrics, labels, guess)
    assert values(metrics)["zebra_cosine"] == pytest.approx((24 / 25 + 0) / 2)
    truth, decided = labels["zebra"][[0, 3]], guess["zebra"][[0, 3]]
    parts = 1 - ((truth - decided) ** 2).sum(axis=0) / ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    assert values(metrics)["zebra_r2"] == pytest.approx(parts.mean(), rel=1e-5)


def test_a_multilabel_auc_sees_rows():
    task = MultiLabel("bee", 2, metrics=[keras.metrics.AUC(multi_label=True, num_labels=2, name="auc")])
    groups, metrics = build([task])
    labels, predictions, _ = drawn(30)
    update(groups, metrics, labels, predictions)
    parts = []
    for column in range(2):
        auc = keras.metrics.AUC()
        auc.update_state(labels["bee"][:, column], predictions["bee"][:, column])
        parts.append(float(auc.result()))
    assert values(metrics)["bee_auc"] == pytest.approx(np.mean(parts), rel=1e-5)


def test_alike_tasks_with_different_metrics_keep_their_own():
    tasks = [Regression(name, metrics=own) for name, own in [
        ("zebra", ["mse"]), ("ant", ["mae", "mse"]), ("mole", []), ("bee", ["mae", keras.metrics.R2Score(name="r2")]),
    ]]  # fmt: skip
    groups, metrics = build(tasks)
    assert len(groups) == 1
    labels = {task.name: np.array([1.0, 2.0, 4.0], "float32") for task in tasks}
    predictions = {task.name: labels[task.name][:, None] + place for place, task in enumerate(tasks)}
    update(groups, metrics, labels, predictions)
    expected = {"zebra_mse": 0.0, "ant_mae": 1.0, "ant_mse": 1.0, "bee_mae": 3.0, "bee_r2": 1 - 27 / (14 / 3)}
    assert values(metrics) == pytest.approx(expected, rel=1e-5)
    assert list(metrics.result()) == list(expected)


def test_no_metrics_at_all():
    groups, metrics = build(TASKS, {})
    labels, predictions, _ = drawn(3)
    update(groups, metrics, labels, predictions)
    assert metrics.result() == {}


def test_a_second_batch_traces_nothing_anew():
    groups, metrics = build(TASKS, weighted={"bee": ["accuracy"]})
    traced = []

    @tf.function
    def step(labels, predictions, weights):
        traced.append(1)
        update(groups, metrics, labels, predictions, weights)
        return metrics.result()

    for seed in (1, 2):
        step(*tf.nest.map_structure(tf.constant, drawn(4, seed)))
    assert len(traced) == 1


@pytest.mark.parametrize(
    ("metrics", "key"),
    [
        ({"zebra": ["mae", "mae"]}, "zebra_mae"),
        ({"zebra": [keras.metrics.AUC(name="a"), keras.metrics.AUC(curve="PR", name="a")]}, "zebra_a"),
        ({"zebra": [keras.metrics.R2Score(name="loss")]}, "zebra_loss"),
        ({"zebra": [keras.metrics.R2Score(name="weight")]}, "zebra_weight"),
    ],
)
def test_metrics_that_would_overwrite_each_other_are_refused(metrics, key):
    with pytest.raises(
        ValueError, match=rf"^compile: `metrics` must have a log key of their own; twice, got '{key}'\."
    ):
        reported(TASKS, metrics, {})


def test_metrics_of_two_tasks_under_one_key_are_refused():
    tasks = [Regression("left_mole"), Regression("left")]
    metrics = {"left": [keras.metrics.R2Score(name="mole_mae")], "left_mole": ["mae"]}
    with pytest.raises(ValueError, match="twice, got 'left_mole_mae'"):
        reported(tasks, metrics, {})
    with pytest.raises(ValueError, match="twice, got 'left_weighted_mae'"):
        reported(tasks, {"left": ["mae"]}, {"left": ["mae", "mae"]})


@pytest.mark.parametrize("metric", ["acuracy", "loss", 3])
def test_a_metric_that_keras_does_not_know_is_refused(metric):
    with pytest.raises(
        ValueError, match=r"^Classification\('ant'\): `metrics` must be Keras metrics, got .*'accuracy'"
    ):
        resolve(TASKS[1], metric)


def test_accuracy_means_what_the_kind_of_task_makes_of_it():
    labels, predictions, _ = drawn(50)
    for task in TASKS[1:]:
        metric = resolve(task, "accuracy")
        assert metric.name == "accuracy"
        metric.update_state(labels[task.name].reshape(50, -1), predictions[task.name])
        if task.kind == "classification":
            expected = (predictions["ant"].argmax(axis=1) == labels["ant"]).mean()
        else:
            expected = ((predictions[task.name] > 0.5) == labels[task.name].reshape(50, -1)).mean()
        assert float(metric.result()) == pytest.approx(expected)
        assert resolve(task, "accuracy") is not metric
