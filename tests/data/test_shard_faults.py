"""What can go wrong with shards: each is one clear error that names the file, and nothing half-written is left."""

import itertools
import json
import os
import pathlib
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmtl
from kmtl.data import check_shards, from_shards, write_shards
from kmtl.data.shards import scratch_folders
from kmtl.data.shards.manifests import FORMATS
from kmtl.feeding.errors import explain_error
from kmtl.feeding.resume import transform_stream

TASKS = [kmtl.Classification("digit", classes=10)]
ROWS, SHARDS = 400, 4


def examples(count=ROWS):
    """Long records that tell themselves apart, so that one can be found in a file."""
    for number in range(count):
        yield np.full(50, number, "int32"), {"digit": number % 10}


@pytest.fixture(params=FORMATS)
def shards(request, tmp_path):
    return write_shards(examples(), tmp_path / "set", shards=SHARDS, format=request.param)


def file_of(folder, place):
    return next(folder.glob(f"shard-{place:05d}.*"))


def corrupt(folder, number):
    """Changes bytes in the middle of one example's record; the file keeps its size."""
    path = file_of(folder, number % SHARDS)
    content = path.read_bytes()
    start = content.index(np.full(50, number, "int32").tobytes())
    path.write_bytes(content[: start + 8] + b"\xff" * 4 + content[start + 12 :])
    return path


def model():
    inputs = keras.Input((50,), dtype="int32")
    features = keras.layers.Lambda(lambda x: keras.ops.cast(x, "float32") / ROWS)(inputs)
    built = kmtl.MultiTaskModel.from_features(inputs, keras.layers.Dense(2)(features), TASKS)
    built.compile("sgd")
    return built


def test_a_truncated_shard_is_refused_before_training(shards):
    path = file_of(shards, 2)
    size = path.stat().st_size
    os.truncate(path, size - 1)
    said = rf"the whole shard {path.name}, got {size - 1} bytes where {size} were written. Restore the file"
    with pytest.raises(ValueError, match=said):
        from_shards(shards, TASKS)
    with pytest.raises(OSError, match=said):
        check_shards(shards)


def test_every_missing_shard_is_named(shards):
    gone = [file_of(shards, 0), file_of(shards, 3)]
    for path in gone:
        path.unlink()
    with pytest.raises(ValueError, match="from_shards") as caught:
        from_shards(shards, TASKS)
    lines = str(caught.value).splitlines()
    assert [path.name in line and "got no file" in line for path, line in zip(gone, lines, strict=True)] == [True, True]


def test_a_corrupt_record_is_named_by_file_and_number(shards):
    path = corrupt(shards, 205)
    other = corrupt(shards, 6)
    with pytest.raises(OSError, match="check_shards") as caught:
        check_shards(shards)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert f"the whole shard {path.name}, got record {205 // SHARDS} corrupt" in lines[0]
    assert f"the whole shard {other.name}, got record {6 // SHARDS} corrupt" in lines[1]


@pytest.mark.long
def test_a_corrupt_record_met_in_training_is_explained(shards):
    path = corrupt(shards, 205)
    data = from_shards(shards, TASKS, shuffle=20)
    changed = transform_stream(data, lambda batches: batches.map(lambda x, y: (x, y)))
    said = f"{path.name}, got record {205 // SHARDS} corrupt"
    with pytest.raises(OSError, match=said) as caught:
        model().fit(data, check=False, verbose=0)
    assert isinstance(caught.value.__cause__, tf.errors.OpError)
    with pytest.raises(tf.errors.OpError) as caught:
        data.reduce(0, lambda count, *_: count + 1)
    for dataset in (data, changed):
        error = explain_error(caught.value, dataset)
        assert isinstance(error, OSError)
        assert said in str(error)
    assert explain_error(caught.value, data.take(3)) is caught.value
    other = ValueError("something else")
    assert explain_error(other, data) is other


@pytest.mark.long
@pytest.mark.parametrize("method", ["evaluate", "predict"])
def test_a_corrupt_record_met_in_an_evaluation_is_explained(shards, method):
    path = corrupt(shards, 205)
    with pytest.raises(OSError, match=f"{path.name}, got record {205 // SHARDS} corrupt") as caught:
        getattr(model(), method)(from_shards(shards, TASKS), verbose=0)
    assert isinstance(caught.value.__cause__, tf.errors.OpError)


def test_a_shard_that_goes_while_training_is_explained(tmp_path):
    shards = write_shards(examples(), tmp_path / "set", shards=SHARDS)
    data = from_shards(shards, TASKS)
    file_of(shards, 1).unlink()
    with pytest.raises(OSError, match=r"shard-00001.tfrecord, got no file"):
        model().fit(data, check=False, verbose=0)


def test_an_error_on_whole_shards_stays_what_it_is(shards):
    error = tf.errors.DataLossError(None, None, "from elsewhere")
    assert explain_error(error, from_shards(shards, TASKS)) is error


def test_records_of_something_else_are_found(tmp_path):
    shards = write_shards(examples(), tmp_path / "set", shards=SHARDS)
    path = file_of(shards, 1)
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    records[7] = b"\xff" * len(records[7])
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record)
    with pytest.raises(
        OSError, match=r"shard-00001.tfrecord, got record 7 corrupt: it is no tf.train.Example. Restore"
    ):
        check_shards(shards)


def test_fewer_records_than_the_manifest_says(tmp_path):
    shards = write_shards(examples(), tmp_path / "set", shards=1)
    path = file_of(shards, 0)
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records[:-1]:
            writer.write(record)
    manifest = json.loads((shards / "manifest.json").read_text())
    manifest["bytes"] = manifest["shards"][0]["bytes"] = path.stat().st_size
    (shards / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(OSError, match="got 399 records where 400 were written"):
        check_shards(shards)


def changed(**entries):
    return lambda text: json.dumps({**json.loads(text), **entries})


MANIFESTS = {
    "half": (lambda text: text[: len(text) // 2], "must hold a whole manifest.json, got JSONDecodeError"),
    "empty": (lambda _: "", "must hold a whole manifest.json"),
    "a list": (lambda _: "[1, 2]", "must hold a whole manifest.json, got TypeError"),
    "without shards": (lambda _: '{"kmtl_shards": 1}', "must hold a whole manifest.json, got KeyError"),
    "other sums": (changed(examples=3), "the shards do not add up"),
    "unknown format": (changed(format="zip"), "unknown format 'zip'"),
    "unknown dtype": (changed(inputs={"": {"dtype": "float13", "shape": []}}), "unknown dtypes ['float13']"),
    "shards elsewhere": (changed(shards=[{"file": "../x", "examples": 1, "bytes": 1}]), "a shard outside"),
    "newer": (changed(kmtl_shards=2), "shards of version 1 or older, got 2. A later kmtl wrote them: update this one."),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_damaged_manifest_is_refused(tmp_path, name):
    change, said = MANIFESTS[name]
    path = write_shards(examples(5), tmp_path / "set") / "manifest.json"
    path.write_text(change(path.read_text()))
    for reader in (lambda: from_shards(tmp_path / "set", TASKS), lambda: check_shards(tmp_path / "set")):
        with pytest.raises(ValueError, match="`directory`") as caught:
            reader()
        assert said in str(caught.value)


def test_what_is_no_folder_of_shards_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    rule = "must be a folder with a manifest.json, as write_shards makes it, got "
    for name, reason in {"none": "Nothing is there.", "file": "That is a file.", "": "There is no manifest."}.items():
        with pytest.raises(ValueError, match=f"{rule}'.*'. {reason}"):
            from_shards(tmp_path / name, TASKS)


READING = {
    "another shape": ([kmtl.MultiLabel("digit", 3)], {}, "`labels['digit']` must have shape (batch, 3), got (None,)"),
    "floats as classes": ([kmtl.Classification("angle", 3)], {}, "`labels['angle']` must be integers"),
    "no common task": ([kmtl.Regression("depth")], {}, "`tasks` must name at least one label of the shards"),
    "no tasks": ([], {}, "`tasks` must hold at least one task"),
    "batch size": (TASKS, {"batch_size": 0}, "`batch_size` must be a whole number of at least 1, or None, got 0"),
    "shuffle": (TASKS, {"shuffle": -1}, "`shuffle` must be True, False or a number of examples of at least 0, got -1"),
    "seed": (TASKS, {"seed": -1}, "`seed` must be a whole number of at least 0, got -1"),
    "no image files": (TASKS, {"image_size": 4}, "exactly one input holds the bytes of image files, got 0 such inputs"),
}


@pytest.mark.parametrize("name", READING)
def test_reading_refuses_what_does_not_fit(tmp_path, name):
    tasks, options, said = READING[name]
    write_shards([(np.zeros(2), {"digit": 1, "angle": 0.5})], tmp_path / "set")
    with pytest.raises(ValueError, match=r"^from_shards: `") as caught:
        from_shards(tmp_path / "set", tasks, **options)
    assert said in str(caught.value)


def labelled(x, **labels):
    return x, labels or {"digit": 1}


WRITING = {
    "shards": (examples(3), {"shards": 0}, "`shards` must be a whole number in 1..4096, got 0"),
    "format": (examples(3), {"format": "tfrecords"}, "`format` must be one of ['tfrecord', 'array_record']"),
    "batched": (examples(3), {"batched": 3}, "`batched` must be True, False or None, got 3"),
    "a number": (5, {}, "must be a tf.data.Dataset or an iterable of examples, got int"),
    "endless": (tf.data.Dataset.range(3).repeat(), {}, "must have an end, got one without. Cut it with dataset.take"),
    "nothing": ([], {}, "`dataset` must hold at least one example, got 0"),
    "no labels": ([np.zeros(2)], {}, "must hold (x, {task: label}) or (x, {task: label}, {task: weight}), got ndarray"),
    "labels as a list": ([(1.0, [2])], {}, "must hold (x, {task: label})"),
    "two inputs": ([((1.0, 2.0), {"digit": 1})], {}, "must hold one input, or a dict of them by name, got a tuple"),
    "text labels": ([labelled(1.0, digit="seven")], {}, "must hold numbers as labels, got labels['digit'] of string"),
    "huge classes": ([labelled(1.0, digit=np.uint64(1))], {}, "must hold numbers as labels"),
    "wide inputs": ([labelled(np.uint64(1))], {}, "x of uint64 (). Cast it."),
    "dates": ([labelled(np.datetime64("2020-01-01"))], {}, "x of datetime64"),
    "objects": ([labelled({"a": [object()]})], {}, "x['a'] of object"),
    "weight of no task": ([(1.0, {"digit": 1}, {"digits": 1.0})], {}, "must hold weights of the tasks ['digit']"),
    "wide weights": ([(1.0, {"digit": 1}, {"digit": [1.0, 2.0]})], {}, "must hold one weight an example"),
    "another shape": (
        [labelled([1.0, 2.0]), labelled([3.0])],
        {},
        "must hold examples alike, with inputs x of float32 (2,), got x of float32 (1,) as example 1. Bring them to",
    ),
    "another task": ([labelled(1.0), labelled(1.0, angle=1.0)], {}, "with labels digit of int64 (), got angle of"),
    "uneven batch": ([([1.0, 2.0], {"digit": [1]})], {"batched": True}, "as many examples in every part of a batch"),
}


@pytest.mark.parametrize("name", WRITING)
def test_writing_refuses_what_does_not_fit_and_leaves_nothing(tmp_path, name):
    data, options, said = WRITING[name]
    with pytest.raises(ValueError, match=r"^write_shards: `") as caught:
        write_shards(data, tmp_path / "set", **options)
    assert said in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["folder", "full folder", "file"])
def test_what_is_there_is_never_overwritten(tmp_path, kind):
    path = tmp_path / "set"
    path.touch() if kind == "file" else path.mkdir()
    if kind == "full folder":
        (path / "old").write_text("precious")
    with pytest.raises(FileExistsError, match="must not exist yet"):
        write_shards(examples(3), path)
    assert [item.name for item in tmp_path.iterdir()] == ["set"]
    assert path.is_file() or [item.read_text() for item in path.iterdir()] == ["precious"][: kind == "full folder"]


def test_what_comes_while_writing_is_not_overwritten_either(tmp_path):
    def slow():
        yield from examples(3)
        (tmp_path / "set").mkdir()

    with pytest.raises(FileExistsError, match="must not exist yet"):
        write_shards(slow(), tmp_path / "set")
    assert list((tmp_path / "set").iterdir()) == []


def test_an_error_of_the_examples_is_passed_on_and_leaves_nothing(tmp_path):
    def broken():
        yield from examples(300)
        raise ConnectionError("the camera is gone")

    with pytest.raises(ConnectionError, match="camera"):
        write_shards(broken(), tmp_path / "set")
    assert list(tmp_path.iterdir()) == []


# A limit on the size of files fails a write in the middle as a full disk does. Root may write anywhere, so that it
# becomes somebody else before it writes into a locked folder.
REFUSING = """
import os, resource, sys
import kmtl, numpy as np

def tell(name, kind):
    examples = ((np.full(1000, n, "float32"), {"digit": 1}) for n in range(1000))
    try:
        kmtl.data.write_shards(examples, f"{sys.argv[1]}/{name}/set", shards=2, format=kind)
    except OSError as error:
        print(str(error).replace(sys.argv[1], ""))

resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
tell("full", "tfrecord")
tell("full", "array_record")
os.chmod(sys.argv[1], 0o700 if os.geteuid() else 0o755)
os.chmod(sys.argv[1] + "/locked", 0o500)
if os.geteuid() == 0:
    os.seteuid(65534)
tell("locked", "tfrecord")
"""


@pytest.mark.long
def test_a_full_disk_and_a_locked_folder_are_one_clear_error_each_and_nothing_is_left(tmp_path):
    for name in ("full", "locked"):
        (tmp_path / name).mkdir()
    command = [sys.executable, "-c", REFUSING, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    (tmp_path / "locked").chmod(0o700)
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stderr[-2000:]
    for line, name in zip(lines, ("full", "full", "locked"), strict=True):
        assert line.startswith(f"write_shards: `directory` must take what is written to /{name}/set, got ")
        assert line.endswith("Nothing is left there. Free some space, or choose another place.")
        assert list((tmp_path / name).iterdir()) == []
    assert "Permission denied" in lines[2]


def test_a_place_that_takes_no_folder(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="must take what is written to"):
        write_shards(examples(3), tmp_path / "file" / "set")


KILLED = """
import sys
import kmtl, numpy as np
kmtl.data.write_shards(((np.zeros(1000), {"digit": 1}) for _ in iter(int, 1)), sys.argv[1])
"""


@pytest.mark.long
def test_a_killed_write_leaves_no_folder_and_does_not_hinder_the_next(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path / "set")], stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + 60
        while not any(path.stat().st_size for path in tmp_path.rglob("shard-*")) and time.monotonic() < until:
            time.sleep(0.05)
    finally:
        process.kill()
        process.wait()
    left = list(tmp_path.iterdir())
    assert [path.name.startswith(".writing-set-") for path in left] == [True]
    # A minute later.
    os.utime(left[0], (time.time() - 100,) * 2)
    assert check_shards(write_shards(examples(3), tmp_path / "set")) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_only_folders_that_nobody_writes_in_are_swept(tmp_path):
    """A lock ends with its process, so what is not locked was left; another set's folder is another's."""
    for name in ("set-left", "set-busy", "set-young", "sets-other"):
        (tmp_path / f".writing-{name}" / "shards").mkdir(parents=True)
        (tmp_path / f".writing-{name}" / ".lock").touch()
        if name != "set-young":
            os.utime(tmp_path / f".writing-{name}", (time.time() - 100,) * 2)
    with scratch_folders.in_use(tmp_path / ".writing-set-busy"):
        write_shards(examples(3), tmp_path / "set")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [".writing-set-busy", ".writing-set-young", ".writing-sets-other", "set"]


def test_a_missing_package_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "array_record", None)
    monkeypatch.setitem(sys.modules, "array_record.python.array_record_module", None)
    with pytest.raises(ImportError, match=r"write_shards: needs the package 'array_record.python.array_record_module'"):
        write_shards(examples(3), tmp_path / "set", format="array_record")


def test_checking_finds_the_same_in_blocks_of_any_place(tmp_path):
    for number in (0, 255, 256, 399):
        shards = write_shards(examples(), tmp_path / str(number), shards=1)
        path = pathlib.Path(file_of(shards, 0))
        content = path.read_bytes()
        start = content.index(np.full(50, number, "int32").tobytes())
        path.write_bytes(content[:start] + b"\xff" * 4 + content[start + 4 :])
        with pytest.raises(OSError, match=f"record {number} corrupt"):
            check_shards(shards)


def test_examples_are_drawn_as_they_are_written(tmp_path):
    with pytest.raises(ValueError, match="as example 2"):
        write_shards(itertools.chain(examples(2), [labelled(1.0)], iter(int, 1)), tmp_path / "set")
