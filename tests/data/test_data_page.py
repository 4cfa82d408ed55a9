"""The blocks of docs/data.md run, and give what they say."""

import keras
import numpy as np
import pages
import pytest


@pytest.mark.long
def test_the_blocks_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(1)
    names = pages.run("data.md")
    lines = capsys.readouterr().out.splitlines()
    rows, held, share, share_held = lines[0].split()
    assert abs(int(rows) - 192) <= 4
    assert int(rows) + int(held) == 240
    assert abs(float(share) - float(share_held)) < 0.05
    assert lines[1] == "{'train': 168, 'validation': 36, 'test': 36}"
    assert lines[2].startswith("192 48; 192 48; ")
    assert lines[2].endswith("; (4, 16, 16, 3)")
    assert lines[3].startswith("10 (8, 3) ['angle', 'digit']")
    assert lines[4] == "60 ['manifest.json', 'shard-00000.tfrecord', 'shard-00001.tfrecord']"
    assert np.isfinite(names["history"].history["val_age_mae"]).all()
