"""Restart functions: who has one, what becomes of it, and that nothing is kept alive."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

import kmtl
from kmtl.feeding.errors import explain_error, register_explanation
from kmtl.feeding.resume import register_restart, restart_of, stream_from, transform_stream

TASKS = [kmtl.Classification("digit", classes=10)]


def numbers(stream, count):
    return [int(value) for value in stream.take(count)]


def counting():
    """Passes over 0..4 that say their number: 0..4, 10..14, 20..24 and so on."""
    plain = tf.data.Dataset.range(5)
    return register_restart(plain, lambda n: tf.data.Dataset.range(n, 2**40).map(lambda at: at // 5 * 10 + at % 5))


def test_a_restart_function_makes_the_stream():
    assert numbers(stream_from(counting(), 0), 6) == [0, 1, 2, 3, 4, 10]
    assert numbers(stream_from(counting(), 9), 3) == [14, 20, 21]


@pytest.mark.parametrize("position", [0, 3, 5, 11])
def test_another_dataset_is_read_up_to_the_position(position):
    plain = tf.data.Dataset.range(5)
    assert numbers(stream_from(plain, position), 12) == [at % 5 for at in range(position, position + 12)]


def test_seeded_reshuffling_of_a_fresh_dataset_is_repeated():
    def fresh():
        return tf.data.Dataset.range(9).shuffle(9, seed=4, reshuffle_each_iteration=True)

    assert numbers(stream_from(fresh(), 13), 10) == numbers(stream_from(fresh(), 0), 23)[13:]


def test_every_stream_is_known_to_have_no_end():
    for dataset in (counting(), tf.data.Dataset.range(3)):
        assert stream_from(dataset, 2).cardinality() == tf.data.INFINITE_CARDINALITY


def test_what_is_derived_has_no_restart_function_but_along_carries_it():
    dataset = counting()
    assert restart_of(dataset.map(lambda v: -v)) is None
    assert restart_of(transform_stream(tf.data.Dataset.range(3), lambda plain: plain.prefetch(1))) is None
    changed = transform_stream(
        transform_stream(dataset, lambda plain: plain.map(lambda v: -v)), lambda plain: plain.prefetch(1)
    )
    assert numbers(changed, 5) == [0, -1, -2, -3, -4]
    assert numbers(stream_from(changed, 4), 3) == [-4, -10, -11]


def test_a_transformed_stream_carries_the_explanation():
    clear = OSError("the file")
    dataset = register_explanation(
        tf.data.Dataset.range(3), lambda error: clear if isinstance(error, KeyError) else None
    )
    changed = transform_stream(dataset, lambda plain: plain.map(lambda v: -v))
    assert explain_error(KeyError(), changed) is clear
    other = ValueError()
    assert explain_error(other, changed) is other
    assert explain_error(other, None) is explain_error(other, np.zeros(2)) is other


def sets(tmp_path):
    x, labels = np.zeros((5, 2), "float32"), {"digit": np.arange(5)}
    examples = tf.data.Dataset.from_tensor_slices((x, labels))
    yield kmtl.data.from_arrays(x, labels, TASKS, batch_size=2, shuffle=True)
    yield kmtl.data.mix({"digit": examples.map(lambda x, y: (x, y["digit"]))}, batch_size=2)
    for kind in ("tfrecord", "array_record"):
        path = kmtl.data.write_shards(examples, tmp_path / kind, format=kind)
        yield kmtl.data.from_shards(path, TASKS, shuffle=True)
        yield transform_stream(kmtl.data.from_shards(path, TASKS), lambda batches: batches.prefetch(1))


@pytest.mark.long
def test_a_dataset_that_nobody_holds_is_freed(tmp_path):
    held = list(sets(tmp_path))
    for dataset in held:
        next(iter(stream_from(dataset, 1)))
        assert restart_of(dataset) is not None
    gone = [weakref.ref(dataset) for dataset in held]
    del held, dataset
    gc.collect()
    assert [ref() for ref in gone] == [None] * 6
