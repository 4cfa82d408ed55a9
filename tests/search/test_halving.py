"""Many candidates for few epochs, the best of them for more."""

import itertools

import pages
import planted
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmtl.search.halving import cost, rungs
from kmtl.search.weights import weights


@given(st.integers(1, 300), st.integers(1, 200))
def test_rungs_begin_with_all_and_end_with_all_epochs(candidates, epochs):
    found = rungs(candidates, epochs)
    assert found[0][0] == candidates
    assert found[-1][1] == epochs
    for (count, until), (fewer, further) in itertools.pairwise(found):
        assert 1 <= fewer < count <= 3 * fewer
        assert 1 <= until < further < 3 * (until + 1)
    assert cost(candidates, epochs) <= candidates * epochs


def test_a_halving_costs_what_its_rungs_say():
    # Nine for 1 epoch, three of them for 2 more, one of these for 6 more.
    assert rungs(9, 9) == [(9, 1), (3, 3), (1, 9)]
    assert cost(9, 9) == 9 + 3 * 2 + 6


#: Five candidates for one epoch, two of them for three, the better of these for nine.
SETTINGS = {"tuner": "halving", "max_trials": 5, "epochs": 9, "seed": 1, "callbacks": list}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A halving that was not disturbed, and its folder."""
    folder = tmp_path_factory.mktemp("whole")
    with pages.eagerly():
        return planted.search(folder, **SETTINGS), folder


@pytest.mark.long
def test_the_best_go_on_and_the_best_of_all_is_found(whole):
    result, _ = whole
    by_epochs = {epochs: [trial for trial in result.trials if trial.epochs == epochs] for epochs in (1, 3, 9)}
    assert [(len(found), epochs) for epochs, found in by_epochs.items()] == rungs(5, 9) == [(5, 1), (2, 3), (1, 9)]
    for lower, upper in ((1, 3), (3, 9)):
        ranked = sorted(by_epochs[lower], key=lambda trial: trial.score)
        best = {trial.name for trial in ranked[: len(by_epochs[upper])]}
        assert {trial.origin for trial in by_epochs[upper]} == best
    names = {trial.name: trial for trial in result.trials}
    for trial in by_epochs[9]:
        assert trial.values == names[trial.origin].values
        # A step an epoch, gone on from the third.
        assert int(result.model_of(trial).optimizer.iterations) == 9


@pytest.mark.long
def test_a_killed_halving_goes_on(whole, tmp_path):
    calls = []

    def stop():
        calls.append(1)
        # In the second of those that went on.
        if len(calls) == 7:
            raise KeyboardInterrupt
        return []

    with pages.eagerly():
        with pytest.raises(KeyboardInterrupt):
            planted.search(tmp_path, **{**SETTINGS, "callbacks": stop})
        killed = planted.search(tmp_path, **SETTINGS)
    assert [trial.values for trial in killed.trials] == [trial.values for trial in whole[0].trials]
    assert [trial.score for trial in killed.trials] == pytest.approx([trial.score for trial in whole[0].trials])


def test_what_a_halving_cannot_do_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"^weights: `validation` must be a dataset for 'halving'"):
        weights(planted.build, planted.TASKS, planted.data(), 2, tuner="halving", directory=tmp_path)


@pytest.mark.long
def test_another_number_of_candidates_is_another_search(whole):
    with pytest.raises(ValueError, match=r"`directory` must be a folder of this search.*candidates was 5 and is 4"):
        planted.search(whole[1], **{**SETTINGS, "max_trials": 4})
