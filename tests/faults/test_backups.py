"""What lies on the disk: whole or not there; damage is seen; foreign files are left alone."""

import errno
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from faults.disks import fill, make_read_only, small_disk

import kmtl
from kmtl.callbacks import BackupAndRestore
from kmtl.callbacks.backup_files import Backups, read_arrays, write_arrays

HERE = pathlib.Path(__file__).parent


def holding(number, size=50):
    """Writes one array that tells its number."""

    def write(path):
        write_arrays(path / "state.npz", [np.full(size, number), np.float32(number)])
        return {"number": number}

    return write


def saved(folder, numbers, **options):
    backups = Backups(folder, **options)
    for number in numbers:
        backups.save(number, holding(number))
    return backups


def numbers(backups):
    """Numbers of the good ones, newest first, after a look at what they hold."""
    found = [(meta["number"], read_arrays(path / "state.npz")) for path, meta in backups.good()]
    assert all((array == number).all() for number, arrays in found for array in arrays)
    return [number for number, _ in found]


def listing(folder):
    """All files and what they hold."""
    return {str(path.relative_to(folder)): path.is_file() and path.read_bytes() for path in folder.rglob("*")}


@pytest.mark.long
@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_a_kill_at_any_line_leaves_the_last_good_one(tmp_path, stride):
    arguments = [str(tmp_path), str(pathlib.Path(kmtl.__file__).parent), str(stride)]
    command = [sys.executable, str(HERE / "kill_inside.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 300 / stride


def test_nobody_else_reads_a_backup(tmp_path):
    saved(tmp_path, [1])
    (backup,) = tmp_path.iterdir()
    assert backup.stat().st_mode & 0o777 == 0o700


def test_the_newest_are_kept_in_order(tmp_path):
    backups = saved(tmp_path, [3, 20, 100])
    assert numbers(backups) == [100, 20]
    backups.save(100, holding(100))
    assert [path.name for path, _ in backups.good()] == ["backup-00000000000100.1", "backup-00000000000100"]
    backups.delete()
    assert not tmp_path.exists()


def test_a_damaged_newer_one_does_not_push_out_a_good_one(tmp_path):
    backups = saved(tmp_path, [1, 9], keep=2)
    next(tmp_path.glob("*9/state.npz")).unlink()
    backups.keep = 1
    backups.save(5, holding(5))
    with pytest.warns(RuntimeWarning, match="backup-00000000000009: state.npz is missing"):
        assert numbers(backups) == [5]
    saved(tmp_path, [9, 10], keep=1)
    assert numbers(backups) == [10]


def truncated(path):
    os.truncate(path, path.stat().st_size - 1)


def emptied(path):
    os.truncate(path, 0)


def grown(path):
    path.write_bytes(path.read_bytes() + b"\0")


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = [truncated, emptied, grown, flipped, pathlib.Path.unlink]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("name", ["state.npz", "meta.json", "manifest.json"])
def test_a_damaged_one_is_told_and_passed_over(tmp_path, name, damage):
    backups = saved(tmp_path, [1, 2])
    damage(tmp_path / "backup-00000000000002" / name)
    # What is wrong with a manifest may look as if it were wrong with another file.
    named = ".*" if name == "manifest.json" else name
    with pytest.warns(RuntimeWarning, match=f"backup-00000000000002: {named} .*; backup-00000000000001 is used"):
        assert numbers(backups) == [1]


def test_no_flipped_bit_is_overseen(tmp_path):
    backups = saved(tmp_path, [1, 2])
    generator = np.random.default_rng(0)
    files = sorted((tmp_path / "backup-00000000000002").iterdir())
    for _ in range(200):
        path = files[generator.integers(len(files))]
        whole = path.read_bytes()
        content = bytearray(whole)
        content[generator.integers(len(content))] ^= 1 << generator.integers(8)
        path.write_bytes(content)
        with pytest.warns(RuntimeWarning, match="passed over"):
            assert numbers(backups) == [1]
        path.write_bytes(whole)
    assert numbers(backups) == [2, 1]


@pytest.mark.parametrize("content", ['{"format": 2}', "[]", "3", '{"format": 1}', '{"format": 1, "files": [1]}'])
def test_a_manifest_that_is_not_known(tmp_path, content):
    backups = saved(tmp_path, [1, 2])
    (tmp_path / "backup-00000000000002" / "manifest.json").write_text(content)
    with pytest.warns(RuntimeWarning, match="format 2 is not known" if "2" in content else "manifest.json"):
        assert numbers(backups) == [1]


def test_nothing_good_is_an_error_and_nothing_is_deleted(tmp_path):
    backups = saved(tmp_path, [1, 2])
    truncated(tmp_path / "backup-00000000000001" / "state.npz")
    (tmp_path / "backup-00000000000002" / "meta.json").unlink()
    before = listing(tmp_path)
    with pytest.raises(OSError, match=r"backup-00000000000002: meta.json is missing; backup-00000000000001: state.npz"):
        next(backups.good())
    assert listing(tmp_path) == before


def test_foreign_files_are_left_alone(tmp_path):
    for name in ("backup-mine", "backup-1", "backup-00000000000001.old", ".writing-by-hand"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "notes.txt").write_text("mine")
    (tmp_path / "backup-00000000000099").write_text("a file")
    before = listing(tmp_path)
    backups = Backups(tmp_path, keep=1)
    backups.prepare()
    for number in (1, 2, 3):
        backups.save(number, holding(number))
    assert numbers(backups) == [3]
    backups.delete()
    assert listing(tmp_path) == before


def test_what_a_killed_process_left_is_cleared_away(tmp_path):
    backups = saved(tmp_path, [1])
    (tmp_path / "backup-00000000000001").rename(tmp_path / ".kmtl-writing-123")
    backups.prepare()
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("left", [0, 4096, 8192, 65536, 131072, 163840, 167936])
def test_a_full_disk_keeps_the_last_good_one(tmp_path, left):
    with small_disk(tmp_path / "disk", "1m", pytest.skip) as disk:
        backups = saved(disk / "backups", [1])
        ballast = fill(disk, left)
        before = listing(disk / "backups")
        with pytest.raises(
            OSError, match=r"step 2 could not be written .*No space left .*backup-00000000000001"
        ) as told:
            backups.save(2, holding(2, size=20_000))
        assert told.value.errno == errno.ENOSPC
        assert listing(disk / "backups") == before
        ballast.unlink()
        backups.save(3, holding(3, size=20_000))
        assert numbers(backups) == [3, 1]


def test_errors_that_are_no_faults_of_the_disk_pass(tmp_path):
    backups = saved(tmp_path, [1])

    def wrong(path):
        (path / "half").write_text("x")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        backups.save(2, wrong)
    assert [path.name for path in tmp_path.iterdir()] == ["backup-00000000000001"]


def test_a_read_only_folder_is_refused(tmp_path):
    with small_disk(tmp_path / "disk", "64k", pytest.skip) as disk:
        make_read_only(disk)
        with pytest.raises(OSError, match=r"must be a folder that can be written.*Read-only file system"):
            Backups(disk).prepare()


def test_a_path_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "backups"):
        with pytest.raises(OSError, match="must be a folder that can be written"):
            Backups(folder).prepare()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backup_dir": ""}, "`backup_dir` must name a folder"),
        ({"save_freq": 0}, "`save_freq` must be 'epoch' or a number"),
        ({"save_freq": True}, "`save_freq`"),
        ({"save_freq": "batch"}, "`save_freq`"),
        ({"keep": 0}, "`keep` must be a whole number of at least 1"),
        ({"keep": 1.5}, "`keep`"),
    ],
)
def test_wrong_arguments(options, words):
    with pytest.raises(ValueError, match=words):
        BackupAndRestore(**{"backup_dir": "backups", **options})


def test_arrays_of_every_kind_come_back(tmp_path):
    import ml_dtypes

    given = [np.arange(3, dtype="int8"), np.float16(0.1), np.array([], "float64"), np.array([True]), np.array("text")]
    given += [np.arange(4).astype(ml_dtypes.bfloat16), np.array(1.5).astype(ml_dtypes.bfloat16)]
    write_arrays(tmp_path / "all.npz", given)
    for one, other in zip(given, read_arrays(tmp_path / "all.npz"), strict=True):
        assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
