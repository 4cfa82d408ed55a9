"""Losses and metrics over several outputs in a training: gradients, balance, missing labels, logs, files, refusals."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from joint_terms.functions import alive_is_first, both_right, width_by_age
from keras import ops
from mistakes import Case, check_refused, parameters
from states import Reused
from toys import assert_same_weights, build, examples

import kmtl
from kmtl.balancers import MGDA, UPGrad

X, Y = examples(24, hidden=0.2)
LAW = kmtl.JointLoss("law", width_by_age, ["age", "box"], weight=0.5, balanced=True, needs_labels=["box"])
BESIDE = kmtl.JointLoss("first", alive_is_first, ["alive", "species"], weight=2.0, needs_labels=False)
BOTH = kmtl.JointMetric("both", both_right, ["species", "alive"], better="max")


def make(**options):
    model = build(**options.pop("network", {}))
    model.compile("sgd", run_eagerly=True, **options)
    model.adapt(X, Y)
    return model


fresh = Reused(make)


def law(outputs):
    """The law again, in NumPy: its values, and the rows that it needs."""
    values = (0.1 * outputs["age"][:, 0] - outputs["box"][:, 0] / 30 + Y["box"][:, 1] / 30) ** 2
    return values, ~np.isnan(Y["box"]).any(axis=1)


def slopes(model, loss):
    """The gradient of a loss by all trainable variables, a list of arrays."""
    with tf.GradientTape() as tape:
        outputs = model(X, training=True)
        value = tf.cast(loss.weight * tf.divide(*loss.sums(model.tasks, Y, outputs)), tf.float32)
    variables = [variable.value for variable in model.trainable_variables]
    return [
        np.zeros(v.shape) if g is None else g.numpy()
        for g, v in zip(tape.gradient(value, variables), variables, strict=True)
    ]


@pytest.mark.parametrize("balancer", ["equal", "upgrad", "uncertainty"])
def test_one_beside_the_balancer_adds_its_own_gradient_and_changes_no_weight(balancer):
    plain, model = make(balancer=balancer), make(balancer=balancer, joint_losses=[BESIDE])
    added = slopes(plain, BESIDE)
    outputs = plain.predict(X, verbose=0)
    size = np.mean((outputs["alive"][:, 0] - outputs["species"][:, 0]) ** 2)
    one, other = (given.train_on_batch(X, Y, return_dict=True) for given in (plain, model))
    assert other["first_loss"] == pytest.approx(size, rel=1e-5)
    assert other["first_weight"] == 2.0
    assert other["loss"] == pytest.approx(one["loss"] + 2 * size, rel=1e-5)
    assert {key: other[key] for key in one if key.endswith("_weight")} == pytest.approx(
        {key: one[key] for key in one if key.endswith("_weight")}, rel=1e-6
    )
    moved = [np.any(slope != 0) for slope in added]
    # The trunk, and the heads whose outputs it takes.
    assert sum(moved) == 6
    for left, right, slope in zip(plain.trainable_variables, model.trainable_variables, added, strict=True):
        np.testing.assert_allclose(right.numpy(), left.numpy() - 0.01 * slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("cut", [True, False])
def test_a_balanced_one_is_one_more_row_of_the_gradients(cut):
    """Against the balancer's own answer for the matrix of gradients, one row a loss, taken here one by one."""
    model = make(balancer="upgrad", joint_losses=[LAW, BESIDE])
    if not cut:
        model.setup.__dict__["cut"] = None
        model.forks[0].attach(None)
    shared, variables = model.shared_variables, model.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        losses = tf.unstack(model.step.forward((X, {name: tf.constant(y) for name, y in Y.items()}, {})).losses)
    values = [variable.value for variable in variables]
    found = [tape.gradient(loss, values, unconnected_gradients="zero") for loss in losses]
    places = [place for place, variable in enumerate(variables) if any(variable is one for one in shared)]
    rows = np.stack([np.concatenate([row[place].numpy().ravel() for place in places]) for row in found])
    weights = UPGrad().weigh(gram=tf.constant(rows[:5] @ rows[:5].T))
    step = {id(v): sum(row[i].numpy() for row in found) for i, v in enumerate(variables)}
    direction = np.asarray(weights) @ rows[:5] + rows[5]
    for place in places:
        size = values[place].numpy().size
        step[id(variables[place])], direction = direction[:size].reshape(values[place].shape), direction[size:]
    expected = [value.numpy() - 0.01 * step[id(v)] for v, value in zip(variables, values, strict=True)]
    logs = model.train_on_batch(X, Y, return_dict=True)
    for variable, value in zip(variables, expected, strict=True):
        np.testing.assert_allclose(variable.numpy(), value, rtol=1e-4, atol=1e-6)
    assert logs["law_weight"] == pytest.approx(0.5 * float(weights[4]), rel=1e-4)


ROUTES = {
    "tracked": {"balancer": "equal", "track_conflicts": True},
    "sliced": {"balancer": UPGrad(gram_fraction=0.5)},
    "kept": {"balancer": UPGrad(update_every=2)},
    "online": {"balancer": MGDA(solve="online")},
    "gradients": {"balancer": "moco"},
}


@pytest.mark.parametrize("route", ROUTES)
def test_every_way_through_the_step_gives_the_heads_the_same_gradient(route):
    """Weights that come from gradients reach the trunk alone."""
    model = make(joint_losses=[LAW, BESIDE], **ROUTES[route])
    plain = make(joint_losses=[LAW, BESIDE])
    logs = [one.train_on_batch(X, Y, return_dict=True) for one in (plain, model)][1]
    heads = [variable for name in model.tasks for variable in model.task_variables(name)]
    others = [variable for name in plain.tasks for variable in plain.task_variables(name)]
    for variable, other in zip(heads, others, strict=True):
        np.testing.assert_allclose(variable.numpy(), other.numpy(), rtol=1e-4, atol=1e-6)
    if route == "tracked":
        assert_same_weights(model, plain, rtol=1e-4, atol=1e-6)
        assert logs["law_gradient_norm"] > 0
        assert {"law_excluded", "age_law_cosine"} <= set(logs)
    assert logs["law_weight"] >= 0
    assert logs["first_weight"] == 2.0


def test_a_balancer_that_looks_at_the_losses_again_sees_it():
    model = make(joint_losses=[LAW, BESIDE], balancer="famo")
    logs = [model.train_on_batch(X, Y, return_dict=True) for _ in range(2)]
    assert logs[0]["law_weight"] != logs[1]["law_weight"]
    found = [sum(one[f"{name}_weight"] for name in model.tasks) + one["law_weight"] / 0.5 for one in logs]
    assert found == pytest.approx([5.0, 5.0], rel=1e-5)


def test_it_is_the_mean_over_its_rows_in_all_batches_in_fit_and_in_evaluate():
    model = fresh(joint_losses=[LAW, BESIDE], joint_metrics=[BOTH])
    outputs = model.predict(X, verbose=0)
    logs = model.evaluate(X, Y, batch_size=7, verbose=0, return_dict=True)
    values, there = law(outputs)
    assert logs["law_loss"] == pytest.approx(values[there].mean(), rel=1e-5)
    known = (Y["species"] >= 0) & (Y["alive"] >= 0)
    right = (outputs["species"].argmax(1) == Y["species"]) & ((outputs["alive"][:, 0] > 0.5) == (Y["alive"] > 0))
    assert 0 < known.sum() < 24
    assert logs["both"] == pytest.approx(right[known].mean(), rel=1e-6)
    parts = sum(logs[f"{name}_loss"] for name in model.tasks) + 0.5 * logs["law_loss"] + 2 * logs["first_loss"]
    assert logs["loss"] == pytest.approx(parts, rel=1e-5)
    assert model.compute_loss(X, {n: tf.constant(y) for n, y in Y.items()}, model(X)).numpy() == pytest.approx(
        model.evaluate(X, Y, batch_size=24, verbose=0)[0], rel=1e-5
    )
    history = model.fit(X, Y, batch_size=24, verbose=0, validation_data=(X, Y)).history
    assert history["both"][0] == pytest.approx(logs["both"], rel=1e-6)
    assert history["law_loss"][0] == pytest.approx(logs["law_loss"], rel=1e-5)
    frozen = kmtl.search.from_dynamic(model)
    assert frozen == pytest.approx({name: weight * 6 / 6.5 for name, weight in model.loss_weights.items()}, rel=1e-5)
    assert {"val_law_loss", "val_first_loss", "val_both"} <= set(history)
    assert not {"val_law_weight", "val_first_weight"} & set(history)


@pytest.mark.parametrize("balancer", ["equal", "upgrad"])
def test_where_no_row_has_its_labels_it_sits_out(balancer):
    unknown = {**Y, "box": np.full_like(Y["box"], np.nan)}
    plain, model = make(balancer=balancer), make(balancer=balancer, joint_losses=[LAW])
    plain.train_on_batch(X, unknown)
    logs = model.train_on_batch(X, unknown, return_dict=True)
    assert np.isnan([logs["law_loss"], logs["law_weight"]]).all()
    assert_same_weights(plain, model, rtol=1e-5, atol=1e-7)


@keras.saving.register_keras_serializable("toys")
def endless(labels, outputs):
    """Never finite, nor is its slope."""
    return ops.log(ops.zeros_like(labels["age"][:, 0])) * ops.square(outputs["age"][:, 0])


@pytest.mark.parametrize("balanced", [True, False])
def test_one_that_is_not_finite_sits_out_and_is_told(balanced):
    plain, model = make(), make(joint_losses=[kmtl.JointLoss("endless", endless, ["age"], balanced=balanced)])
    plain.fit(X, Y, batch_size=24, verbose=0)
    with pytest.warns(RuntimeWarning, match="'endless' 1; steps skipped: 0"):
        history = model.fit(X, Y, batch_size=24, verbose=0).history
    assert_same_weights(plain, model, rtol=1e-5, atol=1e-7)
    assert np.isfinite(history["loss"][0])


def test_its_weight_moves_and_comes_back_from_a_file_with_everything_else(tmp_path):
    model = make(joint_losses=[LAW, BESIDE], joint_metrics=[BOTH], balancer="uncertainty", loss_weights={"first": 3.0})
    assert model.loss_weights == {**dict.fromkeys(model.tasks, 1.0), "law": 0.5, "first": 3.0}
    model.set_loss_weights({"law": 0.25})
    model.train_on_batch(X, Y)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.loss_weights == {**dict.fromkeys(model.tasks, 1.0), "law": 0.25, "first": 3.0}
    for one in (model, again):
        one.train_on_batch(X, Y)
    assert_same_weights(model, again)
    assert again.evaluate(X, Y, verbose=0) == model.evaluate(X, Y, verbose=0)
    with pytest.raises(ValueError, match=r"`loss_weights` .* got 'firs'\. Did you mean 'first'"):
        again.set_loss_weights({"firs": 1.0})


def test_monitors_know_which_end_of_it_is_better():
    model = fresh(joint_losses=[LAW, BESIDE], joint_metrics=[BOTH])
    assert [model.direction(key) for key in ("val_both", "both", "val_law_loss", "first_loss")] == [
        "max",
        "max",
        "min",
        "min",
    ]
    untold = kmtl.JointMetric("alive_too", both_right, ["species", "alive"])
    with pytest.raises(ValueError, match="`direction` needs a metric whose better end is known"):
        untold.direction("alive_too")


def test_loss_scaling_changes_nothing():
    options = {"joint_losses": [LAW, BESIDE], "balancer": "upgrad", "run_eagerly": True}
    plain, scaled = build(), build()
    plain.compile("sgd", **options)
    scaled.compile(keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(), initial_scale=1024.0), **options)
    for model in (plain, scaled):
        model.adapt(X, Y)
        model.train_on_batch(X, Y)
    assert_same_weights(plain, scaled, rtol=1e-4, atol=1e-6)


# Refusals.


def one_row(labels, outputs):
    """One number for the batch."""
    del labels
    return ops.mean(outputs["age"])


def columns(labels, outputs):
    """A number an example, on an axis of its own."""
    del labels
    return outputs["age"]


def unasked(labels, outputs):
    """Reads a label that it did not ask for."""
    return outputs["age"][:, 0] - labels["age"][:, 0]


def misfit(labels, outputs):
    """Adds what does not fit."""
    del labels
    return ops.sum(outputs["species"] + outputs["box"], axis=-1)


def loss(fn=columns, tasks=("age",), name="law", **options):
    return kmtl.JointLoss(name, fn, list(tasks), **options)


def making(*given, kind=kmtl.JointLoss, **options):
    """A case's act: makes one."""
    return lambda _: kind(*given, **options)


def setting(*losses, **options):
    """A case's act: compiles a fresh model."""
    return lambda _: build().compile("sgd", joint_losses=list(losses), **options)


ALONE = [
    Case("lambda", making("law", lambda *_: 0.0, ["a"]), "`fn` | with a name | a lambda | `def` | register"),
    Case("partial", making("law", functools.partial(columns), ["a"]), "`fn` | with a name | partial"),
    Case("no function", making("law", "mse", ["a"]), "JointLoss('law'): `fn` | 'mse'"),
    Case("no tasks", making("law", columns, []), "`tasks` must name the tasks"),
    Case("one text", making("law", columns, "age"), "`tasks` must be a list | 'age'"),
    Case("twice", making("law", columns, ["age", "age"]), "`tasks` | different | 'age', 'age'"),
    Case("label of another", making("law", columns, ["age"], needs_labels=["agee"]), "`needs_labels` | 'agee' | 'age'"),
    Case("negative weight", making("law", columns, ["age"], weight=-1), "`weight` | at least 0 | -1"),
    Case("balanced by text", making("law", columns, ["age"], balanced="yes"), "`balanced` | True or False | 'yes'"),
    Case("reserved name", making("loss", columns, ["age"]), "JointLoss: `name` | reserved"),
    Case(
        "better end",
        making("law", columns, ["age"], kind=kmtl.JointMetric, better="maximum"),
        "`better` | Did you mean 'max'",
    ),
]
COMPILING = [
    Case(
        "unknown task",
        setting(loss(tasks=["age", "bx"])),
        "compile: `joint_losses` of 'law' | 'bx'. Did you mean 'box'",
    ),
    Case("name of a task", setting(loss(name="box")), "`joint_losses` must have names | 'box'"),
    Case("the same name", setting(LAW, LAW), "`joint_losses` must have names | 'law'"),
    Case("a function", setting(width_by_age), "`joint_losses` must hold kmtl.JointLoss | width_by_age"),
    Case("a metric for a loss", setting(BOTH), "`joint_losses` must hold kmtl.JointLoss | JointMetric('both')"),
    Case("one number a batch", setting(loss(one_row)), "one value an example | shape () for"),
    Case("an axis too many", setting(loss()), "of 'law' must return one value an example | Keep the batch axis"),
    Case(
        "a label not asked for",
        setting(loss(unasked, needs_labels=False)),
        "of 'law' | 'unasked' | 'age' | labels of []",
    ),
    Case("shapes that do not fit", setting(loss(misfit, ["species", "box"])), "of 'law' must take | misfit | It says"),
    Case(
        "a key of a task's loss",
        setting(joint_metrics=[kmtl.JointMetric("age_loss", both_right, ["species", "alive"])]),
        "`joint_metrics` | twice | 'age_loss'",
    ),
    Case(
        "a key of a metric",
        setting(joint_metrics=[kmtl.JointMetric("age_mae", both_right, ["species", "alive"])]),
        "`joint_metrics` | twice | 'age_mae'",
    ),
    Case("unknown weight", setting(LAW, loss_weights={"lawn": 1.0}), "`loss_weights` | 'lawn' | 'law'"),
    Case(
        "features",
        setting(LAW, balancer=UPGrad(level="features")),
        "`joint_losses` | level='features' | level='parameters'",
    ),
    Case("all at once", setting(loss(tasks=["bx"]), loss(one_row, name="other")), "'bx' | 'other'"),
]


@pytest.mark.parametrize("case", parameters(alone=ALONE, compile=COMPILING))
def test_what_is_wrong_is_refused(case):
    check_refused(case, fresh(joint_losses=[LAW, BESIDE], joint_metrics=[BOTH]))


def test_a_balanced_one_needs_weights_that_tasks_share_under_a_gramian():
    model = build([kmtl.Regression("age")])
    alone = kmtl.JointLoss("small", one_row_each, ["age"], balanced=True)
    with pytest.raises(ValueError, match="`joint_losses` of balanced=True need trainable weights that tasks share"):
        model.compile("sgd", balancer="upgrad", joint_losses=[alone])
    model.compile("sgd", balancer="uncertainty", joint_losses=[alone])
    assert model.balancer.last.shape == (2,)


def one_row_each(labels, outputs):
    """A small loss."""
    del labels
    return ops.square(outputs["age"][:, 0])
