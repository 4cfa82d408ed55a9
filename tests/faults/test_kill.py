"""A training killed at any moment and started again ends as one that was not killed: equal to the last bit."""

import concurrent.futures
import json
import time

import numpy as np
import pytest
from faults import killing
from faults.program import EPOCHS, STEPS

from kmtl.distribution import Cluster
from kmtl.distribution.launching import free_ports

TOTAL = EPOCHS * STEPS
#: Two workers, of which one is killed at moments.
PAIRS = {
    "one of two workers": [(TOTAL // 2, 0.03)],
    "one of two workers, often": killing.moments(np.random.default_rng(7), 6, TOTAL),
}
MANY = ["in_memory", "dataset", "stopped_early", "mixed_float16", "executions", "devices"]


@pytest.fixture
def workers():
    with concurrent.futures.ThreadPoolExecutor() as pool:
        yield pool


def resumed(variant, folder, moments):
    """Kills at moments, then lets it end; the result, and at how many moments it was still running."""
    kills = sum(killing.killed(variant, folder, moment) for moment in moments)
    return killing.finished(variant, folder), kills


def assert_equal(variant, tmp_path, moments, pool):
    whole = pool.submit(killing.finished, variant, tmp_path / "whole")
    found, kills = resumed(variant, tmp_path / "killed", moments)
    assert killing.different(whole.result(), found) == []
    assert not (tmp_path / "killed" / "backups").exists()
    return kills


@pytest.mark.long
@pytest.mark.parametrize("variant", ["mix", *(pytest.param(name, marks=pytest.mark.slow) for name in [*MANY, *PAIRS])])
def test_killed_at_random(variant, tmp_path, workers):
    """Before the first step and somewhere later; the other variants differ in what is saved, which other tests see."""
    if variant in PAIRS:
        check_one_of_two_workers(tmp_path, PAIRS[variant])
        return
    generator = np.random.default_rng(list(variant.encode()))
    last = 30 if variant == "stopped_early" else TOTAL
    assert assert_equal(variant, tmp_path, killing.moments(generator, 2, last), workers) == 2


def pair(folder, other=None):
    """Two workers that share a folder, or two folders that they should share."""
    addresses = tuple(f"localhost:{port}" for port in free_ports(2))
    configs = [{"TF_CONFIG": json.dumps(Cluster(addresses, rank).config)} for rank in range(2)]
    folders = [folder, other or folder]
    return [killing.Run(["workers", own], own, config) for own, config in zip(folders, configs, strict=True)]


def both_finished(folder):
    """Runs two workers to their end; their results."""
    for code, errors in [run.end() for run in pair(folder)]:
        assert code == 0, errors[-3000:]
    return [killing.result(folder, rank) for rank in range(2)]


def one_killed(folder, victim, moment):
    """Kills one of two workers; the other must end by itself and name it."""
    runs, (step, seconds) = pair(folder), moment
    other = runs[1 - victim]
    line = runs[victim].until(lambda text: killing.step_of(text) >= step if step else text == "joined")
    time.sleep(seconds)
    assert line is not None
    assert runs[victim].kill()
    begin = time.monotonic()
    code, errors = other.end()
    assert time.monotonic() - begin < 60
    assert code != 0
    named = f"RuntimeError: worker {victim} (localhost:" in errors
    # While variables are made, in the user's own lines, TensorFlow speaks for itself.
    assert named or (not step and f"/job:worker/replica:0/task:{victim}" in errors), errors[-3000:]


def check_one_of_two_workers(tmp_path, moments):
    """Two workers of which one is killed at moments end as two that were not."""
    whole = both_finished(tmp_path / "whole")
    assert killing.different(*whole) == []
    for number, moment in enumerate(moments):
        one_killed(tmp_path / "killed", number % 2, moment)
    first, second = [run.end() for run in pair(tmp_path / "killed", tmp_path / "other")]
    assert "worker 1 (localhost:" in first[1]
    assert "`backup_dir` must be a folder that all machines share, got none here and step" in second[1]
    for found in both_finished(tmp_path / "killed"):
        assert killing.different(found, whole[0]) == []
