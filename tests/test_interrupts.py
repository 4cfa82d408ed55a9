"""Ctrl-C in a training waits for the end of a step; a second one does not."""

import os
import signal
import threading

import keras
import numpy as np
import pytest

import kmtl
from kmtl._interrupts import hold_interrupts


def press():
    os.kill(os.getpid(), signal.SIGINT)


def in_a_block(*acts):
    with hold_interrupts():
        for act in acts:
            act()


def fail():
    raise ValueError("shape")


class Pressed(keras.layers.Layer):
    """Presses Ctrl-C while it is traced in training, so many times in all; counts how often it went on after one."""

    def __init__(self, times):
        super().__init__()
        self.times = times
        self.on = 0

    def call(self, inputs, training=False):
        if training and self.times:
            self.times -= 1
            press()
            self.on += 1
        return inputs * 1.0


def model_of(layer, **options):
    given = keras.Input((4,), name="x")
    features = layer(keras.layers.Dense(3)(given))
    model = kmtl.MultiTaskModel.from_features(given, features, [kmtl.Regression("wide"), kmtl.Regression("age")])
    model.compile("sgd", balancer="upgrad", **options)
    return model


X = np.random.default_rng(0).normal(size=(12, 4)).astype("float32")
Y = {"wide": X[:, 0] * 100, "age": X[:, 1]}


def test_a_first_step_is_traced_and_taken():
    layer = Pressed(1)
    model = model_of(layer)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=4, verbose=0)
    assert layer.on == 1
    assert model.optimizer.iterations == 1
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    model.fit(X, Y, batch_size=4, verbose=0)
    assert model.optimizer.iterations == 4


class PressedAt(keras.callbacks.Callback):
    """Presses Ctrl-C at the start or end of a batch, so many times at once; tells whether it went on after that."""

    def __init__(self, hook, batch, times=1):
        super().__init__()
        self.batch, self.times, self.went_on = batch, times, False
        setattr(self, hook, self.look)

    def look(self, batch, logs=None):
        del logs
        if batch == self.batch:
            for _ in range(self.times):
                press()
            self.went_on = True


@pytest.fixture(scope="module")
def trained():
    """A model whose functions are traced."""
    model = model_of(keras.layers.Identity())
    model.fit(X, Y, batch_size=4, verbose=0, validation_data=(X, Y))
    return model


@pytest.mark.parametrize(
    ("hook", "batch", "steps"),
    [("on_train_batch_begin", 1, 1), ("on_train_batch_end", 1, 2), ("on_test_batch_begin", 1, 3)],
)
def test_one_in_a_callback_takes_effect_before_the_next_step(trained, hook, batch, steps):
    before, pressed = int(trained.optimizer.iterations), PressedAt(hook, batch)
    with pytest.raises(KeyboardInterrupt):
        trained.fit(X, Y, batch_size=4, epochs=9, verbose=0, validation_data=(X, Y), callbacks=[pressed])
    assert trained.optimizer.iterations - before == steps
    assert pressed.went_on
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_two_in_a_callback_do_not_wait(trained):
    pressed = PressedAt("on_train_batch_end", 0, times=2)
    with pytest.raises(KeyboardInterrupt):
        trained.fit(X, Y, batch_size=4, verbose=0, callbacks=[pressed])
    assert not pressed.went_on


def test_one_in_the_last_callback_takes_effect_at_the_end(trained):
    pressed = PressedAt("on_epoch_end", 1)
    with pytest.raises(KeyboardInterrupt):
        trained.fit(X, Y, batch_size=4, epochs=2, verbose=0, callbacks=[pressed])
    assert pressed.went_on


def test_a_long_look_at_the_data_is_left():
    class Rows(keras.utils.PyDataset):
        read = 0

        def __len__(self):
            return 100

        def __getitem__(self, place):
            self.read += 1
            if place == 2:
                press()
            return X, Y

    rows = Rows()
    model = model_of(keras.layers.Identity())
    with pytest.raises(KeyboardInterrupt):
        model.fit(rows, verbose=0)
    assert rows.read <= 4
    assert model.optimizer.iterations == 0


def test_a_second_one_goes_through_at_once():
    reached = []
    with pytest.raises(KeyboardInterrupt):
        in_a_block(press, lambda: reached.append("held"), press, lambda: reached.append("held again"))
    assert reached == ["held"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_in_the_block_comes_first():
    with pytest.raises(KeyboardInterrupt) as told:
        in_a_block(press, fail)
    assert isinstance(told.value.__context__, ValueError)


@pytest.fixture
def handled():
    """Signals that a handler of the user's got."""
    got = []
    former = signal.signal(signal.SIGINT, lambda number, _: got.append(number))
    yield got
    signal.signal(signal.SIGINT, former)


def test_a_handler_of_the_users_is_called_after_the_block(handled):
    with hold_interrupts(), hold_interrupts():
        press()
        assert not handled
    assert handled == [signal.SIGINT]


def test_other_threads_and_ignored_signals_are_left_alone():
    def look():
        with hold_interrupts():
            found.append(signal.getsignal(signal.SIGINT))

    found = []
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with hold_interrupts():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, former)


def test_an_eager_step_is_not_held():
    layer = Pressed(1)
    model = model_of(layer, run_eagerly=True)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, batch_size=4, verbose=0)
    assert layer.on == 0
