"""Reports of the classes of every epoch."""

from typing import Any

import keras

from kmtl._checks import refusal, words
from kmtl.callbacks.labelled_predictions import labelled_predictions
from kmtl.metrics import ClassificationReport


class ClassificationReports(keras.callbacks.Callback):
    """Reports every classification task's classes after each epoch.

    Args:
        data: A dataset of `(x, {task: label})` batches, or a tuple `(x, {task: labels})`.
        verbose: Whether the reports are printed.

    Attributes:
        reports: One dict a finished epoch, `{task: ClassificationReport}`.
    """

    def __init__(self, data: Any, *, verbose: bool = True) -> None:
        super().__init__()
        self.data = data
        self.verbose = verbose
        self.reports: list[dict[str, ClassificationReport]] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Refuses a model without a classification."""
        del logs
        if not self._tasks():
            got = words(f"{list(self.model.tasks)}, none that decides")
            raise ValueError(refusal("ClassificationReports", "model", "must have a classification task", got))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Makes, keeps and prints the reports."""
        del logs
        labels, predictions = labelled_predictions(self.model, self.data)
        known = [(self.model.tasks[name], labels[name]) for name in self._tasks() if name in labels]
        reports = {
            task.name: ClassificationReport(task, truth, predictions[task.name])
            for task, truth in known
            if task.present(truth).any()
        }
        self.reports.append(reports)
        if self.verbose:
            for report in reports.values():
                print(f"\nEpoch {epoch + 1}: {report}")

    def _tasks(self) -> list[str]:
        """Names of the tasks that decide."""
        return [name for name, task in self.model.tasks.items() if task.decides]
