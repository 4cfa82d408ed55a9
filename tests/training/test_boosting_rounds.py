"""The rounds of boosting on arrays: weights, votes, residuals."""

import numpy as np
import pytest

import kmtl
from kmtl.training import boosting_rounds

RANDOM = np.random.default_rng(0)


@pytest.mark.parametrize("classes", [2, 3, 7])
def test_under_the_new_weights_the_member_is_as_good_as_chance(classes):
    weights, wrong = RANDOM.random(50), RANDOM.random(50) < 0.3
    weights[:5] = 0.0
    found = boosting_rounds.samme(weights, wrong, classes)
    error = weights[wrong].sum() / weights.sum()
    assert found.error == pytest.approx(error)
    assert found.alpha == pytest.approx(np.log((1 - error) / error) + np.log(classes - 1))
    assert found.weights[wrong].sum() / found.weights.sum() == pytest.approx(1 - 1 / classes)
    assert found.weights.sum() == pytest.approx(weights.sum())
    assert not found.weights[:5].any()
    assert not found.is_last


def test_a_member_no_better_than_chance_ends_it_and_so_does_one_without_error():
    chance = boosting_rounds.samme(np.ones(6), np.arange(6) < 4, 3)
    assert (chance.error, chance.alpha, chance.is_last) == (pytest.approx(2 / 3), 0.0, True)
    perfect = boosting_rounds.samme(np.ones(6), np.zeros(6, bool), 3)
    # Half a row of six counts as wrong.
    assert perfect.alpha == pytest.approx(np.log(11) + np.log(2))
    assert perfect.is_last


def test_three_stumps_part_ten_points_without_an_error():
    # The points of Li Hang, "Statistical Learning Methods", 2012, example 8.1, solved there by hand: errors 0.3,
    # 0.2143 and 0.182, and votes that are half of SAMME's: 0.4236, 0.6496, 0.752.
    labels = np.array([1, 1, 1, 0, 0, 0, 1, 1, 1, 0])
    task, errors = kmtl.BinaryClassification("sign"), []
    votes = boosting_rounds.Votes(task, labels, None)
    total = np.zeros(10)
    for member in range(3):
        stumps = [(np.arange(10) < cut) == low for cut in np.arange(0.5, 10) for low in (True, False)]
        best = min(stumps, key=lambda stump: votes.weights[stump != labels].sum())
        errors.append(votes.weights[best != labels].sum() / votes.weights.sum())
        votes.add(member, best[:, None].astype("float32"))
        total += votes.alphas[-1] * np.where(best, 1, -1)
    np.testing.assert_allclose(errors, [0.3, 0.2143, 0.1818], atol=1e-4)
    np.testing.assert_allclose(np.array(votes.alphas) / 2, [0.4236, 0.6496, 0.7520], atol=1e-3)
    np.testing.assert_array_equal(total > 0, labels == 1)


def test_a_missing_label_has_no_weight_whatever_the_user_gave():
    task, labels = kmtl.Classification("kind", 3), np.array([0, -1, 2, 1])
    votes = boosting_rounds.Votes(task, labels, np.array([1.0, 5.0, 2.0, 3.0]))
    assert votes.weights.tolist() == [1.0, 0.0, 2.0, 3.0]
    votes.add(0, np.eye(3)[[0, 0, 0, 1]])
    # The third row alone is wrong, a third of the weight: then two thirds of it, as chance of three classes has.
    np.testing.assert_allclose(votes.weights, [0.5, 0.0, 4.0, 1.5])


def test_a_first_member_that_is_no_better_than_chance_stays_alone_and_a_later_one_is_left_out():
    task, labels = kmtl.BinaryClassification("sign"), np.array([1, 0, 1, 0])
    first = boosting_rounds.Votes(task, labels, None)
    first.add(0, np.zeros((4, 1)))
    assert (first.members, first.alphas) == ([0], [1.0])
    assert first.note == "member 1 was no better than chance: weighted error 0.500"
    later = boosting_rounds.Votes(task, labels, None)
    later.add(0, np.array([[1.0], [0.0], [1.0], [1.0]]))
    later.add(1, np.array([[0.0], [1.0], [0.0], [1.0]]))
    assert later.members == [0]
    assert "member 2" in later.note


def test_members_that_fit_their_residuals_leave_a_power_of_them():
    task = kmtl.Regression("place", shape=(2,))
    labels = RANDOM.normal(size=(20, 2)).astype("float32")
    labels[0, 1] = np.nan
    mean = np.nanmean(labels, axis=0)
    residuals = boosting_rounds.Residuals(task, labels, None, mean, 0.25)
    start = residuals.target()
    assert np.isnan(start[0, 1])
    assert residuals.weights.all()
    np.testing.assert_allclose(np.nanmean(start, axis=0), 0.0, atol=1e-6)
    for member in range(3):
        residuals.add(member, np.nan_to_num(residuals.target()))
    np.testing.assert_allclose(residuals.target(), start * 0.75**3, rtol=1e-4, atol=1e-6)
    assert residuals.note == ""
    whole = boosting_rounds.Residuals(task, labels, None, mean, 1.0)
    whole.add(0, np.nan_to_num(whole.target()))
    assert whole.note == "member 1 left nothing to fit"
