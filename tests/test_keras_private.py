"""The private names of Keras that kmtl builds on are there, and are called where it expects them to be."""

import inspect
import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from toys import build, examples

import kmtl
from kmtl import _keras_private
from kmtl._keras_private import optimizer as optimizer_hook


class Recording(keras.optimizers.SGD):
    """Writes down which of its methods Keras calls."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        object.__setattr__(self, "calls", [])


def recorded(name):
    def method(self, *args, **kwargs):
        self.calls.append(name)
        return getattr(super(Recording, self), name)(*args, **kwargs)

    return method


for watched in (
    "apply",
    "_backend_apply_gradients",
    "_clip_gradients",
    "_backend_update_step",
    "_all_reduce_sum_gradients",
    "_update_model_variables_moving_average",
):
    setattr(Recording, watched, recorded(watched))


def test_keras_reduces_after_clipping_and_inside_of_apply():
    model = build()
    optimizer = Recording(0.1, use_ema=True)
    model.compile(optimizer)
    x, y = examples(8)
    model.adapt(x, y)
    model.run_eagerly = True
    model.train_on_batch(x, y)
    assert optimizer.calls == [
        "apply",
        "_backend_apply_gradients",
        "_clip_gradients",
        "_backend_update_step",
        "_all_reduce_sum_gradients",
        "_update_model_variables_moving_average",
    ]


def test_conditions_of_keras_stand_where_the_hook_takes_them_out():
    source = inspect.getsource(keras.optimizers.Optimizer._backend_apply_gradients)
    assert source.count("ops.cond(") == 2
    assert "if self.gradient_accumulation_steps:" in source
    assert "if self.ema_overwrite_frequency:" in source


@pytest.mark.parametrize("name", ["_accumulated_gradients", "_iterations", "_trainable_variables"])
def test_state_that_the_hook_reads(name):
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=2, use_ema=True)
    variables = [keras.Variable(np.ones(3))]
    optimizer.build(variables)
    assert hasattr(optimizer, name)
    assert optimizer._get_variable_index(variables[0]) == 0
    assert len(optimizer._accumulated_gradients) == len(optimizer._model_variables_moving_average) == 1
    # With accumulation `iterations` counts updates, `_iterations` steps.
    optimizer.apply([np.ones(3, "float32")], variables)
    assert (int(optimizer._iterations), int(optimizer.iterations)) == (1, 0)


def test_the_hook_leaves_the_optimizer_as_it_was():
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=3, use_ema=True, ema_overwrite_frequency=5)
    before = dict(optimizer.__dict__)
    with optimizer_hook._summed(keras.optimizers.LossScaleOptimizer(optimizer)):
        assert optimizer.gradient_accumulation_steps is None
        assert optimizer._all_reduce_sum_gradients([1]) == [1]
    assert optimizer.__dict__ == before


def test_rules_count_updates_under_accumulation_and_schedules_count_steps():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.9)
    options = {"gradient_accumulation_steps": 2, "weight_decay": 0.1, "use_ema": True}
    moved = []
    for hooked in (False, True):
        optimizer, variable = keras.optimizers.AdamW(schedule, **options), keras.Variable(np.ones(3, "float32"))
        optimizer.build([variable])
        for number in range(6):
            slope = [tf.constant([1.0, -2.0, 0.5]) / (number + 1.0)]
            if hooked:
                with optimizer_hook._summed(optimizer):
                    optimizer.apply(slope, [variable])
            else:
                optimizer.apply(slope, [variable])
        assert type(optimizer) is keras.optimizers.AdamW
        moved.append([variable.numpy(), *(slot.numpy() for slot in optimizer.variables)])
    for one, other in zip(*moved, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.parametrize("name", _keras_private.OVERRIDDEN)
def test_overridden_methods_are_those_of_keras(name):
    own, theirs = getattr(kmtl.MultiTaskModel, name), getattr(keras.Model, name)
    assert own is not theirs
    assert inspect.signature(own).parameters.keys() == inspect.signature(theirs).parameters.keys()


def test_fit_asks_for_a_build_before_it_trains():
    for method in (keras.Model.fit, keras.Model.evaluate):
        assert "self._maybe_symbolic_build(iterator=epoch_iterator)" in inspect.getsource(method)
    assert "self.train_function(iterator)" in inspect.getsource(keras.Model.fit)


# What stock Keras does under two replicas; when it changes, the hook may be needless.
STOCK = """
import json
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
errors = {}
for what, accumulated, steps in (("plain", None, 1), ("accumulation", 2, 1), ("executions", None, 2)):
    with strategy.scope():
        model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        optimizer = keras.optimizers.SGD(gradient_accumulation_steps=accumulated)
        model.compile(optimizer, "mse", steps_per_execution=steps)
    try:
        model.fit(np.ones((8, 2)), np.ones((8, 1)), batch_size=4, verbose=0)
        errors[what] = ""
    except Exception as error:
        errors[what] = str(error)
print(json.dumps(errors))
"""


@pytest.mark.long
def test_stock_keras_still_fails():
    done = subprocess.run([sys.executable, "-c", STOCK], capture_output=True, text=True, check=True)
    errors = json.loads(done.stdout.splitlines()[-1])
    assert errors["plain"] == ""
    assert "merge_call" in errors["accumulation"]
    assert "placeholder" in errors["executions"]


def test_what_a_model_reads_of_a_layer_is_told_by_position():
    row = keras.Input((4,))
    heads = kmtl.tasks.FusedHeads(["zebra", "ant", "bee"], 1)
    first, second = heads(row), heads(-row)
    model = keras.Model(row, {"x": first["zebra"] * 2.0, "y": second["bee"]})
    assert {sorted(heads.names)[position] for position in _keras_private.model_path(model).read_positions(heads)} == {
        "zebra",
        "bee",
    }


def test_layers_are_found_behind_keras_tensors_only():
    row = keras.Input((4,))
    dense = keras.layers.Dense(2)
    assert _keras_private.layer_behind(dense(row)) is dense
    assert isinstance(_keras_private.layer_behind(row), keras.layers.InputLayer)
    assert _keras_private.layer_behind(np.ones(3)) is None


def test_what_comes_before_two_outputs_is_shared():
    row = keras.Input((4,))
    trunk = keras.layers.Dense(3)(row)
    own = keras.layers.Dense(3)(trunk)
    model = keras.Model(row, {"x": keras.layers.Dense(1)(own), "y": keras.layers.Dense(1)(trunk)})
    assert [id(tensor) for tensor in _keras_private.shared_tensors(model, lambda _: False)] == [id(trunk)]


def test_a_replayed_graph_calls_every_layer_those_inside_of_models_too():
    row = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="inside"), keras.layers.ReLU(name="relu")])
    model = keras.Model(row, {"x": keras.layers.Dense(1, name="head")(inner(row))})
    called = []

    def call(layer, *args, **kwargs):
        called.append(layer.name)
        return layer(*args, **kwargs)

    outputs = _keras_private.replay(model, call)
    assert called == ["inside", "relu", "head"]
    assert outputs.keys() == {"x"}
    assert _keras_private.layer_behind(outputs["x"]) is model.get_layer("head")


def test_who_reads_an_output_is_found_behind_dropout():
    row = keras.Input((4,))
    fork = kmtl.sharing.Fork(["zebra", "ant"])
    features = fork(row)
    heads = {name: keras.layers.Dense(1, name=name) for name in features}
    dropped = keras.layers.Dropout(0.5)(features["ant"])
    model = keras.Model(row, {"zebra": heads["zebra"](features["zebra"]), "ant": heads["ant"](dropped)})
    assert {name: _keras_private.first_reader(model, fork, name) for name in heads} == heads


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("compiled", [False, True])
def test_keras_takes_cross_entropies_from_the_logits_put_behind_probabilities(activation, compiled):
    kind = "Categorical" if activation == "softmax" else "Binary"
    loss = getattr(keras.losses, f"{kind}Crossentropy")()
    truth = np.array([[0.0, 1.0], [1.0, 0.0]], "float32")

    def losses(logits):
        given = keras.activations.get(activation)(logits)
        copied = tf.identity(given)
        lost = _keras_private.logits_behind(copied)
        _keras_private.put_logits_behind(copied, _keras_private.logits_behind(given))
        # From probabilities, logits this large give a loss that is cut at Keras's epsilon.
        return loss(truth, given), loss(truth, copied), lost is None

    run = tf.function(losses, autograph=False) if compiled else losses
    known, copied, lost = run(tf.constant([[50.0, -50.0], [-50.0, 50.0]]))
    assert float(known) == pytest.approx(100.0 if kind == "Categorical" else 50.0)
    assert float(copied) == float(known)
    assert lost


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (keras.losses.Huber(delta=0.5), {"delta": 0.5}),
        (keras.losses.CategoricalCrossentropy(from_logits=True), {"from_logits": True, "axis": -1}),
    ],
)
def test_arguments_of_keras_losses_are_found(loss, expected):
    assert expected.items() <= _keras_private.loss_arguments(loss).items()
    assert _keras_private.loss_arguments(lambda *_: 0.0) == {}


def test_functions_of_keras_metrics_are_found():
    assert _keras_private.metric_function(keras.metrics.MeanAbsoluteError()) is keras.losses.mean_absolute_error
    assert _keras_private.metric_function(keras.metrics.AUC()) is None


def test_the_total_loss_is_one_of_keras_metrics():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    assert _keras_private.loss_tracker(model) is model.metrics[0]
    assert isinstance(_keras_private.loss_tracker(model), keras.metrics.Mean)


def test_evaluations_within_fit_are_told_apart():
    assert "_use_cached_eval_dataset=True" in inspect.getsource(keras.Model.fit)
    assert _keras_private.has_prepared_data({"_use_cached_eval_dataset": True})
    assert not _keras_private.has_prepared_data({})


def test_a_callback_holds_its_model_under_the_known_names():
    callback, model = keras.callbacks.Callback(), keras.Sequential()
    callback.set_model(model)
    assert [getattr(callback, name) for name in _keras_private.MODEL_OF_CALLBACK] == [model] * 2
    assert {name for name, value in vars(callback).items() if value is model} <= {*_keras_private.MODEL_OF_CALLBACK}


def test_masks_are_found_on_tensors():
    masked = keras.layers.Masking()(tf.ones((1, 2, 3)))
    assert _keras_private.has_mask(masked)
    assert not _keras_private.has_mask(tf.ones(2))


def test_an_optimizer_knows_its_strategy():
    assert keras.optimizers.SGD()._distribution_strategy is tf.distribute.get_strategy()


def test_a_lambda_is_made_again_with_its_own_function_and_arguments():
    shift = 3.0
    layer = keras.layers.Lambda(
        lambda values, factor: values * factor + shift, output_shape=(2,), arguments={"factor": 2.0}, name="line"
    )
    again = _keras_private.same_lambda(layer)
    assert again is not layer
    assert (again.name, again.function) == ("line", layer.function)
    assert again(keras.Input((2,))).shape == (None, 2)
    np.testing.assert_array_equal(again(np.ones((1, 2), "float32")), [[5.0, 5.0]])


def test_the_classes_of_layers_are_found_within_wrappers_and_models():
    row = keras.Input((3, 2))
    inner = keras.Sequential([keras.layers.TimeDistributed(keras.layers.Dense(2))])
    found = _keras_private.classes_of_layers(
        keras.Model(row, keras.layers.Bidirectional(keras.layers.GRU(2))(inner(row)))
    )
    assert {"TimeDistributed", "Dense", "Bidirectional", "GRU", "Sequential"} <= set(found)
    assert found["GRU"] is keras.layers.GRU
