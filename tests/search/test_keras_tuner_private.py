"""The private names of KerasTuner that kmtl builds on are there, behave as it expects, and stand in one file."""

import inspect
import pathlib

import keras_tuner
import pytest
from keras_tuner.src import protos
from keras_tuner.src.distribute import oracle_chief, oracle_client
from keras_tuner.src.tuners import hyperband

import kmtl.search
from kmtl.search import _keras_tuner_private

ROOM = pathlib.Path(kmtl.search.__file__).parent


@pytest.fixture
def oracle(tmp_path):
    space = keras_tuner.HyperParameters()
    space.Float("rate", 0.1, 1.0)
    objective = keras_tuner.Objective("score", "min")
    made = keras_tuner.oracles.RandomSearchOracle(objective, max_trials=9, seed=1, hyperparameters=space)
    made._set_project_dir(str(tmp_path), "search")
    made.verbose = 0
    return made


@pytest.fixture(autouse=True)
def quiet():
    with _keras_tuner_private.quiet():
        yield


def test_what_is_private_stands_in_one_file():
    others = [path for path in ROOM.glob("*.py") if path.name != "_keras_tuner_private.py"]
    private = ("oracle._", "keras_tuner.src", "_current_bracket", "SaveBestEpoch", "TIMEOUT")
    assert not [(path.name, name) for path in others for name in private if name in path.read_text()]


def test_a_trial_of_a_dead_worker_goes_to_the_next_one(oracle):
    first = oracle.create_trial("one")
    oracle.ongoing_trials.pop("one")
    _keras_tuner_private.queue_again(oracle, first)
    assert _keras_tuner_private.waiting(oracle) == [first.trial_id]
    assert oracle.create_trial("two").trial_id == first.trial_id


def test_a_failed_trial_is_written_and_is_not_given_out_again(oracle):
    first = oracle.create_trial("one")
    written = []
    _keras_tuner_private.write_whole(oracle, lambda path, content: written.append((path.name, content)))
    _keras_tuner_private.end_failed(oracle, first, "why")
    ((name, content),) = written
    assert (name, content["status"], content["message"]) == ("trial.json", "FAILED", "why")
    oracle.save()
    assert written[-1][0] == "oracle.json"
    oracle._retry_queue.append(first.trial_id)
    _keras_tuner_private.settle(oracle)
    assert _keras_tuner_private.waiting(oracle) == []
    assert oracle.end_order == [first.trial_id] * 2


def test_halving_is_one_bracket_with_the_rungs_it_is_given():
    objective = keras_tuner.Objective("score", "min")
    oracle = _keras_tuner_private.halving_oracle(keras_tuner, objective, [(5, 1), (2, 4)], factor=3)
    assert [oracle._get_size(0, rung) for rung in range(2)] == [5, 2]
    assert [oracle._get_epochs(0, rung) for rung in range(2)] == [1, 4]
    assert oracle._current_bracket == 0
    source = inspect.getsource(hyperband.HyperbandOracle)
    for name in ("self._get_num_brackets()", "self._get_size(", "self._get_epochs(", "self._current_bracket"):
        assert name in source


def test_workers_wait_for_their_chief_as_long_as_they_are_told():
    before = oracle_client.TIMEOUT
    with _keras_tuner_private.patience_of_workers(3.0):
        assert oracle_client.TIMEOUT == 3.0
    assert before == oracle_client.TIMEOUT
    assert "timeout=TIMEOUT" in inspect.getsource(oracle_client.OracleClient)


def test_the_chief_answers_by_what_keras_tuner_has(oracle):
    answers = _keras_tuner_private.servicer(oracle)
    assert isinstance(answers, oracle_chief.OracleServicer)
    for name in ("CreateTrial", "UpdateTrial", "EndTrial"):
        assert callable(getattr(answers, name))
    assert _keras_tuner_private.messages() is protos.get_service()


def test_the_callback_that_keeps_every_epoch_is_known_by_its_name():
    assert "SaveBestEpoch" in inspect.getsource(keras_tuner.Tuner.run_trial)
    from keras_tuner.src.engine import tuner_utils

    assert _keras_tuner_private.is_best_epoch_callback(
        tuner_utils.SaveBestEpoch(keras_tuner.Objective("score", "min"), "weights")
    )
