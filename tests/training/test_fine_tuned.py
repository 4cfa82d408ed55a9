"""Tuning a task further: what moves, what must not, and which tasks are chosen."""

import keras
import numpy as np
import pytest
import recipe_rows

import kmtl
from kmtl.balancers import Unit
from kmtl.model.compile_like import compile_like
from kmtl.training import FineTuned, SemiSupervised
from kmtl.training.adapted import Adapted
from kmtl.training.builds import Build
from kmtl.training.work import Given, Work

X, Y = recipe_rows.rows(16)
HELD_OUT = recipe_rows.rows(8, seed=1)


@pytest.fixture(scope="module")
def joint():
    keras.utils.set_random_seed(0)
    model = recipe_rows.build(recipe_rows.TASKS)
    model.fit(X, Y, epochs=2, verbose=0)
    return [variable.numpy() for variable in model.variables]


def again(joint):
    keras.utils.set_random_seed(0)
    model = recipe_rows.build(recipe_rows.TASKS)
    for variable, value in zip(model.variables, joint, strict=True):
        variable.assign(value)
    return model


def tuned(joint, **options):
    recipe = FineTuned(rate=1.0, **options)
    work = Work(recipe, Given(recipe_rows.build, recipe_rows.TASKS, (X, Y), HELD_OUT, 2, 0, 8, verbose=0))
    return recipe.tuned(work, again(joint), ["speed"])


def outputs(model):
    return model.predict(HELD_OUT[0], verbose=0)


def test_a_head_is_tuned_on_a_trunk_that_stands_still(joint):
    before, after = again(joint), tuned(joint, how="head")
    np.testing.assert_array_equal(outputs(after)["kind"], outputs(before)["kind"])
    assert np.abs(outputs(after)["speed"] - outputs(before)["speed"]).max() > 1e-3
    own = [layer.name for layer in before.task_layers("speed")]
    for one, other in zip(before.layers, after.layers, strict=True):
        for was, now in zip(one.get_weights(), other.get_weights(), strict=True):
            assert one.name in own or np.array_equal(was, now)
    # All of it may be trained again.
    assert len(after.trainable_variables) == len(before.trainable_variables)
    assert len(after.optimizer.variables) == len(before.optimizer.variables)


def test_a_fork_that_balances_for_the_joint_model_lets_a_tuned_task_pass():
    build = Build(lambda tasks: recipe_rows.build(tasks, run_eagerly=False), "FineTuned")
    model = build(recipe_rows.TASKS)
    compile_like(model, model, balancer=Unit(level="features"))
    model.fit(X, Y, epochs=1, verbose=0)
    recipe = FineTuned(how="adapters", fold=False)
    work = Work(recipe, Given(build, recipe_rows.TASKS, (X, Y), HELD_OUT, 1, 0, 8, verbose=0))
    before = outputs(model)
    after = outputs(recipe.tuned(work, model, ["speed"]))
    assert np.abs(after["speed"] - before["speed"]).max() > 0
    np.testing.assert_array_equal(after["kind"], before["kind"])


def test_adapters_start_as_the_model_and_fold_into_what_they_were(joint):
    before = again(joint)
    adapted = Adapted("FineTuned", before, "speed", 2)
    np.testing.assert_array_equal(outputs(adapted.model)["speed"], outputs(before)["speed"])
    beside, folded = (tuned(joint, how="adapters", fold=fold, rank=2) for fold in (False, True))
    for task in recipe_rows.TASKS:
        np.testing.assert_allclose(outputs(beside)[task.name], outputs(folded)[task.name], rtol=1e-4, atol=1e-5)
    for model in (beside, folded):
        np.testing.assert_array_equal(outputs(model)["kind"], outputs(before)["kind"])
    assert np.abs(outputs(beside)["speed"] - outputs(before)["speed"]).max() > 1e-3
    # Beside it, a dense layer of 16 to 5 takes 2 (16 + 5) weights; folded, a trunk more.
    assert beside.count_params() == before.count_params() + 2 * (16 + 5)
    assert folded.count_params() == before.count_params() + 16 * 5 + 5 + 4 * 5


def test_a_copy_moves_all_but_the_normalisation_and_nothing_of_other_tasks(joint):
    before, after = again(joint), tuned(joint, how="full")
    np.testing.assert_array_equal(outputs(after)["kind"], outputs(before)["kind"])
    named = [model.get_layer("speed_alone").layers if model is after else model.layers for model in (before, after)]
    kinds = (keras.layers.BatchNormalization, keras.layers.Dense)
    for kind, stands in zip(kinds, (True, False), strict=True):
        one, other = (next(layer for layer in layers if isinstance(layer, kind)) for layers in named)
        same = [np.array_equal(was, now) for was, now in zip(one.get_weights(), other.get_weights(), strict=True)]
        assert all(same) is stands


def test_forgetting_is_told_and_tasks_that_lost_against_alone_are_chosen():
    found = recipe_rows.train(FineTuned(tasks="worse", how="head", epochs=0.5), train=(X, Y), validation=HELD_OUT)
    chosen, forgetting = found.notes["tuned"], found.notes["forgetting"]
    stages = [stage.name for stage in found.stages]
    assert stages[:3] == ["joint", "kind alone", "speed alone"]
    assert stages[3:] == (["heads tuned"] if chosen else [])
    assert found.cost == pytest.approx(3.0 + (0.5 / 3 if chosen else 0.0))
    for task, (key, is_more_better) in {"kind": ("accuracy", True), "speed": ("mae", False)}.items():
        last = {stage.name: stage.history[f"val_{task}_{key}"][-1] for stage in found.stages if task in stage.name}
        before, after = forgetting[task][key]
        lost = before < last[f"{task} alone"] if is_more_better else before > last[f"{task} alone"]
        assert lost is (task in chosen)
        assert task in chosen or before == after


def test_tasks_whose_gradients_oppose_the_others_are_chosen():
    tasks = [kmtl.Regression(name) for name in ("one", "two", "three", "other")]

    def build(tasks):
        row = keras.Input((3,))
        model = kmtl.MultiTaskModel.from_features(row, keras.layers.Dense(1)(row), tasks, fuse=False)
        model.compile("sgd", run_eagerly=True)
        return model

    x = np.random.default_rng(0).normal(size=(16, 3)).astype("float32")
    y = dict.fromkeys(("one", "two", "three"), x[:, 0]) | {"other": -x[:, 0]}
    recipe = FineTuned(tasks="affinity")
    work = Work(recipe, Given(build, tasks, (x, y), None, 2, 0, 8, verbose=0))
    model = work.model()
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dense):
            layer.kernel.assign(0.01 * np.ones(layer.kernel.shape))
    assert recipe.chosen(work, model) == ["other"]
    # Two batches of four trainings' worth: one forward pass, and a backward pass a task.
    assert work.trained(model).cost == pytest.approx(2 * (1 / 3 + 4 * 2 / 3) / 4)


@pytest.mark.parametrize("fused", [False, True])
def test_a_copy_moves_at_its_share_of_the_rate(fused):
    tasks = [kmtl.Regression(name, standardize=False) for name in ("one", "two", "three", "four")]
    row = keras.Input((3,))
    model = kmtl.MultiTaskModel.from_features(row, keras.layers.Dense(2)(row), tasks, fuse=fused)
    model.compile(keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)), run_eagerly=True)
    x, y = np.eye(3, dtype="float32"), {"one": np.ones(3, "float32")}
    moved = []
    for rate in (1.0, 0.125):
        copy = model.without("two", "three", "four")
        compile_like(copy, {"one": model}, rates=rate)
        before = copy.get_weights()
        copy.train_on_batch(x, y)
        moved.append([now - was for was, now in zip(before, copy.get_weights(), strict=True)])
    for one, other in zip(*moved, strict=True):
        assert np.abs(one).max() > 1e-3
        np.testing.assert_allclose(other, 0.125 * one, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("recipe", "options", "said"),
    [
        (FineTuned(tasks=["sped"]), {}, "`tasks` must use task names as keys, got 'sped'. Did you mean 'speed'"),
        (FineTuned(tasks="worse"), {"validation": None}, "`validation` must be given for tasks"),
        (FineTuned(SemiSupervised(augment=0.1, weight={"x": 1})), {}, "`weight` must use task names as keys, got 'x'"),
    ],
)
def test_what_cannot_be_is_refused_before_training(recipe, options, said):
    with pytest.raises(ValueError, match=said):
        recipe_rows.train(recipe, **options)


def test_options_out_of_range_are_refused_all_at_once():
    with pytest.raises(ValueError, match="`how` must be one of") as refused:
        FineTuned("joint", "speed", "heads", rate=0, fold=1, rank=0.5)
    for said in ("`after` must be a recipe", "One task is a list of one: ['speed']", "`rate`", "`fold`", "`rank`"):
        assert said in str(refused.value)
