"""What is drawn of a comparison: changes with their intervals, learning curves, cost against benefit."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kmtl import _figures
from kmtl._figures import Picture
from kmtl.evidence.intervals import with_interval
from kmtl.evidence.pictures import plot_curves


def forest_picture(comparison: Any) -> Picture:
    """Draws the change of each metric against the baseline, a mark a recipe, with its interval."""
    metrics = [one for one in comparison.metrics if comparison[comparison.baseline].has_change(*one)]
    rows = comparison.rows
    figure, (axis,) = _figures.panels(1, columns=1, width=7.0, height=1.6 + 0.22 * len(rows) * max(len(metrics), 2))
    places = {name: place for place, name in enumerate(comparison.runs)}
    for order, (name, row) in enumerate(rows.items()):
        table = row.table().set_index(["task", "metric"])
        chosen = table.loc[[(task.name, metric) for task, metric in metrics]]
        heights = np.arange(len(metrics)) + 0.7 * ((order + 0.5) / len(rows) - 0.5)
        _draw_marks(axis, chosen["change_percent"], heights, chosen["change_interval"], places[name], name, across=True)
    axis.axvline(0, color="#666666", linewidth=1)
    axis.set_yticks(range(len(metrics)), [f"{task.name}: {metric}" for task, metric in metrics])
    axis.set_ylim(len(metrics) - 0.5, -0.5)
    axis.set_xlabel(f"change against {comparison.baseline}, percent; left of 0 is better")
    axis.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, fontsize=9)
    told = "; ".join(_changes_told(name, row) for name, row in rows.items())
    text = f"Change of each metric against {comparison.baseline}, percent, negative is better, 95 % intervals. {told}."
    return Picture("Change of each task by recipe", figure, text)


def _draw_marks(axis: Any, x: Any, y: Any, halves: Any, place: int, name: str, *, across: bool) -> None:
    """Draws the marks of one recipe; a change without an interval has no bar."""
    bars = np.nan_to_num(np.asarray(halves, dtype="float64"))
    axis.errorbar(
        np.asarray(x),
        np.asarray(y),
        **{"xerr" if across else "yerr": bars},
        **{**_figures.line_style(place), "linestyle": "none"},
        capsize=3,
        label=name,
    )


def _changes_told(name: str, row: Any) -> str:
    """How many metrics of a recipe are better or worse, and its extremes, in words."""
    table = row.table().dropna(subset=["change_percent"])
    if table.empty:
        return f"{name}: no metric has a change"
    verdicts = table["verdict"].value_counts()
    counts = [f"{verdicts[verdict]} {verdict}" for verdict in ("better", "tie", "worse") if verdict in verdicts]
    ends = [table.loc[place] for place in (table["change_percent"].idxmin(), table["change_percent"].idxmax())]
    least, most = (f"{end['change_percent']:+.1f} ({end['task']} {end['metric']})" for end in ends)
    return f"{name}: {', '.join(counts) or 'no interval'}, from {least} to {most}"


def curves_picture(comparison: Any) -> Picture:
    """Draws learning curves of the baseline and of the first recipe beside it, a panel a metric."""
    sides = comparison.sides
    ends = [
        f"{task.name} {metric}: {', '.join(_end_told(label, runs, task, metric) for label, runs in sides)}"
        for task, metric in comparison.metrics
    ]
    text = f"A metric by epoch, a line a seed, of {' and '.join(label for label, _ in sides)}. Last epochs: "
    names = " and ".join(label for label, _ in sides)
    return Picture(f"Learning curves of {names}", plot_curves(comparison), f"{text}{'; '.join(ends)}.")


def _end_told(label: str, runs: Sequence[Any], task: Any, metric: str) -> str:
    """Where the curves of one side end, in words."""
    curves = [run.curve(f"{task.name}_{metric}") for run in runs]
    ends = [curve[-1] for curve in curves if curve]
    return f"{label} {np.mean(ends):.4g}" if ends else f"{label} not logged"


def cost_picture(comparison: Any) -> Picture:
    """Draws what each recipe costs against its mean change, with its interval."""
    changes = comparison.delta_m
    costs = {name: float(np.mean([run.cost for run in runs])) for name, runs in comparison.runs.items()}
    figure, (axis,) = _figures.panels(1, columns=1, width=6.0, height=4.0)
    for place, (name, (change, half)) in enumerate(changes.items()):
        _draw_marks(axis, [costs[name]], [change], [half], place, name, across=False)
    axis.axhline(0, color="#666666", linewidth=1)
    axis.set_xlim(left=0)
    axis.set_xlabel("cost, joint trainings over the given epochs")
    axis.set_ylabel("delta_m, percent; lower is better")
    axis.grid(alpha=0.3)
    figure.legend(loc="outside upper center", ncols=2, fontsize=9)
    told = "; ".join(
        f"{name}: cost {costs[name]:.2f}, delta_m {with_interval(change, half, '+.1f')} %"
        for name, (change, half) in changes.items()
    )
    return Picture(
        "Cost against benefit",
        figure,
        f"Cost in joint trainings against mean change, percent, against {comparison.baseline}. {told}.",
    )
