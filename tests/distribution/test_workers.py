"""Real workers under TensorFlow: they train together, and one that dies stops the others with its name."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from kmtl.distribution.clusters import Cluster
from kmtl.distribution.launching import free_ports

HEALTH_CHECK = 3.0
# A sum of one number is the hard case: its sender waits for the dead one to fetch it, and only silence tells.
LIMIT = 30.0
PROGRAM = """
import json, os, pathlib, sys, time
import tensorflow as tf
from kmtl.distribution import worker_failure, strategy

folder, health_check = pathlib.Path(sys.argv[1]), float(sys.argv[2])
rank = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
made = strategy("multi_worker", timeout=100, health_check=health_check)
assert strategy("auto") is made
with made.scope():
    total = tf.Variable(0.0)

@tf.function
def step():
    def add():
        here = tf.distribute.get_replica_context()
        total.assign_add(here.all_reduce("SUM", tf.constant(rank + 1.0)))
    made.run(add)

try:
    for number in range(100000):
        step()
        if number == 9:
            (folder / f"{rank}.tmp").write_text(json.dumps([made.num_replicas_in_sync, float(total.numpy())]))
            (folder / f"{rank}.tmp").rename(folder / f"{rank}.json")
        time.sleep(0.02)
except Exception as error:
    told = worker_failure(error)
    if told is None:
        raise
    raise told from None
"""


def workers(folder):
    """Starts two workers, each with its errors in a file."""
    addresses = tuple(f"localhost:{port}" for port in free_ports(2))
    started = []
    for rank in range(2):
        cluster = Cluster(addresses, rank)
        with open(folder / f"{rank}.err", "w") as errors:
            command = [sys.executable, "-c", PROGRAM, str(folder), str(HEALTH_CHECK)]
            environment = {**os.environ, "TF_CONFIG": json.dumps(cluster.config)}
            started.append(subprocess.Popen(command, env=environment, stderr=errors))
    return started, addresses


def training(folder, started):
    """Waits until all train; returns what each wrote after ten steps."""
    end = time.monotonic() + 120
    while len(list(folder.glob("*.json"))) < len(started):
        assert time.monotonic() < end, [path.read_text()[-2000:] for path in folder.glob("*.err")]
        assert all(run.poll() is None for run in started), [path.read_text()[-2000:] for path in folder.glob("*.err")]
        time.sleep(0.05)
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(len(started))]


def lost(folder, victim, kind):
    """Stops one of two workers; checks that the other ends with its name in time."""
    started, addresses = workers(folder)
    try:
        found = training(folder, started)
        started[victim].send_signal(kind)
        other = 1 - victim
        assert started[other].wait(timeout=LIMIT) == 1
    finally:
        for run in started:
            run.kill()
            run.wait()
    told = pathlib.Path(folder / f"{other}.err").read_text()
    assert f"RuntimeError: worker {victim} ({addresses[victim]}) does not answer any more" in told
    assert "Restart all workers" in told
    return found, started[victim].returncode


SLOW = [(1, signal.SIGTERM), (1, signal.SIGKILL), (0, signal.SIGKILL), (1, signal.SIGSTOP)]


@pytest.mark.long
@pytest.mark.parametrize(
    ("victim", "kind"),
    [
        # The one whom the other waits for, and who does not even close its connections.
        (0, signal.SIGSTOP),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW),
    ],
)
def test_workers_train_together_and_one_that_goes_is_named(tmp_path, victim, kind):
    found, code = lost(tmp_path, victim, kind)
    # Ten steps, each adding 1 + 2, on both.
    assert found == [[2, 30.0], [2, 30.0]]
    # Who is killed while it stands still is killed by what ends the test.
    assert code == -(signal.SIGKILL if kind == signal.SIGSTOP else kind)


@pytest.mark.long
@pytest.mark.parametrize("rank", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_worker_whose_peer_dies_between_the_meeting_and_the_start_does_not_hang(rank):
    addresses = tuple(f"localhost:{port}" for port in free_ports(2))
    program = (
        "from kmtl.distribution import Cluster, joining, strategy\n"
        "joining.meet, joining._START = (lambda *given: None), 2.0\n"
        f"strategy('multi_worker', cluster=Cluster({addresses}, {rank}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=90, check=False)
    assert done.returncode == (1 if rank else -signal.SIGKILL)
    expected = "worker 0 (" if rank else "strategy: TensorFlow has not started within 2 s after all workers had met"
    assert expected in done.stderr
