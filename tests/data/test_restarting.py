"""The stream of every kind of set begins anywhere, exactly, in another process too; a pass sees each example once."""

import functools
import json
import pathlib
import subprocess
import sys

import pytest
import restarts
import tensorflow as tf
from cases import cases

from kmtl.feeding.resume import stream_from

POSITION = 9
# One of each way to make a stream.
WAYS = ["arrays", "folder", "load", "load fresh", "load fresh, moved", "tfrecord", "array_record", "mix, shuffled"]
WAYS += ["mix of shards"]
PROGRAM = """
import json, sys
sys.path.insert(0, sys.argv[1])
import restarts
folders, position, names = sys.argv[2:4], int(sys.argv[4]), sys.argv[5:]
print(json.dumps({name: restarts.later(name, *folders, position) for name in names}))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Where shards and images lie."""
    return tmp_path_factory.mktemp("sets")


@pytest.fixture(scope="module")
def made(folder, prepared):
    """Makes a set, once."""
    return functools.cache(lambda name: restarts.SETS[name](folder, prepared))


def rows(elements):
    """The examples of batches, or of single examples, each as bytes."""
    listed = []
    for element in elements:
        parts = [part.numpy() for part in tf.nest.flatten(element)]
        batch = parts if parts[0].shape[:1] == parts[-1].shape[:1] != () else [part[None] for part in parts]
        listed += [b"".join(part[row].tobytes() for part in batch) for row in range(len(batch[0]))]
    return listed


@pytest.mark.long
@pytest.mark.parametrize(
    "name", cases(restarts.SETS, "arrays", "load fresh", "tfrecord", "mix, shuffled", others="slow")
)
def test_it_goes_on_exactly_where_it_stood(made, name):
    dataset = made(name)
    steps = 6 if dataset.cardinality() < 0 else len(dataset)
    whole = restarts.digests(stream_from(dataset, 0), 2 * steps + 6)
    for position in (1, steps, 2 * steps + 2):
        assert restarts.digests(stream_from(dataset, position), 4) == whole[position : position + 4], position


@pytest.mark.parametrize("name", cases(WAYS, "arrays", "load fresh, moved", "mix of shards", others="slow"))
def test_it_is_the_stream_of_the_same_elements_without_end(made, name):
    dataset = made(name)
    stream = stream_from(dataset, 3)
    assert stream.element_spec == dataset.element_spec
    assert stream.cardinality() == tf.data.INFINITE_CARDINALITY


@pytest.mark.parametrize("name", cases(restarts.FINITE, "arrays", "load fresh", "tfrecord in order", "array_record"))
def test_each_pass_sees_each_example_once(made, name):
    dataset = made(name)
    steps = len(dataset)
    whole = list(stream_from(dataset, 0).take(3 * steps))
    passes = [whole[number * steps :][:steps] for number in range(3)]
    seen = [rows(elements) for elements in passes]
    sizes = [len(rows([element])) for element in passes[0]]
    assert sizes == ([1] * 23 if "examples" in name else [4, 4, 4, 4, 4, 3])
    if "fresh" in name:
        digits = [sorted(int(d) for _, labels in elements for d in labels["digit"]) for elements in passes]
        assert digits[0] == digits[1] == digits[2]
        return
    assert len(set(seen[0])) == 23
    assert sorted(seen[0]) == sorted(seen[1]) == sorted(seen[2]) == sorted(rows(dataset))
    assert (seen[0] == seen[1]) == ("order" in name)
    assert (seen[1] == seen[2]) == ("order" in name)


@pytest.mark.parametrize("name", cases(restarts.FINITE, "arrays", "load fresh", "tfrecord in order", others="slow"))
def test_plain_iteration_is_one_pass_in_an_order_of_its_own(made, name):
    dataset = made(name)
    first, second = rows(dataset), rows(dataset)
    assert len(dataset) == (23 if "examples" in name else 6)
    assert len(first) == len(second) == 23
    if "fresh" not in name:
        assert sorted(first) == sorted(second)
    assert (first == second) == ("order" in name)


@pytest.mark.long
def test_another_process_gives_the_same(made, folder, prepared):
    ways = ["arrays", "load fresh, moved", "tfrecord", "mix of shards"]
    expected = {name: restarts.digests(stream_from(made(name), POSITION), 5) for name in ways}
    arguments = [str(pathlib.Path(restarts.__file__).parent), str(folder), str(prepared), str(POSITION), *ways]
    command = [sys.executable, "-c", PROGRAM, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == expected


def test_another_seed_is_another_order():
    streams = [restarts.digests(stream_from(restarts.arrays(seed=seed), 0), 6) for seed in (3, 3, 4)]
    assert streams[0] == streams[1] != streams[2]
