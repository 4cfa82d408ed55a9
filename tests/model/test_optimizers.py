"""An optimizer by task: who moves what, under every way to run a step, and back from a file."""

import keras
import numpy as np
import pytest
from toys import assert_same_weights, build, examples, tasks

import kmtl
from kmtl.model.optimizers import OptimizerByTask

X, Y = examples(24, hidden=0.2)


def make(optimizer, given=None, **options):
    model = build(given)
    model.compile(optimizer, run_eagerly=True, **options)
    model.adapt(X, Y)
    return model


def values(variables):
    return [variable.numpy() for variable in variables]


def test_the_same_optimizer_for_all_is_one_optimizer():
    whole, parts = make(keras.optimizers.Adam(0.01)), make({"shared": keras.optimizers.Adam(0.01), "age": "adam"})
    parts.optimizer.parts["age"].learning_rate = 0.01
    for model in (whole, parts):
        for _ in range(3):
            model.train_on_batch(X, Y)
    assert_same_weights(whole, parts)


def test_each_part_moves_its_own_weights_by_its_own_rule():
    model = make({"shared": keras.optimizers.SGD(0.0), "age": keras.optimizers.SGD(0.5)})
    before = {name: values(model.task_variables(name)) for name in model.tasks}
    trunk = values(model.shared_variables)
    slopes = make(keras.optimizers.SGD(1.0))
    slopes.set_weights(model.get_weights())
    slopes.train_on_batch(X, Y)
    gradients = [old - new.numpy() for old, new in zip(before["age"], slopes.task_variables("age"), strict=True)]
    model.train_on_batch(X, Y)
    for old, new in zip(trunk, values(model.shared_variables), strict=True):
        np.testing.assert_array_equal(old, new)
    for name in ("species", "alive", "box"):
        for old, new in zip(before[name], values(model.task_variables(name)), strict=True):
            np.testing.assert_array_equal(old, new)
    for old, gradient, new in zip(before["age"], gradients, values(model.task_variables("age")), strict=True):
        assert np.any(gradient)
        np.testing.assert_allclose(new, old - 0.5 * gradient, rtol=1e-5, atol=1e-6)


def test_a_gramian_method_and_single_forks_work_with_parts():
    options = {"shared": keras.optimizers.SGD(0.1), "box": keras.optimizers.Adam(0.01)}
    for balancer in ("upgrad", kmtl.balancers.Unit(level="features")):
        model = make(
            {key: type(part).from_config(part.get_config()) for key, part in options.items()}, balancer=balancer
        )
        before = values(model.trainable_variables)
        model.train_on_batch(X, Y)
        assert all(np.any(old != new) for old, new in zip(before, values(model.trainable_variables), strict=True))


def test_the_rate_of_the_shared_weights_moves_the_others_by_the_same_factor():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 10, 0.5)
    model = make(
        {"shared": keras.optimizers.Adam(0.01), "age": keras.optimizers.SGD(0.5), "box": keras.optimizers.SGD(schedule)}
    )
    assert float(model.optimizer.learning_rate) == pytest.approx(0.01)
    model.optimizer.learning_rate = 0.002
    rates = {key: float(part.learning_rate) for key, part in model.optimizer.parts.items()}
    assert rates == pytest.approx({"shared": 0.002, "age": 0.1, "box": 0.1})
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="loss", factor=0.5, patience=0, min_delta=1e9, cooldown=0)
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[plateau])
    assert float(model.optimizer.parts["age"].learning_rate) == pytest.approx(0.05, rel=1e-5)


def test_parts_come_back_with_their_state(tmp_path):
    model = make({"shared": keras.optimizers.Adam(0.01), "age": keras.optimizers.SGD(0.1, momentum=0.9)})
    for _ in range(2):
        model.train_on_batch(X, Y)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(again.optimizer, OptimizerByTask)
    assert [type(part).__name__ for part in again.optimizer.parts.values()] == ["Adam", "SGD"]
    for one, other in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    for one in (model, again):
        one.train_on_batch(X, Y)
    assert_same_weights(model, again)
    model.save_weights(tmp_path / "all.weights.h5")
    fresh = make({"shared": keras.optimizers.Adam(0.01), "age": keras.optimizers.SGD(0.1, momentum=0.9)})
    fresh.load_weights(tmp_path / "all.weights.h5")
    for one in (model, fresh):
        one.train_on_batch(X, Y)
    assert_same_weights(model, fresh)


def test_accumulation_is_each_parts_own():
    model = make(
        {
            "shared": keras.optimizers.SGD(0.1),
            "age": keras.optimizers.SGD(0.1, gradient_accumulation_steps=2),
        }
    )
    head = values(model.task_variables("age"))
    model.train_on_batch(X, Y)
    for old, new in zip(head, values(model.task_variables("age")), strict=True):
        np.testing.assert_array_equal(old, new)
    model.train_on_batch(X, Y)
    assert all(np.any(old != new) for old, new in zip(head, values(model.task_variables("age")), strict=True))


def test_losses_are_scaled_once_in_mixed_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = make({"shared": keras.optimizers.SGD(0.1), "age": keras.optimizers.SGD(0.2)})
        whole = make(keras.optimizers.SGD(0.1))
        whole.set_weights(model.get_weights())
        assert isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
        old = values(model.task_variables("age"))
        for one in (model, whole):
            one.train_on_batch(X, Y)
        for before, twice, once in zip(
            old, values(model.task_variables("age")), values(whole.task_variables("age")), strict=True
        ):
            np.testing.assert_allclose(twice - before, 2 * (once - before), rtol=1e-2, atol=1e-5)
        for one, other in zip(values(model.shared_variables), values(whole.shared_variables), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    finally:
        keras.config.set_dtype_policy(policy)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"age": "sgd"}, "`optimizer` must hold 'shared', what moves all other weights"),
        ({"shared": "sgd", "agee": "adam"}, "`optimizer` must use 'shared' and task names as keys, got 'agee'.*'age'"),
        ({"shared": "sgd", "age": "sgdd"}, "`optimizer` of 'age' must be a Keras optimizer, got 'sgdd'"),
        (
            {"shared": "sgd", "age": keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())},
            "`optimizer` of 'age' must not scale losses",
        ),
    ],
)
def test_bad_parts_are_refused(given, message):
    model = build()
    with pytest.raises(ValueError, match=f"^compile: {message}"):
        model.compile(given)
    assert not model.compiled


def test_one_object_twice_and_fused_heads_are_refused():
    one = keras.optimizers.SGD(0.1)
    with pytest.raises(ValueError, match="`optimizer` must hold an object of its own by key"):
        build().compile({"shared": one, "age": one})
    names = [kmtl.BinaryClassification(name) for name in ("ant", "bee", "cat", "dog")]
    with pytest.raises(ValueError, match=r"\['bee'\] in the fused head 'ant_and_3_more'.*fuse=False"):
        build(names).compile({"shared": "sgd", "bee": "adam"})
    with pytest.raises(ValueError, match="cannot be a dict while a task is named, got 'shared'"):
        build([*tasks(), kmtl.Regression("shared")]).compile({"shared": "sgd"})
