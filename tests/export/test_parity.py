import math

import numpy as np
import pytest

import kmtl
from kmtl.export import parity


def row(expected, found, task=None):
    return parity.row("task", task, np.array(expected), {"all": np.array(expected), "alone": np.array(found)})


def test_the_largest_difference_is_found_in_whichever_signature_it_is():
    result = row([[1.0], [5.0]], [[1.25], [4.5]])
    assert (result.difference, result.relative, result.decisions) == (0.5, 0.125, None)
    other = parity.row("task", None, np.ones((2, 1)), {"all": np.ones((2, 1)) * 4, "alone": np.ones((2, 1))})
    assert (other.difference, other.relative) == (3.0, math.inf)


def test_a_difference_is_scaled_by_outputs_above_one_only():
    assert row([[-200.0], [100.0]], [[-200.0], [101.0]]).scaled == 1 / 200
    assert row([[0.25], [0.5]], [[0.25], [0.75]]).scaled == 0.25


def test_equal_constant_outputs_differ_by_nothing():
    assert row([[2.0], [2.0]], [[2.0], [2.0]]).relative == 0.0


def test_nan_equals_nan_only():
    assert row([[math.nan], [math.inf]], [[math.nan], [math.inf]]).difference == 0.0
    assert math.isnan(row([[1.0], [2.0]], [[math.nan], [2.0]]).difference)
    assert row([[math.nan], [math.inf]], [[math.nan], [1.0]]).scaled == math.inf
    assert row([[math.inf], [4.0]], [[math.inf], [3.0]]).scaled == 0.25


@pytest.mark.parametrize(
    ("task", "expected", "found", "agreement"),
    [
        (None, [[0.1, 0.9], [0.8, 0.2]], [[0.4, 0.6], [0.3, 0.7]], 0.5),
        (kmtl.Classification("a", 2), [[0.1, 0.9], [0.8, 0.2]], [[0.9, 0.1], [0.3, 0.7]], 0.0),
        (kmtl.BinaryClassification("a"), [[0.4], [0.6], [0.7], [0.2]], [[0.6], [0.9], [0.8], [0.1]], 0.75),
        (kmtl.MultiLabel("a", 2), [[0.4, 0.8], [0.6, 0.1]], [[0.1, 0.2], [0.9, 0.3]], 0.5),
        (kmtl.Regression("a", shape=(2,)), [[0.1, 0.9], [0.8, 0.2]], [[0.4, 0.6], [0.3, 0.7]], None),
        # The median: exactly one half above is not above.
        (kmtl.OrdinalRegression("a", 3), [[0.5, 0.0, 0.5], [0.1, 0.1, 0.8]], [[0.6, 0.1, 0.3], [0.9, 0.1, 0.0]], 0.5),
        # A place each, of which three of four agree.
        (
            kmtl.Segmentation("a", 2),
            [[[[0.1, 0.9], [0.8, 0.2]]] * 2],
            [[[[0.1, 0.9]] * 2, [[0.1, 0.9], [1.0, 0.0]]]],
            0.75,
        ),
        # One half is no, as it is in every other place.
        (kmtl.BinaryClassification("a"), [[0.5], [0.5]], [[0.4], [0.6]], 0.5),
        (None, [[0.1], [0.8]], [[0.4], [0.3]], None),
        (None, [0.1, 0.8], [0.4, 0.3], None),
    ],
)
def test_decisions_are_read_as_the_task_reads_them(task, expected, found, agreement):
    assert row(expected, found, task).decisions == agreement


def table(*rows):
    return parity.Parity("m.tflite", "LiteRT", 1234, 5, rows, milliseconds=0.25, keras_milliseconds=12.5)


def test_nan_is_the_worst_and_is_shown():
    rows = [parity.TaskParity("b", 0.5, 0.9, 0.1, 1.0, 0.125, 8.0), parity.TaskParity("a", math.nan, 2.0, 0.3, None)]
    assert math.isnan(table(*rows).worst)
    assert table(rows[0]).worst == 0.5
    head, columns, first, second, times = str(table(*rows)).splitlines()
    assert head == "m.tflite: LiteRT of 1,234 bytes; 5 samples; all tasks in 0.25 ms, by Keras in 12.5 ms"
    assert columns.split() == ["task", "difference", "largest", "relative", "decisions", "ms", "keras_ms"]
    assert first.split() == ["b", "0.5", "0.9", "0.1", "1", "0.125", "8"]
    assert second.split() == ["a", "nan", "2", "0.3", "-", "-", "-"]
    assert times.startswith("ms: a call on all samples, median of 3 to 20 after a first one")


def test_the_table_is_narrow():
    widest = parity.TaskParity("temperature", 1.234567e-08, 123456.0, 9.87654e-09, 0.98765, 1234.5, 0.0123456)
    assert max(map(len, str(table(widest)).splitlines()[1:-1])) <= 80


def test_times_are_kept_with_their_row():
    found = parity.row("task", None, np.ones((2, 1)), {"all": np.ones((2, 1))}, 0.5, 2.0)
    assert (found.milliseconds, found.keras_milliseconds) == (0.5, 2.0)
