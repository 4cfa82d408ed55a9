"""What the logs of one training tell: learning curves, and the weights of its tasks by epoch."""

import types
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from kmtl import _figures
from kmtl._checks import refusal, words
from kmtl._figures import Picture, line_style
from kmtl.evidence.pictures import plot_curves
from kmtl.evidence.reports.report_page import Section
from kmtl.tasks import Task

# Of the weight that all would have alike; what lies below is told, as it may starve a task.
_LITTLE = 0.5


def history_section(source: Any, tasks: Mapping[str, Task]) -> Section:
    """Puts a training's curves and weights under a heading.

    Args:
        source: What `fit` returned, or its dict of logs by epoch.
        tasks: The tasks by name; none are needed where `fit`'s own history is given.

    Raises:
        TypeError: If it holds no logs.
    """
    logs = _numbers(source)
    known = dict(tasks) or dict(getattr(getattr(source, "model", None), "tasks", {}))
    weights = task_weights(logs, list(known))
    curves = {key: values for key, values in logs.items() if known or not key.endswith("_weight")}
    pictures = [_curves(curves, known)] if curves else []
    pictures += [weight_picture(weights)] if _moves(weights) else []
    count = max(map(len, logs.values()))
    return Section("Training", [f"epochs  {count}"], pictures, _starved(weights))


def _numbers(source: Any) -> dict[str, list[float]]:
    """The logs that are numbers."""
    logs = getattr(source, "history", source)
    if not isinstance(logs, Mapping):
        rule, fix = "must be what fit(...) returned, or its dict of logs by epoch", "Pass fit(...)'s History."
        raise TypeError(refusal("report", "history", rule, words(type(source).__name__), fix))
    found = {
        key: [float(value) for value in values]
        for key, values in logs.items()
        if len(values) and all(isinstance(value, Real) for value in values)
    }
    if not found:
        raise TypeError(refusal("report", "history", "must hold one epoch or more", words("none")))
    return found


def task_weights(logs: Mapping[str, Sequence[float]], names: Sequence[str]) -> dict[str, list[float]]:
    """The weights of tasks by epoch.

    Args:
        logs: By epoch, as of `fit`: `<task>_weight`.
        names: Of the tasks; none takes every such log.

    >>> task_weights({"digit_weight": [1.0, 0.5], "loss": [2.0, 1.0]}, [])
    {'digit': [1.0, 0.5]}
    """
    found = names or [key.removesuffix("_weight") for key in logs if key.endswith("_weight") and key[:4] != "val_"]
    return {name: list(logs[f"{name}_weight"]) for name in found if f"{name}_weight" in logs}


def _moves(weights: Mapping[str, Sequence[float]]) -> bool:
    """Whether some weight is another one than at first, or than another task's."""
    values = [value for row in weights.values() for value in row if np.isfinite(value)]
    return bool(values) and not np.allclose(values, values[0])


def _curves(logs: Mapping[str, Sequence[float]], tasks: Mapping[str, Task]) -> Picture:
    """The learning curves, and where they end."""
    figure = plot_curves(types.SimpleNamespace(history=dict(logs), model=types.SimpleNamespace(tasks=dict(tasks))))
    shown = [key for key in logs if not key.startswith("val_")]
    ends = [f"{key} {_ends(logs[key])}{_validation(logs, key)}" for key in shown if not key.endswith("_weight")]
    return Picture("Learning curves", figure, f"From the first epoch to the last: {'; '.join(ends)}.")


def _ends(values: Sequence[float]) -> str:
    """The first value and the last."""
    return f"{values[0]:.3g} to {values[-1]:.3g}"


def _validation(logs: Mapping[str, Sequence[float]], key: str) -> str:
    """The validation's ends, where there are some."""
    return f" (validation {_ends(logs[f'val_{key}'])})" if f"val_{key}" in logs else ""


def weight_picture(weights: Mapping[str, Sequence[float]]) -> Picture:
    """Draws the weight of each task by epoch."""
    figure, (axis,) = _figures.panels(1, columns=1, width=6.5, height=3.4)
    for place, (name, values) in enumerate(weights.items()):
        axis.plot(range(1, len(values) + 1), values, label=name, markersize=4, **line_style(place))
    axis.set_xlabel("epoch")
    axis.xaxis.set_major_locator(_figures.whole_numbers())
    axis.set_ylabel("weight of the task")
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=min(len(weights), 5))
    ends = ", ".join(f"{name} {_ends(values)}" for name, values in weights.items())
    return Picture("Weights of the tasks", figure, f"Mean of each epoch, from the first to the last: {ends}.")


def _starved(weights: Mapping[str, Sequence[float]]) -> list[str]:
    """Tasks whose weight ends well below an even share."""
    last = {name: abs(values[-1]) for name, values in weights.items() if np.isfinite(values[-1])}
    even = sum(last.values()) / max(len(last), 1)
    return [
        f"The balancer gives {name} little weight: {value:.2f} in the last epoch, where an even share is {even:.2f}."
        for name, value in last.items()
        if value < _LITTLE * even
    ]
