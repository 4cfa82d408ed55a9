"""Pairs drawn out of labelled rows."""

import numpy as np
import pytest

from kmtl.data import pairs

LABELS = np.array([0] * 500 + [1] * 40 + [2] * 2 + [7] + [-1] * 30)


def test_they_are_what_they_say_and_rare_labels_are_met_as_often_as_others():
    drawn = pairs(LABELS, count=6000, share=0.25, seed=4)
    first, second = LABELS[drawn.first], LABELS[drawn.second]
    np.testing.assert_array_equal(first == second, drawn.same == 1)
    assert int(drawn.same.sum()) == 1500
    assert (drawn.first != drawn.second).all()
    assert set(first) | set(second) == {0, 1, 2, 7}
    # A third of 1500 and a quarter of 4500, give or take five standard errors.
    assert np.bincount(first[drawn.same == 1], minlength=3)[:3] == pytest.approx([500] * 3, abs=95)
    for side in (first, second):
        assert np.bincount(side[drawn.same == 0])[[0, 1, 2, 7]] == pytest.approx([1125] * 4, abs=150)


def test_the_seed_tells_them():
    same = [pairs(LABELS, count=50, seed=seed) for seed in (1, 1, 2)]
    for one, other in zip(*same[:2], strict=True):
        np.testing.assert_array_equal(one, other)
    assert (same[0].first != same[2].first).any()


def test_two_sets_share_their_label_map():
    names = np.array(["cat", "dog", "owl", None, float("nan")], dtype=object)
    other = np.array(["dog", "cat", "dog", "ant"])
    drawn = pairs(names, other, count=400, seed=0)
    np.testing.assert_array_equal(names[drawn.first] == other[drawn.second], drawn.same == 1)
    assert set(drawn.first[drawn.same == 1]) == {0, 1}
    assert set(drawn.first[drawn.same == 0]) == {0, 1, 2}
    assert set(drawn.second[drawn.same == 0]) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": [1, 2, 3]}, r"pairs: `labels` must hold two rows of one label, got 1, 2, 3\. share=0\.0"),
        ({"labels": [1, 1, -1]}, r"pairs: `labels` must hold two different labels, got 1\. share=1\.0"),
        ({"labels": ["a"], "other": ["b"]}, r"must share a label with `other`, got 'a'; in `other` 'b'"),
        ({"labels": [[1, 2]]}, r"`labels` must hold one label a row, \(n,\), got shape \(1, 2\)"),
        ({"labels": [1, 1, 2], "share": 1.5}, r"`share` must be a number from 0 to 1, got 1\.5"),
    ],
)
def test_what_makes_no_pairs_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        pairs(given.pop("labels"), **{"count": 4, **given})
