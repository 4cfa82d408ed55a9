"""A cluster of workers, and the check of `TF_CONFIG` before anything starts."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kmtl._checks import Refusals, near, refusal, words

OWNER = "TF_CONFIG"
_JOBS = ("chief", "worker")
_OTHERS = {
    "ps": "Parameter servers do not train a Keras model on TensorFlow; make every machine a 'worker'.",
    "evaluator": "Every worker evaluates with the others; make it a 'worker' or leave it out.",
    "master": "It is called 'chief' since TensorFlow 2.",
}
_EXAMPLE = 'Write {"cluster": {"worker": ["host:port", ...]}, "task": {"type": "worker", "index": 0}}.'
_LOOPBACK = {"localhost", "127.0.0.1", "[::1]"}


@dataclass(frozen=True)
class Cluster:
    """Who trains together, and which of them this process is.

    Attributes:
        addresses: `host:port` of every worker by rank; a chief, where there is one, is rank 0.
        rank: The place of this process among them, from 0.
        has_chief: Whether rank 0 is called `chief` rather than `worker` 0.

    >>> cluster = Cluster(("a:2222", "b:2222"), rank=1)
    >>> cluster.name(0)
    'worker 0 (a:2222)'
    >>> cluster.config["task"]
    {'type': 'worker', 'index': 1}
    """

    addresses: tuple[str, ...]
    rank: int
    has_chief: bool = False

    @property
    def peers(self) -> list[int]:
        """Ranks of all others."""
        return [rank for rank in range(len(self.addresses)) if rank != self.rank]

    @property
    def port(self) -> int:
        """The port that this worker listens on."""
        return int(self.addresses[self.rank].rpartition(":")[2])

    @property
    def jobs(self) -> dict[str, list[str]]:
        """Addresses by job, as `TF_CONFIG` holds them under `cluster`."""
        split = int(self.has_chief)
        jobs = {"chief": list(self.addresses[:split]), "worker": list(self.addresses[split:])}
        return {job: addresses for job, addresses in jobs.items() if addresses}

    @property
    def config(self) -> dict[str, Any]:
        """The content of `TF_CONFIG`, ready for `json.dumps`."""
        job, index = self.task(self.rank)
        return {"cluster": self.jobs, "task": {"type": job, "index": index}}

    def task(self, rank: int) -> tuple[str, int]:
        """TensorFlow's name of a rank: its job and the index within it."""
        if self.has_chief:
            return ("worker", rank - 1) if rank else ("chief", 0)
        return "worker", rank

    def name(self, rank: int) -> str:
        """What messages call a rank: job, index and address."""
        job, index = self.task(rank)
        return f"{job} {index} ({self.addresses[rank]})"


def check_cluster(config: str | Mapping[str, Any] | None = None) -> Cluster:
    """Checks the form of a `TF_CONFIG` and tells all offenders at once.

    It looks at the text alone; whether the machines answer is found when `strategy` makes them meet.

    Args:
        config: JSON text or the dict itself; None reads the environment variable `TF_CONFIG`.

    Returns:
        The cluster, with this process's rank in it.

    Raises:
        ValueError: If it is missing, no JSON, or any part is missing, of a wrong type, out of range, or given twice.

    >>> check_cluster({"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 1}}).rank
    1
    >>> check_cluster({"cluster": {"worker": ["a:2222", "a:2222", "b"]}, "task": {"type": "worker", "index": 3}})
    Traceback (most recent call last):
    ...
    ValueError: TF_CONFIG: `cluster.worker[1]` must be an address of its own, got 'a:2222'. worker[0] has it.
    TF_CONFIG: `cluster.worker[2]` must be 'host:port', got 'b'. Add the port.
    TF_CONFIG: `task.index` must be from 0 to 2, got 3. The cluster has 3 of 'worker'.
    """
    given = _parse(config)
    with Refusals(OWNER) as refusals:
        jobs = _jobs(refusals, given)
        task = _task(refusals, given, jobs)
    has_chief = "chief" in jobs
    addresses = (*jobs.get("chief", ()), *jobs.get("worker", ()))
    rank = task["index"] + (has_chief and task["type"] == "worker")
    return Cluster(addresses, rank, has_chief)


def is_configured() -> bool:
    """Whether the environment variable `TF_CONFIG` holds anything."""
    return bool(os.environ.get(OWNER, "").strip())


def _parse(config: Any) -> Mapping[str, Any]:
    """The dict that was given, or refuses at once: without it nothing else can be checked."""
    if config is None:
        if not is_configured():
            rule = "must be set on every worker"
            raise ValueError(refusal(OWNER, OWNER, rule, words("nothing"), _EXAMPLE))
        config = os.environ[OWNER]
    if isinstance(config, str):
        try:
            config = json.loads(config)
        except ValueError as error:
            fix = f"{error}. {_EXAMPLE}"
            raise ValueError(refusal(OWNER, OWNER, "must be JSON", config, fix)) from error
    if not isinstance(config, Mapping):
        raise ValueError(refusal(OWNER, OWNER, "must be an object with 'cluster' and 'task'", config, _EXAMPLE))
    return config


def _part(refusals: Refusals, given: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """The object under a key; records when there is none."""
    part = given.get(key)
    if isinstance(part, Mapping) and part:
        return part
    others = [str(other) for other in given if other not in ("cluster", "task")]
    fix = near(key, others) if part is None and near(key, others).startswith("Did") else _EXAMPLE
    refusals.add(key, "must be an object that is not empty", words("nothing") if part is None else part, fix)
    return {}


def _jobs(refusals: Refusals, given: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Addresses by job, of the jobs that train."""
    cluster, found = _part(refusals, given, "cluster"), {}
    for job, addresses in cluster.items():
        if job not in _JOBS:
            fix = _OTHERS.get(job) or near(str(job), _JOBS)
            refusals.add(f"cluster.{job}", "is not a job that trains", addresses, fix)
        elif not isinstance(addresses, list | tuple) or not addresses:
            refusals.add(f"cluster.{job}", "must be a list of at least one 'host:port'", addresses)
        else:
            found[job] = list(addresses)
    if len(found.get("chief", ())) > 1:
        refusals.add("cluster.chief", "must be one address", found["chief"], "Move the others to 'worker'.")
    _check_addresses(refusals, found)
    return found


def _check_addresses(refusals: Refusals, jobs: Mapping[str, list[Any]]) -> None:
    """Records addresses that are no 'host:port', given twice, or local to one machine among others."""
    places: dict[str, str] = {}
    local: dict[str, bool] = {}
    for place, address in _each(jobs):
        fault = address_fault(address)
        if fault:
            refusals.add(f"cluster.{place}", fault[0], address, fault[1])
            continue
        host, _, port = address.lower().rpartition(":")
        local[place] = host in _LOOPBACK
        key = f"{'localhost' if local[place] else host}:{int(port)}"
        if key in places:
            refusals.add(f"cluster.{place}", "must be an address of its own", address, f"{places[key]} has it.")
        places.setdefault(key, place)
    if len(set(local.values())) > 1:
        inside = [place for place, is_local in local.items() if is_local]
        fix = "Other machines cannot reach 'localhost'; name this machine as they know it."
        refusals.add("cluster", "must not mix this machine's own names with others", words(", ".join(inside)), fix)


def _each(jobs: Mapping[str, list[Any]]) -> Iterator[tuple[str, Any]]:
    """Every address with its place, such as `worker[1]`."""
    for job, addresses in jobs.items():
        for index, address in enumerate(addresses):
            yield f"{job}[{index}]", address


def address_fault(address: Any) -> tuple[str, str] | None:
    """The rule that an address breaks and its fix, or None.

    >>> address_fault("machine:port")
    ('must end in a port number', '')
    >>> address_fault("machine:2222") is None
    True
    """
    if not isinstance(address, str):
        return "must be a string 'host:port'", ""
    host, colon, port = address.rpartition(":")
    form = "must be 'host:port'"
    faults = {
        (form, "Add the port."): not colon,
        ("must name a host before the port", ""): not host,
        (form, "Leave out scheme and path."): "/" in address,
        (form, "Leave out spaces."): any(letter.isspace() for letter in address),
        (form, "Put an IPv6 host in brackets."): ":" in host and not (host.startswith("[") and host.endswith("]")),
        ("must end in a port number", ""): not (port.isascii() and port.isdecimal()),
    }
    for fault, broken in faults.items():
        if broken:
            return fault
    return None if 1 <= int(port) <= 65535 else ("must have a port from 1 to 65535", "")


def _task(refusals: Refusals, given: Mapping[str, Any], jobs: Mapping[str, list[Any]]) -> Mapping[str, Any]:
    """The task, which says who this process is."""
    task = _part(refusals, given, "task")
    if not task:
        return task
    job, index = task.get("type"), task.get("index")
    if job is None:
        refusals.add("task.type", "must say what this process is", words("nothing"), "Use 'worker' or 'chief'.")
    elif job not in _JOBS:
        fix = _OTHERS.get(str(job)) or near(str(job), _JOBS)
        refusals.add("task.type", "is not a job that trains", job, fix)
    elif jobs and job not in jobs:
        refusals.add("task.type", "must be a job of the cluster", job, f"The cluster has {', '.join(jobs)}.")
    if index is None:
        fix = "Give each process its own place in the list, from 0."
        refusals.add("task.index", "must say which one this process is", words("nothing"), fix)
    elif not isinstance(index, int) or isinstance(index, bool):
        refusals.add("task.index", "must be a whole number", index, "Write it without quotes.")
    else:
        number = len(jobs.get(str(job), ()))
        if number and not 0 <= index < number:
            fix = f"The cluster has {number} of {job!r}."
            refusals.add("task.index", f"must be from 0 to {number - 1}", index, fix)
    return task
