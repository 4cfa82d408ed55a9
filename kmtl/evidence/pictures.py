"""Pictures of a training: learning curves, and samples with what was predicted."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from kmtl import _figures
from kmtl._checks import Refusals, refusal, words
from kmtl.feeding import as_dataset
from kmtl.metrics.sample_figure import sample_figure
from kmtl.tasks import Task
from kmtl.tasks.metric_directions import is_in_unit
from kmtl.training.trainer import task_scores

_JOINT, _ALONE = "#1f5fa8", "#d9822b"
# Told by more than the colour.
_DASHES = {_JOINT: "-", _ALONE: "--"}


class Panel(NamedTuple):
    """What one picture of a figure shows.

    Attributes:
        title: Above it.
        lines: Label, colour and values by epoch of each line; a label given before is not shown again.
    """

    title: str
    lines: list[tuple[str, str, Sequence[float]]]


def plot_curves(source: Any, path: Any = None) -> Any:
    """Draws learning curves: of a comparison two rows, jointly and alone, of a training its training and validation.

    Args:
        source: What `compare` returned, of which the first row beside the baseline is drawn, or one of its rows,
            `comparison["wide"]`; what `fit` returned, or a dict of logs by epoch. One panel a metric.
        path: Where the picture goes, e.g. `curves.png`; None writes none.

    Returns:
        The path, or without one the figure.

    Raises:
        TypeError: If it is none of these, or holds no epoch.
    """
    panels = _compared(source) if hasattr(source, "sides") else _trained(source)
    figure, axes = _figures.panels(len(panels), columns=3, width=4.2, height=3.2)
    for axis, panel in zip(axes, panels, strict=False):
        told: set[str] = set()
        for label, colour, values in panel.lines:
            epochs = range(1, len(values) + 1)
            shown = {"color": colour, "linestyle": _DASHES[colour], "marker": ".", "alpha": 0.9}
            axis.plot(epochs, values, label=None if label in told else label, **shown)
            told.add(label)
        axis.set_title(panel.title, fontsize=10)
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(_figures.whole_numbers())
        axis.grid(alpha=0.3)
    axes[0].legend()
    return _figures.save(figure, path)


def _compared(comparison: Any) -> list[Panel]:
    """A line a seed, jointly and alone."""
    return [
        Panel(
            _title(task, metric),
            [
                (label, colour, run.curve(f"{task.name}_{metric}"))
                for (label, runs), colour in zip(comparison.sides, (_JOINT, _ALONE), strict=False)
                for run in runs
            ],
        )
        for task, metric in comparison.metrics
    ]


def _trained(source: Any) -> list[Panel]:
    """The training and the validation of one `fit`."""
    logs = getattr(source, "history", source)
    if not isinstance(logs, Mapping) or not logs:
        fix = "Pass what compare(...) or fit(...) returned."
        rule = "must be a Comparison, a History or its dict of logs, of one epoch or more"
        raise TypeError(refusal("plot_curves", "source", rule, words(type(source).__name__), fix))
    tasks = list(getattr(getattr(source, "model", None), "tasks", {}).values())
    sorted_logs = task_scores({key: 0.0 for key in logs if not key.startswith("val_")}, tasks, losses=True)
    titles = {
        f"{task.name}_{metric}": _title(task, metric)
        for task in tasks
        for metric in sorted_logs[task.name]
        if _is_score(logs, task, metric)
    }
    titles = titles or {key: key for key in logs if not key.startswith("val_")}
    return [
        Panel(
            title,
            [
                (label, colour, logs[name])
                for label, colour, name in (("training", _ALONE, key), ("validation", _JOINT, f"val_{key}"))
                if name in logs
            ],
        )
        for key, title in titles.items()
    ]


def _is_score(logs: Mapping[str, Any], task: Task, metric: str) -> bool:
    """Whether a log is a loss or a metric, not a weight or the length of a gradient."""
    key = f"{task.name}_{metric}"
    return key in logs and (metric == "loss" or f"val_{key}" in logs or bool(_better(task, metric)))


def _better(task: Task, metric: str) -> str:
    """Which end is better, in words; empty where nobody knows."""
    try:
        return "higher" if task.direction(metric) == "max" else "lower"
    except ValueError:
        return ""


def _title(task: Task, metric: str) -> str:
    """A task's metric with its unit and its better end."""
    better = _better(task, metric)
    shown = f"{metric} [{task.unit}]" if task.unit and is_in_unit(metric) else metric
    return f"{task.name}: {shown}" + (f", {better} is better" if better else "")


def plot_samples(model: Any, data: Any, path: Any = None, *, count: int = 12) -> Any:
    """Draws samples with their labels and the model's predictions, in words and, where a task can, over the image.

    The first input that is an image, `(height, width, 1, 3 or 4)`, is drawn: values in 0..1, or whole ones in 0..255.
    Text and numbers are written.

    Args:
        model: A `MultiTaskModel`.
        data: What `fit` takes, such as batches `(x, {task: label})`; the first samples are drawn.
        path: Where the picture goes; None writes none.
        count: Number of samples.

    Returns:
        The path, or without one the figure.
    """
    with Refusals("plot_samples") as refusals:
        batches = as_dataset(refusals, "data", data, model.tasks)
    return _figures.save(sample_figure(model, batches, count), path)
