"""Patience over several tasks, told on logs that are written by hand, and in `fit` where the step matters."""

import keras
import numpy as np
import pytest
import states

import kmtl
from kmtl.callbacks import Constrained, DeltaM, EarlyStopping, TaskEarlyStopping, WorstTask

RANDOM = np.random.default_rng(0)
X = RANDOM.random((32, 6)).astype("float32")
Y = {
    "width": X[:, 0] * 10,
    "kind": (X[:, 1] * 3).astype("int32"),
    "red": (X[:, 2] > 0.5).astype("int32"),
    "old": (X[:, 3] > 0.5).astype("int32"),
}
MAIN = ["val_width_mae", "val_kind_accuracy", "val_red_accuracy", "val_old_accuracy"]
STEADY = dict(zip(MAIN, (1.0, 0.5, 0.5, 0.5), strict=True))


def made_anew():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,), name="x")
    tasks = [kmtl.Regression("width"), kmtl.Classification("kind", 3)]
    tasks += [kmtl.BinaryClassification(name, hidden=3) for name in ("red", "old")]
    features = keras.layers.Dense(4, activation="relu")(inputs)
    # Two of the heads are one kernel.
    made = kmtl.MultiTaskModel.from_features(inputs, features, tasks, fuse=True)
    made.compile(keras.optimizers.Adam(0.05), run_eagerly=True)
    made.adapt(X, Y)
    return made


model = states.Reused(made_anew)


def told(callback, epochs, made=None):
    """Lets a callback hear of epochs; how many it takes until it stops."""
    made = made or model()
    made.stop_training = False
    callback.set_model(made)
    callback.on_train_begin()
    for epoch, logs in enumerate(epochs):
        callback.on_epoch_end(epoch, logs)
        if made.stop_training:
            return epoch + 1
    return None


def by_key(key, values):
    return [{**STEADY, key: value} for value in values]


@pytest.mark.parametrize(
    ("key", "values", "stops"),
    [
        # Any one of the tasks keeps the training up, by its own better end.
        ("val_width_mae", [3, 2, 1, 1, 1], 5),
        ("val_old_accuracy", [0.1, 0.2, 0.3, 0.4, 0.5], None),
        ("val_width_mae", [1, 2, 3, 4, 5], 3),
        ("val_kind_accuracy", [0.5, 0.4, 0.6, 0.5, 0.6], 5),
        # A task without labels is no improvement.
        ("val_kind_accuracy", [float("nan")] * 5, 3),
    ],
)
def test_patience_lasts_until_none_improves(key, values, stops):
    assert told(EarlyStopping(patience=2), by_key(key, values)) == stops


def test_epochs_without_validation_do_not_count_and_small_steps_may_not():
    missing = [STEADY, {"loss": 1.0}, STEADY, {"loss": 1.0}, {"loss": 1.0}, STEADY]
    assert told(EarlyStopping(patience=2), missing) == 6
    small = by_key("val_width_mae", [1.0, 0.99, 0.98, 0.97])
    assert told(EarlyStopping(patience=2, min_delta=0.05), small) == 3
    assert told(EarlyStopping(patience=2, min_delta={"val_kind_accuracy": 0.05}), small) is None
    assert told(EarlyStopping(MAIN[1:], patience=1), small) == 2
    assert told(EarlyStopping(patience=1, start_from_epoch=2), [STEADY] * 6) == 4


def test_one_monitor_alone_is_kerass_own():
    random = np.random.default_rng(5)
    for patience in range(3):
        epochs = [{**STEADY, "val_width_mae": value} for value in random.random(12)]
        stock = keras.callbacks.EarlyStopping("val_width_mae", patience=patience, mode="min")
        assert told(EarlyStopping("val_width_mae", patience=patience), epochs) == told(stock, epochs)


def test_the_weights_of_the_best_epoch_come_back():
    made = model()
    stop = EarlyStopping(patience=9, restore_best_weights="val_delta_m")
    stop.set_model(made)
    stop.on_train_begin()
    variable = made.trainable_variables[0]
    for epoch, score in enumerate([5.0, -3.0, float("nan"), 2.0]):
        variable.assign(np.full(variable.shape, float(epoch)))
        stop.on_epoch_end(epoch, {**STEADY, "val_delta_m": score})
    stop.on_train_end()
    assert (stop.best_epoch, float(variable[0, 0])) == (1, 1.0)
    never = EarlyStopping(restore_best_weights="val_worst_task")
    told(never, [STEADY], made)
    with pytest.warns(RuntimeWarning, match="no epoch had a value of 'val_worst_task'"):
        never.on_train_end()


def test_the_worst_task_is_the_largest_change_of_one():
    made = model()
    baselines = {"width": {"mae": 2.0}, "kind": {"accuracy": 0.5}}
    worst, mean = WorstTask(baselines), DeltaM(baselines)
    logs = {"val_loss": 1.0, "val_width_mae": 1.0, "val_kind_accuracy": 0.4}
    for callback in (worst, mean):
        callback.set_model(made)
        callback.on_train_begin()
        callback.on_epoch_end(0, logs)
    # The error halved, and a fifth of the accuracy is gone.
    assert logs["val_worst_task"] == pytest.approx(20.0)
    assert logs["val_delta_m"] == pytest.approx((20.0 - 50.0) / 2)
    logs["val_width_mae"] = float("nan")
    worst.on_epoch_end(1, logs)
    assert np.isnan(logs["val_worst_task"])
    assert {made.direction(key) for key in ("val_worst_task", "constrained")} == {"min"}


def test_epochs_are_ordered_by_bounds_first():
    made = model()
    best = Constrained("kind_accuracy", {"val_width_mae": 2.0, "red_accuracy": 0.5})
    best.set_model(made)
    best.on_train_begin()

    def score(kind, width, red):
        logs = {"val_loss": 1.0, "val_kind_accuracy": kind, "val_width_mae": width, "val_red_accuracy": red}
        best.on_epoch_end(0, logs)
        return logs["val_constrained"]

    # From the best to the worst: kept and good, kept, nearly kept, far off; a bound itself is kept.
    order = [score(0.9, 2.0, 0.5), score(0.2, 1.0, 0.9), score(1.0, 2.1, 0.6), score(1.0, 1.0, 0.4), score(1.0, 9, 0)]
    assert order == sorted(order)
    assert [value < 1 for value in order] == [True, True, False, False, False]
    assert order[2:4] == pytest.approx([1.05, 1.2])
    assert np.isnan(score(0.5, float("nan"), 0.6))


class Heads(keras.callbacks.Callback):
    """Keeps every head, every loss weight and what the trunk is, at the end of each epoch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        del epoch, logs
        heads = {name: head.get_weights() for name, head in self.model.heads().items()}
        self.seen.append((heads, self.model.loss_weights, self.model.trainable_variables[0].numpy()))


@pytest.mark.parametrize("name", ["width", "red"], ids=["own layers", "slice of a kernel"])
def test_a_task_that_stopped_stands_still_and_the_others_go_on(name):
    made, heads = model(), Heads()
    # With so large a change asked for, its second epoch is its last.
    stop = TaskEarlyStopping({name: f"val_{name}_loss"}, patience=1, min_delta=1e9)
    made.set_loss_weights({name: 0.7})
    # Momentum would move the head on.
    made.fit(X, Y, epochs=4, verbose=0, batch_size=16, shuffle=False, validation_data=(X, Y), callbacks=[stop, heads])
    assert stop.stopped == {name: 1}
    own = [found[name] for found, _, _ in heads.seen]
    others = [found["old"] for found, _, _ in heads.seen]
    for before, after in zip(own[1], own[3], strict=True):
        np.testing.assert_array_equal(before, after)
    assert any((left != right).any() for left, right in zip(own[0], own[1], strict=True))
    assert any((left != right).any() for left, right in zip(others[1], others[3], strict=True))
    assert (heads.seen[1][2] != heads.seen[3][2]).any()
    assert [weights[name] for _, weights, _ in heads.seen] == pytest.approx([0.7, 0.0, 0.0, 0.0])
    assert made.loss_weights[name] == pytest.approx(0.7)


def test_each_task_has_its_own_patience_and_its_best_head_comes_back():
    made = model()
    stop = TaskEarlyStopping(patience=2, restore_best_weights=True)
    stop.set_model(made)
    stop.on_train_begin()
    values = {"val_width_mae": [3, 4, 4, 4, 4], "val_kind_accuracy": [0.1, 0.2, 0.3, 0.3, 0.3]}
    red, bias = made.heads()["red"], made.get_layer("red_and_1_more").biases[-1]
    for epoch in range(5):
        bias.assign(np.full(bias.shape, float(epoch)))
        # The fourth task is best in its second epoch, the third in every one until the end.
        more = {"val_red_accuracy": [0.1, 0.5, 0.4, 0.4, 0.4][epoch], "val_old_accuracy": 0.1 * epoch}
        stop.on_epoch_end(epoch, {**{key: found[epoch] for key, found in values.items()}, **more})
    assert stop.stopped == {"width": 2, "red": 3, "kind": 4}
    # One kernel serves both heads: the best of one came back, the other is where it was.
    assert (float(bias[0, 0]), float(bias[1, 0])) == (1.0, 4.0)
    assert [float(np.ravel(part)[0]) for part in red.get_weights()][-1] == 1.0
    assert not made.stop_training
    stop.on_epoch_end(5, STEADY | {"val_old_accuracy": 0.4})
    stop.on_epoch_end(6, STEADY | {"val_old_accuracy": 0.4})
    assert made.stop_training
    assert not any(made.loss_weights.values())
    # A training that was broken off gives them back when the next one begins.
    stop.on_train_begin()
    assert made.loss_weights == dict.fromkeys(made.tasks, 1.0)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: EarlyStopping(["val_widht_mae"]), "`monitors` must name values of the logs.*Did you mean 'width_mae'"),
        (lambda: EarlyStopping([]), "`monitors` must be log keys"),
        (lambda: EarlyStopping(patience=-1, min_delta=-1), "`patience` must be.*\n.*`min_delta` must be"),
        (lambda: EarlyStopping(restore_best_weights=True), "must be the log key that tells the best"),
        (lambda: EarlyStopping(restore_best_weights="val_kind"), "`restore_best_weights` must name values"),
        (lambda: TaskEarlyStopping({"widht": "val_width_mae"}), "must use task names.*Did you mean 'width'"),
        (lambda: TaskEarlyStopping(["val_width_mae"]), "must be {task: log key}"),
        (lambda: Constrained("kind_acuracy", {"width_mae": 1.0}), "Did you mean 'kind_accuracy'"),
        (lambda: Constrained("kind_accuracy", {"width_mae": None}), "must be {log key: finite number}"),
        (lambda: WorstTask({"width": {"mae": 0.0}}), "WorstTask: `baselines` of 'width' must be finite and not near 0"),
    ],
)
def test_what_is_wrong_is_told_before_the_first_step(make, words):
    made = model()
    with pytest.raises(ValueError, match=f"(?s){words}"):
        made.fit(X, Y, verbose=0, validation_data=(X, Y), callbacks=[make()])
    assert int(made.optimizer.iterations) == 0


def test_monitors_of_validation_data_need_it():
    made = model()
    for callback in (EarlyStopping(), TaskEarlyStopping(), EarlyStopping("loss", restore_best_weights="val_loss")):
        with pytest.raises(ValueError, match=f"`validation_data` must be given: {type(callback).__name__} monitors it"):
            made.fit(X, Y, verbose=0, callbacks=[callback])
    assert int(made.optimizer.iterations) == 0
