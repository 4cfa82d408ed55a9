import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from kmtl import _checks
from kmtl.export import sampling


@pytest.fixture(scope="module")
def two():
    row, word = keras.Input((None, 2), name="row"), keras.Input((), dtype="int32", name="word")
    return keras.Model([row, word], {"b": keras.layers.Flatten()(row), "a": word})


def arrays(model, samples):
    with _checks.Refusals("check") as refusals:
        return sampling.arrays(refusals, model, samples)


def test_samples_come_as_arrays_in_the_inputs_dtypes(two, small):
    found = arrays(two, {"word": [1, 2], "row": np.ones((2, 7, 2), "float64")})
    assert {name: array.dtype for name, array in found.items()} == {"row": "float32", "word": "int32"}
    assert arrays(small, [[1, 2, 3, 4]])["row"].tolist() == [[1.0, 2.0, 3.0, 4.0]]


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        ({"row": [[[1.0, 2.0]], [[1.0]]], "word": [1, 2]}, "must be one array for input 'row', got rows of unlike"),
        (np.ones((2, 3, 2)), r"must be a dict with the keys \['row', 'word'\], got none"),
        ([np.ones((2, 3, 2)), [1, 2]], "must be a dict with the keys"),
        ({"row": np.ones((2, 3, 2)), "wrod": [1, 2]}, r"got the keys \['row', 'wrod'\]"),
        ({"row": np.ones((2, 2)), "word": [1, 2]}, r"the shape \(None, None, 2\) for input 'row', got \(2, 2\)"),
        ({"row": np.ones((0, 3, 2)), "word": []}, r"for input 'row', got \(0, 3, 2\)"),
        ({"row": np.ones((2, 3, 2)), "word": [1.5, 2]}, "must hold int32 for input 'word', got float64"),
        ({"row": np.full((2, 3, 2), "x"), "word": [1, 2]}, "must hold float32 for input 'row', got <U1"),
        ({"row": np.ones((2, 3, 2)), "word": [1, 2, 3]}, r"as many rows for every input, got {'row': 2, 'word': 3}"),
        ({"row": np.ones((2, 3, 3)), "word": [0.5]}, "(?s)'row'.*'word'"),
        ({"row": 1.0, "word": [1]}, r"for input 'row', got \(\)"),
    ],
)
def test_samples_that_do_not_fit_are_refused(two, samples, words):
    with pytest.raises(ValueError, match=f"^check: `samples` .*{words}" if "(?s)" not in words else words):
        arrays(two, samples)


@pytest.fixture(scope="module")
def text():
    words = keras.Input((2,), dtype="string", name="words")
    return keras.Model(words, {"a": keras.layers.StringLookup(vocabulary=["é"])(words)})


@pytest.mark.parametrize(
    "given",
    [
        [["é", "b"]],
        [["é".encode(), b"b"]],
        tf.constant([["é", "b"]]),
        np.array([["é", b"b"]], object),
        pd.DataFrame({"x": ["é"], "y": ["b"]}),
    ],
    ids=["lists", "bytes", "tensor", "objects", "frame"],
)
def test_text_comes_as_such_from_wherever_it_is_taken(text, given):
    found = arrays(text, given)["words"]
    assert found.dtype.kind == "U"
    assert found.tolist() == [["é", "b"]]


@pytest.mark.parametrize(
    ("given", "got"),
    [([["a", None]], "object"), ([[b"\xff", b"b"]], r"\|S1"), ([[1, 2]], "int64"), ([[b"\xff", None]], "object")],
)
def test_what_is_no_text_is_refused_and_not_spelled_out(text, given, got):
    with pytest.raises(ValueError, match=f"^check: `samples` must hold string for input 'words', got {got}"):
        arrays(text, given)
