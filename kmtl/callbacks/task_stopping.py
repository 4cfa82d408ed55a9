"""A task at a time: who has stopped improving leaves the training, the others go on."""

from collections.abc import Mapping
from typing import Any

from kmtl._checks import Refusals, near
from kmtl.callbacks.early_stopping import Patience
from kmtl.callbacks.monitors import check_monitors, main_monitors


class TaskEarlyStopping(Patience):
    """Takes each task out of the training once its own monitor has not improved for some epochs.

    A task that stopped weighs 0: it sits out of the losses and of the balancing, and its head stays as it is, whatever
    momentum, decay or penalties would do to it. The trunk goes on for the others, so that the score of a stopped task
    may still move; the logs go on telling it. When the last task has stopped, the training ends. The loss weights come
    back at its end. List it behind a `LossWeightScheduler`, which would give a weight back.

    Args:
        monitors: `{task: log key}`; a task left out never stops. None takes the main metric of every task on the
            validation data: its first one with a known better end.
        min_delta: Smallest change that counts: one number, or `{log key: number}`.
        patience: Epochs without an improvement after which a task stops.
        restore_best_weights: Whether a head gets its best epoch's weights back as it stops. The trunk has moved on
            since then, by as many epochs as the patience has.
        start_from_epoch: Epochs before this one neither count nor stop.
        verbose: Whether it says when a task stops.

    Attributes:
        stopped: `{task: epoch}`: after which epoch each stopped, from 0.
        best: The best value of each task.

    Raises:
        ValueError: Before the first step, if a task or key is unknown, a better end is, or validation data is missing.

    >>> TaskEarlyStopping({"digit": "val_digit_accuracy"}, patience=3).patience
    3
    """

    def __init__(
        self,
        monitors: Mapping[str, str] | None = None,
        *,
        min_delta: float | Mapping[str, float] = 0.0,
        patience: int = 0,
        restore_best_weights: bool = False,
        start_from_epoch: int = 0,
        verbose: int = 0,
    ) -> None:
        with Refusals("TaskEarlyStopping") as refusals:
            named = monitors is None or (isinstance(monitors, Mapping) and bool(monitors))
            if not named or not all(isinstance(text, str) for pair in (monitors or {}).items() for text in pair):
                refusals.add("monitors", "must be {task: log key}", monitors)
        super().__init__(
            monitors, min_delta=min_delta, patience=patience, start_from_epoch=start_from_epoch, verbose=verbose
        )
        self.restore_best_weights = bool(restore_best_weights)
        self.stopped: dict[str, int] = {}
        # Of those that stopped, what they weighed.
        self.weights: dict[str, float] = {}

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the monitors against the model and begins anew."""
        del logs
        with Refusals("TaskEarlyStopping") as refusals:
            for name in self.monitors or ():
                if name not in self.model.tasks:
                    refusals.add("monitors", "must use task names as keys", name, near(name, self.model.tasks))
            self.watched = dict(self.monitors or main_monitors(self.model))
            self.signs = check_monitors(refusals, "monitors", self.model, self.watched.values())
        self._heads = self.model.heads()
        self.best, self.stopped = {}, {}
        self.waits = dict.fromkeys(self.watched, 0)
        # What the heads of stopped tasks stay at, and the best of the others where that is wanted.
        self.kept: dict[str, list[Any]] = {}
        # A training that was broken off did not end.
        self.model.set_loss_weights(self.weights)
        self.weights = {}

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps the weights of stopped tasks at 0."""
        del epoch, logs
        self.model.set_loss_weights(dict.fromkeys(self.weights, 0.0))

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Sets the heads of stopped tasks back, before they are measured."""
        del logs
        self._hold()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Counts for each task, and takes out those whose patience is at its end."""
        self._hold()
        for name, key in self.watched.items():
            value = (logs or {}).get(key)
            if name in self.stopped or value is None or epoch < self.start_from_epoch:
                continue
            if self.improves(name, key, value, self.signs[key]):
                self.waits = {**self.waits, name: 0}
                if self.restore_best_weights:
                    self.kept = {**self.kept, name: self._heads[name].get_weights()}
                continue
            self.waits = {**self.waits, name: self.waits[name] + 1}
            if self.waits[name] >= self.patience and epoch > 0:
                self._stop(name, epoch)
        if set(self.stopped) == set(self.model.tasks):
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Gives the tasks their loss weights back; their heads stay."""
        del logs
        self._hold()
        self.model.set_loss_weights(self.weights)
        self.weights = {}

    def _stop(self, name: str, epoch: int) -> None:
        """Takes a task out."""
        self.stopped = {**self.stopped, name: epoch}
        self.kept = {name: self._heads[name].get_weights(), **self.kept}
        self._heads[name].set_weights(self.kept[name])
        self.weights = {**self.weights, name: self.model.loss_weights[name]}
        self.model.set_loss_weights({name: 0.0})
        self.tell(f"Epoch {epoch + 1}: {self.watched[name]} did not improve for {self.waits[name]}: {name!r} stops")

    def _hold(self) -> None:
        """Gives the heads of stopped tasks their weights."""
        for name in self.stopped:
            self._heads[name].set_weights(self.kept[name])
