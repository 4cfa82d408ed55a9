"""Only whole versions are ever seen, whenever an export ends and however many run."""

import pathlib
import random
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

SCRIPT = pathlib.Path(__file__).parent / "exporting.py"


KILLS = 6


@pytest.fixture(scope="module")
def exports(tmp_path_factory):
    """Where some exports were killed, where others ran at once, and the seed of the moments."""
    killed, together = (tmp_path_factory.mktemp(name) for name in ("killed", "together"))
    seed = random.SystemRandom().randrange(10**6)
    command = [sys.executable, SCRIPT, *map(str, (killed, KILLS, seed, together, 2, 3))]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return killed, together, seed


def read(version):
    """The number that every output of every signature of a version gives, and that its files agree on."""
    loaded = tf.saved_model.load(str(version))
    found = set()
    for name in ("serving_default", "width", "depth"):
        for values in loaded.signatures[name](row=tf.ones((2, 3))).values():
            found |= set(np.unique(values).tolist())
    assert (version / "assets.extra" / "kmtl.json").is_file()
    assert (version / "assets.extra" / "model_card.md").is_file()
    (number,) = found
    return number


@pytest.mark.long
def test_kills_leave_whole_versions_only(exports):
    killed, _, seed = exports
    shown = sorted(path.name for path in killed.iterdir() if not path.name.startswith("."))
    assert sorted(map(int, shown)) == list(range(1, len(shown) + 1)), seed
    assert len(shown) >= KILLS
    # The killed ones left their scratch folders, so the kills did hit the middle of an export.
    hidden = [path.name for path in killed.iterdir() if path.name.startswith(".")]
    assert hidden
    assert all(name.startswith(".writing-") for name in hidden)
    numbers = [read(killed / name) for name in shown]
    assert len(set(numbers)) == len(numbers), seed


@pytest.mark.long
def test_exports_at_once_give_a_version_each(exports):
    _, together, _ = exports
    assert sorted(path.name for path in together.iterdir()) == ["1", "2", "3", "4", "5", "6"]
    assert sorted(read(path) for path in together.iterdir()) == [0.0, 1.0, 2.0, 100.0, 101.0, 102.0]
