"""Several losses of one task: their weighted sum is its loss, and each is logged."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from mistakes import Case, check_refused, parameters
from toys import assert_same_weights, build, compiled, examples, tasks

import kmtl
from kmtl.losses import TaskGroup
from kmtl.tasks.several_losses import SeveralLosses

X, Y = examples(24, hidden=0.2)


@keras.saving.register_keras_serializable("toys")
def farthest(labels, predictions):
    """A loss of whole labels: the largest miss of any element."""
    return ops.max(ops.abs(labels - predictions), axis=-1)


def test_of_every_kind_the_loss_is_the_weighted_sum(kind):
    """Half of one loss and a quarter of the same are three quarters of it, whatever is missing or weighs."""
    generator = np.random.default_rng(0)
    task = kind.make("a")
    labels = kind.draw(generator, 6)
    labels[2] = task.missing
    if kind.parts:
        labels[(3, *[0] * (labels.ndim - 1))] = task.missing
    outputs = generator.uniform(0.1, 0.9, (6, *task.output_shape)).astype("float32")
    outputs = outputs / outputs.sum(axis=-1, keepdims=True) if task.output_shape[-1] > 2 else outputs
    given = {"a": labels}, {"a": outputs}, {"a": np.linspace(0.5, 2, 6, dtype="float32")}
    own = task.resolved_loss()
    single, several = (
        TaskGroup([task], own),
        TaskGroup([task], SeveralLosses({"x": own, "y": own}, {"x": 0.5, "y": 0.25})),
    )
    one, other = single.sums(single.examples(*given)), several.sums_with_parts(several.examples(*given))
    np.testing.assert_allclose(other[0], 0.75 * np.asarray(one[0]), rtol=1e-6)
    np.testing.assert_array_equal(other[1], one[1])
    assert [float(part[0]) for part in other[2]] == pytest.approx([float(one[0][0])] * 2, rel=1e-6)


def test_a_label_counts_where_every_one_of_them_can_be_taken():
    task = kmtl.Regression("box", shape=2, losses={"absolute": "mae", "farthest": farthest})
    labels = {"box": np.array([[1, 2], [3, np.nan], [np.nan, np.nan]], "float32")}
    outputs = {"box": np.array([[0, 0], [0, 0], [np.inf, 0]], "float32")}
    group = TaskGroup([task], task.resolved_loss())
    total, count, parts = group.sums_with_parts(group.examples(labels, outputs))
    assert (float(total[0]), float(count[0]), [float(part[0]) for part in parts]) == (3.5, 1.0, [1.5, 2.0])
    # Two that are taken of elements need one of them each.
    group = TaskGroup([task], SeveralLosses({"absolute": "mae", "squared": "mse"}))
    total, count, parts = group.sums_with_parts(group.examples(labels, outputs))
    assert (float(total[0]), float(count[0])) == (1.5 + 2.5 + 3 + 9, 2.0)


def with_two(**options):
    """The toy tasks, two losses on one of them."""
    own = kmtl.Regression("box", shape=(2,), unit="px", losses={"absolute": "mae", "farthest": farthest}, **options)
    return [own if task.name == "box" else task for task in tasks()]


def test_they_are_logged_weighted_and_saved(tmp_path):
    model = compiled(with_two(), loss_weights={"age": 0.5, "box": {"farthest": 0.2}}, run_eagerly=True)
    model.fit(X, Y, batch_size=7, verbose=0)
    logs = model.evaluate(X, Y, batch_size=7, verbose=0, return_dict=True)
    scaler = model.scalers["box"]
    misses = np.abs(model.predict(X, verbose=0)["box"] - Y["box"]) / scaler.scale.numpy()
    misses = misses[~np.isnan(misses).any(axis=1)]
    assert logs["box_absolute_loss"] == pytest.approx(misses.mean(), rel=1e-5)
    assert logs["box_farthest_loss"] == pytest.approx(misses.max(axis=1).mean(), rel=1e-5)
    assert logs["box_loss"] == pytest.approx(logs["box_absolute_loss"] + 0.2 * logs["box_farthest_loss"], rel=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.tasks["box"] == model.tasks["box"]
    assert again.evaluate(X, Y, batch_size=7, verbose=0, return_dict=True) == logs
    for one in (model, again):
        one.train_on_batch(X, Y)
    assert_same_weights(model, again)


def test_compile_may_give_them_in_place_of_the_task():
    own = compiled(with_two(), loss_weights={"box": {"farthest": 0.2}}, run_eagerly=True)
    given = {"box": {"absolute": "mae", "farthest": farthest}}
    told = compiled(loss=given, loss_weights={"box": {"farthest": 0.2}}, run_eagerly=True)
    again = build()
    again.compile_from_config(told.get_compile_config())
    logs = []
    for model in (own, told, again):
        model.adapt(X, Y)
        logs.append(model.train_on_batch(X, Y, return_dict=True))
    assert logs[0] == logs[1] == pytest.approx(logs[2], rel=1e-6)
    assert_same_weights(own, told)


def test_what_is_reported_of_a_task_elsewhere_leaves_them_out():
    from kmtl.training.trainer import scores

    model = compiled(with_two(), run_eagerly=True)
    model.adapt(X, Y)
    data = tf.data.Dataset.from_tensor_slices((X, Y)).batch(24)
    assert list(scores(model, data)["box"]) == ["mae"]


def setting(**options):
    """A case's act: compiles a fresh model."""
    return lambda _: compiled(with_two(), **options)


MISTAKES = [
    Case(
        "beside a loss", lambda _: kmtl.Regression("age", loss="mae", losses={"a": "mse"}), "`loss` | left out | 'mae'"
    ),
    Case("a list", lambda _: kmtl.Regression("age", losses=["mse"]), "Regression('age'): `losses` | a dict"),
    Case("none", lambda _: kmtl.Regression("age", losses={}), "`losses` | of one or more"),
    Case("unknown loss", lambda _: kmtl.Regression("age", losses={"a": "msee"}), "must be a Keras loss | 'msee'"),
    Case("a name with a space", lambda _: kmtl.Regression("age", losses={"a b": "mse"}), "plain name | 'a b'"),
    Case("unknown part", setting(loss_weights={"box": {"far": 1.0}}), "`loss_weights` of 'box' | 'far' | 'farthest'"),
    Case("negative part", setting(loss_weights={"box": {"farthest": -1}}), "'farthest' of 'box' | at least 0 | -1"),
    Case("parts of one loss", setting(loss_weights={"age": {"a": 1.0}}), "of 'age' must be a number | losses={name"),
    Case("a shape", setting(loss={"age": {"a": "mse", "b": keras.losses.CTC()}}), "`loss` of 'age' must take"),
    Case(
        "a log key",
        setting(loss={"box": {"x": "mse"}}, metrics={"box": [keras.metrics.MeanSquaredError("x_loss")]}),
        "`losses` | twice | 'box_x_loss'",
    ),
]


@pytest.fixture(scope="module")
def model():
    return compiled()


@pytest.mark.parametrize("case", parameters(several=MISTAKES))
def test_what_is_wrong_is_refused(case, model):
    check_refused(case, model)
