"""The private names of Keras that kmtl builds on are there, and are called where it expects them to be."""

import inspect
import subprocess
import sys

import keras
import numpy as np
import pytest
from toys import build, examples

import kmtl
from kmtl import _keras_private


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
    with _keras_private._summed(keras.optimizers.LossScaleOptimizer(optimizer)):
        assert optimizer.gradient_accumulation_steps is None
        assert optimizer._all_reduce_sum_gradients([1]) == [1]
    assert optimizer.__dict__ == before


def test_fit_asks_for_a_build_before_it_trains():
    for method in (keras.Model.fit, keras.Model.evaluate):
        assert "self._maybe_symbolic_build(iterator=epoch_iterator)" in inspect.getsource(method)
    assert "self.train_function(iterator)" in inspect.getsource(keras.Model.fit)


# What stock Keras does under two replicas; when it changes, the hook may be needless.
STOCK = """
import sys
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    steps = {"accumulation": {"gradient_accumulation_steps": 2}}.get(sys.argv[1], {})
    model.compile(keras.optimizers.SGD(**steps), "mse", steps_per_execution=2 if sys.argv[1] == "executions" else 1)
model.fit(np.ones((8, 2)), np.ones((8, 1)), batch_size=4, verbose=0)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("what", "message"), [("accumulation", "merge_call"), ("executions", "placeholder")])
def test_stock_keras_still_fails(what, message):
    done = subprocess.run([sys.executable, "-c", STOCK, what], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert message in done.stderr


def test_what_a_model_reads_of_a_layer_is_told_by_position():
    row = keras.Input((4,))
    heads = kmtl.tasks.FusedHeads(["zebra", "ant", "bee"], 1)
    first, second = heads(row), heads(-row)
    model = keras.Model(row, {"x": first["zebra"] * 2.0, "y": second["bee"]})
    assert {sorted(heads.names)[position] for position in _keras_private.read_positions(model, heads)} == {
        "zebra",
        "bee",
    }
