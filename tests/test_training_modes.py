"""The ways Keras runs a step: eager, XLA, mixed precision, several at once, one batch by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import cases
from toys import assert_same_weights, build, compiled, examples, tasks

import kmtl

X, Y = examples(40, hidden=0.3)
BALANCERS = ["equal", "uncertainty", "pcgrad"]


EAGER = {"run_eagerly": True}


def steps(model, epochs=1, y=Y, batch_size=8, **options):
    return model.fit(X, y, batch_size=batch_size, epochs=epochs, shuffle=False, verbose=0, **options).history


@pytest.fixture
def policy():
    """Sets the dtype policy for one test."""
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy("float32")


@pytest.mark.long
@pytest.mark.parametrize(
    ("balancer", "options"),
    [
        ("pcgrad", EAGER),
        ("pcgrad", {"jit_compile": True}),
        # Less than that one does; XLA meets a balancer of losses in tests/balancers/test_every_state.py.
        pytest.param("uncertainty", {"jit_compile": True}, marks=pytest.mark.slow),
    ],
)
def test_eager_and_xla_take_the_steps_of_the_graph(balancer, options):
    # XLA draws other random numbers; of two tasks PCGrad's result does not depend on its random order.
    two = tasks()[2:]
    labels = {task.name: Y[task.name] for task in two}
    graph = compiled(two, balancer=balancer)
    other = compiled(two, balancer=balancer, **options)
    np.testing.assert_allclose(steps(other, y=labels)["loss"], steps(graph, y=labels)["loss"], rtol=1e-5)
    assert_same_weights(graph, other, rtol=1e-4, atol=1e-6)


@pytest.mark.long
# Of `equal` test_against_keras tells it.
@pytest.mark.parametrize("balancer", cases(BALANCERS, "pcgrad", others="slow"))
def test_several_steps_an_execution_are_the_same_steps(balancer):
    single, several = compiled(balancer=balancer), compiled(balancer=balancer, steps_per_execution=5)
    steps(single, 2)
    steps(several, 2)
    assert several.optimizer.iterations == 10
    assert_same_weights(single, several)


@pytest.mark.long
@pytest.mark.parametrize("balancer", cases(BALANCERS[1:], "pcgrad", others="slow"))
def test_float16_learns_what_float32_learns(policy, balancer):
    full = compiled(optimizer=keras.optimizers.SGD(0.05), balancer=balancer)
    policy("mixed_float16")
    half = compiled(optimizer=keras.optimizers.SGD(0.05), balancer=balancer)
    assert isinstance(half.optimizer, keras.optimizers.LossScaleOptimizer)
    assert {output.dtype for output in half.output.values()} == {"float32"}
    start = full.get_weights()
    np.testing.assert_allclose(steps(half, 2)["loss"], steps(full, 2)["loss"], rtol=0.01)
    for old, expected, found in zip(start, full.get_weights(), half.get_weights(), strict=True):
        np.testing.assert_allclose(found - old, expected - old, rtol=0.1, atol=0.004)
    assert half.optimizer.inner_optimizer.iterations == 10


class BySize(kmtl.balancers.Balancer):
    """Weighs the larger gradients less."""

    needs = "gram"

    def task_weights(self, signals):
        return 1.0 / (0.01 + keras.ops.diagonal(signals.gram))


class Short(kmtl.balancers.Balancer):
    """Takes no step longer than one."""

    needs = "gradients"

    def transform(self, gradients, signals):
        del signals
        total = keras.ops.sum(gradients, axis=0)
        return total / (1.0 + keras.ops.norm(total)), None


@pytest.mark.parametrize("balancer", [BySize, Short])
def test_balancers_see_unscaled_gradients(policy, balancer):
    full = compiled(balancer=balancer(), **EAGER)
    policy("mixed_float16")
    half = compiled(balancer=balancer(), **EAGER)
    start = full.get_layer("trunk").get_weights()[0]
    expected, found = steps(full, batch_size=20), steps(half, batch_size=20)
    np.testing.assert_allclose(found["box_weight"], expected["box_weight"], rtol=0.02)
    moved = full.get_layer("trunk").get_weights()[0] - start
    np.testing.assert_allclose(half.get_layer("trunk").get_weights()[0] - start, moved, rtol=0.1, atol=2e-4)


@pytest.mark.parametrize("balancer", ["uncertainty", "pcgrad"])
def test_an_overflow_skips_the_step_and_not_the_logs(policy, balancer):
    policy("mixed_float16")
    model = build()
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.05), initial_scale=2.0**40)
    model.compile(scaled, balancer=balancer, **EAGER)
    model.adapt(X, Y)
    before = model.get_weights()
    logs = steps(model, batch_size=20)
    assert scaled.dynamic_scale < 2.0**40
    assert np.isfinite(list(logs.values())).all()
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.long
def test_bfloat16_learns(policy):
    policy("mixed_bfloat16")
    model = compiled(optimizer=keras.optimizers.Adam(0.02), balancer="pcgrad")
    losses = steps(model, 8)["loss"]
    assert not isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert losses[-1] < 0.85 * losses[0]


def test_a_frozen_layer_of_a_trained_trunk_stays():
    image = keras.Input((6,))
    hidden = keras.layers.Dense(5, name="frozen", trainable=False)(image)
    hidden = keras.layers.Dense(5, name="moving", activation="tanh")(hidden)
    for balancer in ("equal", "pcgrad"):
        model = kmtl.MultiTaskModel.from_features(image, hidden, tasks())
        model.compile("sgd", balancer=balancer, **EAGER)
        before = [model.get_layer(name).get_weights()[0] for name in ("frozen", "moving")]
        steps(model, batch_size=20)
        after = [model.get_layer(name).get_weights()[0] for name in ("frozen", "moving")]
        np.testing.assert_array_equal(before[0], after[0])
        assert (before[1] != after[1]).any()


@keras.saving.register_keras_serializable(package="kmtl_tests")
class Spread(keras.layers.Layer):
    """Reports a metric of what passes, and counts how often it is traced."""

    def __init__(self, **options):
        super().__init__(**options)
        self.spread = keras.metrics.Mean(name="spread")
        self.calls = 0

    def call(self, inputs):
        self.calls += 1
        self.spread.update_state(keras.ops.std(inputs))
        return inputs


def spreading(**options):
    """A model with such a layer in its trunk."""
    keras.utils.set_random_seed(3)
    image = keras.Input((6,))
    layer = Spread(name="spreading")
    model = kmtl.MultiTaskModel.from_features(image, layer(keras.layers.Dense(5)(image)), tasks())
    model.compile("sgd", **options)
    return model, layer


def test_a_layer_s_own_metric_is_reported():
    model, layer = spreading(**EAGER)
    model.adapt(X, Y)
    logs = model.evaluate(X, Y, verbose=0, return_dict=True)
    assert layer.spread in model.metrics
    expected = (
        np.std(keras.Model(model.input, layer.output)(X[:32])),
        np.std(keras.Model(model.input, layer.output)(X[32:])),
    )
    np.testing.assert_allclose(logs["spread"], np.mean(expected), rtol=1e-5)
    assert "spread" in steps(model)


@pytest.mark.long
def test_nothing_is_traced_again_in_later_epochs():
    model, layer = spreading(balancer="pcgrad")
    steps(model, validation_data=(X, Y))
    traced = layer.calls
    model.set_loss_weights({"age": 0.1})
    steps(model, 2, validation_data=(X, Y))
    model.evaluate(X, Y, batch_size=8, verbose=0)
    assert layer.calls == traced


def test_a_step_by_hand_is_a_step_of_fit():
    fitted, stepped = (compiled(optimizer="adam", **EAGER) for _ in range(2))
    logs = fitted.fit(X, Y, batch_size=40, verbose=0).history
    stepped.adapt(X, Y)
    values = stepped.train_on_batch(X, Y)
    assert_same_weights(fitted, stepped, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(values, [logs[name][0] for name in stepped.metrics_names], rtol=1e-5)


def test_a_batch_by_hand_takes_weights_and_leaves_tasks_out():
    model = compiled(**EAGER)
    model.adapt(X, Y)
    only_age = {"age": Y["age"]}
    plain = model.test_on_batch(X, only_age, return_dict=True)
    weighted = model.test_on_batch(X, only_age, sample_weight=np.full(40, 3.0), return_dict=True)
    np.testing.assert_allclose(weighted["age_loss"], 3 * plain["age_loss"], rtol=1e-5)
    assert np.isnan([plain["species_loss"], plain["box_mae"]]).all()
    before = model.get_layer("species").get_weights()
    model.train_on_batch(X, {"species": Y["species"]}, class_weight={"species": dict.fromkeys(range(4), 0.0)})
    model.train_on_batch(X, only_age)
    for old, new in zip(before, model.get_layer("species").get_weights(), strict=True):
        np.testing.assert_array_equal(new, old)


def test_values_without_names_come_in_the_order_of_the_names():
    model = compiled(metrics={"age": ["mse", "mae"]}, **EAGER)
    model.adapt(X, Y)
    named = model.evaluate(X, Y, verbose=0, return_dict=True)
    assert dict(zip(model.metrics_names, model.evaluate(X, Y, verbose=0), strict=True)) == named
    model.reset_metrics()
    assert dict(zip(model.metrics_names, model.test_on_batch(X, Y), strict=True)) == pytest.approx(named)


def test_one_task_alone_trains_under_every_need():
    class Kept(kmtl.balancers.Balancer):
        needs = "gradients"

        def transform(self, gradients, signals):
            return gradients, keras.ops.cast(signals.present, "float32")

    labels = {"age": Y["age"]}
    expected = compiled([kmtl.Regression("age")], **EAGER)
    steps(expected, y=labels, batch_size=20)
    for balancer in ("pcgrad", Kept()):
        model = compiled([kmtl.Regression("age")], balancer=balancer, **EAGER)
        steps(model, y=labels, batch_size=20)
        assert_same_weights(expected, model, rtol=1e-6, atol=1e-7)


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="a GPU is at hand, where XLA is on")
def test_xla_is_off_by_default_on_cpus():
    assert compiled(tasks()).jit_compile is False
