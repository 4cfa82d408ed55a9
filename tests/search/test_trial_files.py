"""The files of a search: whole or not there."""

import os
import resource

import pytest

from kmtl.search.trials import write_json


def test_a_file_that_cannot_be_written_is_named_and_leaves_nothing(tmp_path):
    write_json(tmp_path / "search.json", [1])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # The system takes no more than so many bytes a file: a disk that is full in the middle of one.
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        with pytest.raises(OSError, match=r"must take what is written, got .*search.json \(File too large\)"):
            write_json(tmp_path / "search.json", list(range(100)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == ["search.json"]
    assert (tmp_path / "search.json").read_text() == "[1]"
