"""Every kind of task beside all the others in one model: balancers, mixed precision, replicas, ONNX, recipes.

What a kind cannot do is refused, and the reason stands here and in docs/tasks.md.
"""

import contextlib
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import onnxruntime
import pytest
from kinds import KINDS
from kinds_model import COUNT, NAMES, examples
from states import with_scales

import kmtl
from kmtl import training

TASKS = {name: KINDS[name].make(f"{name}_task") for name in NAMES}
X = np.random.default_rng(5).random((COUNT, 4, 4, 1), dtype="float32")


def labels(names=NAMES):
    """Labels of kinds, a third of each missing."""
    return {TASKS[name].name: examples(name)[1]["zebra"] for name in names}


def build(tasks, **options):
    keras.utils.set_random_seed(3)
    image = keras.Input((4, 4, 1), name="image")
    features = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="tanh", name="trunk")(image)
    both = {
        "map": features,
        "vector": keras.layers.GlobalAveragePooling2D()(features),
        "sequence": keras.layers.Reshape((4, 4))(features),
    }
    model = kmtl.MultiTaskModel.from_features(image, both, tasks, fuse=False)
    model.compile(**{"optimizer": keras.optimizers.SGD(0.01), "run_eagerly": True, **options})
    return model


@contextlib.contextmanager
def half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        yield
    finally:
        keras.config.set_dtype_policy("float32")


def logs_of_a_step(**options):
    """The model and the logs of its first step on all tasks."""
    model = build(list(TASKS.values()), **options)
    model.adapt(X, labels())
    return model, model.train_on_batch(X, labels(), return_dict=True)


# One balancer for each sort of what they look at: gradients as such, and the Gramian of the features' gradients.
@pytest.mark.parametrize("balancer", ["graddrop", kmtl.balancers.UPGrad(level="features")])
def test_a_balancer_of_gradients_weighs_every_kind(balancer):
    model, logs = logs_of_a_step(balancer=balancer)
    assert np.isfinite([logs[f"{task.name}_loss"] for task in TASKS.values()]).all()
    moved = {task: model.task_variables(task) for task in model.tasks}
    start = build(list(TASKS.values()))
    for name, variables in moved.items():
        old = start.task_variables(name)
        assert max(np.abs(a.numpy() - b.numpy()).max() for a, b in zip(variables, old, strict=True)) > 0, name


def test_in_half_precision_every_loss_and_output_is_taken_in_float32():
    _, exact = logs_of_a_step()
    with half_precision():
        model, logs = logs_of_a_step()
    for task in TASKS.values():
        assert model(X)[task.name].dtype == "float32"
        assert logs[f"{task.name}_loss"] == pytest.approx(exact[f"{task.name}_loss"], rel=0.02), task.name


REPLICAS = """
import json, sys
sys.path[:0] = {paths}
import numpy as np
import kmtl
from tasks.test_every_kind_everywhere import TASKS, X, build, labels

kmtl.distribution.logical_devices(2)
tasks = [TASKS[name] for name in {names}]
random = np.random.default_rng(1)
weights = {{task.name: random.uniform(0.5, 2.0, len(X)).astype("float32") for task in tasks}}
metrics = {{task.name: list(task.default_metrics) for task in tasks}}
outcome = []
for kind in (None, "mirrored"):
    with kmtl.distribution.strategy(kind).scope():
        model = build(tasks, run_eagerly=kind is None, weighted_metrics=metrics)
    y = labels({names})
    model.adapt(X, y)
    logs = model.fit(X, y, sample_weight=weights, batch_size=8, shuffle=False, verbose=0).history
    outcome.append((model.get_weights(), {{key: value[0] for key, value in logs.items()}}))
(one, logs), (two, others) = outcome
gap = max(float(np.abs(a - b).max()) for a, b in zip(one, two, strict=True))
gaps = {{key: logs[key] - others[key] for key in logs}}
print(json.dumps([model.distribute_strategy.num_replicas_in_sync, gap, gaps]))
"""


@pytest.mark.long
def test_two_replicas_are_one_device():
    # Of those without another like them; classes and numbers train on two replicas in tests/distribution/features.py.
    names = ["ordinal", "segmentation", "tagging", "detection", "quantiles"]
    code = REPLICAS.format(paths=[str(Path(__file__).parents[1]), str(Path(__file__).parents[2])], names=names)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    replicas, weights, logs = json.loads(done.stdout.splitlines()[-1])
    assert replicas == 2
    assert weights < 1e-5
    assert {f"{TASKS[name].name}_loss" for name in names} < set(logs)
    assert {f"{TASKS[name].name}_weighted_{key}" for name in names for key in TASKS[name].default_metrics} < set(logs)
    for key, gap in logs.items():
        assert abs(gap) < 1e-4, key


@pytest.mark.long
def test_an_onnx_file_gives_every_kind_alone_and_all_together(tmp_path):
    model = with_scales(build(list(TASKS.values())))
    session = onnxruntime.InferenceSession(kmtl.export.onnx(model, tmp_path / "all.onnx"))
    expected = model.predict(X, verbose=0)
    together = dict(zip(expected, session.run(list(expected), {"image": X}), strict=True))
    for name, values in expected.items():
        np.testing.assert_allclose(together[name], values, atol=2e-5, err_msg=name)
        np.testing.assert_array_equal(session.run([name], {"image": X})[0], together[name])


# Recipes that look at labels or outputs; what is `slow` only trains, as the joint model does.
RECIPES = {
    "separate": training.Separate(),
    "alternating": training.Alternating(),
    "message_passing": training.MessagePassing(every=1),
    "tuned": training.FineTuned(how="head"),
    "indirect": training.Indirect(),
    "distilled": training.Distilled(),
    "fixmatch": training.SemiSupervised(threshold=0.05),
    "mean_teacher": training.SemiSupervised("mean_teacher"),
    "label_fusion": training.LabelFusion("concat"),
    "output_sum": training.OutputSum(),
    "stacking": training.Stacking(folds=2, base=training.Joint()),
    "bagging": training.Bagging(members=2),
    "boosting": training.Boosting(members=2),
}
ONLY_TRAIN = {"separate", "alternating", "message_passing", "tuned", "bagging", "indirect", "distilled"}
# `{recipe: {kind: part of the reason}}`.
_PLACES = [name for name in NAMES if TASKS[name].features != "vector"]
_TOLD = ["poisson", "quantiles", "heteroscedastic"]
_NOT_BOOSTED = "must have a label that is one of exclusive classes, or values"
REFUSED = {
    "indirect": dict.fromkeys(_PLACES, "must read one kind of features, which the fused trunks give"),
    "fixmatch": dict.fromkeys(
        ["vector", "detection", "dense_regression", *_TOLD], "must have one with probabilities of classes for FixMatch"
    ),
    "label_fusion": dict.fromkeys(["ordinal", *_PLACES], "heads of one linear layer"),
    "output_sum": {"detection": "must make a head .* that ends in a linear layer and an activation"},
    "stacking": {
        **dict.fromkeys([*_PLACES, *_TOLD[1:]], "must have one output a class or an element of the label"),
        "poisson": "got .* of exponential. Use meta='non_negative'",
    },
    "boosting": dict.fromkeys(["multilabel", *_PLACES, *_TOLD], _NOT_BOOSTED),
}


def trained(recipe, names):
    tasks = [*(TASKS[name] for name in names), kmtl.Regression("ant")]
    data = X, {**labels(names), "ant": examples("vector")[1]["ant"]}
    # Every task needs a turn of its own in an epoch.
    batch = 1 if recipe == "alternating" else COUNT
    return RECIPES[recipe].train(build, tasks, data, epochs=1, batch_size=batch, verbose=0)


@pytest.mark.long
@pytest.mark.parametrize(
    "recipe", [pytest.param(name, marks=pytest.mark.slow if name in ONLY_TRAIN else ()) for name in RECIPES]
)
def test_a_recipe_trains_every_kind_but_those_that_it_refuses(recipe):
    names = [name for name in NAMES if name not in REFUSED.get(recipe, {})]
    outputs = trained(recipe, names).model.predict(X, verbose=0)
    for name in names:
        values = outputs[TASKS[name].name]
        assert np.isfinite(values).all(), name
        assert values.shape == (COUNT, *TASKS[name].output_shape), name


@pytest.mark.parametrize(("recipe", "name"), [(recipe, name) for recipe, kinds in REFUSED.items() for name in kinds])
def test_a_refused_kind_is_told_before_anything_is_trained(recipe, name):
    with pytest.raises(ValueError, match=REFUSED[recipe][name]):
        trained(recipe, [name])
