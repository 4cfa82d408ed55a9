"""A training in TensorBoard, sorted by task."""

import itertools
import math
import os
from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from kmtl import _extras
from kmtl._checks import Refusals, is_whole, words
from kmtl._replicas import is_first_machine
from kmtl._table import Table
from kmtl.callbacks.event_files import EventFiles
from kmtl.callbacks.labelled_predictions import labelled_predictions
from kmtl.callbacks.monitors import owner_of
from kmtl.feeding import as_dataset
from kmtl.feeding.datasets import size_of
from kmtl.metrics.confusion import confusion_picture, confusions
from kmtl.metrics.sample_figure import sample_figure

_TRAIN, _VALIDATION = "train", "validation"
# A task's name has no space, so none of them is one of these.
_ALL, _CONFLICTS, _SHARED = "all tasks", "task conflicts", "shared weights"


def chart_name(key: str, tasks: Iterable[str]) -> str:
    """The chart of a log key; TensorBoard makes a section of what stands before the slash.

    Args:
        key: A log key, of training or validation: both have one chart.
        tasks: Names of the tasks.

    >>> [chart_name(key, ["digit", "angle"]) for key in ("val_digit_accuracy", "angle_weight", "val_loss")]
    ['digit/accuracy', 'angle/weight', 'all tasks/loss']
    >>> chart_name("digit_angle_cosine", ["digit", "angle"])
    'task conflicts/digit_angle_cosine'
    """
    names, key = list(tasks), key.removeprefix("val_")
    pairs = {f"{one}_{other}_cosine" for one, other in itertools.combinations(names, 2)}
    if key in pairs | {"conflicting_pairs", "gram_condition"}:
        return f"{_CONFLICTS}/{key}"
    owner = owner_of(key, names)
    return f"{_ALL}/{key}" if owner is None else f"{owner}/{key.removeprefix(f'{owner}_')}"


class TensorBoard(keras.callbacks.Callback):
    """Writes a training for TensorBoard, with a section a task.

    Keras's own callback lists log keys by the alphabet. Here each is a chart of its task's section, `<task>/loss`,
    `<task>/<metric>`, `<task>/weight`, with training and validation as two lines of it; what belongs to all tasks
    stands in `all tasks`, and the cosines and conflicts of `compile(track_conflicts=True)` in `task conflicts`, their
    gradients' norms in `<task>/gradient_norm`. The settings of `model.hyperparameters()` are a table among the texts.
    Steps are epochs, counted from 0. Profiles and graphs are Keras's: `keras.callbacks.TensorBoard`, in a folder of its
    own.

    Args:
        log_dir: Folder; it gets `train` and `validation`. A training a folder: `logs/one`, `logs/two` are compared
            by `tensorboard --logdir logs`.
        data: What `fit` takes as validation data. With it there are pictures: the first samples with their predictions
            in `all tasks`, and in the section of each classification its confusion matrix. None draws none.
        image_freq: Pictures every so many epochs.
        samples: How many samples are drawn.
        histogram_freq: Histograms of the weights every so many epochs, those of the shared ones and of each task's
            head apart; 0 writes none.

    Raises:
        ImportError: If the package `tensorboard` is not installed.
        ValueError: If a number is out of range; before the first step, if the model has no tasks, or `data` is none
            or has no end.

    >>> TensorBoard("logs", histogram_freq=1).log_dir
    'logs'
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] = "logs",
        *,
        data: Any = None,
        image_freq: int = 1,
        samples: int = 12,
        histogram_freq: int = 0,
    ) -> None:
        super().__init__()
        _extras.load("tensorboard", "TensorBoard")
        with Refusals("TensorBoard") as refusals:
            if not isinstance(log_dir, str | os.PathLike) or not os.fspath(log_dir):
                refusals.add("log_dir", "must name a folder", log_dir)
            for name, value, least in (
                ("image_freq", image_freq, 1),
                ("samples", samples, 1),
                ("histogram_freq", histogram_freq, 0),
            ):
                if not is_whole(value) or value < least:
                    refusals.add(name, f"must be a whole number of at least {least}", value)
        # KerasTuner gives each trial a folder below the one that it finds under this name.
        self.log_dir = os.fspath(log_dir)
        self.data = data
        self.image_freq = image_freq
        self.samples = samples
        self.histogram_freq = histogram_freq

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Refuses what cannot be shown, and writes the settings."""
        del logs
        with Refusals("TensorBoard") as refusals:
            if not getattr(self.model, "tasks", None):
                fix = "Adopt it: kmtl.MultiTaskModel.from_model(model, tasks)."
                refusals.add("model", "must know its tasks", words(type(self.model).__name__), fix)
                refusals.check()
            self._batches: Any = None
            if self.data is not None:
                self._batches = as_dataset(refusals, "data", self.data, self.model.tasks)
            if self._batches is not None and size_of(self._batches) == math.inf:
                refusals.add("data", "must end", words("a stream without end"), "Cut the dataset with take(n).")
        self._files = EventFiles(os.path.expanduser(self.log_dir))
        if is_first_machine(self.model.distribute_strategy):
            settings = [{"setting": key, "value": value} for key, value in self.model.hyperparameters().items()]
            self._files.text(_TRAIN, f"{_ALL}/settings", Table(settings).markdown(), 0)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the epoch."""
        pictures = self._pictures() if self._batches is not None and epoch % self.image_freq == 0 else {}
        if not is_first_machine(self.model.distribute_strategy):
            return
        logs = {**self._learning_rates(), **(logs or {})}
        for run, is_its in ((_TRAIN, False), (_VALIDATION, True)):
            keys = [key for key in logs if key.startswith("val_") is is_its]
            if keys:
                numbers = {chart_name(key, self.model.tasks): float(logs[key]) for key in keys}
                self._files.numbers(run, numbers, epoch)
        if self.histogram_freq and epoch % self.histogram_freq == 0:
            self._files.histograms(_TRAIN, self._weights(), epoch)
        for tag, figure in pictures.items():
            self._files.picture(_VALIDATION, tag, figure, epoch)
        self._files.flush()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Ends the files."""
        del logs
        self._files.close()

    def _learning_rates(self) -> dict[str, float]:
        """The optimizer's rate, and that of each task that has an optimizer of its own, by log key."""
        optimizer = self.model.optimizer
        own = {name: part for name, part in getattr(optimizer, "parts", {}).items() if name in self.model.tasks}
        rates = {"learning_rate": optimizer, **{f"{name}_learning_rate": part for name, part in own.items()}}
        return {key: float(keras.ops.convert_to_numpy(holder.learning_rate)) for key, holder in rates.items()}

    def _weights(self) -> dict[str, Any]:
        """The weights by tag; a kernel that serves several fused heads stands with each of their tasks."""
        groups = {_SHARED: self.model.shared_variables}
        groups.update({f"{name}/weights": self.model.task_variables(name) for name in self.model.tasks})
        return {f"{group}/{one.path}": one.numpy() for group, variables in groups.items() for one in variables}

    def _pictures(self) -> dict[str, Any]:
        """Figures by tag. With many machines each predicts, for they have to do so together."""
        found = {f"{_ALL}/samples": sample_figure(self.model, self._batches, self.samples)}
        labels, predictions = labelled_predictions(self.model, self._batches)
        for name, task in self.model.tasks.items():
            if name in labels and np.any(task.present(labels[name])):
                matrices = confusions(task, labels[name], predictions[name])
                if matrices:
                    found[f"{name}/confusion matrix"] = confusion_picture(task, matrices).figure
        return found
