"""The chief's server.

KerasTuner's own chief waits for ever for the trial of a worker that died, and tells the other workers meanwhile that
the search has ended. Here workers say each second that they are there; the trial of one that falls silent goes to
another, and no worker is let go while a trial runs.
"""

import json
import time
from collections.abc import Callable
from concurrent import futures
from typing import Any

from kmtl import _extras
from kmtl._checks import refusal, words
from kmtl.search import _keras_tuner_private
from kmtl.search.roles import Limits, Role

_OWNER = "weights"
# What workers call to say that they are there, and how often in seconds.
SERVICE, METHOD, PULSE = "kmtl.Search", "Here", 1.0
# A trial that two workers died of is not given to a third.
_LOSSES = 2
# Anyone who reaches the port may call: so many workers are taken, and names so long.
MOST_WORKERS, _LONGEST = 1000, 200
WELCOME, TAKEN, FULL = b"welcome", b"taken", b"full"


class Roster:
    """Which workers are there.

    Args:
        limits: How long a worker may be silent.
        say: Takes what happened, in words.
    """

    def __init__(self, limits: Limits, say: Callable[[str], None]) -> None:
        self.limits = limits
        self.say = say
        self.heard: dict[str, tuple[str, float]] = {}
        self.last = time.monotonic()

    def hear(self, name: str, token: str) -> bytes:
        """Notes a worker, unless another process of that name is there, or as many workers as are taken."""
        known = self.heard.get(name)
        now = time.monotonic()
        if known and known[0] != token and now - known[1] < self.limits.patience:
            return TAKEN
        if known is None and len(self.heard) >= MOST_WORKERS:
            return FULL
        if known is None or known[0] != token:
            self.say(f"worker {name!r} joined")
        self.heard[name] = (token, now)
        self.last = now
        return WELCOME

    def take_silent(self) -> list[str]:
        """Takes out those that said nothing for too long, and names them."""
        now = time.monotonic()
        gone = [name for name, (_, when) in self.heard.items() if now - when >= self.limits.patience]
        for name in gone:
            del self.heard[name]
        return gone

    def is_deserted(self) -> bool:
        """Whether no worker has been there for too long."""
        return not self.heard and time.monotonic() - self.last >= self.limits.wait


def serve(tuner: Any, role: Role, say: Callable[[str], None]) -> None:
    """Hands out trials until all have ended.

    Args:
        tuner: A KerasTuner tuner that was made as the chief.
        role: The chief's.
        say: Takes what happened, in words.

    Raises:
        OSError: If the port cannot be listened at.
        RuntimeError: If no worker is there for too long.
    """
    grpc = _extras.load("grpc", _OWNER)
    roster = Roster(role.limits, say)
    chief = Chief(tuner.oracle, roster)
    # One thread for everything: an oracle that raises never gives its lock back.
    pool = futures.ThreadPoolExecutor(max_workers=1)
    # Else two chiefs may listen at one port, and each hears half of the workers.
    server = grpc.server(pool, options=[("grpc.so_reuseport", 0)])
    _keras_tuner_private.add_servicer(chief, server)
    here = {METHOD: grpc.unary_unary_rpc_method_handler(lambda request, _: _answer(roster, request))}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, here),))
    _listen(server, role.address)
    tuner.save()
    server.start()
    try:
        while not pool.submit(chief.look).result():
            _check_deserted(roster)
            time.sleep(PULSE / 5)
    finally:
        server.stop(grace=PULSE).wait()


def _listen(server: Any, address: str) -> None:
    """Opens the port."""
    try:
        opened = server.add_insecure_port(address)
    except RuntimeError:
        opened = 0
    if not opened:
        fix = "Is another chief there? Choose another port."
        raise OSError(refusal(_OWNER, "address", "must be free on this machine", address, fix))


def _check_deserted(roster: Roster) -> None:
    """Gives up on workers that do not come."""
    if roster.is_deserted():
        waited = f"no worker for {roster.limits.wait:g} s"
        fix = "Start workers within that time. Started again, the search goes on where it was."
        raise RuntimeError(refusal(_OWNER, "wait", "ran out", words(waited), fix))


def _answer(roster: Roster, request: bytes) -> bytes:
    """Answers a worker that says it is there."""
    who = json.loads(request)
    name, token = str(who["name"]), str(who["token"])
    return roster.hear(name, token) if len(name) + len(token) <= _LONGEST else FULL


class Chief:
    """KerasTuner's servicer, with the trials of workers that died handed on.

    Args:
        oracle: What proposes trials.
        roster: Which workers are there.
    """

    def __init__(self, oracle: Any, roster: Roster) -> None:
        self.oracle = oracle
        self.roster = roster
        self.servicer = _keras_tuner_private.servicer(oracle)
        self.messages = _keras_tuner_private.messages()
        self.has_ended = False
        self.released: set[str] = set()
        self.lost: dict[str, list[str]] = {}

    def __getattr__(self, name: str) -> Any:
        """What needs no mending."""
        return getattr(self.servicer, name)

    def create_trial(self, request: Any, _: Any) -> Any:
        """Gives a worker a trial, or tells it to wait or to go."""
        worker = request.tuner_id
        trial = self.oracle.create_trial(worker)
        if trial.trial_id in self.lost and trial.status == "RUNNING":
            self.roster.say(f"trial {trial.trial_id} is run again by worker {worker!r}")
        if trial.status == "STOPPED" and self.oracle.ongoing_trials:
            # The worker of such a trial may die yet, and then someone must be there.
            trial.status = "IDLE"
        if trial.status == "STOPPED":
            self.has_ended = True
            self.released.add(worker)
        return self.messages.CreateTrialResponse(trial=trial.to_proto())

    def update_trial(self, request: Any, context: Any) -> Any:
        """Takes the metrics of a trial that runs."""
        if self.is_running(request.trial_id):
            return self.servicer.UpdateTrial(request, context)
        return self.messages.UpdateTrialResponse(trial=self.oracle.trials[request.trial_id].to_proto())

    def end_trial(self, request: Any, context: Any) -> Any:
        """Ends a trial that runs; a worker that was given up and comes back may find that it does not any more."""
        if self.is_running(request.trial.trial_id):
            return self.servicer.EndTrial(request, context)
        return self.messages.EndTrialResponse()

    CreateTrial, UpdateTrial, EndTrial = create_trial, update_trial, end_trial

    def is_running(self, name: str) -> bool:
        """Whether some worker has a trial."""
        return any(trial.trial_id == name for trial in self.oracle.ongoing_trials.values())

    def look(self) -> bool:
        """Gives up silent workers; tells whether everything has ended and everyone has heard so."""
        for name in self.roster.take_silent():
            self.give_up(name)
        return self.has_ended and not self.oracle.ongoing_trials and set(self.roster.heard) <= self.released

    def give_up(self, worker: str) -> None:
        """Takes a worker's trial away."""
        self.oracle.tuner_ids.discard(worker)
        trial = self.oracle.ongoing_trials.pop(worker, None)
        if worker in self.released:
            return
        silent = f"worker {worker!r} said nothing for {self.roster.limits.patience:g} s and was given up"
        self.roster.say(silent if trial is None else f"{silent} with trial {trial.trial_id}")
        if trial is not None:
            self.lost.setdefault(trial.trial_id, []).append(worker)
            self.put_back(trial)

    def put_back(self, trial: Any) -> None:
        """Queues a trial for another worker, or lets it fail if too many died of it."""
        workers = self.lost[trial.trial_id]
        if len(workers) < _LOSSES:
            _keras_tuner_private.queue_again(self.oracle, trial)
        else:
            _keras_tuner_private.end_failed(self.oracle, trial, f"Its workers died: {', '.join(workers)}")
            self.roster.say(f"trial {trial.trial_id} is not tried again: {trial.message}")
        self.oracle.save()
