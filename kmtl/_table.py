"""The one table that every result is shown by: as text, Markdown, HTML and a pandas frame."""

import html
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

from kmtl._checks import printable

_NONE = "-"


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
        """Returns the table in Markdown."""
        lines = [[cell.replace("|", r"\|") for cell in line] for line in [self.columns, *self.cells]]
        return "\n".join(f"| {' | '.join(line)} |" for line in [lines[0], ["---"] * len(self.columns), *lines[1:]])

    def html(self) -> str:
        """Returns the table in HTML, with all that has a meaning there escaped."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in self.columns)
        body = ("".join(f"<td>{html.escape(cell)}</td>" for cell in line) for line in self.cells)
        return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in body)}</table>"


class Result:
    """What every result has in common: it prints as text, shows as HTML in a notebook, and gives a pandas frame."""

    def parts(self) -> Sequence[str | Table]:
        """Returns what is shown, from top to bottom: lines of text and tables."""
        raise NotImplementedError

    def pictures(self) -> Sequence[Any]:
        """Returns what is drawn of it, each a `kmtl._figures.Picture`; by default nothing."""
        return ()

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
