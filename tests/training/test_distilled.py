"""Single-task teachers: what a student is drawn to, and that nothing of it stays."""

import keras
import numpy as np
import pytest
import recipe_rows

import kmtl
from kmtl.model.step import Step
from kmtl.training import Distilled
from kmtl.training.distillation_step import DistillationStep, feature_distance
from kmtl.training.output_distances import divergence
from kmtl.training.work import Given, Work

X, Y = recipe_rows.rows(8)
NAMES = [task.name for task in recipe_rows.TASKS]


@pytest.fixture(scope="module")
def alone():
    models = {}
    for seed, task in enumerate(recipe_rows.TASKS):
        keras.utils.set_random_seed(seed + 1)
        models[task.name] = recipe_rows.build([task])
        models[task.name].adapt(X, {task.name: Y[task.name]})
    return models


def model_with(step, alone, balancer="equal", **options):
    keras.utils.set_random_seed(0)
    model = recipe_rows.build(recipe_rows.TASKS)
    model.compile(keras.optimizers.SGD(0.1), balancer=balancer, run_eagerly=True)
    model.adapt(X, Y)
    if step is not Step:
        recipe = Distilled()
        work = Work(recipe, Given(recipe_rows.build, recipe_rows.TASKS, (X, Y), None, 1, 0))
        options["student"], options["teachers"] = recipe.forms(work, model, alone)
    model.step = step(model, model.setup, **options)
    return model


@pytest.mark.parametrize("balancer", ["equal", "upgrad"])
def test_of_no_weight_it_is_joint_training_bit_for_bit(alone, balancer):
    plain = model_with(Step, alone, balancer)
    taught = model_with(DistillationStep, alone, balancer, feature_weight=0.0, output_weight=0.0)
    for model in (plain, taught):
        for _ in range(2):
            model.train_on_batch(X, Y)
    for one, other in zip(plain.get_weights(), taught.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_losses_by_hand_and_what_moves(alone):
    model = model_with(DistillationStep, alone, feature_weight={"kind": 2.0}, output_weight=0.5, temperature=3.0)
    model.set_loss_weights({"speed": 4.0})
    step = model.step
    features, outputs = (part for part in step.student(X, training=True))
    seen = {name: step.teachers[name].model(X, training=False) for name in NAMES}
    one, other = features.numpy(), seen["kind"][0].numpy()
    one, other = (part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-12) for part in (one, other))
    soft = [part.numpy() ** (1 / 3) for part in (outputs["kind"], seen["kind"][1]["kind"])]
    soft = [part / part.sum(1, keepdims=True) for part in soft]
    scale = model.scalers["speed"].scale.numpy()
    wanted = 0.5 * 9 * np.sum(soft[1] * np.log(soft[1] / soft[0]), 1).mean()
    wanted += 4.0 * 0.5 * np.mean(((outputs["speed"] - seen["speed"][1]["speed"]).numpy() / scale) ** 2)

    before = [variable.numpy() for teacher in alone.values() for variable in teacher.variables]
    logs = model.train_on_batch(X, Y, return_dict=True)
    np.testing.assert_allclose(logs["feature_distillation"], 2.0 * ((one - other) ** 2).sum(1).mean(), rtol=1e-4)
    np.testing.assert_allclose(logs["output_distillation"], wanted, rtol=1e-4)

    after = [variable.numpy() for teacher in alone.values() for variable in teacher.variables]
    for was, now in zip(before, after, strict=True):
        np.testing.assert_array_equal(was, now)
    kernels = {name: adaptor.kernel.numpy() for name, adaptor in step.adaptors.items()}
    assert np.abs(kernels["kind"] - np.eye(5)).max() > 1e-6
    np.testing.assert_array_equal(kernels["speed"], np.eye(5))
    # Backups hold the adaptors; the model and its optimizer know nothing of them.
    state = {id(variable) for variable in model.training_state}
    assert all(id(variable) in state for variable in step.own_variables)
    assert len(model.variables) == len(recipe_rows.build(recipe_rows.TASKS).variables)
    assert len(model.optimizer.variables) == 2


def test_features_of_maps_are_compared_place_by_place():
    one, other = np.random.default_rng(0).normal(size=(2, 3, 4, 4, 6)).astype("float32")
    cosines = np.sum(one * other, -1) / (np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1))
    np.testing.assert_allclose(feature_distance(one, other), (2 - 2 * cosines).mean((1, 2)), rtol=1e-5)
    assert np.isfinite(feature_distance(np.zeros((1, 2), "float32"), np.ones((1, 2), "float32"))).all()


def test_the_divergence_of_softened_logits():
    logits = np.random.default_rng(0).normal(size=(2, 5, 3)) * 3
    task, temperature = kmtl.Classification("kind", 3), 2.5

    def soft(values):
        return np.exp(values) / np.exp(values).sum(-1, keepdims=True)

    given, wanted = (soft(part / temperature) for part in logits)
    by_logits = temperature**2 * np.sum(wanted * np.log(wanted / given), -1)
    found = divergence(task, *(soft(part).astype("float32") for part in logits), temperature)
    np.testing.assert_allclose(found, by_logits, rtol=1e-3, atol=1e-5)


def test_a_trunk_that_depends_on_the_tasks_is_refused_before_training():
    def build(tasks):
        image = keras.Input((4, 4, 1), name="image")
        features = keras.layers.Dense(3 + len(tasks))(keras.layers.Flatten()(image))
        model = kmtl.MultiTaskModel.from_features(image, features, tasks)
        model.compile("adam", run_eagerly=True)
        return model

    began = []
    callbacks = lambda: began.append(1) or []  # noqa: E731
    with pytest.raises(ValueError, match="`build` must make the same trunk for one task as for all"):
        recipe_rows.train(Distilled(), build=build, callbacks=callbacks)
    assert not began
    with pytest.raises(ValueError, match="`tasks` must be two or more"):
        Distilled().train(build, recipe_rows.TASKS[:1], (X, {"kind": Y["kind"]}), epochs=1)
    with pytest.raises(ValueError, match="`temperature` must be a finite number above 0, got 0"):
        Distilled(temperature=0)
