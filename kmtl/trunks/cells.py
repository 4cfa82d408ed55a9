"""Cells of a table's column as arrays, missing ones as a model's input has them."""

from collections.abc import Mapping
from numbers import Real
from typing import Any

import numpy as np
from keras import ops

from kmtl._checks import Refusals, some, words

# A missing cell, by the kind of its column. kmtl refuses inputs that are not finite, so NaN is none of them.
MISSING: dict[str, Any] = {"number": float(np.finfo(np.float32).min), "category": "", "code": -1}
DTYPES = {"number": "float32", "category": "string", "code": "int64"}


def missing(kind: str) -> Any:
    """What stands in an array of this kind where a cell is missing."""
    return np.float32(MISSING[kind]) if kind == "number" else MISSING[kind]


def present(tensor: Any, kind: str) -> Any:
    """Which cells of an input of this kind are there; a number that is NaN is not, either."""
    if kind == "number":
        return ops.logical_not(ops.logical_or(ops.isnan(tensor), tensor <= MISSING[kind]))
    return ops.not_equal(tensor, MISSING[kind])


def table(refusals: Refusals, given: Any) -> Any:
    """Returns a pandas frame of a frame or a dict of arrays; refuses at once what is neither, or has no row."""
    import pandas as pd

    if isinstance(given, Mapping):
        sizes = {str(name): np.shape(values) for name, values in given.items()}
        if len(set(sizes.values())) > 1 or any(len(size) != 1 for size in sizes.values()):
            refusals.add("frame", "must hold one value a row in every column", sizes)
            refusals.check()
        given = pd.DataFrame(dict(given))
    if not isinstance(given, pd.DataFrame):
        refusals.add("frame", "must be a pandas DataFrame, or a dict of columns", words(type(given).__name__))
        refusals.check()
    if given.empty:
        refusals.add("frame", "must hold at least one row and one column", given.shape)
    twice = given.columns[given.columns.duplicated()]
    if len(twice):
        refusals.add("frame", "must have different column names", list(twice))
    refusals.check()
    return given


def kind_of(series: Any, is_code: bool) -> str | None:
    """What a column holds: `"number"`, `"category"` or `"code"`; None for anything else, and for nothing at all."""
    import pandas as pd

    there = series.dropna()
    is_categorical = isinstance(series.dtype, pd.CategoricalDtype)
    numeric = "code" if is_code or is_categorical else "number"
    if not len(there):
        return None
    if pd.api.types.is_numeric_dtype(series.dtype):
        return None if pd.api.types.is_complex_dtype(series.dtype) else numeric
    if all(isinstance(value, str) for value in there):
        return "category"
    return numeric if all(isinstance(value, Real | np.bool_) for value in there) else None


def read(refusals: Refusals, series: Any, kind: str) -> Any:
    """Reads a column of a kind: float32, text as objects, or int64, with `MISSING` where a cell is.

    Records numbers that are infinite and codes that are not whole, or are the missing one.
    """
    name, absent = series.name, series.isna().to_numpy()
    if kind == "category":
        return np.where(absent, "", series.astype(object).to_numpy())
    numbers = series.astype(object).to_numpy()
    numbers = np.where(absent, np.nan, numbers).astype(np.float64)
    if kind == "code":
        _check_codes(refusals, name, numbers[~absent])
        return np.where(absent, MISSING["code"], np.nan_to_num(numbers)).astype(np.int64)
    with np.errstate(over="ignore"):
        narrow = numbers.astype(np.float32)
    bad = int(np.isinf(narrow).sum())
    if bad:
        got = words(f"{bad} infinite values in column {name!r}")
        refusals.add("frame", "must be finite or missing", got, "Replace them by None where they are not known.")
    return np.where(absent, missing(kind), narrow)


def _check_codes(refusals: Refusals, name: Any, codes: Any) -> None:
    """Records codes that no int64 input can hold."""
    wrong = codes[(codes != np.round(codes)) | (np.abs(codes) > 2.0**53)]
    if len(wrong):
        fix = f"Make them text: frame[{name!r}].astype(str)."
        refusals.add("frame", f"must hold whole numbers in column {name!r} of codes", some(wrong), fix)
    if (codes == MISSING["code"]).any():
        fix = f"Make them text, or give that one another number: frame[{name!r}].replace(-1, 999)."
        refusals.add("frame", f"must not hold -1 in column {name!r} of codes, where it is a missing one", -1, fix)
