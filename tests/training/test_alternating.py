"""One task a step: what moves, in whose turn, and what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from recipe_rows import TASKS, build, rows, train, train_killed

import kmtl
from kmtl.data.mixing.proportions import annealed
from kmtl.feeding.resume import stream_from
from kmtl.training import Alternating
from kmtl.training.alternating import recompile
from kmtl.training.alternating_step import AlternatingStep
from kmtl.training.sets_in_turn import sets_in_turn
from kmtl.training.turn_optimizer import OptimizerByTurn
from kmtl.training.turns import Turns, table_of

NAMES = [task.name for task in TASKS]


def normalised_heads(tasks):
    """Heads with moving statistics of their own."""
    image = keras.Input((4, 4, 1), name="image")
    features = keras.layers.Dense(5, activation="relu")(keras.layers.Flatten()(image))
    own = {task.name: keras.layers.BatchNormalization()(features) for task in tasks}
    return kmtl.MultiTaskModel.from_features(image, own, tasks)


def alternating_model(optimizer, turns, *, own=False, make=None, run_eagerly=True):
    keras.utils.set_random_seed(0)
    model = normalised_heads(TASKS) if make is None else make(TASKS)
    model.compile(optimizer, run_eagerly=run_eagerly)
    model.adapt(*rows())
    if own:
        recompile(model, OptimizerByTurn, lambda made: {name: made() for name in ["shared", *NAMES]})
    model.step = AlternatingStep(model, model.setup, turns)
    return model


class Fixed(Turns):
    """One task's turn only, until another one's."""

    def __init__(self, place):
        super().__init__(None, 2)
        self.place = tf.Variable(place, dtype=tf.int64)

    def at(self, step):
        del step
        return self.place.read_value()


def full_rows():
    x, _ = rows()
    return x, {"kind": (x[:, 0, 0, 0] * 3).astype("int32"), "speed": (100 * x.mean((1, 2, 3))).astype("float32")}


def of_task(model, name):
    """All that a task alone has: weights, moving statistics, and what optimizers hold of them."""
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    owned = {id(item) for layer in model.task_layers(name) for item in layer.variables}
    found = {item.path: item.numpy() for layer in model.task_layers(name) for item in layer.variables}
    for key, part in getattr(inner, "parts", {"": inner}).items():
        for place, variable in enumerate(part._trainable_variables):
            if id(variable) in owned:
                for slot in ("_momentums", "_velocities"):
                    if hasattr(part, slot):
                        found[f"{key} {slot} {place}"] = getattr(part, slot)[place].numpy()
    return found


@pytest.mark.parametrize("own", [False, True])
def test_a_head_out_of_its_turn_is_bit_equal_after_fifty_steps_of_adam(own):
    model = alternating_model(keras.optimizers.Adam(0.01), Fixed(1), own=own, run_eagerly=False)
    x, y = full_rows()
    model.train_on_batch(x, y)
    model.step.turns.place.assign(0)  # Adam has moments of the head of `speed` now.
    before, other = of_task(model, "speed"), of_task(model, "kind")
    trunk = model.shared_variables[0].numpy()
    for _ in range(50):
        model.train_on_batch(x, y)
    for key, value in of_task(model, "speed").items():
        np.testing.assert_array_equal(value, before[key], err_msg=key)
    after = of_task(model, "kind")
    assert sum(not np.array_equal(after[key], other[key]) for key in other) >= 8
    assert np.abs(model.shared_variables[0].numpy() - trunk).max() > 0.01


def test_the_expected_step_of_a_random_order_is_the_gradient_of_the_weighted_sum():
    weights = np.array([3.0, 1.0])
    chances = table_of("random", [5, 9], 1, weights=weights)[0]
    x, y = full_rows()

    def moved(turns, loss_weights=None):
        keras.utils.set_random_seed(0)
        model = build(TASKS)
        model.compile(keras.optimizers.SGD(0.1), loss_weights=loss_weights, run_eagerly=True)
        model.adapt(x, y)
        start = [variable.numpy() for variable in model.trainable_variables]
        if turns is not None:
            model.step = AlternatingStep(model, model.setup, turns)
        model.train_on_batch(x, y)
        return [variable.numpy() - old for variable, old in zip(model.trainable_variables, start, strict=True)]

    by_turn = [moved(Fixed(place)) for place in range(2)]
    joint = moved(None, dict(zip(NAMES, (weights / weights.sum()).tolist(), strict=True)))
    for first, second, whole in zip(*by_turn, joint, strict=True):
        np.testing.assert_allclose(chances[0] * first + chances[1] * second, whole, rtol=1e-4, atol=1e-7)


def test_orders():
    sizes = [100, 300]
    np.testing.assert_allclose(table_of("annealed", sizes, 4), annealed(sizes, 4))
    np.testing.assert_allclose(table_of("temperature", sizes, 1, temperature=2.0)[0][1], 3**0.5 / (1 + 3**0.5))
    assert Turns(None, 3, block=2).counts(12) == [4, 4, 4]
    drawn = Turns(annealed(sizes, 2), 2, seed=3, steps_per_epoch=2000)
    first = drawn.counts(2000)[0]
    assert abs(first / 2000 - 0.25) < 0.03
    assert abs((drawn.counts(4000)[0] - first) / 2000 - annealed(sizes, 2)[1, 0]) < 0.035
    blocks = [int(Turns([[0.5, 0.5]], 2, seed=1, block=3).at(step)) for step in range(30)]
    assert all(len(set(blocks[start : start + 3])) == 1 for start in range(0, 30, 3))
    assert len(set(blocks)) == 2


def test_a_turn_without_a_label_goes_to_the_next_and_none_moves_nothing():
    model = alternating_model(keras.optimizers.SGD(0.1), Turns(None, 2))
    x, y = full_rows()
    before = of_task(model, "kind")
    model.train_on_batch(x, {"speed": y["speed"]})
    for key, value in of_task(model, "kind").items():
        np.testing.assert_array_equal(value, before[key], err_msg=key)
    weights = model.get_weights()
    model.train_on_batch(x, {"kind": np.full(24, -1), "speed": np.full(24, np.nan)})
    for value, old in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(value, old)
    assert int(model.step.counter) == 2
    assert float(model.balancer.skipped) == 0.0


@pytest.mark.long
def test_mixed_precision_keeps_turns():
    def halves(tasks):
        keras.config.set_dtype_policy("mixed_float16")
        try:
            return build(tasks)
        finally:
            keras.config.set_dtype_policy("float32")

    model = alternating_model(keras.optimizers.Adam(0.01), Fixed(0), own=True, make=halves)
    before, trunk = of_task(model, "speed"), model.shared_variables[0].numpy()
    for _ in range(5):
        model.train_on_batch(*full_rows())
    for key, value in of_task(model, "speed").items():
        np.testing.assert_array_equal(value, before[key], err_msg=key)
    assert np.abs(model.shared_variables[0].numpy() - trunk).max() > 1e-3


def sets(garbage=0.0):
    """A set a task, of unlike sizes; what they hold of the other task is not to be read."""
    x, y = full_rows()
    kind = {"kind": y["kind"][:8], "speed": np.full(8, garbage, "float32")}
    return {"kind": (x[:8], kind), "speed": (x[8:], {"speed": y["speed"][8:]})}


def test_a_set_a_task_with_what_belongs_to_others_unread():
    recipe = Alternating()
    found, other = (train(recipe, train=sets(garbage), epochs=1, validation=None) for garbage in (0.0, 1e6))
    for one, two in zip(found.model.get_weights(), other.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert found.history == other.history
    # One batch of `kind`, two of `speed`.
    assert found.cost == 1.0
    mean = np.mean(sets()["speed"][1]["speed"])
    assert found.model.scalers["speed"].mean.numpy() == pytest.approx([mean], rel=1e-5)


def test_the_stream_of_sets_begins_anywhere_as_its_own_middle():
    turns = Turns([[0.4, 0.6]], 2, seed=1)
    numbers = {
        name: np.arange(first, first + count, dtype="float32") for name, first, count in (("a", 0, 5), ("b", 50, 3))
    }
    tasks = {name: kmtl.Regression(name) for name in numbers}
    data = {
        name: tf.data.Dataset.from_tensor_slices((held[:, None], {name: held})).batch(1)
        for name, held in numbers.items()
    }
    stream = sets_in_turn(data, tasks, turns)

    def seen(part):
        return [(float(x[0, 0]), float(y["a"][0]), float(y["b"][0])) for x, y in part.take(12).as_numpy_iterator()]

    np.testing.assert_array_equal(seen(stream.skip(9)), seen(stream_from(stream, 9)))
    for step, (x, a, b) in enumerate(seen(stream)):
        assert (a if int(turns.at(step)) == 0 else b) == x
        assert np.isnan(b if int(turns.at(step)) == 0 else a)


@pytest.mark.long
def test_one_killed_behind_a_backup_goes_on_with_the_turn_that_it_stood_at(tmp_path):
    recipe = Alternating(optimizer="own")  # an epoch has three steps: the second one begins with the other task
    options = {"train": full_rows(), "validation": None}
    found = train_killed(recipe, tmp_path, epoch=2, **options).model.get_weights()
    for one, other in zip(found, train(recipe, **options).model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def compiled(**options):
    def made(tasks):
        model = build(tasks)
        optimizer = options.get("optimizer", keras.optimizers.Adam())
        model.compile(**{**options, "optimizer": optimizer, "run_eagerly": True})
        return model

    return made


def fused(tasks):
    image = keras.Input((4, 4, 1), name="image")
    model = kmtl.MultiTaskModel.from_features(image, keras.layers.Flatten()(image), tasks, fuse=True)
    model.compile("sgd")
    return model


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (compiled(balancer="upgrad"), "nothing to balance, got UPGrad"),
        (compiled(track_conflicts=True), "has no conflict"),
        (compiled(optimizer=keras.optimizers.SGD(gradient_accumulation_steps=2)), "gradients of several turns"),
        (compiled(optimizer={"shared": "adam", "kind": "sgd"}), "one optimizer, of which"),
    ],
)
def test_models_that_cannot_be_trained_by_turns_are_refused(build, said):
    with pytest.raises(ValueError, match=said):
        train(Alternating(optimizer="own"), build=build)


def test_what_is_wrong_is_told_at_once():
    with pytest.raises(ValueError, match=r"Did you mean 'random'(.|\n)*temperature(.|\n)*block"):
        Alternating("randm", temperature=0.5, block=0)
    with pytest.raises(ValueError, match="`weights\\['a'\\]` must be a finite number above 0, got 0"):
        Alternating("random", weights={"a": 0})
    with pytest.raises(ValueError, match=r"as keys, got 'kin'(.|\n)*must have every task"):
        train(Alternating("random", weights={"kin": 1.0, "speed": 1.0}))
    with pytest.raises(ValueError, match=r"must have every task, got \['kind'\]"):
        train(Alternating(), train={"kind": sets()["kind"]})
    with pytest.raises(ValueError, match="every task a turn, got none for 'kind'"):
        train(Alternating("random", weights={"kind": 1e-9, "speed": 1.0}))
    twins = [kmtl.Regression("speed"), kmtl.Regression("pace")]
    x, y = full_rows()
    with pytest.raises(ValueError, match="fused"):
        Alternating().train(fused, twins, (x, {"speed": y["speed"], "pace": y["speed"]}), epochs=2, verbose=0)
