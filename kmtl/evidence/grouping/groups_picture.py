"""The picture of a grouping: the affinities in the order of the groups."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kmtl import _figures
from kmtl.evidence.grouping.group_effects import Effects

# Told apart by all kinds of colour vision, and by lightness at both ends.
_COLOURS = "PuOr_r"
_UNKNOWN = "#dddddd"
_WRITTEN = 12
_LINES = ("-", "--", ":", "-.")


def draw(effects: Effects, groups: Sequence[Sequence[str]], serves: Mapping[str, int]) -> Any:
    """Draws the affinity matrix with the tasks of a group side by side, and a frame around each group.

    The row is the task that acts, the column the one that is acted on. A helper that is served by another group has its
    cells in the rows of its own; they are framed apart.

    Args:
        effects: What was read of the affinity.
        groups: Names of the tasks of each group.
        serves: `{task: place of its group}`.
    """
    names = [name for place in range(len(groups)) for name in groups[place] if serves[name] == place]
    order = [effects.names.index(name) for name in names]
    values = effects.measured[np.ix_(order, order)]
    size = 1.8 + (0.55 if len(names) <= _WRITTEN else 0.3) * len(names)
    figure, (axis,) = _figures.panels(1, columns=1, width=size + 0.8, height=size)
    most = float(np.nanmax(np.abs(values - effects.level), initial=1e-12))
    axis.set_facecolor(_UNKNOWN)
    drawn = axis.imshow(values, cmap=_COLOURS, vmin=effects.level - most, vmax=effects.level + most)
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel("effect on")
    axis.set_ylabel("effect of")
    axis.set_title(f"{effects.kind} affinity, by group".strip(), fontsize=10)
    if len(names) <= _WRITTEN:
        _write(axis, values, effects.level, most)
    for place, group in enumerate(groups):
        _frame(axis, names, group, [name for name in group if serves[name] == place], place)
    figure.colorbar(drawn, ax=axis, shrink=0.8)
    return figure


def _write(axis: Any, values: Any, level: float, most: float) -> None:
    """Writes the numbers into the cells; a dash where nothing is known."""
    for row, column in np.ndindex(*values.shape):
        value = values[row, column]
        if row != column:
            colour = "white" if abs(value - level) > 0.6 * most else "black"
            text = "-" if np.isnan(value) else f"{value:.2f}"
            axis.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)


def _frame(axis: Any, names: list[str], group: Sequence[str], served: list[str], place: int) -> None:
    """Frames the columns of the tasks that a group serves in the rows of those that it holds."""
    from matplotlib.patches import Rectangle

    left, width = names.index(served[0]), len(served)
    line = _LINES[place % len(_LINES)]
    for name in group:
        if name not in served:
            edge = (left - 0.5, names.index(name) - 0.5)
            axis.add_patch(Rectangle(edge, width, 1, fill=False, lw=1.6, ls=line, edgecolor="black"))
    axis.add_patch(Rectangle((left - 0.5, left - 0.5), width, width, fill=False, lw=2.6, ls="-", edgecolor="black"))
