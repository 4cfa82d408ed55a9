"""Trunk copies that exchange: the two ends, what every exchange keeps, what is measured, what is refused."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from recipe_rows import TASKS, build, rows, train, train_killed

import kmtl
from kmtl.training import MessagePassing, Separate
from kmtl.training.combined import combined
from kmtl.training.message_step import MessageStep
from kmtl.training.sinkhorn import sinkhorn

UNIFORM = [[0.5, 0.5], [0.5, 0.5]]


def test_the_identity_is_separate_training_bit_for_bit():
    found, apart = (train(each, epochs=1, validation=None) for each in (MessagePassing(np.eye(2), every=1), Separate()))
    for one, other in zip(found.model.get_weights(), apart.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.long
def test_the_mean_trunk_of_equal_copies_predicts_as_they_do():
    recipes = [MessagePassing(UNIFORM, every=1, trunk=trunk) for trunk in ("each", "mean")]
    each, mean = (train(recipe, epochs=1, batch_size=12, validation=None).model for recipe in recipes)
    assert len(mean.shared_variables) == 4
    assert len(each.shared_variables) == 0
    x = rows(seed=1)[0]
    for name, values in each.predict(x, verbose=0).items():
        np.testing.assert_allclose(mean.predict(x, verbose=0)[name], values, rtol=1e-5)


@pytest.fixture(scope="module")
def exchanging():
    """Three copies of a trunk with normalisation under plain SGD, and the batch of one step."""
    tasks = [*TASKS, kmtl.Regression("pace")]
    x, y = rows()
    y = {**y, "pace": np.where(x[:, 1, 1, 0] > 0.5, 1.0, -2.0).astype("float32")}
    models = {}
    for task in tasks:
        keras.utils.set_random_seed(0)
        models[task.name] = build([task])
        models[task.name].compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    model = combined(models)
    model.adapt(x, y)
    copies = [[item for layer in one.layers[:5] for item in layer.weights] for one in models.values()]
    model.step = MessageStep(model, model.setup, copies, every=1, exchange=np.eye(3))
    start = [variable.numpy() for variable in model.training_state]

    def after(exchange, steps=1):
        for variable, value in zip(model.training_state, start, strict=True):
            variable.assign(value)
        model.step.fixed = None if exchange is None else tf.constant(exchange, tf.float32)
        for _ in range(steps):
            model.train_on_batch(x, y)
        return [np.stack([copy[place].numpy() for copy in copies]) for place in range(len(copies[0]))]

    return after, copies, model


def test_every_exchange_keeps_the_mean_and_raises_no_spread(exchanging):
    after, copies, _ = exchanging
    apart = after(np.eye(3))
    assert len(copies[0]) == 6  # a kernel, a bias, and what normalisation holds, moving statistics among it
    random = keras.ops.convert_to_numpy(sinkhorn(np.random.default_rng(0).uniform(0.1, 1, (3, 3))))
    for exchange in (random, np.full((3, 3), 1 / 3)):
        for one, mixed in zip(apart, after(exchange), strict=True):
            np.testing.assert_allclose(mixed, np.tensordot(exchange, one, 1), rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(mixed.mean(0), one.mean(0), rtol=1e-5, atol=1e-6)
            assert mixed.std(0).max() <= one.std(0).max() + 1e-6
    for mixed in after(np.full((3, 3), 1 / 3)):
        np.testing.assert_allclose(mixed, np.broadcast_to(mixed[:1], mixed.shape), rtol=1e-6, atol=1e-7)


def test_gradients_give_the_cosines_of_what_each_task_asks_of_its_copy(exchanging):
    after, copies, model = exchanging
    apart = after(np.eye(3), steps=0)
    moved = after(np.eye(3))
    trainable = [place for place, variable in enumerate(copies[0]) if variable.trainable]
    moves = np.concatenate([(moved[place] - apart[place]).reshape(3, -1) for place in trainable], axis=1)
    norms = np.linalg.norm(moves, axis=1)
    mixed = after(None)
    np.testing.assert_allclose(model.step.affinity, moves @ moves.T / np.outer(norms, norms), rtol=1e-3, atol=1e-4)
    exchange = model.step.exchange.numpy()
    np.testing.assert_allclose(exchange.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(mixed[0], np.tensordot(exchange, moved[0], 1), rtol=1e-4, atol=1e-5)


def test_labels_tell_the_exchange_in_advance():
    trained = train(MessagePassing("labels", temperature=0.5), epochs=1, batch_size=24, validation=None)
    affinity = trained.notes["affinity"][0, 1]
    assert 0.05 < affinity < 1
    # Sinkhorn of two rows in closed form.
    share = 1 / (1 + np.exp((affinity - 1) / 0.5))
    np.testing.assert_allclose(trained.notes["exchange"], [[share, 1 - share], [1 - share, share]], rtol=1e-5)


@pytest.mark.long
def test_one_killed_behind_a_backup_goes_on_with_what_it_has_measured(tmp_path):
    recipe = MessagePassing(every=2)  # an epoch has three steps: the second exchange is in the second one
    found, whole = train_killed(recipe, tmp_path, epoch=2, validation=None), train(recipe, validation=None)
    for one, other in zip(found.model.get_weights(), whole.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(found.notes["affinity"], whole.notes["affinity"])


@pytest.mark.long
def test_copies_that_start_apart_are_told_and_start_alike():
    def heads_first(tasks):
        keras.utils.set_random_seed(len(tasks[0].name))
        return build(tasks)

    with pytest.warns(UserWarning, match=r"starts the trunk of \['speed'\] otherwise than that of 'kind'"):
        train(MessagePassing(UNIFORM), build=heads_first, epochs=1, batch_size=24, validation=None)


def test_what_cannot_be_is_refused():
    with pytest.raises(
        ValueError, match=r"Did you mean 'labels'(.|\n)*every(.|\n)*temperature(.|\n)*Did you mean 'mean'"
    ):
        MessagePassing("label", every=0, temperature=-1, trunk="means")
    with pytest.raises(ValueError, match="`temperature` must be left out"):
        MessagePassing(np.eye(2), temperature=1.0)
    with pytest.raises(ValueError, match=r"a row and a column a task, got 3 for"):
        train(MessagePassing(np.eye(3)))
    x, y = rows()
    with pytest.raises(ValueError, match="must be two or more"):
        MessagePassing().train(build, TASKS[:1], (x, {"kind": y["kind"]}), epochs=1, verbose=0)

    def balanced(tasks):
        model = build(tasks)
        model.compile("adam", balancer="upgrad" if len(tasks) > 1 else "equal")
        return model

    with pytest.raises(ValueError, match="leave nothing to balance, got UPGrad"):
        train(MessagePassing(), build=balanced)
