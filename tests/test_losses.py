"""One masked mean a task; what is stacked into one call, and what must not be."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from kmtl.losses import TaskGroup, group_tasks
from kmtl.tasks import BinaryClassification, Classification, MultiLabel, Regression, Unstandardize
from kmtl.tasks.keras_losses import STACKABLE, loss_name, loss_values

NAMES = ["zebra", "ant", "mole", "bee"]
NAN = float("nan")


def numbers(**options):
    return [Regression(name, **options) for name in NAMES]


def groups_of(tasks, losses=None, scalers=None):
    return group_tasks(tasks, losses or {task.name: task.resolved_loss() for task in tasks}, scalers or {})


def names_of(groups):
    return sorted(group.names for group in groups)


def means(groups, labels, predictions, weights=None):
    """Each task's loss, by name."""
    found = {}
    for group in groups:
        sums, counts = group.sums(group.examples(labels, predictions, weights))
        found.update(zip(group.names, np.asarray(sums) / np.maximum(np.asarray(counts), 1), strict=True))
    return found


def drawn(tasks, n=6, seed=0):
    """Random labels and predictions in (0, 1) of every task."""
    generator = np.random.default_rng(seed)
    labels, predictions = {}, {}
    for task in tasks:
        labels[task.name] = generator.integers(0, 2, (n, *task.label_shape)).astype(task.label_dtype)
        if task.kind == "regression":
            labels[task.name] = generator.uniform(0.2, 2.0, (n, *task.label_shape)).astype("float32")
        guess = generator.uniform(0.1, 0.9, (n, task.units)).astype("float32")
        predictions[task.name] = guess / guess.sum(axis=1, keepdims=True) if task.kind == "classification" else guess
    return labels, predictions


# With complete labels, Keras is the reference.

LOSSES = {
    "classification": [
        "sparse_categorical_crossentropy",
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    ],
    "binary": [
        "binary_crossentropy",
        keras.losses.BinaryCrossentropy(label_smoothing=0.2),
        keras.losses.BinaryFocalCrossentropy(gamma=3.0, apply_class_balancing=True),
        "hinge",
        "squared_hinge",
    ],
    "multilabel": [
        "binary_crossentropy",
        keras.losses.BinaryFocalCrossentropy(gamma=1.0),
        "cosine_similarity",
        keras.losses.Dice(axis=-1),
        keras.losses.CategoricalCrossentropy(),
    ],
    "regression": [
        *("mse", "mae", "mape", "msle", "huber", "log_cosh", "poisson", "cosine_similarity", "kld"),
        keras.losses.Huber(delta=0.1),
        keras.losses.LogCosh(),
        keras.losses.MeanAbsolutePercentageError(reduction=None),
    ],
}
CASES = [(kind, loss) for kind, losses in LOSSES.items() for loss in losses]
MAKE = {
    "classification": lambda name, loss: Classification(name, 3, loss=loss),
    "binary": lambda name, loss: BinaryClassification(name, loss=loss),
    "multilabel": lambda name, loss: MultiLabel(name, 3, loss=loss),
    "regression": lambda name, loss: Regression(name, shape=3, loss=loss),
}


def by_keras(loss, labels, predictions):
    """The loss as `keras.Model.fit` takes it: float labels, mean over the examples."""
    found = keras.losses.get(loss)
    labels = labels if np.ndim(labels) == 1 and predictions.shape[1] == 3 else labels.reshape(len(labels), -1)
    if isinstance(found, keras.losses.Loss):
        found = type(found).from_config({**found.get_config(), "reduction": "sum_over_batch_size"} | kept(found))
        return float(found(labels, predictions))
    return float(ops.mean(found(ops.cast(labels, "float32"), predictions)))


def kept(loss):
    """What Keras leaves out of a Huber loss's config."""
    return {"delta": 0.1} if loss_name(loss) == "huber" else {}


@pytest.mark.parametrize("alike", [1, 4])
@pytest.mark.parametrize(("kind", "loss"), CASES, ids=lambda item: item if isinstance(item, str) else loss_name(item))
def test_complete_labels_give_what_keras_gives(kind, loss, alike):
    tasks = [MAKE[kind](name, loss) for name in NAMES[:alike]]
    labels, predictions = drawn(tasks)
    found = means(groups_of(tasks), labels, predictions)
    for task in tasks:
        expected = by_keras(loss, labels[task.name], predictions[task.name])
        assert found[task.name] == pytest.approx(expected, rel=1e-5), task.name
    assert len(set(found.values())) == alike


def test_sample_weights_multiply_the_losses_and_leave_the_count_alone_as_in_keras():
    tasks = numbers()
    labels, predictions = drawn(tasks)
    weights = {"ant": np.array([0.0, 2.0, 1.0, 0.5, 3.0, 1.0], "float32"), "bee": np.full((6, 1), 2)}
    found = means(groups_of(tasks), labels, predictions, weights)
    plain = means(groups_of(tasks), labels, predictions)
    squared = keras.losses.MeanSquaredError()
    expected = squared(labels["ant"][:, None], predictions["ant"], sample_weight=weights["ant"])
    assert found["ant"] == pytest.approx(float(expected), rel=1e-6)
    assert found["bee"] == pytest.approx(2 * plain["bee"], rel=1e-6)
    assert {name: found[name] for name in ("zebra", "mole")} == {name: plain[name] for name in ("zebra", "mole")}


@pytest.mark.parametrize("dtype", ["int64", "uint8", "int32", "float64", "bool"])
def test_labels_of_any_dtype_and_of_shape_n_1(dtype):
    task = BinaryClassification("zebra")
    labels = np.array([0, 1, 1, 0]).astype(dtype)
    guess = {"zebra": np.array([[0.2], [0.9], [0.4], [0.5]], "float32")}
    expected = -np.mean(np.log([0.8, 0.9, 0.4, 0.5]))
    for shaped in (labels, labels[:, None]):
        assert means(groups_of([task]), {"zebra": shaped}, guess)["zebra"] == pytest.approx(expected, rel=1e-5)


def test_half_precision_predictions_are_measured_in_float32():
    labels = {"zebra": np.array([1000.0, 2000.0])}
    guess = {"zebra": ops.array([[0.0], [0.0]], dtype="float16")}
    assert means(groups_of([Regression("zebra")]), labels, guess)["zebra"] == 2.5e6


# Missing labels.


SINGULAR = {
    "gamma deviance": (lambda y, p: ops.sum(y / p - ops.log(y / p), axis=-1), 1.5 - np.log(1.5), -3 / 4 + 1 / 2),
    "relative error": (lambda y, p: ops.sum(ops.abs(y - p) / ops.abs(y), axis=-1), 1 / 3, -1 / 3),
    "distance": (lambda y, p: ops.sqrt(ops.sum(ops.square(y - p), axis=-1)), 1.0, -1.0),
    "reciprocal": (lambda y, p: ops.sum(ops.square(1 / y - 1 / p), axis=-1), 1 / 36, -1 / 12),
}


@pytest.mark.parametrize("name", SINGULAR)
def test_a_loss_that_breaks_somewhere_stays_away_from_the_missing(name):
    loss, value, slope = SINGULAR[name]
    (group,) = groups_of([Regression("zebra", loss=loss)])
    labels, rows = tf.constant([NAN, 3.0, NAN]), tf.constant([[1.0], [2.0], [4.0]])
    with tf.GradientTape() as tape:
        tape.watch(rows)
        sums, counts = group.sums(group.examples({"zebra": labels}, {"zebra": rows}))
    assert float(sums[0]) == pytest.approx(value, rel=1e-5)
    assert float(counts[0]) == 1
    np.testing.assert_allclose(tape.gradient(sums, rows), [[0.0], [slope], [0.0]], rtol=1e-5, atol=1e-7)


def test_labels_of_nobody_move_no_gradient_through_their_stand_in():
    (group,) = groups_of([Regression("zebra")])
    guess = tf.constant([[1.0], [2.0]])
    with tf.GradientTape() as tape:
        tape.watch(guess)
        total = tf.reduce_sum(group.examples({"zebra": tf.constant([NAN, 3.0])}, {"zebra": guess}).labels)
    assert tape.gradient(total, guess) is None


def test_a_loss_of_whole_vectors_counts_complete_examples_only():
    task = Regression("zebra", shape=2, loss="cosine_similarity")
    labels = {"zebra": np.array([[3.0, 4.0], [NAN, 4.0], [NAN, NAN]], "float32")}
    guess = {"zebra": np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]], "float32")}
    assert means(groups_of([task]), labels, guess)["zebra"] == pytest.approx(-0.6)


def test_a_loss_of_elements_averages_those_that_an_example_has():
    task = Regression("zebra", shape=2)
    labels = {"zebra": np.array([[1.0, 3.0], [NAN, 4.0], [NAN, NAN]], "float32")}
    guess = {"zebra": np.zeros((3, 2), "float32")}
    (group,) = groups_of([task])
    values, labelled = group.per_label(group.examples(labels, guess))
    assert np.asarray(values).tolist() == [5.0, 16.0, 0.0]
    assert np.asarray(labelled).tolist() == [True, True, False]


def test_regressions_are_measured_on_their_standardised_scale():
    scaler = Unstandardize(name="zebra")
    scaler.build((None, 2))
    scaler.learn([10.0, 0.0], [2.0, 0.5])
    (group,) = groups_of([Regression("zebra", shape=2)], scalers={"zebra": scaler})
    labels = {"zebra": np.array([[12.0, 1.0], [NAN, 0.5]], "float32")}
    guess = {"zebra": np.array([[10.0, 0.0], [99.0, 0.0]], "float32")}
    values, _ = group.per_label(group.examples(labels, guess))
    assert np.asarray(values).tolist() == [(1.0 + 4.0) / 2, 1.0]


# What one call serves.


def test_from_four_on_alike_tasks_are_grouped():
    assert names_of(groups_of(numbers())) == [NAMES]
    assert names_of(groups_of(numbers()[:3])) == [["ant"], ["mole"], ["zebra"]]


def test_only_tasks_of_one_kind_width_loss_and_scale_are_grouped():
    def layer(name):
        made = Unstandardize(name=name)
        made.build((None, 1))
        return made

    alike = [Regression(f"n{place}") for place in range(8)]
    scalers = {task.name: layer(task.name) for task in alike[::2]}
    others = [Regression(f"m{place}", loss="mae") for place in range(4)]
    wide = [MultiLabel(f"w{place}", 1 + place // 4) for place in range(8)]
    single = [BinaryClassification(f"b{place}") for place in range(4)]
    found = names_of(groups_of([*alike, *others, *wide, *single], scalers=scalers))
    expected = [alike[::2], alike[1::2], others, wide[:4], wide[4:], single]
    assert found == sorted([task.name for task in part] for part in expected)


def test_an_objects_options_tell_losses_apart_and_its_name_does_not():
    def losses(*objects):
        return dict(zip(NAMES, objects, strict=True))

    huber = keras.losses.Huber
    same = losses(huber(0.3), huber(0.3, name="other"), huber(0.3, reduction="sum"), huber(delta=0.3))
    assert names_of(groups_of(numbers(), same)) == [NAMES]
    mixed = losses(huber(0.3), huber(0.3), huber(0.3), huber(0.9))
    assert len(groups_of(numbers(), mixed)) == 4
    labels, predictions = drawn(numbers())
    found = means(groups_of(numbers(), mixed), labels, predictions)
    for name, loss in mixed.items():
        assert found[name] == pytest.approx(float(loss(labels[name][:, None], predictions[name])), rel=1e-5)


class Scaled(keras.losses.Loss):
    """A user's loss whose config does not tell its factor."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, y_true, y_pred):
        return self.factor * ops.mean(ops.square(y_true - y_pred), axis=1)


def scaled_by(factor):
    def loss(labels, predictions):
        return factor * ops.mean(ops.square(labels - predictions), axis=1)

    return loss


@pytest.mark.parametrize("make", [Scaled, scaled_by])
def test_losses_of_the_users_own_are_never_mixed_up(make):
    losses = {name: make(place + 1.0) for place, name in enumerate(NAMES)}
    labels, predictions = drawn(numbers())
    found = means(groups_of(numbers(), losses), labels, predictions)
    for place, name in enumerate(NAMES):
        squares = np.mean((labels[name] - predictions[name][:, 0]) ** 2)
        assert found[name] == pytest.approx((place + 1) * squares, rel=1e-5)


@pytest.mark.parametrize("loss", [scaled_by(1.0), Scaled(1.0)])
def test_one_loss_of_the_users_own_for_all_is_called_task_by_task(loss):
    # It reduces axis 1, which would be the group's axis.
    found = groups_of(numbers(), dict.fromkeys(NAMES, loss))
    assert [group.names for group in found] == [[name] for name in NAMES]
    labels, predictions = drawn(numbers())
    for name, value in means(found, labels, predictions).items():
        assert value == pytest.approx(np.mean((labels[name] - predictions[name][:, 0]) ** 2), rel=1e-5)


def test_a_loss_of_the_users_own_under_a_name_of_keras_is_the_users():
    def huber(labels, predictions):
        return ops.sum(ops.abs(labels - predictions), axis=1)

    task = Regression("zebra", shape=2, loss=huber)
    labels = {"zebra": np.array([[1.0, 3.0], [NAN, 4.0]], "float32")}
    assert means(groups_of([task]), labels, {"zebra": np.zeros((2, 2), "float32")})["zebra"] == 4.0
    assert len(groups_of(numbers(shape=2), dict.fromkeys(NAMES, huber))) == 4


def test_the_names_that_are_trusted_are_functions_of_keras():
    trusted = STACKABLE | Regression.elementwise_losses | MultiLabel.elementwise_losses
    assert [name for name in trusted if loss_name(getattr(keras.losses, name, None)) != name] == []


def test_a_loss_of_the_users_own_gets_float_labels_as_in_keras():
    def brier(labels, predictions):
        return ops.mean((labels - predictions) ** 2, axis=-1)

    labels = {"zebra": np.array([0, 1, -1], "int32")}
    guess = {"zebra": np.array([[0.5], [0.5], [0.9]], "float32")}
    assert means(groups_of([BinaryClassification("zebra", loss=brier)]), labels, guess)["zebra"] == 0.25


@pytest.mark.parametrize(
    "loss",
    [lambda labels, predictions: ops.mean(labels - predictions), lambda labels, predictions: labels - predictions],
    ids=["scalar", "unreduced"],
)
def test_a_loss_without_one_value_an_example_is_refused(loss):
    (group,) = [TaskGroup([Regression("zebra")], loss)]
    rule = r"^Regression\('zebra'\): `loss` must return values of shape \(batch,\), got \(.*\)\. Return one value"
    with pytest.raises(ValueError, match=rule):
        group.sums(group.examples({"zebra": np.ones(3)}, {"zebra": np.ones((3, 1))}))


def test_loss_names_see_through_every_form():
    assert loss_name(keras.losses.Huber(0.2)) == loss_name(keras.losses.get("huber")) == "huber"
    assert loss_name(Scaled(1.0)) == "Scaled"
    assert loss_name(scaled_by(1.0)) == "loss"


def test_values_are_unreduced_whatever_the_objects_reduction():
    loss = keras.losses.MeanAbsoluteError(reduction="sum")
    assert np.asarray(loss_values(loss, np.array([[1], [5]]), ops.array([[0.0], [1.0]]))).tolist() == [1.0, 4.0]
