"""Weights that are frozen and unfrozen between two trainings, without compiling again and without losing state."""

import keras
import numpy as np
import pytest
from toys import assert_same_weights, build, examples

import kmtl

X, Y = examples(24)


def make(optimizer="adam", frozen=(), **options):
    model = build()
    for name in frozen:
        model.get_layer(name).trainable = False
    model.compile(optimizer, run_eagerly=True, **options)
    model.adapt(X, Y)
    return model


def values(variables):
    return [variable.numpy() for variable in variables]


def slots(model, layer):
    """What the optimizer holds of a layer's weights, by path."""
    names = [variable.path.replace("/", "_") for variable in model.get_layer(layer).weights]
    return {slot.path: slot.numpy() for slot in model.optimizer.variables if any(name in slot.path for name in names)}


@pytest.mark.parametrize("layer", ["trunk", "age_standardized"])
def test_what_is_frozen_stands_still_and_goes_on_where_it_was(layer):
    model = make()
    model.train_on_batch(X, Y)
    held, optimizer = slots(model, layer), model.optimizer
    assert any(np.any(value) for value in held.values())
    weights = values(model.get_layer(layer).weights)
    others = values(model.trainable_variables)
    model.get_layer(layer).trainable = False
    model.train_on_batch(X, Y)
    assert model.optimizer is optimizer
    for old, new in zip(weights, values(model.get_layer(layer).weights), strict=True):
        np.testing.assert_array_equal(old, new)
    for path, value in slots(model, layer).items():
        np.testing.assert_array_equal(held[path], value)
    model.get_layer(layer).trainable = True
    assert sum(np.any(old != new) for old, new in zip(others, values(model.trainable_variables), strict=True)) > 4
    model.train_on_batch(X, Y)
    assert all(np.any(old != new) for old, new in zip(weights, values(model.get_layer(layer).weights), strict=True))


def test_what_was_frozen_when_compiled_can_be_unfrozen_and_the_rest_keeps_its_state():
    model = make(frozen=["trunk"])
    for _ in range(2):
        model.train_on_batch(X, Y)
    before = {slot.path: slot.numpy() for slot in model.optimizer.variables}
    weights = model.get_weights()
    model.get_layer("trunk").trainable = True
    model.follow_trainable("fit")
    after = {slot.path: slot.numpy() for slot in model.optimizer.variables}
    assert set(before) < set(after)
    for path, value in before.items():
        np.testing.assert_array_equal(after[path], value)
    assert all(not np.any(after[path]) for path in set(after) - set(before))
    model.train_on_batch(X, Y)
    moved = [np.any(old != new) for old, new in zip(weights, model.get_weights(), strict=True)]
    assert sum(moved) == len(model.trainable_variables)


def test_unfreezing_with_an_optimizer_by_task_and_scaled_losses():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = make({"shared": keras.optimizers.Adam(0.01), "age": keras.optimizers.SGD(0.1)}, frozen=["trunk"])
        model.train_on_batch(X, Y)
        scale = float(model.optimizer.dynamic_scale)
        model.optimizer.dynamic_scale.assign(scale / 4)
        model.get_layer("trunk").trainable = True
        weights = values(model.get_layer("trunk").weights)
        model.train_on_batch(X, Y)
        assert float(model.optimizer.dynamic_scale) == scale / 4
        assert all(
            np.any(old != new) for old, new in zip(weights, values(model.get_layer("trunk").weights), strict=True)
        )
    finally:
        keras.config.set_dtype_policy(policy)


@pytest.mark.parametrize("balancer", ["uncertainty", "upgrad"])
def test_the_balancer_keeps_its_state_while_the_trunk_is_frozen(balancer):
    model, plain = make("sgd", balancer=balancer), make("sgd")
    model.train_on_batch(X, Y)
    step = float(model.balancer.step)
    plain.set_weights(model.get_weights()[: len(plain.get_weights())])
    for one in (model, plain):
        one.get_layer("trunk").trainable = False
    model.train_on_batch(X, Y)
    plain.train_on_batch(X, Y)
    if balancer == "uncertainty":
        assert float(model.balancer.step) == step + 1
        return
    # It weighs the trunk's gradient alone, so the heads move as by plain Keras.
    assert float(model.balancer.step) == step
    assert_same_weights(model, plain)
    model.get_layer("trunk").trainable = True
    model.train_on_batch(X, Y)
    assert float(model.balancer.step) == step + 1


def test_a_trunk_that_was_frozen_before_compile_is_told_and_balanced_when_it_is_not_any_more():
    model = build()
    model.get_layer("trunk").trainable = False
    with pytest.raises(ValueError, match=r"needs gradients of trainable weights .* Freeze it after compile"):
        model.compile("sgd", balancer="moco")
    with pytest.warns(UserWarning, match="compile: all that tasks share is frozen: the balancer weighs nothing until"):
        model.compile("sgd", run_eagerly=True, balancer="unit")
    model.adapt(X, Y)
    model.train_on_batch(X, Y)
    assert float(model.balancer.step) == 0
    model.get_layer("trunk").trainable = True
    model.train_on_batch(X, Y)
    assert float(model.balancer.step) == 1


def test_fit_follows_without_a_warning_and_equals_a_model_compiled_frozen():
    frozen = make("sgd", frozen=["trunk"])
    model = make("sgd")
    model.set_weights(frozen.get_weights())
    model.get_layer("trunk").trainable = False
    for one in (frozen, model):
        one.fit(X, Y, batch_size=8, epochs=1, shuffle=False, verbose=0)
    assert_same_weights(frozen, model)


def test_a_memory_of_other_weights_is_refused():
    model = make(balancer=kmtl.balancers.get("moco"))
    model.train_on_batch(X, Y)
    layer = model.get_layer("trunk")
    layer.bias.trainable = False
    with pytest.raises(ValueError, match=r"`size` must be \d+ again"):
        model.train_on_batch(X, Y)
