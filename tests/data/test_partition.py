"""Parts that share no row and no group, and in which labels are spread as in the whole."""

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import kmtl
from kmtl.data.partition.split import named_label
from kmtl.data.partition.stratification import deal, part_sizes


def labelled(rows, seed=0):
    """Labels of many kinds, most of them missing in most rows, one class rare."""
    chance = np.random.default_rng(seed)
    age = np.where(chance.random(rows) < 0.7, np.nan, chance.lognormal(size=rows))
    kind = np.where(chance.random(rows) < 0.5, -1, chance.choice(4, rows, p=(0.6, 0.3, 0.08, 0.02)))
    marks = np.where(chance.random((rows, 3)) < 0.2, -1, chance.random((rows, 3)) < (0.5, 0.1, 0.03))
    mask = chance.choice(3, (rows, 2, 2), p=(0.9, 0.05, 0.05))
    mask[chance.random(rows) < 0.6] = -1
    return {"age": age, "kind": kind, "marks": marks, "mask": mask}


TASKS = [
    kmtl.Regression("age"),
    kmtl.Classification("kind", 4),
    kmtl.MultiLabel("marks", 3),
    kmtl.Segmentation("mask", 3, shape=(2, 2)),
]


def deviation(tables, parts, shares):
    """How far the rows of each stratum in each part are from its share, as a mean."""
    found = np.concatenate(tables, axis=1)
    wanted = found.sum(axis=0) * np.asarray(shares)[:, None]
    held = np.stack([found[parts == part].sum(axis=0) for part in range(len(shares))])
    return np.abs(held - wanted).mean()


@pytest.mark.parametrize("form", ["arrays", "frame", "dataset", "batches", "dict"])
def test_every_form_is_parted_into_its_own(form):
    rows = np.arange(40)
    y = {"age": np.where(rows % 3, np.nan, rows * 1.0), "kind": rows % 4 - 1}
    dataset = tf.data.Dataset.from_tensor_slices((rows, y, {"age": rows * 2}))
    data = {
        "arrays": (rows, y, {"age": rows * 2}),
        "frame": pd.DataFrame({"row": rows, **y}, index=rows + 7),
        "dataset": dataset,
        "batches": dataset.batch(7),
        "dict": {"row": rows, **y},
    }[form]
    stratify = ["age", "kind"] if form in ("frame", "dict") else None
    parts = kmtl.data.split(data, {"train": 0.5, "rest": 0.3, "test": 0.2}, stratify=stratify)
    read = {
        "arrays": lambda part: (part[0], part[1]["age"]),
        "frame": lambda part: (part["row"].to_numpy(), part["age"].to_numpy()),
        "dict": lambda part: (part["row"], part["age"]),
        "dataset": lambda part: _read(part),
        "batches": lambda part: _read(part.unbatch()),
    }[form]
    found = {name: read(part) for name, part in parts.items()}
    assert [len(held) for held, _ in found.values()] == [20, 12, 8]
    assert sorted(np.concatenate([held for held, _ in found.values()])) == rows.tolist()
    for held, ages in found.values():
        assert (np.diff(held) > 0).all()
        np.testing.assert_array_equal(ages, y["age"][held])
        assert abs(np.isfinite(ages).sum() - 14 * len(held) / 40) <= 1
    if form == "batches":
        assert [len(batch[0]) for batch in parts["rest"]] == [7, 5]
        assert len(parts["test"]) == 2


def _read(part):
    read = list(part.as_numpy_iterator())
    assert all(weights["age"] == 2 * row for row, _, weights in read)
    return np.array([row for row, *_ in read]), np.array([labels["age"] for _, labels, _ in read])


def test_labels_of_all_kinds_are_nearer_to_their_shares_than_by_chance():
    """A random split is off by the square root of what it holds; every stratum here, "missing" too, by about one."""
    y, shares = labelled(600), (0.7, 0.15, 0.15)
    tables = [task.strata(y[task.name], 5) for task in TASKS]
    rows = np.arange(600)
    stratified = [kmtl.data.split((rows, y), shares, stratify=TASKS, seed=seed) for seed in range(3)]
    random = [kmtl.data.split((rows, y), shares, stratify=(), seed=seed) for seed in range(3)]
    found = {}
    for name, splits in (("stratified", stratified), ("random", random)):
        parts = [np.select([np.isin(rows, part[0]) for part in split], range(3)) for split in splits]
        found[name] = np.mean([deviation(tables, one, shares) for one in parts])
    assert found["stratified"] < 0.35 * found["random"]
    rare = y["kind"] == 3
    assert [int(rare[part[0]].sum()) for part in stratified[0]] == part_sizes(int(rare.sum()), shares)
    again = kmtl.data.split((rows, y), shares, stratify=TASKS)
    assert all((a[0] == b[0]).all() for a, b in zip(stratified[0], again, strict=True))
    assert any(
        len(a[0]) != len(b[0]) or (a[0] != b[0]).any() for a, b in zip(stratified[0], stratified[1], strict=True)
    )


@given(st.integers(2, 5), st.integers(6, 60), st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_sizes_are_exact_and_groups_stay_whole(parts, rows, seed):
    chance = np.random.default_rng(seed)
    strata = chance.random((rows, 4)) < (0.5, 0.2, 0.1, 0.02)
    shares = chance.dirichlet(np.full(parts, 5.0)).tolist()
    alone = deal(strata, np.arange(rows), shares, seed)
    assert np.bincount(alone, minlength=parts).tolist() == part_sizes(rows, shares)
    assert np.abs(np.bincount(alone, minlength=parts) - rows * np.array(shares)).max() < 1
    units = np.unique(chance.integers(0, rows // 3, rows), return_inverse=True)[1]
    whole = deal(strata, units, shares, seed)
    assert len(whole) == units.max() + 1
    largest = np.bincount(units).max()
    assert np.abs(np.bincount(whole[units], minlength=parts) - rows * np.array(shares)).max() <= largest
    np.testing.assert_array_equal(whole, deal(strata, units, shares, seed))


def test_folds_hold_each_row_out_once_and_groups_whole():
    frame = pd.DataFrame(
        {"patient": [f"p{row // 3}" for row in range(60)], "sick": [row % 5 == 0 for row in range(60)]}
    )
    pairs = kmtl.data.split(frame, folds=4, groups="patient", stratify="sick")
    held_out = pd.concat([held for _, held in pairs])
    assert sorted(held_out.index) == list(range(60))
    for train, held in pairs:
        assert not set(train["patient"]) & set(held["patient"])
        assert len(train) + len(held) == 60
        assert len(held) == 15
        assert held["sick"].sum() == 3


def test_columns_without_a_task_are_read_by_their_dtype():
    label, values = named_label("size", pd.Series([1.0, np.nan, 3.0]))
    assert label.label_dtype == "int32"
    assert values.tolist() == [1, -1, 3]
    label, values = named_label("size", pd.Series([1.5, None, 3.0], dtype=object))
    assert label.label_dtype == "float32"
    assert named_label("day", pd.to_datetime(pd.Series(["2020-01-01", None])))[1][1] == -1
    assert named_label("name", pd.Series(["b", None, "a"], dtype="category"))[1].tolist() == [0, -1, 1]
    assert named_label("count", pd.Series([5, pd.NA], dtype="Int64"))[1].tolist() == [5, -1]
    # Whole numbers stand for themselves until there are too many of them.
    assert kmtl.Regression("age").strata(np.arange(100.0), 5).sum(axis=0).tolist() == [20] * 5
    assert kmtl.Classification("kind", 10).strata(np.arange(100) % 10, 5).shape == (100, 10)


def test_a_dataset_in_another_order_is_told():
    """Else a row would be in two parts: what shuffles itself has no rows to speak of."""
    rows = np.arange(30)
    dataset = tf.data.Dataset.from_tensor_slices((rows, {"age": rows * 1.0}))
    train, _ = kmtl.data.split(dataset.shuffle(30, seed=1), (0.5, 0.5))
    with pytest.raises(tf.errors.InvalidArgumentError, match="split first, shuffle later"):
        list(train)


def test_what_cannot_be_split_is_told():
    rows, y = np.arange(10), {"age": np.arange(10.0)}
    frame = pd.DataFrame({"age": [1.0, 2.0], "patient": ["a", None]})
    endless = tf.data.Dataset.from_tensor_slices((rows, y)).repeat()
    for data, options, words in (
        ((rows, y), {"fractions": (0.5, 0.6)}, "`fractions` must be at least two positive numbers that add up to 1"),
        ((rows, y), {"fractions": (1.0,)}, "`fractions` must be at least two"),
        ((rows, y), {"fractions": (0.99, 0.01)}, "`fractions` must leave no part empty, got 10 rows"),
        ((rows, y), {"folds": 1}, "`folds` must be a whole number of at least 2"),
        ((rows, y), {"folds": 2, "fractions": (0.5, 0.5)}, "`folds` must not stand with"),
        ((rows, y), {"folds": 11}, "`folds` must leave no part empty"),
        ((rows, y), {"folds": 3, "groups": rows // 5}, "needs a row and a group"),
        ((rows, y), {"groups": [1, 2]}, "`groups` must hold one group for each of 10 rows"),
        ((rows, y), {"stratify": ["agee"]}, "Did you mean 'age'"),
        ((rows, y), {"stratify": [3]}, "`stratify` must hold tasks or names"),
        ((rows, y), {"stratify": kmtl.Classification("age", 3)}, "must be integers"),
        ((rows, y), {"bins": 1, "seed": -1}, "`seed` must be"),
        ((rows, {"age": [1.0]}), {}, r"`data\[1\]\['age'\]` must have 10 rows"),
        (frame, {"groups": "patient", "folds": 2}, "`groups` must hold a group in every row"),
        (endless, {}, "Split before repeat"),
        ((), {}, "must hold at least one row"),
    ):
        with pytest.raises(ValueError, match=f"split: .*{words}"):
            kmtl.data.split(data, **options)
