"""The heat map of affinities."""

from typing import Any

import numpy as np

from kmtl import _figures

_GREY = "#d9d9d9"
# Beyond these many tasks numbers do not fit into the cells.
_MOST_WRITTEN = 16


def heat_map(found: Any, order: Any = None) -> Any:
    """Draws a matrix of affinities, each cell with its number.

    Colours run from purple below 0 over white to green above, where something is below 0, else from white on: both are
    told apart with every form of colour blindness. What could not be measured is grey.

    Args:
        found: An `Affinity`.
        order: The places of the tasks in the order in which they are drawn; None keeps theirs.

    Returns:
        A matplotlib figure.
    """
    order = np.arange(len(found.names)) if order is None else np.asarray(order)
    values, names = found.values[np.ix_(order, order)], [found.names[place] for place in order]
    size = max(3.5, 1.0 * len(names) if len(names) <= _MOST_WRITTEN else 0.35 * len(names))
    figure, (axis,) = _figures.panels(1, columns=1, width=size + 1.5, height=size)
    others = values[~np.eye(len(names), dtype=bool)]
    known = others[np.isfinite(others)]
    top = float(np.abs(known).max(initial=0.0)) or 1.0
    low = -top if (known < 0).any() else 0.0
    image = axis.imshow(_shown(values), cmap=_colours(low), vmin=low, vmax=top)
    figure.colorbar(image, ax=axis, label=f"affinity by {found.kind}")
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axis.set_yticks(range(len(names)), names)
    if found.is_directed:
        axis.set(ylabel="effect of", xlabel="on")
    if len(names) <= _MOST_WRITTEN:
        _write(axis, values, found.halves[np.ix_(order, order)], top)
    return figure


def _shown(values: Any) -> Any:
    """The matrix with what is not known, and the diagonal, left out."""
    return np.ma.masked_invalid(np.where(np.eye(len(values), dtype=bool), np.nan, values))


def _colours(low: float) -> Any:
    """A map of colours around 0, or from 0 on."""
    import matplotlib

    return matplotlib.colormaps["PRGn" if low < 0 else "Greens"].with_extremes(bad=_GREY)


def _write(axis: Any, values: Any, halves: Any, top: float) -> None:
    """Writes each number, with its interval below."""
    form = "z.2f" if top >= 0.05 else ".0e"
    for (row, column), value in np.ndenumerate(values):
        if np.isnan(value):
            text = "not\nmeasured" if row != column else ""
        elif row == column or np.isnan(halves[row, column]):
            text = f"{value:{form}}"
        else:
            text = f"{value:{form}}\n±{halves[row, column]:{form}}"
        dark = row != column and abs(value) > 0.6 * top
        axis.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
