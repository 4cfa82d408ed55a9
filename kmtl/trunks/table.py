"""A table as an input: numbers and categories by column."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

from kmtl._checks import Refusals, near_match, words
from kmtl.trunks.cells import DTYPES, MISSING
from kmtl.trunks.features import dense, dropped
from kmtl.trunks.numbers import StandardizedNumbers
from kmtl.trunks.options import Options, attempt, check_symbolic
from kmtl.trunks.options import stages as widths_of
from kmtl.trunks.table_columns import Column, Columns

_OWNER = "table"
_WIDEST = 50


def table(
    inputs: Mapping[str, Any],
    columns: Columns,
    widths: Sequence[int] = (128, 64),
    *,
    normalization: str | None = "batch",
    activation: str | Callable[[Any], Any] = "relu",
    dropout: float = 0.0,
    l1: float = 0.0,
    l2: float = 0.0,
    synchronized: bool = True,
    name: str = "table",
) -> Any:
    """Encodes a table column by column, and puts dense layers behind it.

    Numbers are standardised (`StandardizedNumbers`): a missing one is 0, and sets a flag of its column. Categories
    go through Keras's `StringLookup` or `IntegerLookup`, which keep the vocabulary in the saved model, to a vector each
    (`keras.layers.Embedding`): missing has one, all that is not in the vocabulary has another, and each of the others
    one. Vectors start at 0, so that a category of which training knew nothing says nothing. Their width is
    `min(50, round(1.6 * n ** 0.56))` for `n` of them, the rule of Howard & Gugger, "fastai: A Layered API for Deep
    Learning", Information 11(2), 2020.

    Not `keras.utils.FeatureSpace`: of one NaN in a column it makes NaN of all of the column, it takes no frame, and its
    one-hot vectors of long vocabularies are wide. Its layers are Keras's same lookups.

    A table whose rows come without it, beside an image that has one, is missing in each cell of such a row.

    Args:
        inputs: `{column: tensor}`, `(batch,)` each, as `columns.inputs()` makes them; further inputs are passed over.
        columns: `kmtl.trunks.Columns.of(frame, leave_out=[...])`.
        widths: Of the dense layers; `()` gives the encoded table itself.
        normalization: Behind each dense layer, as of `kmtl.trunks.Options`.
        activation: The same.
        dropout: Share of the features dropped in training.
        l1: Factor of the sum of absolute weights of the dense layers, added to the loss.
        l2: Factor of the sum of their squares, added to the loss.
        synchronized: Whether batch statistics are taken over all replicas.
        name: Prefix of every layer's name.

    Returns:
        Features `(batch, width)`.

    Raises:
        TypeError: If an input is no `keras.KerasTensor`, or the columns are no `Columns`.
        ValueError: If the inputs do not fit the columns, or an option breaks its rule; all offenders at once.

    >>> import pandas as pd
    >>> columns = Columns.of(pd.DataFrame({"age": [31.0, None, 45.0], "job": ["cook", "smith", "cook"]}))
    >>> inputs = columns.inputs()
    >>> table(inputs, columns, widths=(16, 8)).shape, table(inputs, columns, widths=(), name="raw").shape
    ((None, 8), (None, 5))
    """
    options = Options(
        pooling=None,
        normalization=normalization,
        activation=activation,
        dropout=dropout,
        l1=l1,
        l2=l2,
        synchronized=synchronized,
        name=name,
    )
    with Refusals(_OWNER) as refusals:
        options.check(refusals)
        given = () if isinstance(widths, tuple | list) and not widths else widths
        sizes = attempt(refusals, widths_of, "widths", given) or () if given else ()
        _check_inputs(refusals, inputs, columns)
    tensor = _encoded(inputs, columns, options)
    for index, width in enumerate(sizes, start=1):
        tensor = dense(tensor, width, options, f"dense{index}")
    return dropped(tensor, dropout, options.part("dropout")) if dropout else tensor


def _check_inputs(refusals: Refusals, inputs: Any, columns: Any) -> None:
    """Records inputs that are not those of the columns."""
    if not isinstance(columns, Columns) or not isinstance(inputs, Mapping):
        argument, rule = ("inputs", "must be a dict of keras.Input by column")
        if not isinstance(columns, Columns):
            argument, rule = ("columns", "must be kmtl.trunks.Columns")
        refusals.error = TypeError
        got = words(type(inputs if argument == "inputs" else columns).__name__)
        refusals.add(argument, rule, got, "columns = kmtl.trunks.Columns.of(frame); inputs = columns.inputs().")
        return
    for key, column in columns.items():
        if key not in inputs:
            others = [str(other) for other in inputs if other not in columns]
            refusals.add("inputs", "must hold every column", words(f"none named {key!r}"), near_match(key, others))
            continue
        check_symbolic(_OWNER, inputs[key], argument=f"inputs[{key!r}]", example="columns.inputs()")
        found, dtype = inputs[key], DTYPES[column.kind]
        if tuple(found.shape) != (None,) or found.dtype != dtype:
            got = words(f"{found.dtype} of shape {tuple(found.shape)}")
            refusals.add(f"inputs[{key!r}]", f"must be {dtype} of shape (None,)", got, "columns.inputs() makes it so.")


def _encoded(inputs: Mapping[str, Any], columns: Columns, options: Options) -> Any:
    """The encoded cells of a row side by side: numbers and flags, then a vector a category."""
    numbers = {key: column for key, column in columns.items() if column.kind == "number"}
    parts = []
    if numbers:
        layer = StandardizedNumbers(
            [column.mean for column in numbers.values()],
            [column.scale for column in numbers.values()],
            [column.has_gaps for column in numbers.values()],
            name=options.part("numbers"),
        )
        parts.append(layer([inputs[key] for key in numbers]))
    parts += [
        _category(inputs[key], column, options.part(key)) for key, column in columns.items() if key not in numbers
    ]
    if len(parts) == 1:
        return parts[0]
    return keras.layers.Concatenate(name=options.part("row"))(parts)


def _category(tensor: Any, column: Column, name: str) -> Any:
    """A category's vector: number 0 is a missing one's, 1 that of all that has no index of its own."""
    kind = keras.layers.StringLookup if column.kind == "category" else keras.layers.IntegerLookup
    lookup = kind(mask_token=MISSING[column.kind], vocabulary=list(column.vocabulary), name=f"{name}_lookup")
    total = lookup.vocabulary_size()
    width = min(_WIDEST, round(1.6 * total**0.56))
    return keras.layers.Embedding(total, width, embeddings_initializer="zeros", name=name)(lookup(tensor))
