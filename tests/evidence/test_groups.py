"""Groups by measured affinities: who is trained with whom, how sure that is, and what is said of it."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from kmtl.evidence import groups
from kmtl.evidence.grouping.group_effects import effects_of
from kmtl.training import Grouped

NAMES = ("ant", "bee", "cat", "dog", "elk", "fox")
PAIRS = (("ant", "dog"), ("bee", "elk"), ("cat", "fox"))


def affinity(values, half=0.1, *, kind="gradient", measurable=None, names=None):
    values = np.asarray(values, float)
    there = np.ones(values.shape, bool) if measurable is None else measurable
    known = names or NAMES[: len(values)]
    return SimpleNamespace(
        kind=kind, names=known, values=values, halves=np.broadcast_to(half, values.shape), measurable=there
    )


def in_pairs(within=0.5, between=0.0, noise=0.0, seed=0):
    labels = np.arange(6) % 3
    drawn = noise * np.random.default_rng(seed).normal(size=(6, 6))
    return np.where(labels[:, None] == labels, within, between) + (drawn + drawn.T) / 2


def test_planted_pairs_are_found_and_told():
    found = groups(affinity(in_pairs(noise=0.05)))
    assert found.groups == PAIRS
    assert found.serves == {"ant": 0, "bee": 1, "cat": 2, "dog": 0, "elk": 1, "fox": 2}
    assert found.is_proven
    assert found.stability > 0.95
    assert found.gain == pytest.approx(np.mean(list(found.scores.values())))
    assert found.bound == pytest.approx(found.gain)
    assert found.verdict.startswith("3 groups of 6 tasks: ant + dog | bee + elk | cat + fox.\nGain +0.")
    assert "as good" not in found.verdict
    assert "nothing is shown" not in found.verdict


def test_the_gain_and_its_interval_by_hand():
    # Three pairs of one number each, that acts both ways: the mean of three normal numbers.
    found = groups(affinity(in_pairs(), 0.3), resamples=4000)
    assert found.gain == pytest.approx(0.5)
    assert found.half == pytest.approx(0.3 / np.sqrt(3), rel=0.05)
    assert found.halves["ant"] == pytest.approx(0.3, rel=0.05)
    # Of a directed affinity there are six numbers.
    directed = in_pairs()
    directed[0, 3] += 1e-3
    assert groups(affinity(directed, 0.3), resamples=4000).half == pytest.approx(0.3 / np.sqrt(6), rel=0.05)


def test_alternatives_are_held_against_the_groups():
    found = groups(affinity(in_pairs(between=0.1)))
    rows = {one.name: one for one in found.alternatives}
    assert list(rows) == ["next best", "one group", "each alone"]
    assert rows["one group"].gain == pytest.approx((0.5 + 4 * 0.1) / 5)
    assert rows["each alone"].gain == 0
    assert rows["one group"].behind == pytest.approx(found.gain - rows["one group"].gain)
    assert found.gain > rows["next best"].gain >= rows["one group"].gain
    assert [one.name for one in groups(affinity(in_pairs()), n=3).alternatives] == ["next best", "one group"]
    # Of equal groupings the fewest groups: one, and then no grouping differs by its gain.
    level = groups(affinity(np.full((6, 6), 0.3)))
    assert level.groups == (NAMES,)
    assert "next best (" in level.verdict.split("as good, within the interval: ")[1]


def test_noise_gives_no_verdict():
    random = np.random.default_rng(0)
    shares, lucky = [], []
    for _ in range(20):
        found = groups(affinity(0.05 * random.normal(size=(5, 5)), 0.05 * 1.96))
        shares.append(found.stability)
        lucky.append((found.gain, found.luck))
        assert "as good, within the interval" in found.verdict
        assert "luck" in found.verdict
    assert np.mean(shares) < 0.5
    # What choosing adds to a gain that is 0 in truth is told to the right size.
    gain, luck = np.mean(lucky, axis=0)
    assert 0.4 * gain < luck < 1.6 * gain


def test_stability_is_the_share_of_draws_in_which_the_grouping_is_best():
    # Two tasks: together if their affinity is above 0, which is half a standard deviation from it.
    found = groups(affinity([[0, 0.5], [0.5, 0]], 1.959964), resamples=4000)
    assert found.groups == (("ant", "bee"),)
    assert found.stability == pytest.approx(0.6915, abs=0.025)
    assert found.together[0, 1] == pytest.approx(found.stability)
    assert found.table()["agreement"].tolist() == pytest.approx([found.stability] * 2)


def test_limits_on_the_number_of_groups():
    measured = affinity(in_pairs(noise=0.05))
    assert len(groups(measured, n=2).groups) == 2
    assert len(groups(measured, budget=2.5).groups) == 2
    assert len(groups(measured, n=3, budget=1).groups) == 1
    assert groups(measured, n=99).groups == groups(measured).groups
    assert groups(measured, n=1).alternatives == ()


def test_overlapping_groups_have_helpers_that_are_served_elsewhere():
    # bee helps cat, but cat hurts bee; ant and bee suit each other.
    values = [[0, 0.6, 0.0], [0.6, 0, 0.5], [0.0, -0.9, 0]]
    apart = groups(values, names=NAMES[:3])
    assert apart.groups == (("ant", "bee"), ("cat",))
    found = groups(values, names=NAMES[:3], overlapping=True)
    assert found.groups == (("ant", "bee"), ("bee", "cat"))
    assert found.serves == {"ant": 0, "bee": 0, "cat": 1}
    assert found.scores == pytest.approx({"ant": 0.6, "bee": 0.6, "cat": 0.5})
    assert found.gain > apart.gain
    recipe = found.recipe(epochs=2.0)
    assert (recipe.groups, recipe.served_by(), recipe.epochs) == (found.groups, found.serves, 2.0)


def test_what_unrelated_means_for_each_kind():
    values = [[1, 0.6, 0.2], [0.6, 1, 0.4], [0.2, 0.4, 1]]
    for kind in ("gradient", "lookahead", "surrogate", "label", "output"):
        assert effects_of(affinity(values, kind=kind)).level == 0
    similar = effects_of(affinity(values, kind="representation"))
    assert similar.level == pytest.approx(0.4)
    assert similar.values[0].tolist() == pytest.approx([0, 0.2, -0.2])
    assert groups(affinity(values, kind="representation")).groups == (("ant", "bee"), ("cat",))
    assert groups(affinity(values, kind="representation"), unrelated=0.0).effects.level == 0
    # A label that falls where another one rises tells as much of it.
    assert effects_of(affinity([[1, -0.6], [-0.6, 1]], kind="label")).values.tolist() == [[0, 0.6], [0.6, 0]]
    assert groups(affinity([[1, -0.6], [-0.6, 1]], kind="gradient")).groups == (("ant",), ("bee",))


def test_what_was_not_measured_counts_as_unrelated_and_is_told():
    there = np.ones((3, 3), bool)
    there[0, 1] = False
    values = [[0, 9.0, 0.1], [0.2, 0, -0.5], [0.1, -0.5, 0]]
    found = groups(affinity(values, measurable=there))
    assert found.effects.values[0, 1] == 0
    assert "Not measurable, taken for unrelated: ant and bee." in found.verdict
    assert found.groups == (("ant", "bee"), ("cat",))
    unknown = groups([[0, np.nan], [0.3, 0]], names=["ant", "bee"])
    assert unknown.scores == pytest.approx({"ant": 0.3, "bee": 0.0})


def test_without_intervals_nothing_is_claimed():
    found = groups(in_pairs(), names=NAMES)
    assert found.together is None
    assert all(np.isnan([found.half, found.stability, found.luck]))
    assert "Without intervals" in found.verdict
    assert "±" not in str(found)
    assert found.table()["agreement"].isna().all()
    assert groups(affinity(in_pairs(), np.nan)).together is None


@pytest.mark.parametrize("overlapping", [False, True])
def test_more_tasks_than_are_enumerated(overlapping):
    labels = np.arange(12) % 4
    values = np.where(labels[:, None] == labels, 0.5, 0.0)
    names = [f"task{place}" for place in range(12)]
    found = groups(affinity(values, 0.2, names=names), n=4, overlapping=overlapping, resamples=20)
    assert found.groups == tuple(tuple(names[place] for place in np.flatnonzero(labels == cell)) for cell in range(4))
    assert found.is_proven
    assert found.stability == 1.0
    assert [one.name for one in found.alternatives] == ["next best", "one group"]
    noise = np.random.default_rng(0).normal(size=(14, 14))
    left = groups(affinity(noise, 1.0, names=[f"n{place}" for place in range(14)]), resamples=5, time_limit=1e-6)
    assert not left.is_proven
    assert f"Not proven to be the best: the time was up; no grouping has a gain above {left.bound:.3g}." in left.verdict


def test_the_same_call_gives_the_same_result():
    measured = affinity(in_pairs(noise=0.3), 0.3)
    one, other = groups(measured, seed=3), groups(measured, seed=3)
    assert str(one) == str(other)
    assert str(groups(measured, seed=4)) != str(one)


def test_the_tables():
    found = groups(affinity(in_pairs()))
    frame = found.table()
    assert frame["with"].tolist() == ["dog", "elk", "fox", "ant", "bee", "cat"]
    assert frame["group"].tolist() == [1, 2, 3, 1, 2, 3]
    assert isinstance(frame, pd.DataFrame)
    assert "these groups" in str(found)


@pytest.mark.parametrize("overlapping", [False, True])
def test_the_picture_has_the_tasks_by_group_and_a_frame_a_group(overlapping, tmp_path):
    values = [[0, 0.6, 0.1], [0.6, 0, 0.5], [0.0, -0.9, np.nan]]
    found = groups(affinity(values, names=("cat", "ant", "dog")), overlapping=overlapping)
    axis = found.plot().axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["cat", "ant", "dog"]
    frames = [(patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height()) for patch in axis.patches]
    helper = [(1.5, 0.5, 1, 1)] if overlapping else []
    assert sorted(frames) == sorted([(-0.5, -0.5, 2, 2), (1.5, 1.5, 1, 1), *helper])
    assert {text.get_text() for text in axis.texts} >= {"0.60", "-0.90"}
    low, high = axis.images[0].get_clim()
    assert (low, high) == (-0.9, 0.9)
    (picture,) = found.pictures()
    assert "cat + ant" in picture.description
    assert found.plot(tmp_path / "groups.png").exists()


def test_the_order_of_the_picture_follows_the_groups():
    found = groups(affinity(in_pairs()))
    axis = found.plot().axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()] == [name for pair in PAIRS for name in pair]
    shown = np.asarray(axis.images[0].get_array())
    assert np.allclose([shown[0, 1], shown[2, 3], shown[4, 5]], 0.5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"affinity": [[1.0, 0.5]]}, "`affinity` must be square, .* got shape .1, 2."),
        ({"affinity": [[1.0]], "names": ["ant"]}, "`affinity` must be square, .* of two tasks or more"),
        ({"affinity": "gradient"}, "`affinity` must be an array of numbers, got str"),
        ({"affinity": [[0, np.inf], [0, 0]]}, "`affinity` must hold finite numbers"),
        ({"names": ["ant", "ant"]}, "`names` must hold different names of tasks"),
        ({"names": None}, "`names` must hold a name for each of 2 tasks"),
        ({"n": 0}, "`n` must be a whole number of groups of at least 1"),
        ({"n": 1.5}, "`n` must be a whole number"),
        ({"budget": 0.5}, "`budget` must be a number of trainings of at least 1, .* got 0.5. One group of all tasks"),
        ({"resamples": 1}, "`resamples` must be a whole number of at least 2"),
        ({"time_limit": 0}, "`time_limit` must be a number of seconds above 0"),
        ({"seed": -1}, "`seed` must be a whole number"),
        ({"unrelated": "no"}, "`unrelated` must be a finite number or None"),
        ({"affinity": affinity([[0, 1], [1, 0]]), "names": ["a", "b"]}, "`names` must be left out"),
    ],
    ids=lambda given: "-".join(given) if isinstance(given, dict) else "",
)
def test_what_is_no_affinity_is_refused(given, message):
    options = {"affinity": [[0, 0.5], [0.5, 0]], "names": ["ant", "bee"], **given}
    with pytest.raises(ValueError, match=f"^groups: {message}"):
        groups(options.pop("affinity"), **options)


def test_all_limits_that_are_none_are_told_at_once():
    with pytest.raises(ValueError, match=r"`n` .*\n.*`budget`"):
        groups([[0, 0.5], [0.5, 0]], 0, 0.0, names=["ant", "bee"])


def test_the_recipe_is_grouped():
    found = groups(affinity(in_pairs()))
    assert isinstance(found.recipe(), Grouped)
    assert found.recipe().groups == PAIRS
