"""Workers on one machine: real processes, small programs."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from kmtl.distribution import check_cluster, launch
from kmtl.distribution.launching import main

# Says who it is, waits for all others to have said so, and ends as it is told.
PROGRAM = """
import json, os, pathlib, signal, subprocess, sys, time
folder, ends = pathlib.Path(sys.argv[1]), json.loads(sys.argv[2])
config = json.loads(os.environ["TF_CONFIG"])
index = config["task"]["index"]
child = subprocess.Popen(["sleep", "300"]) if ends.get("child") else None
(folder / f"{index}.tmp").write_text(json.dumps([os.getpid(), child and child.pid, config]))
(folder / f"{index}.tmp").rename(folder / f"{index}.json")
while len(list(folder.glob("*.json"))) < len(config["cluster"]["worker"]):
    time.sleep(0.01)
print("out of", index)
print("error of", index, os.environ.get("EXTRA", ""), file=sys.stderr)
end = ends.get(str(index), ends.get("all", 0))
if end == "sleep":
    time.sleep(300)
if end == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(300)
if end < 0:
    os.kill(os.getpid(), -end)
sys.exit(end)
"""


@pytest.fixture
def program(tmp_path):
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "notes"
    made.mkdir()
    return made


def notes(folder):
    """What the workers wrote: process, child, TF_CONFIG."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def alive(process):
    """Whether a process runs; one that has ended but was not yet collected does not."""
    try:
        with open(f"/proc/{process}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def gone(folder, seconds=10.0):
    """Whether all processes end in time."""
    processes = [process for pair in notes(folder) for process in pair[:2] if process]
    end = time.monotonic() + seconds
    while any(map(alive, processes)) and time.monotonic() < end:
        time.sleep(0.02)
    return not any(map(alive, processes))


def test_all_end_well(program, folder, capsys):
    launch([program, folder, "{}"], workers=3, env={"EXTRA": "more"}, timeout=60)
    clusters = [check_cluster(config) for _, _, config in notes(folder)]
    assert [cluster.rank for cluster in clusters] == [0, 1, 2]
    assert len({cluster.addresses for cluster in clusters}) == 1
    out, error = capsys.readouterr()
    assert sorted(out.splitlines()) == [f"[worker {rank}] out of {rank}" for rank in range(3)]
    assert sorted(error.splitlines()) == [f"[worker {rank}] error of {rank} more" for rank in range(3)]


def test_given_ports_are_used(program, folder):
    launch([program, folder, "{}"], workers=1, ports=[28999], timeout=60)
    assert notes(folder)[0][2]["cluster"]["worker"] == ["localhost:28999"]


@pytest.mark.parametrize(("end", "words"), [(3, "ended with exit code 3"), (-9, "was killed by SIGKILL")])
def test_one_that_fails_is_named_and_stops_the_others(program, folder, end, words):
    begin = time.monotonic()
    with pytest.raises(RuntimeError, match=f"launch: worker 1 {words}; the others were stopped") as raised:
        launch([program, folder, json.dumps({"1": end, "0": "sleep", "child": True})])
    assert str(raised.value).rstrip().endswith("error of 1")
    assert "worker 0" not in str(raised.value)
    assert time.monotonic() - begin < 30.0
    assert gone(folder)


@pytest.mark.long
def test_a_worker_that_ignores_being_told_is_ended(program, folder):
    with pytest.raises(RuntimeError, match="worker 0 ended with exit code 1"):
        launch([program, folder, json.dumps({"0": 1, "1": "stubborn"})])
    assert gone(folder)


def test_a_time_limit(program, folder):
    with pytest.raises(TimeoutError, match="launch: worker 1 had not ended after 2 s"):
        launch([program, folder, json.dumps({"1": "sleep"})], timeout=2)
    assert gone(folder)


@pytest.mark.long
def test_nothing_outlives_the_one_who_started_it(program, folder, tmp_path):
    # Two at once, since each imports TensorFlow: one is interrupted, one killed.
    other = tmp_path / "others"
    other.mkdir()
    runs = {}
    for place in (folder, other):
        command = [sys.executable, "-m", "kmtl.distribution", str(program), str(place), '{"all": "sleep"}']
        runs[place] = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    end = time.monotonic() + 120
    while any(len(notes(place)) < 2 for place in runs) and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(runs[folder].pid, signal.SIGINT)
    os.kill(runs[other].pid, signal.SIGKILL)
    codes = [run.wait(timeout=30) for run in runs.values()]
    errors = [run.communicate()[1] for run in runs.values()]
    assert codes == [130, -9]
    assert "Traceback" not in errors[0]
    assert gone(folder)
    assert gone(other)


def test_the_command(program, folder, capsys):
    assert main(["--workers", "1", "--timeout", "60", str(program), str(folder), "{}"]) == 0
    assert main(["--workers", "1", str(program), str(folder), '{"0": 4}']) == 1
    assert re.search(r"python -m kmtl.distribution: launch: worker 0 ended with exit code 4", capsys.readouterr().err)
    assert main(["--workers", "0", str(program)]) == 1
    assert "`workers` must be a whole number of at least 1, got 0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("script", "options", "said"),
    [
        ("train.py", {}, "`script` must be a file, got 'train.py'"),
        (["no-such-program"], {}, "`script` must be a program that is there, got 'no-such-program'"),
        ([], {}, "`script` must be a file or a command"),
        (["true"], {"workers": 1.5}, "`workers` must be a whole number"),
        (["true"], {"timeout": 0}, "`timeout` must be a positive number"),
        (["true"], {"ports": [1]}, "`ports` must be 2 ports, one a worker"),
        (["true"], {"ports": [20000, 20000]}, "must be an address of its own"),
        (["true"], {"ports": [20000, 70000]}, "must have a port from 1 to 65535"),
    ],
)
def test_wrong_arguments_are_refused(script, options, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        launch(script, **options)
