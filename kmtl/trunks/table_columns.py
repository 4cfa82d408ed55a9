"""What the columns of a table are: numbers, categories of text, and codes; and a table as a model's inputs."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from kmtl._checks import Refusals, near, near_match, whole, words
from kmtl._table import Result, Table
from kmtl.trunks import cells

_OWNER = "Columns"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# Whole numbers of so few values may be codes; a reader is told.
_FEW = 60


class Column(NamedTuple):
    """What one column of a table is.

    Attributes:
        kind: `"number"`, `"category"` (text), or `"code"` (a whole number that stands for a category).
        values: How many different values there were.
        has_gaps: Whether cells were missing.
        mean: Of the numbers that were there.
        scale: Their standard deviation; 1 where they were all the same.
        is_whole: Whether they had no fraction.
        vocabulary: The categories that have an index of their own, the most frequent first.
    """

    kind: str
    values: int
    has_gaps: bool = False
    mean: float = 0.0
    scale: float = 1.0
    is_whole: bool = False
    vocabulary: tuple[Any, ...] = ()


class Columns(Result, Mapping[str, Column]):
    """The columns of a table that a model reads: what each is, and all that encoding it needs.

    Numbers and booleans are numbers; text and pandas categories are categories. A whole number that stands for a
    category, as the code of an occupation does, looks like any number: name it in `categories`. Printed, the columns
    tell which hold whole numbers of few values.

    A cell that is missing (None, NaN, NA; of text also `""`) is told to a model by a value that every way into it
    takes, since kmtl refuses inputs that are not finite: float32's lowest number, `""`, or the code -1. `arrays` and
    `kmtl.data.from_frame(frame, tasks, features=columns)` write them. Where nothing is refused, as in `predict` and
    in a served model, NaN means the same.

    Make them of the training table alone: the statistics of a test table would leak.

    Args:
        columns: `{name: Column}`; `Columns.of` makes them.

    >>> import pandas as pd
    >>> frame = pd.DataFrame({"age": [31.0, None, 45.0, 52.0], "job": ["cook", "cook", "smith", "smith"]})
    >>> columns = Columns.of(frame)
    >>> columns
    column     kind values about
       age   number      3 mean 42.67, scale 8.731; some missing; whole numbers: are they codes?
       job category      2 2 with an index
    >>> {name: (tensor.shape, tensor.dtype) for name, tensor in columns.inputs().items()}
    {'age': ((None,), 'float32'), 'job': ((None,), 'string')}
    >>> columns.arrays(frame)["age"].tolist()
    [31.0, -3.4028234663852886e+38, 45.0, 52.0]
    """

    def __init__(self, columns: Mapping[str, Column]) -> None:
        self._columns = dict(columns)

    @classmethod
    def of(
        cls, frame: Any, *, leave_out: Iterable[str] = (), categories: Iterable[str] = (), least: int = 2
    ) -> "Columns":
        """Finds what the columns of the training table are.

        Args:
            frame: A pandas frame, or a dict of arrays by column; one row an example.
            leave_out: Columns that are no inputs: labels, what tells of them, weights, names and numbers of rows.
            categories: Columns of whole numbers that stand for categories.
            least: In how many rows a category must stand to have an index of its own. Rarer ones share that of the
                categories that are never seen, which so is trained.

        Raises:
            ValueError: If a name is unknown, or a column is constant, all missing, infinite, neither numbers nor
                text, or text that does not repeat; all offenders at once.
        """
        with Refusals(_OWNER) as refusals:
            least = whole(_OWNER, "least", least, 1)
            table = cells.table(refusals, frame)
            away, codes = (
                _named(refusals, argument, given, table)
                for argument, given in (("leave_out", leave_out), ("categories", categories))
            )
            names = [name for name in table.columns if name not in away]
            if not names:
                refusals.add("leave_out", "must leave at least one column", sorted(away))
            columns = {name: _column(refusals, table[name], name in codes, least) for name in names}
        return cls({name: column for name, column in columns.items() if column is not None})

    def __getitem__(self, name: str) -> Column:
        return self._columns[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def inputs(self) -> dict[str, Any]:
        """Makes one `keras.Input` a column, `(batch,)` by its name: float32, text, or int64 for codes."""
        return {name: keras.Input((), dtype=cells.DTYPES[one.kind], name=name) for name, one in self.items()}

    def present(self, inputs: Mapping[str, Any]) -> Any:
        """Tells which rows of a table are there, `(batch,)` bools: those with a cell that is not missing.

        For fusions, where the table is one input of several and some rows come without it: `kmtl.sharing.FeatureFusion`
        takes it beside what `kmtl.sharing.present_rows` tells of an image.

        Args:
            inputs: Tensors by column, as `inputs` makes them; further ones are passed over.
        """
        there = [cells.present(inputs[name], one.kind) for name, one in self.items()]
        return ops.any(ops.stack(there, axis=-1), axis=-1)

    def arrays(self, frame: Any) -> dict[str, Any]:
        """Makes a model's inputs of a table, missing cells as the model reads them.

        Args:
            frame: A pandas frame, or a dict of arrays by column; further columns are passed over.

        Returns:
            `{column: array}`, `(rows,)` each: float32, text as objects, or int64.

        Raises:
            ValueError: If a column is absent, or of another kind than it was; all offenders at once.
        """
        with Refusals(_OWNER) as refusals:
            table, found = cells.table(refusals, frame), {}
            for name, one in self.items():
                if name in table.columns:
                    found[name] = _read_again(refusals, table[name], one.kind)
                else:
                    others = [str(other) for other in table.columns if other not in self]
                    got = words(f"none named {name!r}")
                    refusals.add("frame", "must hold every column", got, near_match(name, others))
        return found

    def parts(self) -> list[str | Table]:
        """A row a column."""
        rows = [
            {"column": name, "kind": one.kind, "values": one.values, "about": _about(one)} for name, one in self.items()
        ]
        return [Table(rows, align="left")]

    def get_config(self) -> dict[str, Any]:
        """Returns plain values, to be kept as JSON beside a model that is to read further tables."""
        return {name: {**one._asdict(), "vocabulary": list(one.vocabulary)} for name, one in self.items()}

    @classmethod
    def from_config(cls, config: Mapping[str, Mapping[str, Any]]) -> "Columns":
        """Makes the columns that `get_config` told of."""
        return cls({name: Column(**{**one, "vocabulary": tuple(one["vocabulary"])}) for name, one in config.items()})


def _named(refusals: Refusals, argument: str, names: Any, table: Any) -> list[Any]:
    """Columns by name; records those that the table does not have."""
    listed = [names] if isinstance(names, str) else list(names)
    for name in listed:
        if name not in table.columns:
            refusals.add(argument, "must name columns of the table", name, near(str(name), map(str, table.columns)))
    return listed


def _column(refusals: Refusals, series: Any, is_code: bool, least: int) -> Column | None:
    """What one column is; records what nothing can be learned of, and what cannot be read."""
    before, kind = len(refusals.messages), cells.kind_of(series, is_code)
    if not isinstance(series.name, str) or not _NAME.fullmatch(series.name):
        fix = "Letters, digits and '_', a letter first: the column is an input of the model: frame.rename(columns=...)."
        refusals.add("frame", "must have plain column names", series.name, fix)
    elif kind is None:
        _refuse(refusals, series)
    values = cells.read(refusals, series, kind) if kind and len(refusals.messages) == before else ()
    if kind is None or len(refusals.messages) > before:
        return None
    there = values[values != cells.missing(kind)]
    has_gaps, counts = len(there) < len(values), Counter(there.tolist())
    if len(counts) + has_gaps < 2:
        got = words(f"{next(iter(counts), '')!r} in every row of column {series.name!r}")
        refusals.add("frame", "must not be constant", got, _leave_out(series.name))
    if kind == "number":
        there = there.astype(np.float64)
        scale, is_whole = float(there.std()) or 1.0, bool((there == there.round()).all())
        return Column(kind, len(counts), has_gaps, mean=float(there.mean()), scale=scale, is_whole=is_whole)
    known = sorted((one for one, count in counts.items() if count >= least), key=lambda one: (-counts[one], one))
    if not known:
        fix = f"{_leave_out(series.name)} Text to be read is an input of its own: kmtl.trunks.text."
        rule = f"must hold categories that stand in {least} rows or more in column {series.name!r}"
        refusals.add("frame", rule, words(f"{len(counts)} in {len(there)} rows, none of them so often"), fix)
    return Column(kind, len(counts), has_gaps, vocabulary=tuple(known))


def _refuse(refusals: Refusals, series: Any) -> None:
    """Records a column without a cell that is there, or of what is neither numbers nor text."""
    if not series.notna().any():
        got = words(f"none in column {series.name!r}")
        refusals.add("frame", "must hold a value", got, _leave_out(series.name))
        return
    kinds = sorted({type(value).__name__ for value in series.dropna()})
    fix = f"Make it numbers, as days since a date are, or text: frame[{series.name!r}].astype(str)."
    refusals.add("frame", f"must be numbers or text, and not both, in column {series.name!r}", kinds, fix)


def _leave_out(name: str) -> str:
    """The way out for a column of no use."""
    return f"Leave it out: leave_out=[{name!r}]."


def _read_again(refusals: Refusals, series: Any, kind: str) -> Any:
    """Reads a column as the kind that it was; records another."""
    found = cells.kind_of(series, kind == "code")
    if found in (None, kind) and (found is not None or not series.notna().any()):
        return cells.read(refusals, series, kind)
    rule = (
        f"must hold {'text' if kind == 'category' else 'numbers'} in column {series.name!r}, as when it was looked at"
    )
    refusals.add("frame", rule, sorted({type(value).__name__ for value in series.dropna()}))
    return np.zeros(len(series))


def _about(column: Column) -> str:
    """What a reader should know of a column."""
    if column.kind != "number":
        told = [f"{len(column.vocabulary)} with an index"]
    else:
        told = [f"mean {column.mean:.4g}, scale {column.scale:.4g}"]
    told += ["some missing"] if column.has_gaps else []
    told += ["whole numbers: are they codes?"] if column.is_whole and 2 < column.values <= _FEW else []
    return "; ".join(told)
