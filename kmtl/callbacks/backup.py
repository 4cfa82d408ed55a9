"""Backups from which a killed training goes on as if nothing had happened."""

import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from kmtl._checks import refusal, require, words
from kmtl.backups import Backups
from kmtl.callbacks.states import CallbackStates
from kmtl.gradients import is_first_machine
from kmtl.planning import Start

_STATE, _METRICS = "state.weights.h5", "metrics.npz"


class BackupAndRestore(keras.callbacks.Callback):
    """Backs a training up, and goes on from the last backup when `fit` starts again.

    As `keras.callbacks.BackupAndRestore`, and exact: a run that was killed at any moment and is started again by the
    same script ends with the weights of a run that was not. A backup holds the weights, the optimizer, the
    balancer, the loss weights, the random generators, the metrics of the epoch so far, the history, what other
    callbacks count (as `EarlyStopping`), and the number of the next batch.

    `fit` then takes its data as an endless stream whose order is a function of a seed and the batch's number:
    see `kmtl.feeding.positions.stream_from`. The sets of `kmtl.data` begin anywhere at little cost; any other
    `tf.data.Dataset` is read and dropped up to the batch, and must give the same batches in every process; a
    `PyDataset` is asked for its batches by index; a generator is run up to the batch.

    A backup is written beside the last ones and moved into place, so that the last good one survives a kill or a full
    disk. With many machines the first one writes and all read: `backup_dir` must be a folder that they share.

    One folder serves one `fit`.

    Args:
        backup_dir: The folder.
        save_freq: `"epoch"`, or a number of batches.
        keep: How many backups stay.
        delete_checkpoint: Whether they are deleted when `fit` has ended well.

    Raises:
        OSError: Before the first step if the folder cannot be written, or holds damaged backups only; during
            training if one cannot be written, as on a full disk: the model and the last good backup are whole.
        ValueError: Before the first step if the backups are of another model or another training.

    >>> BackupAndRestore("backups", save_freq=100).save_freq
    100
    """

    keeps_position = True

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        *,
        keep: int = 2,
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        whole = isinstance(save_freq, int) and not isinstance(save_freq, bool) and save_freq > 0
        rule = "must be 'epoch' or a number of batches"
        require(save_freq == "epoch" or whole, "BackupAndRestore", "save_freq", rule, save_freq)
        require(keep >= 1, "BackupAndRestore", "keep", "must be at least 1", keep)
        require(bool(os.fspath(backup_dir)), "BackupAndRestore", "backup_dir", "must name a folder", backup_dir)
        self.save_freq = save_freq
        self.delete_checkpoint = delete_checkpoint
        self.backups = Backups(backup_dir, keep)
        self._found: tuple[Path, dict[str, Any]] | None = None

    # What `fit` asks.

    def restore(self, model: Any, plan: dict[str, Any], seed: int) -> Start:
        """Puts a model into the state of the newest good backup; `fit` calls it before it makes its data.

        Args:
            model: The compiled model.
            plan: What must be the same for a training to go on: names and numbers.
            seed: Of the order of the data, for a training that begins.

        Returns:
            Where the training begins.
        """
        self._model, self._plan, self._seed = model, plan, seed
        self._writes = is_first_machine(model.distribute_strategy)
        if self._writes:
            self.backups.prepare()
        self._found = self._load_newest()
        if self._found is None:
            return Start(0, 0, seed)
        meta = self._found[1]
        self._seed = meta["seed"]
        return Start(meta["epoch"], meta["step"], meta["seed"], meta["stopped"])

    def attend(self, callbacks: Sequence[Any]) -> None:
        """Hears of the other callbacks of the training."""
        self._states = CallbackStates([callback for callback in callbacks if callback is not self])

    def _load_newest(self) -> tuple[Path, dict[str, Any]] | None:
        """Loads the newest backup that is whole."""
        for path, meta in self.backups.good():
            self._check(path, meta)
            self._model.load_weights(path / _STATE)
            return path, meta
        return None

    def _variables(self) -> list[Any]:
        """Those of the metrics, which Keras leaves out of its files."""
        return [variable for metric in self._model.metrics for variable in metric.variables]

    def _check(self, path: Path, meta: dict[str, Any]) -> None:
        """Refuses the backup of another training."""
        old = meta["plan"]
        other = [key for key, value in self._plan.items() if old.get(key) != value]
        if other:
            got = words("; ".join(f"{key} {old.get(key)!r} there and {self._plan[key]!r} here" for key in other))
            fix = "Give another folder, or delete this one to start anew."
            rule = f"must hold backups of this training ({path.name})"
            raise ValueError(refusal("BackupAndRestore", "backup_dir", rule, got, fix))

    # What the training tells.

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Gives the other callbacks back what they knew."""
        del logs
        self._states.begin()
        self._saved = 0
        if self._found is not None:
            self._saved = self._found[1]["number"]
            self._states.load(*self._found)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """In the middle of an epoch, undoes what other callbacks did at its beginning: they had done it before."""
        del logs
        self._epoch = epoch
        if self._found is not None and self._found[1]["step"]:
            self._model.load_weights(self._found[0] / _STATE)
            with np.load(self._found[0] / _METRICS) as arrays:
                for place, variable in enumerate(self._variables()):
                    variable.assign(arrays[str(place)])
            self._states.load(*self._found)
        self._found = None

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Backs up after so many batches."""
        del logs
        step = min(batch + 1, self._plan["steps_per_epoch"])
        number = self._epoch * self._plan["steps_per_epoch"] + step
        if self.save_freq != "epoch" and number // int(self.save_freq) > self._saved // int(self.save_freq):
            self._save(self._epoch, step, number)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Backs up."""
        del logs
        self._save(epoch + 1, 0, (epoch + 1) * self._plan["steps_per_epoch"])

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Deletes the backups."""
        del logs
        if self._found is not None:
            # Nothing was left to do, not even an epoch to begin.
            self._states.load(*self._found)
        if self.delete_checkpoint and self._writes:
            self.backups.delete()

    def _save(self, epoch: int, step: int, number: int) -> None:
        """Writes one backup; machines but the first only take part in reading the variables."""

        def write(path: Path) -> dict[str, Any]:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                self._model.save_weights(path / _STATE)
            arrays = {str(place): variable.numpy() for place, variable in enumerate(self._variables())}
            np.savez(path / _METRICS, **arrays)
            meta = {"epoch": epoch, "step": step, "number": number, "seed": self._seed, "plan": self._plan}
            return {**meta, "stopped": self._model.stop_training, **self._states.save(path)}

        if self._writes:
            self.backups.save(number, write)
        else:
            with tempfile.TemporaryDirectory() as folder:
                write(Path(folder))
        self._saved = number
