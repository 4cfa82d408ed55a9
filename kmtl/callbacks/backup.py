"""Backups from which a killed training goes on as if nothing had happened."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from kmtl._checks import is_whole, refusal, require, whole, words
from kmtl._replicas import is_first_machine, is_replicated, of_first
from kmtl.callbacks.backup_files import Backups, read_arrays, write_arrays
from kmtl.callbacks.states import CallbackStates
from kmtl.feeding.plan import Start

_OWNER = "BackupAndRestore"
_STATE = "state.npz"


class BackupAndRestore(keras.callbacks.Callback):
    """Backs a training up, and goes on from the last backup when `fit` starts again.

    As `keras.callbacks.BackupAndRestore`, and exact: a run that was killed at any moment and is started again by the
    same script ends with the weights of a run that was not. A backup holds the weights, the optimizer, the
    balancer, the loss weights, the random generators, the metrics of the epoch so far, the history, what other
    callbacks count (as `EarlyStopping`), and the number of the next batch.

    `fit` then takes its data as an endless stream whose order is a function of a seed and the batch's number:
    see `kmtl.feeding.resume.stream_from`. The sets of `kmtl.data` begin anywhere at little cost; any other
    `tf.data.Dataset` is read and dropped up to the batch, and must give the same batches in every process (a shuffle
    needs a seed); a `PyDataset` is asked for its batches by index and must not wait for the ends of epochs; a
    generator is run up to the batch.

    Other callbacks get back those of their attributes that have changed and are numbers, text, None, arrays, or
    lists, tuples and dicts of such. They begin again (`on_train_begin`, `on_epoch_begin`), what this changes in
    the model is undone, and batches that were done are not told again. What they wrote to files is theirs:
    give `keras.callbacks.CSVLogger(append=True)`.

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

    def __init__(
        self,
        backup_dir: str | os.PathLike[str],
        save_freq: str | int = "epoch",
        *,
        keep: int = 2,
        delete_checkpoint: bool = True,
    ) -> None:
        super().__init__()
        known = save_freq == "epoch" or (is_whole(save_freq) and int(save_freq) > 0)
        require(known, _OWNER, "save_freq", "must be 'epoch' or a number of batches", save_freq)
        require(bool(os.fspath(backup_dir)), _OWNER, "backup_dir", "must name a folder", backup_dir)
        self.save_freq = save_freq
        self.delete_checkpoint = delete_checkpoint
        self.backups = Backups(backup_dir, whole(_OWNER, "keep", keep, least=1))
        self._found: tuple[Path, dict[str, Any]] | None = None
        # None until `fit` tells of the other callbacks.
        self._states: Any = None

    # What `fit` asks.

    def attend(self, callbacks: Sequence[Any]) -> None:
        """Hears of the callbacks of the training, among which it is."""
        same = [callback for callback in callbacks if isinstance(callback, BackupAndRestore)]
        require(len(same) == 1, "fit", "callbacks", "must hold one BackupAndRestore at most", len(same))
        self._states = CallbackStates([callback for callback in callbacks if callback is not self])

    def restore(self, model: Any, plan: dict[str, Any], start: Start) -> Start:
        """Puts a model into the state of the newest good backup; `fit` calls it before it makes its data.

        Args:
            model: The compiled model.
            plan: What must be the same for a training to go on: names and numbers.
            start: Where a training without backups begins.

        Returns:
            Where this one begins.
        """
        self._trained, self._plan, self._seed = model, plan, start.seed
        self._writes = is_first_machine(model.distribute_strategy)
        if self._writes:
            self.backups.prepare()
        self._found = next(self.backups.good(), None)
        # First of all: the machines go the same way from here, or none of them.
        self._check_shared()
        if self._found is None:
            return start
        self._check_plan(*self._found)
        _check_start(*self._found, start)
        self._load(self._found[0])
        meta = self._found[1]
        self._seed = meta["seed"]
        return Start(meta["epoch"], meta["step"], meta["seed"], meta["stopped"] and not meta["step"])

    def _load(self, path: Path) -> None:
        """Gives the model the state of a backup."""
        values = read_arrays(path / _STATE)
        for variable, value in zip(self._trained.training_state, values, strict=True):
            variable.assign(value)

    def _check_plan(self, path: Path, meta: dict[str, Any]) -> None:
        """Refuses the backup of another training."""
        old, new = meta["plan"], self._plan
        other = [key for key, value in new.items() if old.get(key) != value]
        if other:
            got = words("; ".join(_difference(key, old.get(key), new[key]) for key in other))
            fix = "Give another folder, or delete this one to start anew."
            rule = f"must hold backups of this training ({path.name})"
            raise ValueError(refusal(_OWNER, "backup_dir", rule, got, fix))

    def _check_shared(self) -> None:
        """Refuses a folder in which machines find different backups."""
        own = self._found[1]["number"] if self._found is not None else -1
        first = of_first(self._trained.distribute_strategy, own)
        got = words(f"{_named(own)} here and {_named(first)} on the first machine")
        require(own == first, _OWNER, "backup_dir", "must be a folder that all machines share", got)

    # What the training tells.

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Gives the other callbacks back what they knew, and undoes what they did at the beginning."""
        del logs
        if self._states is None:
            got = words(type(self.model).__name__)
            raise TypeError(refusal(_OWNER, "model", "must be a kmtl.MultiTaskModel in its `fit`", got))
        self._states.begin()
        self._saved = 0
        if self._found is not None:
            self._saved = self._found[1]["number"]
            self._load(self._found[0])
            self._states.load(self._found[0], self._found[1]["callbacks"])

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """In the middle of an epoch, undoes what other callbacks did at its beginning: they had done it before."""
        del logs
        self._epoch = epoch
        if self._found is not None and self._found[1]["step"]:
            self._load(self._found[0])
            self._states.load(self._found[0], self._found[1]["callbacks"])
            self.model.stop_training = self._found[1]["stopped"]
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
        if self.delete_checkpoint and self._writes:
            self.backups.delete()

    def _save(self, epoch: int, step: int, number: int) -> None:
        """Writes one backup; machines but the first only take part in reading the variables."""
        variables = self._trained.training_state
        values = [variable.numpy() for variable in variables]

        def write(path: Path) -> dict[str, Any]:
            write_arrays(path / _STATE, values)
            place = {"epoch": epoch, "step": step, "number": number, "stopped": self._trained.stop_training}
            return {**place, "seed": self._seed, "plan": self._plan, "callbacks": self._states.save(path)}

        if self._writes:
            self.backups.save(number, write)
        if is_replicated(self._trained.distribute_strategy):
            # Sums are spread evenly over the replicas, as they are in a training that goes on from here.
            for variable, value in zip(variables, values, strict=True):
                if variable.synchronization == "on_read":
                    variable.assign(value)
        self._saved = number


def _difference(key: str, old: Any, new: Any) -> str:
    """What differs between two plans, in words; of lists only that."""
    if isinstance(old, list) and isinstance(new, list):
        old, new = [item for item in old if item not in new] or old, [item for item in new if item not in old] or new
    return f"{key} {old!r} there and {new!r} here"


def _named(number: int) -> str:
    """A backup in words."""
    return "none" if number < 0 else f"step {number}"


def _check_start(path: Path, meta: dict[str, Any], start: Start) -> None:
    """Refuses a backup that is older than the model that is to be trained on."""
    if (meta["epoch"], meta["step"]) < (start.epoch, 0):
        got = words(f"{path.name} of epoch {meta['epoch']}")
        fix = "Give another folder, or leave `initial_epoch` out."
        rule = f"must hold no backup from before `initial_epoch` {start.epoch}"
        raise ValueError(refusal(_OWNER, "backup_dir", rule, got, fix))
