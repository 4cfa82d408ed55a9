"""Figures as SVG that may stand inside a page, and as PNG."""

import contextlib
import html
import io
import re
import warnings
from collections.abc import Iterator
from typing import Any

from kmtl._checks import printable
from kmtl._figures import Picture

# Above these, what is drawn goes into an SVG as an image: a scatter of 10 000 points weighs a megabyte else.
_MOST_POINTS, _MOST_VERTICES = 400, 3000
_PNG_DPI = 120
# Points of a figure become so many pixels of a page.
_SCALE = 1.25
_ID, _REFERENCE = re.compile(r'(?<=\sid=")([^"]+)'), re.compile(r'(?<=href="#)([^"]+)|(?<=url\(#)([^)]+)')


def svg(picture: Picture, identity: str, described_by: str) -> str:
    """A picture as an `<svg>` element.

    The same figure gives the same text. Letters are drawn as outlines, so that it looks alike everywhere; its ids begin
    with `identity`, so that they are another picture's in no page.

    Args:
        picture: The picture.
        identity: What its ids begin with.
        described_by: Id of the element that says what there is to see.
    """
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "kmtl", "svg.fonttype": "path"}), _rasterized(picture.figure):
        text = _saved(picture.figure, format="svg", facecolor="none", metadata=_NO_METADATA).decode("utf-8")
    # Text on it stands in comments too, and its style would hold for the page.
    text = re.sub(r"<!--.*?-->|<style.*?</style>", "", text[text.index("<svg") :], flags=re.DOTALL)
    head, _, body = text.partition(">")
    box = re.findall(r'viewBox="([\d. -]+)"', head)[0]
    width = round(float(box.split()[2]) * _SCALE)
    body = _REFERENCE.sub(lambda found: f"{identity}-{found[0]}", _ID.sub(rf"{identity}-\1", body))
    title = html.escape(printable(picture.title).replace("\n", " "))
    told = f'role="img" aria-label="{title}" aria-describedby="{described_by}"'
    return f'<svg {_SPACES} viewBox="{box}" {told} style="--natural: {width}px">{body.strip()}'


_SPACES = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def png(figure: Any) -> bytes:
    """A figure as PNG on white, the same bytes for the same figure."""
    return _saved(figure, format="png", facecolor="white", dpi=_PNG_DPI, metadata={"Software": None})


def _saved(figure: Any, **options: Any) -> bytes:
    """What matplotlib writes of a figure, its words taken as they are."""
    _take_words_as_they_are(figure)
    with io.BytesIO() as file, warnings.catch_warnings():
        # A letter that no font has becomes a box; the tables have it.
        warnings.filterwarnings("ignore", message="Glyph")
        # Names that leave no room are cut off.
        warnings.filterwarnings("ignore", message="constrained_layout not applied")
        if figure.get_layout_engine() is not None:
            # A second look would move what the first has put in its place.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
        figure.savefig(file, **options)
        return file.getvalue()


def _take_words_as_they_are(figure: Any) -> None:
    """Switches formulas off: `$` is a letter of a class or a unit. Numbers along an axis keep their exponents."""
    from matplotlib.axis import Axis
    from matplotlib.text import Text
    from matplotlib.ticker import FixedFormatter, FuncFormatter

    kept = set()
    for axis in figure.findobj(Axis):
        kept.add(axis.get_offset_text())
        if not isinstance(axis.get_major_formatter(), FixedFormatter | FuncFormatter):
            kept |= {label for tick in axis.get_major_ticks() for label in (tick.label1, tick.label2)}
        kept |= {label for tick in axis.get_minor_ticks() for label in (tick.label1, tick.label2)}
    for text in figure.findobj(Text):
        if text not in kept:
            text.set_parse_math(False)


@contextlib.contextmanager
def _rasterized(figure: Any) -> Iterator[None]:
    """Lets what is dense be drawn as an image for as long as it lasts."""
    from matplotlib.collections import Collection
    from matplotlib.lines import Line2D

    dense = [one for one in figure.findobj(Collection) if _points(one) > _MOST_POINTS]
    dense += [one for one in figure.findobj(Line2D) if len(one.get_xdata()) > _MOST_VERTICES]
    before = [one.get_rasterized() for one in dense]
    for one in dense:
        one.set_rasterized(True)
    try:
        yield
    finally:
        for one, was in zip(dense, before, strict=True):
            one.set_rasterized(was)


def _points(collection: Any) -> int:
    """How many shapes a collection draws: points, or the cells of a mesh."""
    array = collection.get_array()
    return max(len(collection.get_offsets()), len(collection.get_paths()), 0 if array is None else array.size)
