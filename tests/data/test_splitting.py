"""Fewer tasks out of one dataset: what stays, what goes, and that splitting undoes mixing."""

import numpy as np
import pytest
import tensorflow as tf

from kmtl.data.mixing.mix import mix
from kmtl.data.mixing.splitting import only, split_by_task
from kmtl.tasks import Regression

NAN = float("nan")
LABELS = {
    "weight": np.array([0.5, NAN, 1.5, NAN, 2.5, 3.5, NAN], np.float32),
    "digit": np.array([-1, 4, -1, 5, 0, -1, -1], np.int32),
    "pose": np.array([[1, NAN], [NAN, NAN], [NAN, 2], [3, 4], [NAN, NAN], [NAN, NAN], [NAN, NAN]], np.float32),
}
CARRIED = {"weight": [0, 2, 4, 5], "digit": [1, 3, 4], "pose": [0, 2, 3]}
X = {"image": np.arange(14, dtype=np.float32).reshape(7, 2), "row": np.arange(7)}


def dataset(*weights):
    return tf.data.Dataset.from_tensor_slices((X, LABELS, *weights))


def arrays(elements):
    return [tf.nest.map_structure(lambda part: part.numpy().tolist(), element) for element in elements]


@pytest.mark.parametrize("batch", [None, 3])
def test_only_keeps_examples_order_and_cardinality(batch):
    whole = dataset() if batch is None else dataset().batch(batch)
    part = only(whole, ["pose", "digit"])
    assert part.cardinality() == whole.cardinality()
    assert list(part.element_spec[1]) == ["pose", "digit"]
    for (x, labels), (kept_x, kept) in zip(whole, part, strict=True):
        np.testing.assert_array_equal(kept_x["image"], x["image"])
        np.testing.assert_array_equal(kept["pose"], labels["pose"])
        np.testing.assert_array_equal(kept["digit"], labels["digit"])


def test_only_takes_a_task_a_name_or_several():
    specs = [only(dataset(), tasks).element_spec[1] for tasks in ("weight", Regression("weight"), ["weight"])]
    assert specs == [{"weight": tf.TensorSpec((), tf.float32)}] * 3


def test_only_restricts_weights_by_task_and_leaves_one_for_all():
    by_task = {name: np.full(7, number, np.float32) for number, name in enumerate(LABELS)}
    _, _, kept = next(iter(only(dataset(by_task), "pose")))
    assert arrays([kept]) == [{"pose": 2.0}]
    _, labels, kept = next(iter(only(dataset(np.full(7, 0.25, np.float32)), "pose")))
    assert (list(labels), float(kept)) == (["pose"], 0.25)


@pytest.mark.parametrize("batched", [True, False])
def test_a_part_holds_exactly_the_examples_with_the_label(batched):
    whole = dataset().batch(2) if batched else dataset()
    parts = split_by_task(whole, batched=batched)
    assert list(parts) == list(LABELS)
    for name, part in parts.items():
        rows = list(part.unbatch() if batched else part)
        assert [int(x["row"]) for x, _ in rows] == CARRIED[name]
        np.testing.assert_array_equal([x["image"] for x, _ in rows], X["image"][CARRIED[name]])
        np.testing.assert_array_equal([labels[name] for _, labels in rows], LABELS[name][CARRIED[name]])
        assert list(part.element_spec[1]) == [name]


@pytest.mark.parametrize(
    ("whole", "options", "lengths"),
    [
        (dataset().batch(3), {}, [3, 1]),
        (dataset().batch(2, drop_remainder=True), {}, [2, 2]),
        (dataset().batch(2), {"batch_size": 4}, [4]),
    ],
    ids=["by the first batch", "by the static shape", "as asked"],
)
def test_batch_size_of_the_parts(whole, options, lengths):
    part = split_by_task(whole, "weight", **options)["weight"]
    assert [len(x["row"]) for x, _ in part] == lengths


def test_weights_follow_their_task():
    weights = {name: np.arange(7, dtype=np.float32) + 10 * number for number, name in enumerate(LABELS)}
    part = split_by_task(dataset(weights), "digit", batched=False)["digit"]
    assert [arrays([weight])[0] for _, _, weight in part] == [{"digit": 11.0}, {"digit": 13.0}, {"digit": 14.0}]


def test_counted_parts_know_their_cardinality():
    alone = split_by_task(dataset(), batched=False, count=True)
    assert {name: int(part.cardinality()) for name, part in alone.items()} == {"weight": 4, "digit": 3, "pose": 3}
    batched = split_by_task(dataset().batch(3), count=True)
    assert {name: int(part.cardinality()) for name, part in batched.items()} == {"weight": 2, "digit": 1, "pose": 1}


def test_splitting_a_mix_gives_each_source_back():
    rng = np.random.default_rng(1)
    given = {
        "weight": tf.data.Dataset.from_tensor_slices((rng.normal(size=(5, 2)), rng.normal(size=5).astype("float32"))),
        "digit": tf.data.Dataset.from_tensor_slices((rng.normal(size=(8, 2)), np.arange(8, dtype=np.int32))),
    }
    mixed = mix(given, sampling="uniform", seed=1).take(64)
    parts = split_by_task(mixed, batched=False, count=True)
    counts = {name: int(part.cardinality()) for name, part in parts.items()}
    assert sum(counts.values()) == 64
    for name, source in given.items():
        assert counts[name] > len(source)
        expected = list(source.repeat().take(counts[name]))
        for (x, labels), (source_x, label) in zip(parts[name], expected, strict=True):
            np.testing.assert_array_equal(x, source_x)
            np.testing.assert_array_equal(labels[name], label)


def test_mixing_the_counted_parts_gives_the_labels_back():
    parts = split_by_task(dataset(), ["weight", "digit"], batched=False, count=True)
    rows = {(int(x["row"]), int(y["digit"])) for x, y in mix(parts).take(60)}
    assert rows == {(1, 4), (3, 5), (4, 0), *((row, -1) for row in CARRIED["weight"])}


UNBATCHED, EMPTY = dataset(), dataset().take(0).batch(2)
REFUSED = {
    "misspelt": (lambda: only(UNBATCHED, ["digit", "wieght"]), "`tasks` must name labels of the dataset, got 'wieght'"),
    "near match": (lambda: only(UNBATCHED, "wieght"), "Did you mean 'weight'?"),
    "nothing": (lambda: only(UNBATCHED, []), "`tasks` must name at least one task, got []"),
    "one label": (
        lambda: only(tf.data.Dataset.from_tensor_slices(([[1.0]], [2.0])), "digit"),
        "`dataset` must hold (x, {task: label})",
    ),
    "unknown part": (lambda: split_by_task(UNBATCHED, ["dogit"], batched=False), "Did you mean 'digit'?"),
    "no batches": (
        lambda: split_by_task(tf.data.Dataset.from_tensor_slices(([[1.0]], {"a": [2.0]}))),
        "`batched` must be False for a dataset without batches",
    ),
    "empty": (lambda: split_by_task(EMPTY), "`dataset` must hold at least one batch"),
    "endless": (
        lambda: split_by_task(UNBATCHED.repeat(), batched=False, count=True),
        "`count` must be False for an infinite dataset",
    ),
    "size without batches": (
        lambda: split_by_task(UNBATCHED, batched=False, batch_size=3),
        "`batch_size` must be None for a dataset without batches, got 3",
    ),
    "size": (lambda: split_by_task(UNBATCHED.batch(2), batch_size=0), "`batch_size` must be at least 1, got 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refusals(name):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=r"^(only|split_by_task): `") as caught:
        call()
    assert message in str(caught.value)


def test_all_unknown_names_at_once():
    with pytest.raises(ValueError, match="only") as caught:
        only(dataset(), ["wieght", "dogit"])
    assert len(str(caught.value).splitlines()) == 2


def test_no_dataset():
    with pytest.raises(TypeError, match=r"only: `dataset` must be a tf\.data\.Dataset, got list\."):
        only([1], "digit")
