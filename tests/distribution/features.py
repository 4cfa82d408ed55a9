"""What a model does under a strategy, one function a row of the table in `docs/distribution.md`.

    python features.py one,devices | workers | gpu [FEATURE ...]

writes `{strategy: {feature: numbers or a refusal}}` as JSON to the file that the environment variable KMTL_FEATURES
names. Each function returns numbers that must not depend on the strategy.
"""

import contextlib
import json
import os
import sys
import tempfile
import traceback
import warnings
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

sys.path.insert(0, str(Path(__file__).parents[1]))
from joint_terms.functions import alive_is_first, both_right, width_by_age
from toys import build, examples, tasks

import kmtl
from kmtl.feeding.resume import stream_from

FEATURES = {}
X, Y = examples(40, hidden=0.4, seed=2)
# Of each batch of 16 one replica sees the first 8 examples: without a label of `alive`.
Y["alive"][np.arange(40) % 16 < 8] = -1
FIT = {"batch_size": 16, "epochs": 2, "shuffle": False, "verbose": 0}


def feature(text):
    """Enters a function under its row's text."""

    def enter(function):
        FEATURES[text] = function
        return function

    return enter


def made(optimizer=None, options=None, given=None, **compiled):
    """A compiled model, whose statistics are learned."""
    model = build(given, **(options or {}))
    model.compile(optimizer or keras.optimizers.SGD(0.1, momentum=0.9), **compiled)
    model.adapt(X, Y)
    return model


def outcome(model, history=None):
    """Weights, and what was logged."""
    found = {f"{place} {variable.path}": variable.numpy() for place, variable in enumerate(model.variables)}
    return found | ({} if history is None else {key: values[-1] for key, values in history.history.items()})


def trained(model, x=X, y=Y, **options):
    return outcome(model, model.fit(x, y, **{**FIT, **options}))


def dataset(batch=16):
    return tf.data.Dataset.from_tensor_slices((X, Y)).batch(batch)


@feature("`fit` with arrays, missing labels")
def _arrays():
    return trained(made(balancer="uncertainty"))


@feature("`fit` with tf.data, uneven last batch")
def _data():
    # One task counts where another's label says so.
    given = [kmtl.Regression("age", where={"species": [0, 2]}) if task.name == "age" else task for task in tasks()]
    return trained(made(given=given, balancer="upgrad"), dataset(13), None, batch_size=None)


@feature("a last batch smaller than the replicas")
def _tiny():
    model = made()
    history = model.fit(X[:33], {name: label[:33] for name, label in Y.items()}, **FIT)
    return outcome(model, history)


@feature("`fit` with a PyDataset")
def _sequence():
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            part = slice(16 * index, 16 * index + 16)
            return X[part], {name: label[part] for name, label in Y.items()}

    return trained(made(), Batches(), None, batch_size=None)


@feature("`kmtl.data.mix`: a dataset a task")
def _mixed_data():
    sources = {name: tf.data.Dataset.from_tensor_slices((X[:30], Y[name][:30])) for name in ("age", "species")}
    stream = kmtl.data.mix(sources, batch_size=16, shuffle=20, seed=3, sampling="uniform")
    model = build([task for task in tasks() if task.name in sources])
    model.compile("sgd")
    return trained(model, stream, None, batch_size=None, steps_per_epoch=3)


@feature("a stream of `kmtl.data.from_shards` from its second batch on")
def _shards():
    with tempfile.TemporaryDirectory() as folder:
        kmtl.data.write_shards(tf.data.Dataset.from_tensor_slices((X, Y)), f"{folder}/set", shards=3)
        found = kmtl.data.from_shards(f"{folder}/set", tasks(), batch_size=16)
        return trained(made(), stream_from(found, 1), None, batch_size=None, steps_per_epoch=3)


@feature("`evaluate`")
def _evaluate():
    return made().evaluate(X, Y, batch_size=16, verbose=0, return_dict=True)


@feature("`predict`")
def _predict():
    return made().predict(X, batch_size=16, verbose=0)


@feature("`train_on_batch`, `test_on_batch`")
def _on_batch():
    model = made()
    logs = model.train_on_batch(X[:16], {name: label[:16] for name, label in Y.items()}, return_dict=True)
    return outcome(model) | logs


@feature("validation data")
def _validation():
    return trained(made(), validation_data=(X[:20], {name: label[:20] for name, label in Y.items()}))


@feature("`class_weight`, `sample_weight`")
def _weights():
    weights = {"age": np.linspace(0.1, 2, 40, dtype="float32")}
    return trained(made(), class_weight={"species": {0: 3.0}, "alive": "balanced"}, sample_weight=weights)


@feature("moving loss weights")
def _schedule():
    halve = kmtl.callbacks.LossWeightScheduler({"age": lambda epoch: 0.5**epoch})
    # A task that stops weighs 0 from then on; momentum must not move its head.
    stop = kmtl.callbacks.TaskEarlyStopping({"alive": "alive_loss"}, patience=1, min_delta=1e9)
    return trained(made(), epochs=3, callbacks=[halve, stop])


@feature("joint losses and metrics, several losses of a task")
def _joint_terms():
    law = kmtl.JointLoss("law", width_by_age, ["age", "box"], balanced=True, needs_labels=["box"])
    first = kmtl.JointLoss("first", alive_is_first, ["alive", "species"], needs_labels=False)
    both = kmtl.JointMetric("both", both_right, ["species", "alive"])
    several = {"loss": {"age": {"absolute": "mae", "squared": "mse"}}, "loss_weights": {"age": {"squared": 0.5}}}
    model = made(balancer="upgrad", joint_losses=[law, first], joint_metrics=[both], steps_per_execution=2, **several)
    # The last batch is one example: a replica has none, and must not count for a loss that needs no label.
    short = {name: label[:33] for name, label in Y.items()}
    return outcome(model, model.fit(X[:33], short, validation_data=(X[:17], {n: y[:17] for n, y in Y.items()}), **FIT))


@feature("`steps_per_execution`")
def _executions():
    model = made(balancer="nash", steps_per_execution=2)
    return trained(model, dataset(13), None, batch_size=None) | made(steps_per_execution=2).predict(X, verbose=0)


@feature("`run_eagerly`")
def _eagerly():
    return trained(made(run_eagerly=True, balancer="uncertainty"), epochs=1)


@feature("`jit_compile=True`")
def _jit():
    return trained(made(jit_compile=True))


@feature("gradient accumulation")
def _accumulation():
    optimizer = keras.optimizers.SGD(0.1, momentum=0.9, gradient_accumulation_steps=2)
    return trained(made(optimizer, balancer="pcgrad"))


@feature("an optimizer by task")
def _optimizer_by_task():
    parts = {
        "shared": keras.optimizers.SGD(0.1, clipnorm=0.1, gradient_accumulation_steps=2),
        "age": keras.optimizers.Adam(0.01, clipnorm=0.1),
    }
    return trained(made(parts))


@feature("learning-rate multipliers")
def _multipliers():
    rates = {"shared": 0.1, "age": 0.5, "box_standardized": 0.0}
    optimizer = keras.optimizers.AdamW(0.01, weight_decay=0.1, use_ema=True, gradient_accumulation_steps=2)
    return trained(made(optimizer, learning_rate_multipliers=rates))


@feature("tasks that come, go and are renamed")
def _task_changes():
    model = made(keras.optimizers.Adam(0.01), balancer="uncertainty")
    trained(model)
    # A strategy would draw another start of the new head.
    new = kmtl.BinaryClassification("awake")
    new = model.without("species").renamed({"age": "years"}).with_task(new)
    new.get_layer("awake").kernel.assign(np.full((5, 1), 0.1))
    labels = {"alive": Y["alive"], "box": Y["box"], "years": Y["age"], "awake": Y["alive"]}
    return trained(new, y=labels)


@feature("frozen and unfrozen between two `fit`s")
def _frozen():
    model = made(keras.optimizers.Adam(0.01))
    for trainable in (True, False, True):
        model.get_layer("trunk").trainable = trainable
        found = trained(model)
    return found


@feature("`global_clipnorm`, `clipnorm`")
def _clipping():
    whole = trained(made(keras.optimizers.SGD(0.1, global_clipnorm=0.05)))
    return trained(made(keras.optimizers.SGD(0.1, clipnorm=0.01))) | {f"global {key}": whole[key] for key in whole}


@feature("EMA, with and without overwriting")
def _average():
    plain = trained(made(keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9)))
    optimizer = keras.optimizers.SGD(0.1, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=2)
    return plain | {f"overwritten {key}": value for key, value in trained(made(optimizer)).items()}


@feature("AdamW, weight decay, constraints")
def _decay():
    model = build()
    model.get_layer("trunk").kernel.constraint = keras.constraints.MaxNorm(0.7)
    model.compile(keras.optimizers.AdamW(0.01, weight_decay=0.1))
    return trained(model)


@feature("mixed_float16")
def _mixed():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.1), initial_scale=256.0)
        return trained(made(optimizer, balancer="upgrad"))
    finally:
        keras.config.set_dtype_policy("float32")


@feature("mixed_float16 with gradient accumulation")
def _mixed_accumulation():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        # A scale at which nothing overflows: what does depends on how much of a batch is summed in float16.
        inner = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2)
        return trained(made(keras.optimizers.LossScaleOptimizer(inner, initial_scale=256.0)))
    finally:
        keras.config.set_dtype_policy("float32")


@feature("`update_every`, parameter level")
def _rarely():
    return trained(made(balancer=kmtl.balancers.UPGrad(update_every=3)))


@feature("`update_every`, feature level")
def _rarely_features():
    return trained(made(balancer=kmtl.balancers.UPGrad(update_every=3, level="features")))


@feature("`update_every`, from losses")
def _rarely_losses():
    return trained(made(balancer=kmtl.balancers.DWA(update_every=2)))


@feature('`solve="online"`')
def _online():
    return trained(made(balancer=kmtl.balancers.CAGrad(solve="online")))


@feature("`gram_fraction`")
def _fraction():
    # A slice is the first half of each replica's examples. The second run of eight comes twice: once behind
    # the first half of the first replica, once as that of the second, so that one device takes the same slice.
    places = np.r_[0:8, 8:16, 8:16, 16:24]
    x, y = X[places], {name: label[places] for name, label in Y.items()}
    return trained(made(balancer=kmtl.balancers.MGDA(gram_fraction=0.5)), x, y, batch_size=32)


@feature("methods that need the gradients")
def _gradients():
    return trained(made(balancer="moco"))


@feature("a method that looks twice (`famo`)")
def _twice():
    return trained(made(balancer="famo"))


@feature("`track_conflicts`")
def _conflicts():
    return trained(made(balancer="uncertainty", track_conflicts=True))


@feature("penalties, added losses")
def _penalties():
    return trained(made(options={"penalty": 0.05}, balancer="pcgrad"))


@feature("Keras metrics: AUC, top-k accuracy, RootMeanSquaredError")
def _metrics():
    metrics = {
        "species": ["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")],
        "alive": [keras.metrics.AUC(name="auc")],
        "age": [keras.metrics.RootMeanSquaredError(name="rmse")],
    }
    return trained(made(metrics=metrics))


@feature("synchronised batch normalisation")
def _normalised():
    keras.utils.set_random_seed(1)
    image = keras.Input((6,))
    features = keras.layers.Dense(5)(image)
    features = keras.layers.BatchNormalization(synchronized=True)(features)
    tasks = [kmtl.Regression("age"), kmtl.Regression("box", shape=(2,))]
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    model.compile(keras.optimizers.SGD(0.1))
    return trained(model, X[:32], {name: Y[name][:32] for name in ("age", "box")})


@feature("a loss that is not finite; nothing finite")
def _not_finite():
    x = X.copy()
    x[3] = np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        model = made(balancer="upgrad")
        found = trained(model, x)
    return found | {"skipped": float(model.balancer.skipped.numpy())}


@feature("save, load, go on")
def _saved():
    with tempfile.TemporaryDirectory() as folder:
        model = made("adam", balancer="famo")
        model.fit(X, Y, **FIT)
        model.save(f"{folder}/model.keras")
        return trained(keras.saving.load_model(f"{folder}/model.keras"))


@feature("`BackupAndRestore`, interrupted and resumed")
def _resumed():
    folder = Path(os.environ["KMTL_FEATURES"]).with_suffix(".backups")

    class Stop(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            del batch, logs
            if self.model.optimizer.iterations == 4:
                raise InterruptedError

    def run(*others):
        backup = kmtl.callbacks.BackupAndRestore(folder, save_freq=3)
        return trained(made("adam", balancer="uncertainty"), shuffle=True, callbacks=[backup, *others])

    with contextlib.suppress(InterruptedError):
        run(Stop())
    return run()


def numbers(value):
    """As JSON holds them."""
    return {key: np.asarray(item, "float64").ravel().tolist() for key, item in value.items()}


def strategy_of(mode):
    """GPUs if asked for, and hidden otherwise."""
    return kmtl.distribution.strategy({"one": None, "devices": "mirrored", "workers": "multi_worker"}.get(mode, "auto"))


def run(strategy, chosen):
    """What the chosen features give, or all."""
    found = {}
    for text in chosen or FEATURES:
        try:
            with strategy.scope():
                found[text] = numbers(FEATURES[text]())
        except ValueError as error:
            found[text] = {"refused": str(error)}
        except Exception:  # noqa: BLE001 - the test shows it
            found[text] = {"error": traceback.format_exc()}
        keras.backend.clear_session()
    return found


def main(modes, *chosen):
    if modes != "gpu":
        tf.config.set_visible_devices([], "GPU")
    if "devices" in modes:
        kmtl.distribution.logical_devices(2)
    strategies = {mode: strategy_of(mode) for mode in modes.split(",")}
    found = {mode: run(strategy, chosen) for mode, strategy in strategies.items()}
    if all(one.cluster_resolver is None or one.cluster_resolver.task_id == 0 for one in strategies.values()):
        file = Path(os.environ["KMTL_FEATURES"])
        file.with_suffix(".part").write_text(json.dumps(found))
        file.with_suffix(".part").rename(file)


if __name__ == "__main__":
    main(*sys.argv[1:])
