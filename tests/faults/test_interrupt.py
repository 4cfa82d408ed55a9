"""Ctrl-C and a full disk in the middle of a training: the model is whole, and what was backed up is there."""

import errno
import pathlib
import signal
import time

import keras
import numpy as np
import pytest
from faults.disks import fill, small_disk
from faults.interrupting import BATCH, EPOCHS, STEPS, X, Y, different, model, train
from faults.killing import Run, step_of

from kmtl.callbacks import BackupAndRestore

CTRL_C = pathlib.Path(__file__).with_name("ctrl_c.py")


MANY = ["plain", "averages", "backed up"] * 7


@pytest.mark.long
@pytest.mark.parametrize("kinds", [["plain", "averages"], pytest.param(MANY, marks=pytest.mark.slow)], ids=len)
def test_ctrl_c_leaves_a_whole_model(tmp_path, kinds):
    generator = np.random.default_rng(len(kinds))
    run = Run(kinds, tmp_path, program=CTRL_C)
    for number, kind in enumerate(kinds):
        assert run.until(lambda line: line == "begun") is not None
        # Some while the step is being traced, the others between and in steps, and in backups.
        early = number % 5 == 0 and kind != "backed up"
        if not early:
            wanted = generator.integers(1, 40)
            assert run.until(lambda line, wanted=wanted: step_of(line) >= wanted) is not None
        time.sleep(generator.uniform(0, 0.3 if early else 0.02))
        run.process.send_signal(signal.SIGINT)
        line = run.until(lambda line: line.startswith("whole"))
        assert line is not None, run.end()
        # One that comes before the first step or while it is traced takes effect after it at the latest.
        steps = int(line.split()[1])
        assert steps <= 1 if early else steps >= wanted
    assert run.end()[0] == 0


class FillUp(keras.callbacks.Callback):
    """Fills a disk before a step."""

    def __init__(self, disk, step):
        super().__init__()
        self.disk, self.step = disk, step

    def on_train_batch_begin(self, batch, logs=None):
        if self.model.optimizer.iterations == self.step:
            fill(self.disk, 0)


@pytest.mark.long
def test_a_full_disk_in_the_middle_loses_nothing(tmp_path):
    whole = train(tmp_path / "whole")
    with small_disk(tmp_path / "disk", "1m", pytest.skip) as disk:
        made, step = model(), STEPS + 2
        options = {"epochs": EPOCHS, "batch_size": BATCH, "verbose": 0}
        callbacks = [FillUp(disk, step), BackupAndRestore(disk / "backups", save_freq=4)]
        with pytest.raises(OSError, match=r"backup of step 8 could not be written.*No space left on device") as told:
            made.fit(X, Y, callbacks=callbacks, **options)
        assert told.value.errno == errno.ENOSPC
        assert made.optimizer.iterations == 8
        made.save(tmp_path / "model.keras")
        loaded = keras.saving.load_model(tmp_path / "model.keras")
        for one, other in zip(made.get_weights(), loaded.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)
        (disk / "ballast").unlink()
        assert different(whole, train(disk)) == []
