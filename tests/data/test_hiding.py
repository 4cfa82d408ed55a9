"""Hidden labels: how many, which, and what is left in their place."""

import numpy as np
import pytest
import tensorflow as tf

from kmtl.data.hiding import hidden_rows, hide_labels

COUNT = 400


def dataset(names=("kind", "area", "corner")):
    labels = {
        "kind": np.arange(COUNT, dtype=np.int32) % 7,
        "area": np.arange(COUNT, dtype=np.float32),
        "corner": np.arange(2 * COUNT, dtype=np.float32).reshape(COUNT, 2),
    }
    return tf.data.Dataset.from_tensor_slices((np.arange(COUNT), {name: labels[name] for name in names}))


def columns(rows):
    _, labels = next(rows.batch(COUNT).as_numpy_iterator())
    return labels


def missing(rows):
    labels = columns(rows)
    lost = {name: np.isnan(values) if values.dtype.kind == "f" else values == -1 for name, values in labels.items()}
    return {name: values.reshape(COUNT, -1).all(axis=1) for name, values in lost.items()}


def test_exactly_the_share_goes_and_the_rest_stays_as_it_was():
    before, after = columns(dataset()), columns(hide_labels(dataset(), 0.3, seed=5))
    lost = missing(hide_labels(dataset(), 0.3, seed=5))
    assert list(after) == ["kind", "area", "corner"]
    for name, rows in lost.items():
        assert rows.sum() == 120
        assert after[name].dtype == before[name].dtype
        np.testing.assert_array_equal(after[name][~rows], before[name][~rows])


def test_a_vector_loses_all_its_elements():
    hidden = columns(hide_labels(dataset(), {"corner": 0.5}))
    elements = np.isnan(hidden["corner"])
    assert elements.sum() == COUNT
    np.testing.assert_array_equal(elements[:, 0], elements[:, 1])


def test_each_task_loses_others():
    lost = missing(hide_labels(dataset(), 0.5))
    for one, other in [("kind", "area"), ("area", "corner"), ("kind", "corner")]:
        # Of 400 rows a quarter, give or take five standard deviations of a hypergeometric draw.
        assert abs((lost[one] & lost[other]).sum() - 100) < 25


def test_weights_stay():
    weighted = dataset().map(lambda x, labels: (x, labels, {"area": x}))
    after = next(hide_labels(weighted, 0.5).batch(COUNT).as_numpy_iterator())
    np.testing.assert_array_equal(after[2]["area"], np.arange(COUNT))
    assert np.isnan(after[1]["area"]).sum() == COUNT // 2


def test_what_a_task_loses_depends_on_its_name_and_the_seed_alone():
    alone = missing(hide_labels(dataset(["area"]), 0.5, seed=9))["area"]
    beside = missing(hide_labels(dataset(["corner", "area"]), {"area": 0.5}, seed=9))
    np.testing.assert_array_equal(alone, beside["area"])
    assert not beside["corner"].any()
    assert (alone != missing(hide_labels(dataset(["area"]), 0.5, seed=10))["area"]).any()


def test_more_is_hidden_on_top_of_what_was_hidden():
    few, many = (hidden_rows(COUNT, share, ["area"], 0)["area"] for share in (0.2, 0.6))
    assert (many | few == many).all()


def test_the_same_labels_are_missing_every_epoch():
    rows = hide_labels(dataset(), 0.5)
    first, second = missing(rows), missing(rows)
    for name, lost in first.items():
        np.testing.assert_array_equal(lost, second[name])


@pytest.mark.parametrize(("share", "count"), [(0.0, 0), (0, 0), (1.0, COUNT), (1, COUNT), ({"kind": 1.0}, COUNT)])
def test_nothing_and_everything_can_be_hidden(share, count):
    assert missing(hide_labels(dataset(), share))["kind"].sum() == count


@pytest.mark.parametrize(
    ("share", "message"),
    [
        (1.5, "hide_labels: `share` must be a share in 0..1, got 1.5."),
        (-0.1, "hide_labels: `share` must be a share in 0..1, got -0.1."),
        (True, "hide_labels: `share` must be a share in 0..1, got True."),
        (float("nan"), "hide_labels: `share` must be a share in 0..1, got nan."),
        ({"area": "half"}, "hide_labels: `share` must be a share in 0..1, got {'area': 'half'}."),
        (
            {"aera": 0.5, "kind": 2},
            "hide_labels: `share` must name labels of the dataset, got 'aera'. Did you mean 'area'?\n"
            "hide_labels: `share` must be a share in 0..1, got {'kind': 2}.",
        ),
    ],
)
def test_bad_shares_are_refused(share, message):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 -- the whole message is compared below
        hide_labels(dataset(), share)
    assert str(refused.value) == message


def test_a_dataset_of_unknown_length_is_refused():
    with pytest.raises(ValueError, match="`dataset` must have a known length, got -1"):
        hide_labels(dataset().repeat(), 0.5)
