"""The one table that every result is shown by: as text, Markdown, HTML and a pandas frame."""

import html
import re
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from kmtl._checks import printable

_NONE = "-"
_NUMBER = re.compile(r"(-|[+-]?(\d[\d,]*(\.\d+)?(e[+-]?\d+)?|nan|inf)( ± [\d.e+-]+)?)( %)?")
# What means something in Markdown within a line; an underscore only where no letter or digit stands before or after it.
_MEANT = re.compile(r"[\\`*|\[\]~]|(?<!\w)_|_(?!\w)")


class Table:
    r"""Rows of named values, spelled one way wherever they are shown.

    A number that is not whole has four digits unless its column has a format; None is a dash.

    Args:
        rows: A mapping a row, or a pandas frame; a row may lack columns.
        formats: `{column: format}` as of `format`, for numbers.
        frame: The numbers behind the rows, where a cell shows more than one; None makes a frame of the rows.
        align: `"right"` or `"left"`, of text.

    >>> table = Table([{"task": "digit", "mae": 0.123456}, {"task": "a|b", "mae": None}], {"mae": ".2f"})
    >>> print(table)
     task  mae
    digit 0.12
      a|b    -
    >>> print(table.markdown())
    | task | mae |
    | --- | --- |
    | digit | 0.12 |
    | a\|b | - |
    """

    def __init__(
        self, rows: Any, formats: Mapping[str, str] | None = None, *, frame: Any = None, align: str = "right"
    ) -> None:
        given = rows if isinstance(rows, Sequence) else rows.to_dict("records")
        names = list(dict.fromkeys(str(name) for row in given for name in row))
        self.columns = [_line(name) for name in names]
        self.cells = [[_line(_cell(row.get(name), (formats or {}).get(name, ""))) for name in names] for row in given]
        self.align = align
        self._rows, self._frame = rows, frame

    @property
    def frame(self) -> Any:
        """The values as a pandas frame, for further use."""
        import pandas as pd

        return pd.DataFrame(self._rows) if self._frame is None else self._frame

    def __str__(self) -> str:
        lines = [self.columns, *self.cells]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        fill = str.rjust if self.align == "right" else str.ljust
        return "\n".join(" ".join(map(fill, line, widths)).rstrip() for line in lines)

    def markdown(self) -> str:
        """Returns the table in Markdown, with all that has a meaning there escaped."""
        lines = [[markdown_text(cell) for cell in line] for line in [self.columns, *self.cells]]
        return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], ["---"] * len(self.columns), *lines[1:]])

    def html(self, caption: str = "") -> str:
        """Returns the table in HTML, with all that has a meaning there escaped.

        The first cell of a row is its header, so that a screen reader says which row a number is of.

        Args:
            caption: What the table is called; empty gives it no caption.

        >>> Table([{"n": "a<b", "mae": 0.5}]).html("Test").partition("<tbody>")[2]
        '<tr><th scope="row">a&lt;b</th><td class="number">0.5</td></tr></tbody></table>'
        """
        above = f"<caption>{html.escape(printable(caption))}</caption>" if caption else ""
        columns = zip(*self.cells, strict=True) if self.cells else [()] * len(self.columns)
        kinds = [_html_class(*column) for column in columns]
        named = zip(kinds, self.columns, strict=True)
        head = "".join(f'<th scope="col"{kind}>{html.escape(name)}</th>' for kind, name in named)
        rows = ("".join(map(_html_cell, line, range(len(line)))) for line in self.cells)
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        return f"<table>{above}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


class Result:
    """What every result has in common: it prints as text, shows as HTML in a notebook, and gives a pandas frame."""

    def parts(self) -> Sequence[str | Table]:
        """Returns what is shown, from top to bottom: lines of text and tables."""
        raise NotImplementedError

    def pictures(self) -> Sequence[Any]:
        """Returns what is drawn of it, each a `kmtl._figures.Picture`; by default nothing."""
        return ()

    def conclusions(self) -> Sequence[str]:
        """Returns what follows, in plain sentences, for the head of a report; by default nothing."""
        return ()

    def facts(self) -> Mapping[str, str]:
        """Returns what it stands on by name, as `{"seeds": "0, 1, 2"}`, for a report; by default nothing."""
        return {}

    def table(self) -> Any:
        """Returns the first table that is shown, with its numbers, as a pandas frame."""
        return next((part for part in self.parts() if isinstance(part, Table)), Table([])).frame

    def __str__(self) -> str:
        return "\n".join(str(part) if isinstance(part, Table) else printable(part) for part in self.parts())

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return "".join(part.html() if isinstance(part, Table) else _paragraph(part) for part in self.parts())


def _paragraph(text: str) -> str:
    """Text as HTML."""
    return f"<p>{html.escape(printable(text)).replace(chr(10), '<br>')}</p>" if text else ""


def markdown_text(text: str) -> str:
    r"""Text from anywhere as Markdown that shows it as it is, on one line.

    >>> print(markdown_text("a|b <i> digit_mae *x*"))
    a\|b &lt;i&gt; digit_mae \*x\*
    """
    return _MEANT.sub(lambda found: f"\\{found[0]}", html.escape(_line(text), quote=False))


def _html_cell(cell: str, place: int) -> str:
    """A cell of a row as HTML."""
    if not place:
        return f'<th scope="row">{html.escape(cell)}</th>'
    return f"<td{_html_class(cell)}>{html.escape(cell)}</td>"


def _html_class(*cells: str) -> str:
    """What marks numbers, for whoever sets them flush right."""
    return ' class="number"' if cells and all(map(_NUMBER.fullmatch, cells)) else ""


def _line(text: str) -> str:
    """Text from anywhere as one line that does nothing to a screen."""
    return printable(text).replace("\n", r"\n")


def _cell(value: Any, form: str) -> str:
    """One value as it is shown."""
    if value is None:
        return _NONE
    if isinstance(value, Real) and not isinstance(value, Integral):
        return format(value, form or ".4g")
    return format(value, form) if form and not isinstance(value, str) else str(value)
