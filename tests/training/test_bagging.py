"""Bagging: samples, rows that were not seen, and the mean."""

import numpy as np
import pytest
from recipe_rows import TASKS, build, rows, train

from kmtl import training
from kmtl.training import bagging
from kmtl.training.combined import ensemble
from kmtl.training.work import Given


def test_a_bootstrap_sample_holds_one_minus_one_over_e_of_the_rows():
    samples = [bagging.bootstrap_sample(np.ones((1, 5000), bool), seed) for seed in range(20)]
    shares = [len(set(sample.tolist())) / 5000 for sample in samples]
    # The share's own standard deviation is sqrt((1/e - 2/e^2) / n), 0.0044 here.
    assert np.mean(shares) == pytest.approx(1 - np.exp(-1), abs=0.003)
    np.testing.assert_array_equal(samples[3], bagging.bootstrap_sample(np.ones((1, 5000), bool), 3))


def test_a_sample_has_a_label_of_each_task_or_the_reason_is_told():
    known = np.ones((2, 8), bool)
    known[1] = [True] + [False] * 7
    for seed in range(20):
        assert 0 in bagging.bootstrap_sample(known, seed)
    known[1] = False
    with pytest.raises(ValueError, match=r"`train` must have labels of each task in a bootstrap sample, got 0 of 8"):
        bagging.bootstrap_sample(known, 0)


def test_out_of_bag_outputs_use_no_row_that_their_member_saw():
    samples = [bagging.bootstrap_sample(np.ones((1, 30), bool), seed) for seed in range(3)]
    unseen = bagging.unseen_rows(samples, 30)
    for sample, mask in zip(samples, unseen, strict=True):
        assert not mask[sample].any()
        assert mask.sum() == 30 - len(set(sample.tolist()))
    # Members that give their own number: each row has the mean of those that did not see it.
    found = bagging.mean_of_unseen([np.full(mask.sum(), float(m)) for m, mask in enumerate(unseen)], unseen)
    for row in range(30):
        members = [member for member in range(3) if row not in samples[member]]
        assert found[row] == pytest.approx(np.mean(members) if members else 0.0)


def test_members_that_are_alike_give_what_one_of_them_gives():
    model, (x, y) = build(TASKS), rows()
    model.adapt(x, y)
    made = ensemble({"one": model, "two": model}, bagging.mean)
    for name, values in model.predict(x, verbose=0).items():
        np.testing.assert_allclose(made.predict(x, verbose=0)[name], values, rtol=1e-6)
    # Losses and metrics, too: the way back to the unit of the regression is known in the ensemble.
    one, other = (part.evaluate(x, y, verbose=0, return_dict=True) for part in (model, made))
    assert other == pytest.approx(one, rel=1e-4)


def test_the_out_of_bag_score_is_that_of_the_members_that_did_not_see_a_row():
    recipe, (x, y) = training.Bagging(members=2), rows()
    work = training.Work(recipe, Given(build, TASKS, (x, y), None, 1, 0, 24, None, 0))
    model = recipe.run(work)
    samples, held = recipe.samples(work, work.rows()), work.rows()
    first, second = (part for part in model.layers if part.name.startswith("member"))
    errors = []
    for row in range(24):
        unseen = [part for part, sample in zip((first, second), samples, strict=True) if row not in sample]
        if unseen and not np.isnan(held.y["speed"][row]):
            found = np.mean([part(held.x[row : row + 1])["speed"].numpy() for part in unseen])
            errors.append(abs(found - held.y["speed"][row]))
    assert work.notes["out_of_bag"]["speed"]["mae"] == pytest.approx(np.mean(errors), rel=1e-4)
    assert set(work.notes["out_of_bag"]["kind"]) == {"accuracy"}


@pytest.mark.long
def test_without_samples_each_member_sees_all_rows_and_there_is_no_out_of_bag_score():
    found = train(training.Bagging(members=2, bootstrap=False), epochs=1, batch_size=24, validation=None)
    assert found.notes == {}
    assert found.cost == 2.0


def test_what_it_cannot_take_is_refused():
    with pytest.raises(ValueError, match="`members` must be a whole number of at least 2"):
        training.Bagging(members=1)
    with pytest.raises(ValueError, match="`bootstrap` must be True or False"):
        training.Bagging(bootstrap=0.5)
