"""What an export does is proportional to the number of tasks, counted in operations and Python calls."""

import itertools
import sys

import keras
import pytest

import kmtl
from kmtl.export import further_signatures


def traced(count):
    """Signatures of a model of so many fused heads behind a fork, and the Python calls that it takes to make them."""
    row = keras.Input((6,), name="row")
    tasks = [kmtl.BinaryClassification(f"task{place}") for place in range(count)]
    model = kmtl.MultiTaskModel.from_features(row, keras.layers.Dense(9)(row), tasks)
    calls = itertools.count()
    sys.setprofile(lambda *seen: next(calls) if seen[1] == "call" else None)
    try:
        functions, _ = further_signatures.endpoints(model, model.output, further_signatures.Forms(False, {}))
    finally:
        sys.setprofile(None)
    return functions, next(calls)


@pytest.fixture(scope="module")
def few_to_many():
    traced(4)
    return {count: traced(count) for count in (4, 8, 16)}


def test_a_task_alone_is_as_much_work_among_many_as_among_few(few_to_many):
    sizes = {len(functions["task3"].graph.get_operations()) for functions, _ in few_to_many.values()}
    assert len(sizes) == 1


def test_tasks_cost_alike_however_many_there_are(few_to_many):
    (few, some, many) = (calls for _, calls in few_to_many.values())
    # The last eight tasks beside the four before them: linear work gives 2, work by pairs of tasks 4.
    assert 1.8 < (many - some) / (some - few) < 2.3
