"""Many workers on this machine, for trying out: `python -m kmtl.distribution --workers 2 train.py`."""

import argparse
import os
import random
import shutil
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import tensorflow as tf

from kmtl._checks import Refusals, is_number, is_whole, refusal
from kmtl.distribution import shared_token
from kmtl.distribution.clusters import Cluster, check_cluster
from kmtl.distribution.workers import Worker

_OWNER = "launch"
_POLL = 0.05
# Seconds that workers have to end by themselves when they are told to.
_GRACE = 3.0
# Below the ports that systems give to outgoing connections, which would take one between now and the worker's start.
_PORTS = range(20000, 32000)


def launch(
    script: str | os.PathLike[str] | Sequence[str],
    workers: int = 2,
    *,
    timeout: float | None = None,
    ports: Sequence[int] | None = None,
    env: Mapping[str, str] | None = None,
) -> None:
    """Runs a training program as several workers on this machine, and returns when all have ended well.

    Each worker gets its `TF_CONFIG`, so the program is the one for a real cluster. Its lines come out
    with `[worker 0]` before them, and all share a token that nobody else knows. GPUs are shared out evenly; with fewer
    GPUs than workers all run on the CPU.
    When one worker fails, or this program is interrupted, all others are stopped; on Linux they
    end with this program even if it is killed.

    Args:
        script: A Python file, or a command as a list; a list that starts with a `.py` file runs by this Python.
        workers: How many, at least 1.
        timeout: Seconds after which all are stopped; None waits without end.
        ports: A free port for each worker; None finds them.
        env: Variables that the workers get besides this program's own.

    Raises:
        ValueError: If an argument is not valid.
        RuntimeError: If a worker fails: tells which, how, and its last lines.
        TimeoutError: If they have not ended in time.

    >>> launch([sys.executable, "-c", "pass"], workers=1)
    """
    _check(workers, timeout, ports)
    addresses = tuple(f"localhost:{port}" for port in ports or free_ports(workers))
    command, shares = _command(script), _shares(workers, env or {})
    running: list[Worker] = []
    common = {shared_token.VARIABLE: shared_token.new_token(), **os.environ, "PYTHONUNBUFFERED": "1"}
    try:
        for rank in range(workers):
            environment = {**common, **shares[rank], **(env or {})}
            running.append(Worker(command, Cluster(addresses, rank), environment))
        _wait(running, timeout)
    finally:
        _stop(running)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command `python -m kmtl.distribution --workers 2 train.py ...`; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m kmtl.distribution", description="Runs a training program as several workers on this machine."
    )
    parser.add_argument("--workers", type=int, default=2, help="how many (default: 2)")
    parser.add_argument("--timeout", type=float, default=None, help="seconds after which all are stopped")
    parser.add_argument("script", help="the Python file, or a program")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    given = parser.parse_args(arguments)
    try:
        launch([given.script, *given.arguments], given.workers, timeout=given.timeout)
    except (ValueError, RuntimeError, OSError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 0


def free_ports(number: int) -> list[int]:
    """Finds ports that no program on this machine listens on.

    >>> len(set(free_ports(3)))
    3
    """
    found: list[int] = []
    for port in random.SystemRandom().sample(_PORTS, len(_PORTS)):
        if len(found) == number:
            break
        try:
            with socket.create_server(("", port)):
                found.append(port)
        except OSError:
            continue
    return found


def _check(workers: int, timeout: float | None, ports: Sequence[int] | None) -> None:
    with Refusals(_OWNER) as refusals:
        if not is_whole(workers) or workers < 1:
            refusals.add("workers", "must be a whole number of at least 1", workers)
        if timeout is not None and (not is_number(timeout) or timeout <= 0):
            refusals.add("timeout", "must be a positive number of seconds or None", timeout)
        if ports is not None and is_whole(workers) and len(ports) != workers:
            refusals.add("ports", f"must be {workers} ports, one a worker", list(ports))
    if ports is not None:
        config = {"worker": [f"localhost:{port}" for port in ports]}
        check_cluster({"cluster": config, "task": {"type": "worker", "index": 0}})


def _command(script: str | os.PathLike[str] | Sequence[str]) -> list[str]:
    """The command, with this Python before a script."""
    command = [os.fspath(script)] if isinstance(script, str | os.PathLike) else [str(part) for part in script]
    if not command:
        raise ValueError(refusal(_OWNER, "script", "must be a file or a command", script))
    is_script = command[0].endswith(".py")
    if not (Path(command[0]).is_file() if is_script else shutil.which(command[0])):
        rule = "must be a file" if is_script else "must be a program that is there"
        raise ValueError(refusal(_OWNER, "script", rule, command[0]))
    return [sys.executable, *command] if is_script else command


def _shares(workers: int, env: Mapping[str, str]) -> list[dict[str, str]]:
    """Which GPUs each worker sees; the user's own choice goes first."""
    name = "CUDA_VISIBLE_DEVICES"
    gpus = len(tf.config.list_physical_devices("GPU"))
    known = os.environ.get(name, ",".join(map(str, range(gpus)))).split(",")
    if not gpus or name in env:
        return [{}] * workers
    each = gpus // workers
    return [{name: ",".join(known[rank * each : (rank + 1) * each]) or "-1"} for rank in range(workers)]


def _wait(running: Sequence[Worker], timeout: float | None) -> None:
    """Returns when all have ended well; raises when one has not."""
    end = float("inf") if timeout is None else time.monotonic() + timeout
    while any(worker.code is None for worker in running):
        if any(worker.code for worker in running):
            break
        if time.monotonic() > end:
            late = ", ".join(f"worker {worker.rank}" for worker in running if worker.code is None)
            raise TimeoutError(f"launch: {late} had not ended after {timeout:g} s and were stopped.")
        time.sleep(_POLL)
    failed = [worker for worker in running if worker.code]
    if failed:
        _stop(running)
        raise RuntimeError("\n".join(_failure_message(worker) for worker in failed))


def _failure_message(worker: Worker) -> str:
    """How a worker ended, with its last lines."""
    lines = "\n".join(f"    {line}" for line in worker.errors) or "    (none)"
    return f"launch: worker {worker.rank} {worker.end}; the others were stopped. Its last error lines:\n{lines}"


def _stop(running: Sequence[Worker]) -> None:
    """Ends all, politely first, with whatever they have started."""
    for worker in running:
        worker.stop(signal.SIGTERM)
    end = time.monotonic() + _GRACE
    while any(worker.code is None for worker in running) and time.monotonic() < end:
        time.sleep(_POLL)
    for worker in running:
        worker.stop(signal.SIGKILL)
        worker.finish()
