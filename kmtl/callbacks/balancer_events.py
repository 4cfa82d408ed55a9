"""What the balancer hears of `fit`, and what the user hears of the balancer."""

import warnings
from typing import Any

import keras
import numpy as np

from kmtl.metrics import without_empty_loss


class BalancerListener(keras.callbacks.Callback):
    """Tells the balancer of finished epochs, and the user of tasks that sat out because a number went wrong.

    `fit` adds it by itself. A task sits out of a step in which its loss or its
    gradient is not finite; a step in which nothing is finite is skipped.
    """

    adds_logs = True

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Remembers the counts so far."""
        del logs
        self._excluded, self._skipped = self._counts()

    def _counts(self) -> tuple[Any, float]:
        """Steps that each task sat out, and steps that were skipped, since the balancer was made."""
        balancer, beside = self.model.balancer, self.model.setup.joint_excluded
        counts = [np.array(balancer.excluded), *([] if beside is None else [np.array(beside)])]
        return np.concatenate(counts), float(balancer.skipped.numpy())

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Stops where the model was told to."""
        del logs
        if not self.model.setup.raises:
            return
        excluded, skipped = self._counts()
        if (excluded > self._excluded).any() or skipped > self._skipped:
            names = [name for name, more in zip(self.model.setup.names, excluded > self._excluded, strict=True) if more]
            what = f"of {', '.join(map(repr, names))}" if names else "of the whole step"
            after = " (or one of those before it in the execution)" if self.model.steps_per_execution > 1 else ""
            fix = "compile(on_nonfinite='skip') goes on without."
            where = f"in step {batch + 1}{after} of epoch {self._epoch + 1}"
            raise FloatingPointError(f"fit: loss or gradient {what} is not finite {where}. {fix}")

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Remembers where the training is."""
        del logs
        self._epoch = epoch

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Passes the logs on and warns of what went wrong."""
        self.model.balancer.end_epoch(logs or {})
        excluded, skipped = self._counts()
        more = {
            name: int(number)
            for name, number in zip(self.model.setup.names, excluded - self._excluded, strict=True)
            if number > 0
        }
        if more or skipped > self._skipped:
            told = ", ".join(f"{name!r} {number}" for name, number in more.items())
            text = f"fit: steps of epoch {epoch + 1} that a task sat out, its loss or gradient not finite: {told or 0}"
            warnings.warn(f"{text}; steps skipped: {int(skipped - self._skipped)}.", RuntimeWarning, stacklevel=2)
        if logs and not self.model.step.extra_names:
            # In place: the callbacks that follow read the same logs.
            logs.update(without_empty_loss(logs, self.model.tasks, needed=more))
        self._excluded, self._skipped = excluded, skipped
