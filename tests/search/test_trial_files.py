"""The files of a search: whole or not there."""

import os
import pathlib

import pytest

from kmtl.search.trials import write_json


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path, monkeypatch):
    write_json(tmp_path / "search.json", [1])

    def full(path, *_, **__):
        pathlib.Path(path).touch()
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        # A disk that is full takes names all the same.
        patch.setattr(pathlib.Path, "write_text", full)
        with pytest.raises(OSError, match=r"must take what is written, got .*search.json \(No space left on device\)"):
            write_json(tmp_path / "search.json", [1, 2])
    assert os.listdir(tmp_path) == ["search.json"]
    assert (tmp_path / "search.json").read_text() == "[1]"
