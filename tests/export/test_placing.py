"""Versions: whole ones only, whatever happens to the export."""

import errno
import os
import resource
import stat
import time

import pytest

import kmtl.export
from kmtl.export import placing


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_version_of_ones_own_choice(small, tmp_path):
    assert kmtl.export.saved_model(small, tmp_path, 20261121) == tmp_path / "20261121"
    assert kmtl.export.saved_model(small, tmp_path, version=3).name == "3"
    assert kmtl.export.saved_model(small, tmp_path).name == "20261122"


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("latest", "whole number of at least 1 and below 2\\*\\*63, got 'latest'"),
        (2**63, "below 2\\*\\*63, got 9223372036854775808. Servers take"),
        (2**70, "below 2\\*\\*63, got 1180591620717411303424. Servers take"),
        (0, "whole number of at least 1"),
        (-2, "whole number of at least 1"),
        (1.0, "whole number of at least 1"),
        (True, "whole number of at least 1"),
        (4, "new, got 4. Versions are never overwritten. Leave it out for 8"),
        (7, "new, got 7"),
    ],
)
def test_versions_that_no_server_finds_or_that_are_there_are_told(small, tmp_path, version, words):
    kmtl.export.saved_model(small, tmp_path, version=4)
    (tmp_path / "007").mkdir()
    with pytest.raises(ValueError, match=f"^saved_model: `version` must.*{words}"):
        kmtl.export.saved_model(small, tmp_path, version=version)
    assert names(tmp_path) == ["007", "4"]


def test_a_folder_of_something_else_is_left_alone(small, tmp_path):
    (tmp_path / "thesis.tex").touch()
    (tmp_path / "2024").mkdir()
    with pytest.raises(ValueError, match=r"^saved_model: `directory` must be empty or hold versions.*Choose a folder"):
        kmtl.export.saved_model(small, tmp_path)
    assert names(tmp_path) == ["2024", "thesis.tex"]


def test_hidden_files_are_no_content(small, tmp_path):
    (tmp_path / ".gitignore").touch()
    assert kmtl.export.saved_model(small, tmp_path).name == "1"


def test_what_a_killed_export_left_goes_once_it_is_old(tmp_path):
    old, new = tmp_path / ".writing-old", tmp_path / ".writing-new"
    for folder in (old, new):
        folder.mkdir()
        (folder / "part").touch()
    long_ago = time.time() - 2 * 24 * 60 * 60
    os.utime(old, (long_ago, long_ago))
    with placing.beside(tmp_path):
        assert ".writing-old" not in names(tmp_path)
    assert names(tmp_path) == [".writing-new"]


def test_the_second_of_two_exports_of_one_version_is_told(tmp_path):
    for place in ("first", "second"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "file").write_text(place)
    placing.place_version(tmp_path / "first", tmp_path, 5)
    with pytest.raises(FileExistsError, match="version 5 was written by another export"):
        placing.place_version(tmp_path / "second", tmp_path, 5)
    assert (tmp_path / "5" / "file").read_text() == "first"


def test_a_full_disk_is_one_clear_error_and_leaves_nothing(small, tmp_path):
    good = kmtl.export.saved_model(small, tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Files above this size fail as they do on a full disk; Python ignores the signal.
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, before[1]))
    try:
        with pytest.raises(OSError, match=r"saved_model: could not write below .*nothing was left there") as told:
            kmtl.export.saved_model(small, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert told.value.errno == errno.EFBIG
    assert names(tmp_path) == [good.name]
    assert kmtl.export.saved_model(small, tmp_path).name == "2"


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_folder_without_permission_is_told(small, tmp_path):
    locked = tmp_path / "locked"
    locked.mkdir()
    locked.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(ValueError, match="`directory` must lie in a folder that you may write to"):
        kmtl.export.saved_model(small, locked / "model")
