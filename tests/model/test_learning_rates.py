"""Learning rates that are multiples of the optimizer's, by task, layer, or for what tasks share."""

import keras
import numpy as np
import pytest
from toys import assert_same_weights, build, examples, network, tasks

import kmtl

X, Y = examples(24, hidden=0.2)


def make(optimizer, given=None, **options):
    model = build(given)
    model.compile(optimizer, run_eagerly=True, **options)
    model.adapt(X, Y)
    return model


def step(model, number=1):
    for _ in range(number):
        model.train_on_batch(X, Y)
    return model


def values(variables):
    return [variable.numpy() for variable in variables]


MULTIPLIERS = {"shared": 0.1, "age": 0.5}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (keras.optimizers.SGD, {"momentum": 0.9, "weight_decay": 0.1, "gradient_accumulation_steps": 2}),
        (keras.optimizers.Adam, {"weight_decay": 0.1, "use_ema": True, "ema_overwrite_frequency": 2}),
    ],
)
def test_a_multiplier_is_an_optimizer_of_that_rate(kind, options):
    one = make(kind(0.1, **options), learning_rate_multipliers=MULTIPLIERS)
    parts = {"shared": kind(0.01, **options), "age": kind(0.05, **options)}
    parts |= {name: kind(0.1, **options) for name in ("species", "alive", "box")}
    other = make(parts)
    start = values(one.trainable_variables)
    step(one, 4), step(other, 4)
    assert all(np.any(old != new) for old, new in zip(start, values(one.trainable_variables), strict=True))
    assert_same_weights(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        *("Adafactor", "Ftrl", "Muon"),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("Adadelta", "Adagrad", "Adamax", "AdamW")),
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("Lamb", "Lion", "Nadam", "RMSprop")),
    ],
)
def test_every_optimizer_moves_one_layer_at_its_own_rate(name):
    kind = getattr(keras.optimizers, name)
    plain, slow, scaled = (network_of_one() for _ in range(3))
    plain.compile(kind(0.1), run_eagerly=True)
    slow.compile(kind(0.025), run_eagerly=True)
    scaled.compile(kind(0.1), run_eagerly=True, learning_rate_multipliers={"trunk": 0.25})
    start = values(scaled.trainable_variables)
    for model in (plain, slow, scaled):
        model.train_on_batch(X, {"age": Y["age"]})
    for place, variable in enumerate(scaled.trainable_variables):
        like = slow if variable.path.startswith("trunk") else plain
        moved = variable.numpy() - start[place]
        np.testing.assert_allclose(moved, like.trainable_variables[place].numpy() - start[place], rtol=1e-4, atol=1e-7)
        assert np.any(moved)


def network_of_one():
    keras.utils.set_random_seed(3)
    return kmtl.MultiTaskModel.from_features(*network(), [kmtl.Regression("age", standardize=False)])


def test_a_schedule_clipping_and_scaled_losses_stay_those_of_one_optimizer():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5)
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        plain = make(keras.optimizers.SGD(schedule, global_clipnorm=0.1))
        model = make(keras.optimizers.SGD(schedule, global_clipnorm=0.1), learning_rate_multipliers={"age": 0.5})
        start = values(plain.trainable_variables)
        step(plain), step(model)
        own = {variable.path for variable in model.task_variables("age")}
        for old, one, other in zip(start, plain.trainable_variables, model.trainable_variables, strict=True):
            factor = 0.5 if other.path in own else 1.0
            np.testing.assert_allclose(other.numpy() - old, factor * (one.numpy() - old), rtol=1e-5, atol=1e-7)
        assert float(model.optimizer.learning_rate) == pytest.approx(0.05)
    finally:
        keras.config.set_dtype_policy(policy)


def test_at_0_weights_and_what_the_optimizer_holds_of_them_stand_still():
    model = make(keras.optimizers.AdamW(0.01), learning_rate_multipliers={"shared": 0, "box": 0.0, "age": 1})
    still = [*model.shared_variables, *model.task_variables("box")]
    before = values(still)
    step(model, 2)
    for old, new in zip(before, values(still), strict=True):
        np.testing.assert_array_equal(old, new)
    held = [slot for slot in model.optimizer.variables if "trunk" in slot.path or "box" in slot.path]
    assert len(held) == 8
    assert not any(np.any(slot) for slot in held)


def test_a_layer_comes_before_its_task_and_an_inner_layer_before_its_model():
    row = keras.Input((6,))
    inner = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(5, name="first"), keras.layers.Dense(4, name="last")], name="in"
    )
    model = kmtl.MultiTaskModel.from_features(
        row, inner(row), [kmtl.Regression("age", hidden=3), kmtl.Regression("mass")]
    )
    factors = {"shared": 0.5, "in": 0.25, "last": 0.0, "age": 0.5, "age_hidden_1": 0.0}
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True, learning_rate_multipliers=factors)
    plain = kmtl.MultiTaskModel.from_model(keras.models.clone_model(model), list(model.tasks.values()))
    plain.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    plain.set_weights(model.get_weights())
    labels = {"age": Y["age"], "mass": X[:, 0]}
    start = values(model.trainable_variables)
    for one in (model, plain):
        one.adapt(X, labels)
        one.train_on_batch(X, labels)
    expected = {"first": 0.25, "last": 0.0, "age_hidden_1": 0.0, "age_standardized": 0.5, "mass_standardized": 1.0}
    for old, one, other in zip(start, model.trainable_variables, plain.trainable_variables, strict=True):
        factor = expected[one.path.split("/")[-2]]
        np.testing.assert_allclose(one.numpy() - old, factor * (other.numpy() - old), rtol=1e-4, atol=1e-6)


def test_multipliers_are_saved_follow_what_is_unfrozen_and_go_with_a_new_compile(tmp_path):
    model = build()
    model.get_layer("trunk").trainable = False
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True, learning_rate_multipliers={"shared": 0.1})
    model.adapt(X, Y)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    plain = make(keras.optimizers.SGD(0.1))
    plain.set_weights(model.get_weights())
    moves = []
    for one in (model, again, plain):
        one.get_layer("trunk").trainable = True
        start = one.get_layer("trunk").kernel.numpy()
        step(one)
        moves.append(one.get_layer("trunk").kernel.numpy() - start)
    np.testing.assert_allclose(moves[0], 0.1 * moves[2], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(moves[1], 0.1 * moves[2], rtol=1e-4, atol=1e-7)
    again.set_weights(model.get_weights())
    again.compile(again.optimizer, run_eagerly=True)
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    step(model), step(again)
    assert_same_weights(model, again)


def test_they_go_beside_an_optimizer_by_task():
    parts = {"shared": keras.optimizers.SGD(0.1), "age": keras.optimizers.SGD(0.2)}
    model = make(parts, learning_rate_multipliers={"age": 0.5, "trunk": 0.0})
    other = make(keras.optimizers.SGD(0.1), learning_rate_multipliers={"trunk": 0.0})
    step(model), step(other)
    assert_same_weights(model, other, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"agee": 1}, "must use 'shared', names of tasks or of layers as keys, got 'agee'. Did you mean 'age'"),
        ({"image": 1}, "must be of layers that have weights, got 'image'"),
        ({"age": -1}, "of 'age' must be a finite number of at least 0, got -1"),
        ({"age": float("nan")}, "of 'age' must be a finite number of at least 0, got nan"),
        ({"age": True}, "of 'age' must be a finite number of at least 0, got True"),
        (0.1, "must be a dict keyed by 'shared', task or layer, got 0.1"),
    ],
)
def test_bad_multipliers_are_refused(given, message):
    model = build()
    with pytest.raises(ValueError, match=f"^compile: `learning_rate_multipliers` {message}"):
        model.compile("sgd", learning_rate_multipliers=given)
    assert not model.compiled


def test_a_fused_head_has_one_rate():
    names = ["ant", "bee", "cat", "dog"]
    model = build([kmtl.BinaryClassification(name) for name in names])
    with pytest.raises(ValueError, match=r"\['bee'\] in the fused head 'ant_and_3_more'.*fuse=False"):
        model.compile("sgd", learning_rate_multipliers={"bee": 0.5})
    labels = {name: (X[:, place] > 0.5).astype("int32") for place, name in enumerate(names)}
    for given in (dict.fromkeys(names, 0.0), {"ant_and_3_more": 0.0}):
        model.compile("sgd", run_eagerly=True, learning_rate_multipliers=given)
        before = values(model.get_layer("ant_and_3_more").weights)
        trunk = model.get_layer("trunk").kernel.numpy()
        model.train_on_batch(X, labels)
        for old, new in zip(before, values(model.get_layer("ant_and_3_more").weights), strict=True):
            np.testing.assert_array_equal(old, new)
        assert np.any(trunk != model.get_layer("trunk").kernel.numpy())
    with pytest.raises(ValueError, match="cannot tell what is shared while a task is named, got 'shared'"):
        build([*tasks(), kmtl.Regression("shared")]).compile("sgd", learning_rate_multipliers={"shared": 0.1})
