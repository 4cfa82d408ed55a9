import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import keras_tuner
import pages
import planted
import pytest

from kmtl.search import _keras_tuner_private
from kmtl.search import chief as chief_module
from kmtl.search.roles import Limits, Role, as_chief, as_worker, role
from kmtl.search.trials import read_trials
from kmtl.search.worker import join

VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


@pytest.fixture(autouse=True)
def outside(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def address():
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    return f"127.0.0.1:{port}"


def start(*arguments):
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, planted.__file__, *map(str, arguments)]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def wait_for(path, process):
    end = time.monotonic() + 90
    while not (path.exists() and path.read_text()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        time.sleep(0.05)


# Who one is.


def test_roles_set_what_keras_tuner_reads_and_put_it_back():
    assert role() == Role("", "", Limits())
    with as_chief("10.0.0.1:9000", patience=3.0, wait=7.0):
        assert [os.environ[name] for name in VARIABLES] == ["chief", "10.0.0.1", "9000"]
        assert role().is_chief
        assert role().limits == Limits(3.0, 7.0)
        with as_worker("10.0.0.1:9000", "second"):
            assert role().is_worker
            assert not role().is_chief
        assert role().is_chief
    assert not set(VARIABLES) & set(os.environ)


def test_half_an_environment_is_refused(monkeypatch):
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    monkeypatch.setenv("KERASTUNER_ORACLE_PORT", "9000")
    with pytest.raises(ValueError, match=r"KERASTUNER_TUNER_ID.*as_chief"):
        role()
    monkeypatch.setenv("KERASTUNER_TUNER_ID", "second")
    assert role().address == "127.0.0.1:9000"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: as_chief("9000"), "port"),
        (lambda: as_chief("here:ninety"), "port number"),
        (lambda: as_chief("here:9000", patience=0), "patience"),
        (lambda: as_worker("here:9000", "a/b"), "plain word"),
        (lambda: as_worker("here:9000", "chief2"), "chief"),
        (lambda: as_worker("here:9000", "second", wait=-1), "wait"),
    ],
)
def test_a_role_that_cannot_be_is_refused(make, words):
    with pytest.raises(ValueError, match=words), make():
        pass


# Nobody there.


def test_a_worker_without_a_chief_ends_in_time(tmp_path, address):
    begun = time.monotonic()
    error = rf"'second' cannot join: the chief at {address} does not answer within 1 s"
    with as_worker(address, "second", wait=1.0), pytest.raises(RuntimeError, match=error):
        planted.search(tmp_path)
    assert time.monotonic() - begun < 15


def test_something_else_at_the_address_is_no_chief():
    grpc = pytest.importorskip("grpc")
    from concurrent import futures

    server = grpc.server(futures.ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        who = Role("second", f"127.0.0.1:{port}", Limits(wait=20.0))
        with pytest.raises(RuntimeError, match="something else"), join(who):
            pass
    finally:
        server.stop(None)


def test_a_chief_without_workers_ends_in_time(tmp_path, address):
    with as_chief(address, wait=1.0), pytest.raises(RuntimeError, match="no worker for 1 s"):
        planted.search(tmp_path)


def test_a_chief_on_a_port_that_is_taken_says_so(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        used = f"127.0.0.1:{taken.getsockname()[1]}"
        with as_chief(used, wait=1.0), pytest.raises(OSError, match=f"{used}.*another port"):
            planted.search(tmp_path)


# The chief, without a network: what it does about silence.


class Clock:
    now = 100.0

    def monotonic(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(chief_module, "time", found)
    return found


@pytest.fixture
def chief(tmp_path, clock):
    assert chief_module.time is clock
    space = keras_tuner.HyperParameters()
    space.Float("weight_far", 0.1, 10.0, sampling="log")
    objective = keras_tuner.Objective("score", "min")
    oracle = keras_tuner.oracles.RandomSearchOracle(objective, max_trials=2, seed=1, hyperparameters=space)
    oracle._set_project_dir(str(tmp_path), "search")
    oracle.verbose = 0
    events = []
    made = chief_module.Chief(oracle, chief_module.Roster(Limits(10.0, 50.0), events.append))
    made.events = events
    return made


def ask(chief, worker):
    chief.roster.hear(worker, worker)
    with _keras_tuner_private.quiet():
        response = chief.CreateTrial(SimpleNamespace(tuner_id=worker), None)
    return keras_tuner.engine.trial.Trial.from_proto(response.trial)


def end(chief, trial, score):
    with _keras_tuner_private.quiet():
        chief.UpdateTrial(SimpleNamespace(trial_id=trial.trial_id, metrics={"score": score}, step=0), None)
        trial.status = "COMPLETED"
        chief.EndTrial(SimpleNamespace(trial=trial.to_proto()), None)


def test_the_trial_of_a_silent_worker_goes_to_another(chief, clock):
    first, second = ask(chief, "one"), ask(chief, "two")
    end(chief, second, 0.2)
    # All are handed out, but one still runs: its worker may die, so the other has to stay.
    assert ask(chief, "two").status == "IDLE"
    clock.now += 9.0
    chief.roster.hear("two", "two")
    assert not chief.look()
    assert ask(chief, "two").status == "IDLE"
    clock.now += 2.0
    assert not chief.look()
    again = ask(chief, "two")
    assert (again.trial_id, again.status) == (first.trial_id, "RUNNING")
    assert again.hyperparameters.values == first.hyperparameters.values
    end(chief, again, 0.1)
    # The one that was given up comes back: its trial has ended, and its number does not count.
    end(chief, first, 0.9)
    assert chief.oracle.trials[first.trial_id].score == pytest.approx(0.1)
    assert chief.oracle.end_order == [second.trial_id, first.trial_id]
    assert not chief.look()
    assert ask(chief, "two").status == "STOPPED"
    assert chief.look()
    assert chief.events == [
        "worker 'one' joined",
        "worker 'two' joined",
        f"worker 'one' said nothing for 10 s and was given up with trial {first.trial_id}",
        f"trial {first.trial_id} is run again by worker 'two'",
    ]


def test_a_trial_that_two_workers_died_of_fails_with_their_names(chief, clock):
    first = ask(chief, "one")
    clock.now += 11.0
    chief.look()
    assert ask(chief, "two").trial_id == first.trial_id
    clock.now += 11.0
    chief.look()
    known = chief.oracle.trials[first.trial_id]
    assert (known.status, known.message) == ("FAILED", "Its workers died: one, two")
    assert ask(chief, "three").trial_id != first.trial_id


def test_two_workers_of_one_name_are_one_too_many_until_the_first_is_gone(clock):
    roster = chief_module.Roster(Limits(10.0, 50.0), [].append)
    assert roster.hear("one", "a") == chief_module.WELCOME
    assert roster.hear("one", "b") == chief_module.TAKEN
    clock.now += 10.0
    assert roster.hear("one", "b") == chief_module.WELCOME
    assert roster.hear("one", "a") == chief_module.TAKEN


def test_a_roster_has_an_end_and_room_again_for_those_that_fell_silent(clock):
    events = []
    roster = chief_module.Roster(Limits(10.0, 50.0), events.append)
    for place in range(chief_module.MOST_WORKERS):
        assert roster.hear(f"w{place}", "a") == chief_module.WELCOME
    assert roster.hear("stranger", "a") == chief_module.FULL
    assert roster.hear("w3", "a") == chief_module.WELCOME
    assert len(roster.heard) == len(events) == chief_module.MOST_WORKERS
    clock.now += 10
    roster.take_silent()
    assert roster.hear("stranger", "a") == chief_module.WELCOME


def test_a_roster_is_deserted_only_after_the_last_word(clock):
    roster = chief_module.Roster(Limits(10.0, 50.0), [].append)
    clock.now += 49.0
    assert not roster.is_deserted()
    roster.hear("one", "a")
    clock.now += 49.0
    assert roster.take_silent() == ["one"]
    assert not roster.is_deserted()
    clock.now += 1.0
    assert roster.is_deserted()


# Real processes.


def shared_search(tmp_path, address):
    """A chief and two workers share a search, and one is killed."""
    marker = tmp_path / "marker"
    folder = tmp_path / "searches"
    # It ends one trial and is killed in the next, while the other is in its first.
    processes = {
        "chief": start("chief", folder, address, 4),
        "good": start("good", folder, address, 4, marker, "after"),
        "bad": start("bad", folder, address, 4, marker, 1),
    }
    try:
        wait_for(marker, processes["bad"])
        os.kill(int(marker.read_text()), signal.SIGKILL)
        told = {name: processes[name].communicate(timeout=200)[0] for name in ("chief", "good")}
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
    assert {name: processes[name].returncode for name in told} == {"chief": 0, "good": 0}, told
    result = read_trials(folder / "planted")
    assert [trial.status for trial in result] == ["COMPLETED"] * 4
    workers = [trial.worker for trial in result]
    assert workers.count("bad") == 1
    assert workers.count("good") == 3
    for text in told.values():
        assert "4 trials; best is trial" in text
    assert "worker 'bad' said nothing for 4 s and was given up with trial" in told["chief"]
    assert "is run again by worker 'good'" in told["chief"]


def promoted_trial_goes_on(tmp_path, address):
    """What is promoted in a halving goes on with another worker."""
    marker, folder = tmp_path / "marker", tmp_path / "searches"
    processes = {"chief": start("chief", folder, address, 9, "", 0, "halving")}
    # Candidates train for one epoch; it is killed in the second epoch of the first that goes on.
    processes["first"] = start("first", folder, address, 9, marker, 0, "halving")
    try:
        wait_for(marker, processes["first"])
        processes["second"] = start("second", folder, address, 9, "", 0, "halving")
        processes["first"].kill()
        told = {name: processes[name].communicate(timeout=200)[0] for name in ("chief", "second")}
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
    assert {name: processes[name].returncode for name in told} == {"chief": 0, "second": 0}, told
    result = read_trials(folder / "planted")
    assert [trial.status for trial in result] == ["COMPLETED"] * 13, told
    assert {trial.worker for trial in result if trial.epochs == 1} == {"first"}
    assert {trial.worker for trial in result if trial.epochs > 1} == {"second"}
    with pages.eagerly():
        alone = planted.search(tmp_path, tuner="halving", max_trials=9, epochs=9)
    assert [trial.values for trial in alone.trials] == [trial.values for trial in result]
    assert [trial.score for trial in alone.trials] == pytest.approx([trial.score for trial in result], rel=1e-5)


@pytest.mark.long
def test_a_killed_search_goes_on_without_repeating_what_ended(tmp_path):
    marker = tmp_path / "marker"
    process = start("alone", tmp_path, "", 4, marker, 2)
    try:
        wait_for(marker, process)
        process.kill()
    finally:
        process.kill()
        process.communicate()
    place = pathlib.Path(tmp_path, "planted")
    before = read_trials(place)
    assert [trial.status for trial in before] == ["COMPLETED", "COMPLETED", "RUNNING"]
    trainings = []
    with pages.eagerly():
        result = planted.search(tmp_path, max_trials=4, callbacks=lambda: trainings.append(1) or [])
    assert len(trainings) == 2
    assert [trial.status for trial in result.trials] == ["COMPLETED"] * 4
    assert result.trials[:2] == before[:2]
    assert result.trials[2].values == before[2].values
    assert result.events == ["trial 2 was running when the search ended before and is run again"]


@pytest.mark.long
@pytest.mark.parametrize("check", [shared_search, pytest.param(promoted_trial_goes_on, marks=pytest.mark.slow)])
def test_of_a_chief_and_two_workers_one_may_be_killed(check, tmp_path, address):
    check(tmp_path, address)
