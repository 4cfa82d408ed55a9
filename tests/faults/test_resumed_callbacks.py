"""What callbacks know survives: each case trains whole, and again with interruptions, and compares every bit."""

import keras
import numpy as np
import pytest
import states
from faults.interrupting import BATCH, EPOCHS, STEPS, Interrupted, X, Y, assert_goes_on, interrupted, model, train

from kmtl.callbacks import BackupAndRestore, Constrained, EarlyStopping, LossWeightScheduler, TaskEarlyStopping

C = keras.callbacks


class Decay(C.Callback):
    """Lowers the rate before every batch, from what it sets at the beginning."""

    def __init__(self):
        super().__init__()
        self.batches, self.rates = 0, []

    def on_train_begin(self, logs=None):
        self.model.optimizer.learning_rate = 0.02

    def on_train_batch_begin(self, batch, logs=None):
        self.batches += 1
        self.rates.append(float(self.model.optimizer.learning_rate))
        self.model.optimizer.learning_rate = 0.95 * self.rates[-1]


class Diary(C.Callback):
    """Keeps values of every kind, and lets a list of its own steer the training."""

    def __init__(self):
        super().__init__()
        self.losses, self.best, self.by_epoch, self.sums = [], np.float32(np.inf), {}, np.zeros(2)
        self.places = ((0, "begin"),)

    def on_epoch_begin(self, epoch, logs=None):
        self.places = (*self.places, (epoch, "begin"))

    def on_epoch_end(self, epoch, logs=None):
        self.losses.append(logs["loss"])
        self.best = min(self.best, np.float32(logs["loss"]))
        self.by_epoch[epoch] = {"loss": logs["loss"], "none": None}
        self.sums = [*self.sums, logs["loss"], 1.0]
        self.model.optimizer.learning_rate = self.model.optimizer.learning_rate * float(self.best) / self.losses[0]


class StopAt(C.Callback):
    """Stops within an epoch."""

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 2 * STEPS + 2:
            self.model.stop_training = True


def early(**options):
    """Loses patience from the second epoch on: no loss falls by so much."""
    options = {"min_delta": 100.0, "patience": 3, "restore_best_weights": True, **options}
    return lambda: C.EarlyStopping("width_loss", **options)


def plateau():
    return C.ReduceLROnPlateau("loss", min_delta=0.5, patience=1, factor=0.5)


def rates():
    return C.LearningRateScheduler(lambda epoch, rate: 0.7 * rate)


def weights():
    return LossWeightScheduler(lambda epoch, weights: {"width": 0.5 * weights["width"]})


@pytest.mark.long
def test_patience_best_values_and_rates(tmp_path):
    callbacks = [early(), plateau, weights, early(min_delta=0, patience=50)]
    whole = assert_goes_on(tmp_path, [(2, 3)], callbacks=callbacks, epochs=12)
    assert len(whole["epochs"]) == 4
    assert whole["callback 0 stopped_epoch"] == "3"


@pytest.mark.long
def test_callbacks_of_the_user_and_swapped_averages(tmp_path):
    # With a backup after every batch the second goes on behind the last batch of an epoch.
    moments = [(1, 2), (1, "end")]
    averaging = lambda: model(keras.optimizers.Adam(0.01, use_ema=True))  # noqa: E731
    swap = lambda: C.SwapEMAWeights(swap_on_epoch=True)  # noqa: E731
    whole = assert_goes_on(tmp_path, moments, made=averaging, callbacks=[Decay, Diary, rates, swap], save_freq=1)
    assert whole["callback 0 batches"] == str(EPOCHS * STEPS)


@pytest.mark.long
def test_a_stop_that_was_on_the_disk_already(tmp_path):
    whole = assert_goes_on(tmp_path, ["end", "end"], callbacks=[early(patience=1)], epochs=12)
    assert len(whole["epochs"]) == 2


@pytest.mark.long
def test_a_stop_within_an_epoch(tmp_path):
    whole = assert_goes_on(tmp_path, [(2, "end")], callbacks=[StopAt])
    assert len(whole["epochs"]) == 3
    assert whole["MultiTaskModel.optimizer._iterations"] == 2 * STEPS + 2


def checkpoints(folder):
    return [
        lambda: C.ModelCheckpoint(folder / "best.keras", "width_mae", save_best_only=True),
        lambda: C.ModelCheckpoint(str(folder / "{epoch}-{batch}.weights.h5"), save_weights_only=True, save_freq=3),
        lambda: C.CSVLogger(folder / "log.csv", append=True),
    ]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning", "ignore:Exception ignored in")
def test_checkpoints_and_logs_on_the_disk(tmp_path):
    folders = [tmp_path / "whole", tmp_path / "parts"]
    for folder in folders:
        folder.mkdir()
    whole = train(folders[0], callbacks=checkpoints(folders[0]))
    # A batch that was done is not told again: a checkpoint named after it would hold the weights of a later one.
    assert interrupted(folders[1], [(3, 1)], callbacks=checkpoints(folders[1])) == 1
    parts = train(folders[1], callbacks=checkpoints(folders[1]))
    assert whole["callback 0 best"] == parts["callback 0 best"]
    assert (folders[0] / "log.csv").read_text() == (folders[1] / "log.csv").read_text()
    names = sorted(path.name for path in folders[0].glob("*.weights.h5"))
    assert names == sorted(path.name for path in folders[1].glob("*.weights.h5"))
    assert len(names) == EPOCHS * STEPS // 3
    made = model()
    for name in [*names, "best.keras"]:
        loaded = []
        for folder in folders:
            made.load_weights(folder / name)
            loaded.append(made.get_weights())
        assert all(np.array_equal(*pair) for pair in zip(*loaded, strict=True)), name


@pytest.mark.long
def test_run_again_after_its_end(tmp_path):
    kept = {"epochs": EPOCHS, "verbose": 0, "batch_size": BATCH}
    whole, again = model(), model()
    for made in (whole, again):
        backup = BackupAndRestore(tmp_path / "backups", delete_checkpoint=False)
        history = made.fit(X, Y, callbacks=[backup, early(patience=9)()], **kept)
    assert history.epoch == list(range(EPOCHS))
    assert all(np.array_equal(*pair) for pair in zip(whole.get_weights(), again.get_weights(), strict=True))
    more = model()
    # More epochs go on from there.
    more.fit(X, Y, callbacks=[BackupAndRestore(tmp_path / "backups")], **{**kept, "epochs": EPOCHS + 1})
    assert more.optimizer.iterations == (EPOCHS + 1) * STEPS
    assert not (tmp_path / "backups").exists()
    longer = model()
    longer.fit(X, Y, callbacks=[BackupAndRestore(tmp_path / "other")], **{**kept, "epochs": EPOCHS + 1})
    assert all(np.array_equal(*pair) for pair in zip(more.get_weights(), longer.get_weights(), strict=True))


def test_the_same_objects_go_on_after_an_interruption(tmp_path):
    callbacks = [early()(), plateau(), BackupAndRestore(tmp_path / "backups", save_freq=2)]
    whole = train(tmp_path / "whole", callbacks=[early(), plateau], epochs=12, save_freq=2)
    made, options = model(), {"epochs": 12, "verbose": 0, "batch_size": BATCH}

    class Once(C.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if self.model.optimizer.iterations == STEPS + 2:
                raise Interrupted

    with pytest.raises(Interrupted):
        made.fit(X, Y, callbacks=[Once(), *callbacks], **options)
    made.fit(X, Y, callbacks=callbacks, **options)
    for path, value in states.values(made).items():
        np.testing.assert_array_equal(whole[path], value)


@pytest.mark.long
def test_several_monitors_and_a_task_at_a_time_on_validation_data(tmp_path):
    several = lambda: EarlyStopping(patience=9, restore_best_weights="val_constrained")  # noqa: E731
    alone = lambda: TaskEarlyStopping({"width": "val_width_mae"}, patience=1, min_delta=9.0)  # noqa: E731
    score = lambda: Constrained("kind_accuracy", {"width_mae": 0.1})  # noqa: E731
    slower = lambda: C.ReduceLROnPlateau("val_loss", patience=0, min_delta=9.0)  # noqa: E731
    options = {"validation_data": (X[:15], {name: labels[:15] for name, labels in Y.items()})}
    whole = assert_goes_on(tmp_path, [(2, 1)], callbacks=[several, alone, score, slower], **options)
    # The task stopped after the second of the four epochs.
    assert (whole["history width_weight"] > 0).tolist() == [True, True, False, False]
