"""Pictures of a race."""

from typing import Any

import numpy as np

from kmtl import _figures
from kmtl.evidence.recommendation.race_account import NORMAL

# Okabe and Ito's colours; what each says a marker says, too.
_BETTER, _WORSE, _TIE = "#009E73", "#D55E00", "#595959"


def forest(found: Any) -> Any:
    """Draws a point and an interval a task and training.

    Args:
        found: A `Recommendation`.
    """
    rows = [row for row in found.tried if row["is_held"]]
    figure, axes = _figures.panels(max(len(rows), 1), columns=2, width=4.6, height=0.5 * len(found.tasks) + 1.4)
    for axis, row in zip(axes, rows, strict=False):
        for place, task in enumerate(found.tasks):
            change = row["changes"][task.name]
            half = NORMAL * change.error
            colour = _BETTER if change.percent + half < 0 else _WORSE if change.percent - half > 0 else _TIE
            marker = {_BETTER: "o", _WORSE: "X", _TIE: "s"}[colour]
            axis.errorbar(change.percent, place, xerr=np.nan_to_num(half), fmt=marker, color=colour, capsize=3)
        axis.axvline(0, color="#595959", linewidth=1)
        axis.set_yticks(range(len(found.tasks)), [task.name for task in found.tasks])
        axis.set_ylim(len(found.tasks) - 0.5, -0.5)
        axis.set_title(f"{row['candidate']}, seed {row['seed']}", fontsize=10)
        axis.set_xlabel("change against alone, %; left is better")
    return figure


def learning_curves(found: Any) -> Any:
    """Draws the validation loss of each task, jointly and alone.

    Args:
        found: A `Recommendation`.
    """
    figure, axes = _figures.panels(len(found.tasks), columns=3, width=4.2, height=3.2)
    styles = [("#0072B2", "o", "-"), ("#D55E00", "s", "--"), ("#009E73", "^", ":"), ("#CC79A7", "D", "-.")]
    for axis, task in zip(axes, found.tasks, strict=False):
        for (name, values), (colour, marker, line) in zip(found.curves[task.name].items(), styles, strict=False):
            share = np.arange(1, len(values) + 1) / max(len(values), 1)
            axis.plot(share, values, color=colour, marker=marker, linestyle=line, markersize=4, label=name)
        axis.set_title(f"{task.name}: validation loss", fontsize=10)
        axis.set_xlabel("share of the training")
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    return figure
