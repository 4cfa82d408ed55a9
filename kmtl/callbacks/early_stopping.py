"""Patience over several tasks: until none of them improves, or a task at a time."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from kmtl._checks import Refusals, is_whole
from kmtl.callbacks.monitors import check_monitors, is_better, least_changes, main_monitors


class Patience(keras.callbacks.Callback):
    """What patience has in common, for all monitors together or for each."""

    def __init__(
        self, monitors: Any, *, min_delta: Any = 0.0, patience: int = 0, start_from_epoch: int = 0, verbose: int = 0
    ) -> None:
        super().__init__()
        with Refusals(type(self).__name__) as refusals:
            for argument, value in {"patience": patience, "start_from_epoch": start_from_epoch}.items():
                if not is_whole(value) or value < 0:
                    refusals.add(argument, "must be a whole number of at least 0", value)
            self.min_delta = least_changes(refusals, min_delta)
        self.monitors = monitors
        self.patience = patience
        self.start_from_epoch = start_from_epoch
        self.verbose = verbose
        # Plain numbers by log key or task, which a backup keeps.
        self.best: dict[str, float] = {}

    def keys(self) -> list[str]:
        """The log keys that were given; none where they follow from the model."""
        given = self.monitors.values() if isinstance(self.monitors, Mapping) else self.monitors or ()
        return [given] if isinstance(given, str) else list(given)

    @property
    def needs_validation(self) -> bool:
        """Whether it looks at validation data."""
        return self.monitors is None or any(key.startswith("val_") for key in self.keys())

    def improves(self, place: str, key: str, value: float, sign: float) -> bool:
        """Tells whether a value is the best so far, and remembers it if so.

        Args:
            place: Under which name it is remembered.
            key: Its log key.
            value: The epoch's.
            sign: 1 where less is better, -1 where more is.
        """
        least = self.min_delta.get(key, 0.0) if isinstance(self.min_delta, Mapping) else self.min_delta
        better = is_better(value, self.best.get(place), sign, least)
        if better:
            self.best = {**self.best, place: float(value)}
        return better

    def tell(self, text: str) -> None:
        """Prints, if wanted."""
        if self.verbose:
            print(f"\n{text}")


class EarlyStopping(Patience):
    """Stops a training once none of several monitors has improved for some epochs.

    Keras's own looks at one value; tasks reach their best at different epochs, and the first to do so must not end
    the training of the others. Here the patience begins anew whenever any monitor improves. Better ends come from the
    tasks, so that there is no `mode`. An epoch without validation (`validation_freq`) does not count; a NaN, as of a
    task that the validation data has no label for, is no improvement.

    Args:
        monitors: Log keys, as `["val_digit_accuracy", "val_angle_mae"]`; None takes the main metric of every task on
            the validation data: its first one with a known better end.
        min_delta: Smallest change that counts: one number, or `{log key: number}`.
        patience: Epochs without any improvement after which it stops.
        restore_best_weights: Log key by which the best epoch is told, whose weights the model gets back at the end, as
            `"val_delta_m"`, `"val_worst_task"`, `"val_constrained"` (of the callbacks of these names) or one metric;
            None keeps the last weights. Of several monitors there is no best epoch without such a word.
        start_from_epoch: Epochs before this one neither count nor stop.
        verbose: Whether it says when it stops.

    Attributes:
        stopped_epoch: The epoch that it stopped after, from 0; None if it did not.
        best: The best value of each monitor.

    Raises:
        ValueError: Before the first step, if a key is unknown, its better end is, or validation data is missing.

    >>> EarlyStopping(["val_digit_accuracy", "val_angle_mae"], patience=3).needs_validation
    True
    """

    def __init__(
        self,
        monitors: Sequence[str] | None = None,
        *,
        min_delta: float | Mapping[str, float] = 0.0,
        patience: int = 0,
        restore_best_weights: str | bool | None = None,
        start_from_epoch: int = 0,
        verbose: int = 0,
    ) -> None:
        with Refusals("EarlyStopping") as refusals:
            listed = [monitors] if isinstance(monitors, str) else monitors
            if listed is not None and (not listed or not all(isinstance(key, str) for key in listed)):
                refusals.add("monitors", "must be log keys, as ['val_digit_accuracy']", monitors)
            if restore_best_weights is True:
                fix = "Say by which: 'val_delta_m', 'val_worst_task', 'val_constrained' or a metric."
                refusals.add("restore_best_weights", "must be the log key that tells the best", True, fix)
        super().__init__(
            listed, min_delta=min_delta, patience=patience, start_from_epoch=start_from_epoch, verbose=verbose
        )
        self.restore_best_weights = restore_best_weights if isinstance(restore_best_weights, str) else None
        self.stopped_epoch: int | None = None

    @property
    def needs_validation(self) -> bool:
        """Whether it looks at validation data."""
        return super().needs_validation or str(self.restore_best_weights).startswith("val_")

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the monitors against the model and begins anew."""
        del logs
        with Refusals("EarlyStopping") as refusals:
            keys = self.keys() or list(main_monitors(self.model).values())
            self.signs = check_monitors(refusals, "monitors", self.model, keys)
            by = [self.restore_best_weights] if self.restore_best_weights else []
            self.best_sign = check_monitors(refusals, "restore_best_weights", self.model, by)
        self.best, self.wait, self.stopped_epoch = {}, 0, None
        self.best_epoch: int | None = None
        self.best_value: float | None = None
        self.best_weights: list[Any] | None = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts, keeps the best weights, and stops."""
        found = {key: (logs or {}).get(key) for key in [*self.signs, *self.best_sign]}
        self._keep_best(epoch, found)
        told = {key: value for key, value in found.items() if value is not None and key in self.signs}
        if not told or epoch < self.start_from_epoch:
            return
        better = [self.improves(key, key, value, self.signs[key]) for key, value in told.items()]
        self.wait = 0 if any(better) else self.wait + 1
        if self.wait and self.wait >= self.patience and epoch > 0:
            self.stopped_epoch = epoch
            self.model.stop_training = True
            self.tell(f"Epoch {epoch + 1}: none of {', '.join(told)} improved for {self.wait}: stopping")

    def _keep_best(self, epoch: int, found: Mapping[str, Any]) -> None:
        """Keeps the weights of the best epoch."""
        for key, sign in self.best_sign.items():
            value = found[key]
            if value is not None and is_better(value, self.best_value, sign, 0.0):
                self.best_value, self.best_epoch = float(value), epoch
                self.best_weights = self.model.get_weights()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Gives the model its best weights back."""
        del logs
        if self.best_weights is not None and self.best_epoch is not None:
            self.model.set_weights(self.best_weights)
            self.tell(f"Weights of epoch {self.best_epoch + 1}, the best by {self.restore_best_weights}, are restored")
        elif self.best_sign:
            text = f"EarlyStopping: no epoch had a value of {self.restore_best_weights!r}; the last weights stay."
            warnings.warn(text, RuntimeWarning, stacklevel=2)
