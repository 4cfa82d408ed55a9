"""Pictures of a training: learning curves, and samples with what was predicted."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from kmtl import _figures
from kmtl.tasks import Task, TaskSpace

_JOINT, _ALONE = "#1f5fa8", "#d9822b"


def plot_curves(comparison: Any, path: Any = None) -> Any:
    """Draws the learning curves of every task, jointly and alone: one panel a metric, one line a seed.

    Args:
        comparison: What `compare` returned.
        path: Where the picture goes, e.g. `curves.png`; None writes none.

    Returns:
        The path, or without one the figure.
    """
    panels = [(task, metric) for task in comparison.tasks for metric in comparison.joint[0].scores[task.name]]
    figure, axes = _figures.panels(len(panels), columns=3, width=4.2, height=3.2)
    for axis, (task, metric) in zip(axes, panels, strict=False):
        for colour, label, runs in (
            (_JOINT, "joint", comparison.joint),
            (_ALONE, "alone", comparison.separate[task.name]),
        ):
            for place, run in enumerate(runs):
                values = _curve(run, task, metric)
                epochs = range(1, len(values) + 1)
                axis.plot(epochs, values, color=colour, alpha=0.9, marker=".", label=label if place == 0 else None)
        better = "higher" if task.direction(metric) == "max" else "lower"
        axis.set_title(f"{task.name}: {_metric_label(task, metric)}, {better} is better", fontsize=10)
        axis.set_xlabel("epoch")
        axis.grid(alpha=0.3)
    axes[0].legend()
    return _figures.save(figure, path)


def _curve(run: Any, task: Task, metric: str) -> list[float]:
    """A metric over the epochs, of the validation data if there was any."""
    key = f"{task.name}_{metric}"
    return run.history.get(f"val_{key}", run.history.get(key, []))


def _metric_label(task: Task, metric: str) -> str:
    """A metric with its unit."""
    return f"{metric} [{task.unit}]" if task.unit and metric in {"mae", "rmse"} else metric


def plot_samples(model: Any, data: Any, path: Any = None, *, count: int = 12) -> Any:
    """Draws images with their labels and the model's predictions, in words and, where a task can, over the image.

    Args:
        model: A `MultiTaskModel` with one image input, values in 0..1.
        data: A dataset of batches `(image, {task: label})`; the first batches are drawn.
        path: Where the picture goes; None writes none.
        count: Number of images.

    Returns:
        The path, or without one the figure.
    """
    images, labels = _first(data, count, TaskSpace(model.tasks.values()))
    predictions = model.predict(images, verbose=0)
    figure, axes = _figures.panels(len(images), columns=6, width=2.3, height=2.2 + 0.24 * len(model.tasks))
    for place, axis in enumerate(axes[: len(images)]):
        picture = images[place]
        axis.imshow(picture[..., 0] if picture.shape[-1] == 1 else picture, cmap="gray", vmin=0, vmax=1)
        axis.set_xticks([])
        axis.set_yticks([])
        lines = []
        for name, task in model.tasks.items():
            label = labels[name][place] if name in labels else None
            task.draw(axis, label, predictions[name][place])
            lines.append(task.describe(label, predictions[name][place]))
        wrong = any(line.endswith("✗") for line in lines)
        axis.set_title("\n".join(lines), fontsize=8, loc="left", color="#b00020" if wrong else "black")
    figure.suptitle("label → prediction", fontsize=11)
    return _figures.save(figure, path)


def _first(data: Any, count: int, space: TaskSpace) -> tuple[Any, dict[str, list[Any]]]:
    """The first examples of a dataset of batches; their labels may differ in size."""
    images: list[Any] = []
    labels: list[Mapping[str, Any]] = []
    for batch in data:
        images.append(np.asarray(batch[0]))
        labels.append(space.mask({name: np.asarray(value) for name, value in batch[1].items()}))
        if sum(map(len, images)) >= count:
            break
    joined = {name: [label for part in labels for label in part[name]] for name in labels[0]}
    return np.concatenate(images)[:count], joined
