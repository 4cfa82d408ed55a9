"""Reports of the classes of every epoch."""

from typing import Any

import keras
import numpy as np

from kmtl._checks import refusal, words
from kmtl.metrics import ClassificationReport
from kmtl.tasks import TaskSpace


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
        found, predictions = self._collected()
        labels = TaskSpace(self.model.tasks.values()).mask(found)
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

    def _collected(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Labels and predictions batch by batch, so that a dataset that reshuffles stays aligned."""
        batches = [self.data] if isinstance(self.data, tuple) else self.data
        labels: dict[str, list[Any]] = {}
        outputs: dict[str, list[Any]] = {}
        for batch in batches:
            # An array of the user's is one batch to us, but many to the model.
            in_memory = isinstance(self.data, tuple)
            predicted = self.model.predict(batch[0], verbose=0) if in_memory else self.model.predict_on_batch(batch[0])
            for name, label in batch[1].items():
                labels.setdefault(name, []).append(np.asarray(label))
                outputs.setdefault(name, []).append(np.asarray(predicted[name]))
        join = np.concatenate
        return {name: join(parts) for name, parts in labels.items()}, {n: join(parts) for n, parts in outputs.items()}
