"""The picture of a trade-off."""

import itertools
from typing import Any

import numpy as np

from kmtl import _figures
from kmtl.front import pareto
from kmtl.front.trade_off import TradeOff
from kmtl.tasks.metric_directions import is_in_unit

_KEPT, _LEFT = "#1f5fa8", "#b8c4d0"


def plot_front(front: TradeOff, path: Any = None) -> Any:
    """Draws the points of a front: two tasks as a curve, three as three pairs, more as parallel lines.

    Points that no other dominates are dark; among parallel lines each axis is turned so that up is better.

    Args:
        front: What `kmtl.front.train` or `kmtl.search.weights` returned.
        path: Where the picture goes, e.g. `front.png`; None writes none.

    Returns:
        The path, or without one the figure.
    """
    values, better = front.values()
    labels = [_label(front, place) for place in range(len(better))]
    kept = pareto.non_dominated(values, better)
    if len(better) > 3:
        figure, axes = _figures.panels(1, columns=1, width=1.8 * len(better) + 1, height=4)
        _parallel(axes[0], values, better, labels, kept)
    else:
        pairs = list(itertools.combinations(range(len(better)), 2))
        figure, axes = _figures.panels(len(pairs), columns=3, width=4.6, height=4)
        for axis, (left, right) in zip(axes, pairs, strict=True):
            _pair(axis, front, values[:, [left, right]], [labels[left], labels[right]], (left, kept))
    return _figures.save(figure, path)


def _label(front: TradeOff, place: int) -> str:
    """A task with its metric, unit and better end."""
    task = front.tasks[place]
    metric = front.chosen_metrics({})[task.name]
    shown = f"{metric} [{task.unit}]" if task.unit and is_in_unit(metric) else metric
    arrow = "less" if metric == "loss" or task.direction(metric) == "min" else "more"
    return f"{task.name} {shown}, {arrow} is better"


def _pair(axis: Any, front: TradeOff, values: Any, labels: list[str], marks: tuple[int, Any]) -> None:
    """Draws two tasks against each other; the colour tells the preference for the first."""
    place, kept = marks
    shares = np.array([point.preference[place] for point in front.points])
    if len(front.tasks) == 2:
        axis.plot(values[:, 0], values[:, 1], color=_LEFT, zorder=1)
    axis.scatter(values[~kept, 0], values[~kept, 1], c=_LEFT, s=22, zorder=2)
    drawn = axis.scatter(
        values[kept, 0], values[kept, 1], c=shares[kept], cmap="viridis", vmin=0, vmax=1, s=34, zorder=3
    )
    axis.figure.colorbar(drawn, ax=axis, label=f"preference for {front.tasks[place].name}")
    axis.set_xlabel(labels[0])
    axis.set_ylabel(labels[1])
    axis.grid(alpha=0.3)


def _parallel(axis: Any, values: Any, better: list[str], labels: list[str], kept: Any) -> None:
    """Draws a line a point over one axis a task."""
    low, high = values.min(axis=0), values.max(axis=0)
    scaled = (values - low) / np.where(high > low, high - low, 1.0)
    scaled = np.where(np.array(better) == "max", scaled, 1.0 - scaled)
    for row, is_kept in zip(scaled, kept, strict=True):
        axis.plot(range(len(better)), row, color=_KEPT if is_kept else _LEFT, alpha=0.7, zorder=3 if is_kept else 1)
    axis.set_xticks(range(len(better)), labels, rotation=12, fontsize=8)
    axis.set_yticks([0, 1], ["worst", "best"])
    axis.grid(alpha=0.3, axis="x")
