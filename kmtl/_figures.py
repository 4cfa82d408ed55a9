"""The one way in which pictures of results are begun and kept."""

import math
from typing import Any, NamedTuple

from kmtl._shown_path import ShownPath

# Colours that colour-blind people tell apart: Okabe and Ito, "Color Universal Design", 2008, without their yellow, the
# dark ones first. A marker and a dash go with each, so that no line is told by its colour alone.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS, _DASHES = "osD^vP*", ("-", "--", "-.", ":")


class Picture(NamedTuple):
    """A figure, and what it shows in words.

    Attributes:
        title: What it is called, one line.
        figure: A matplotlib figure.
        description: What there is to see, with its figures: whoever cannot see the picture reads this.
    """

    title: str
    figure: Any
    description: str


def panels(count: int, *, columns: int, width: float, height: float) -> tuple[Any, list[Any]]:
    """Makes a figure with a grid of panels.

    Args:
        count: How many panels are drawn on; those left in the grid are hidden.
        columns: How many stand side by side at most.
        width: Of a panel, in inches.
        height: Of a panel, in inches.

    Returns:
        The figure, and the panels' axes row by row.

    >>> figure, axes = panels(3, columns=2, width=4, height=3)
    >>> [axis.get_visible() for axis in axes], figure.get_size_inches().tolist()
    ([True, True, True, False], [8.0, 6.0])
    """
    from matplotlib.figure import Figure

    columns = min(columns, count)
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).ravel())
    for axis in axes[count:]:
        axis.set_visible(False)
    return figure, axes


def line_style(place: int) -> dict[str, Any]:
    """Colour, marker and dash of one of several lines, as keywords of matplotlib's `plot`.

    Args:
        place: Which line, from 0 on; the dashes change from one to the next, and 28 lines have different looks.

    >>> line_style(1)
    {'color': '#D55E00', 'marker': 's', 'linestyle': '--'}
    """
    look = place % len(PALETTE)
    return {"color": PALETTE[look], "marker": _MARKERS[look], "linestyle": _DASHES[place % len(_DASHES)]}


def whole_numbers() -> Any:
    """Ticks at whole numbers alone, for an axis of epochs; a matplotlib locator."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(integer=True)


def ink(colour: Any) -> str:
    """Black or white, whichever has the higher contrast on a colour.

    Args:
        colour: Red, green and blue in [0, 1]; more is left alone.

    Source: W3C, "Web Content Accessibility Guidelines 2.2", 2023, relative luminance and contrast ratio.

    >>> ink((1.0, 1.0, 1.0, 1.0)), ink((0.03, 0.19, 0.42))
    ('black', 'white')
    """
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # Contrast is (lighter + 0.05) / (darker + 0.05): white and black are equal where this is so.
    return "black" if (luminance + 0.05) ** 2 > 1.05 * 0.05 else "white"


def save(figure: Any, path: Any) -> Any:
    """Writes a figure; folders that are not there are made.

    Args:
        figure: A matplotlib figure.
        path: Where it goes; the suffix says the format. None writes nothing.

    Returns:
        The path, or the figure itself if there is none: a notebook shows it.
    """
    if path is None:
        return figure
    target = ShownPath(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=120)
    return target
