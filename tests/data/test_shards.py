"""Shards: what is read is what was written, in every form that examples have."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmtl
from kmtl.data import check_shards, from_shards, write_shards
from kmtl.data.shards.manifests import FORMATS

ROWS = 37
TASKS = [
    kmtl.Regression("place", shape=(2,)),
    kmtl.Classification("digit", classes=10),
    kmtl.MultiLabel("findings", labels=3),
    kmtl.Regression("angle"),
]


def labels(count=ROWS):
    random = np.random.default_rng(0)
    place = random.normal(size=(count, 2)).astype("float32")
    place[3] = np.nan
    return {
        "digit": (np.arange(count) % 11 - 1).astype("int32"),
        "place": place,
        "findings": random.integers(-1, 2, (count, 3)).astype("int64"),
    }


def images(count=ROWS):
    return np.random.default_rng(1).integers(0, 256, (count, 4, 3, 1), dtype=np.uint8)


def dataset(x=None, *rest):
    return tf.data.Dataset.from_tensor_slices((images() if x is None else x, *(rest or (labels(),))))


def gathered(batches):
    """All batches of a dataset as one."""
    listed = list(batches.as_numpy_iterator())
    return tf.nest.map_structure(lambda *parts: np.concatenate(parts), *listed)


# One shard, several of unlike size, more than there are examples.
@pytest.mark.parametrize(
    ("kind", "shards"), [("tfrecord", 5), ("tfrecord", 64), ("array_record", 1), ("array_record", 5)]
)
def test_what_is_read_is_what_was_written_in_order(tmp_path, kind, shards):
    path = write_shards(dataset(), tmp_path / "set", shards=shards, format=kind)
    streamed = from_shards(path, TASKS, batch_size=10)
    assert [len(x) for x, _ in streamed] == [10, 10, 10, 7]
    x, found = gathered(streamed)
    np.testing.assert_array_equal(x, images())
    assert list(streamed.element_spec[1]) == [task.name for task in TASKS]
    for task in TASKS:
        expected = labels().get(task.name, np.full((ROWS, *task.label_shape), task.missing))
        np.testing.assert_array_equal(found[task.name], expected.astype(task.label_dtype))
        assert streamed.element_spec[1][task.name] == tf.TensorSpec((None, *task.label_shape), task.label_dtype)
    assert streamed.element_spec[0] == tf.TensorSpec((None, 4, 3, 1), tf.uint8)
    assert check_shards(path) == ROWS
    assert len(list(path.iterdir())) == min(shards, ROWS) + 1


def test_it_equals_from_arrays(tmp_path):
    write_shards(dataset(), tmp_path / "set")
    ours = from_shards(tmp_path / "set", TASKS, batch_size=8)
    theirs = kmtl.data.from_arrays(images(), labels(), TASKS, batch_size=8)
    assert ours.element_spec == theirs.element_spec
    assert len(ours) == len(theirs)
    for one, other in zip(ours.as_numpy_iterator(), theirs.as_numpy_iterator(), strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)


def test_manifest_tells_what_the_shards_hold(tmp_path):
    path = write_shards(dataset(), tmp_path / "set", shards=3)
    manifest = json.loads((path / "manifest.json").read_text())
    assert manifest["kmtl_shards"] == 1
    assert manifest["inputs"] == {"": {"dtype": "uint8", "shape": [4, 3, 1]}}
    assert manifest["labels"] == {
        "digit": {"dtype": "int64", "shape": []},
        "place": {"dtype": "float32", "shape": [2]},
        "findings": {"dtype": "int64", "shape": [3]},
    }
    assert [shard["examples"] for shard in manifest["shards"]] == [13, 12, 12]
    assert [shard["bytes"] for shard in manifest["shards"]] == [
        (path / shard["file"]).stat().st_size for shard in manifest["shards"]
    ]


DTYPES = ["bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "float16", "bfloat16", "float32"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_of_every_dtype(tmp_path, dtype):
    x = tf.cast(np.array([[0, 1], [100, 3]]), dtype)
    streamed = from_shards(write_shards(dataset(x, {"digit": [1, 2]}), tmp_path / "set"), TASKS)
    found, _ = next(iter(streamed))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.numpy(), x.numpy())


def test_double_precision_becomes_single(tmp_path):
    path = write_shards(dataset(np.array([0.1, 0.2]), {"angle": np.array([0.3, np.nan])}), tmp_path / "set")
    x, found = next(iter(from_shards(path, TASKS)))
    np.testing.assert_array_equal(x, np.array([0.1, 0.2], "float32"))
    np.testing.assert_array_equal(found["angle"], np.array([0.3, np.nan], "float32"))


def test_named_inputs_and_text(tmp_path):
    x = {"words": np.array([["ä", "b"], ["", "d"]]), "size": np.array([1.5, 2.5], "float32")}
    streamed = from_shards(write_shards(dataset(x, {"digit": [1, 2]}), tmp_path / "set"), TASKS)
    assert streamed.element_spec[0] == {"words": tf.TensorSpec((None, 2), tf.string), "size": tf.TensorSpec((None,))}
    found, _ = next(iter(streamed))
    assert found["words"].numpy().tolist() == [["ä".encode(), b"b"], [b"", b"d"]]
    np.testing.assert_array_equal(found["size"], x["size"])


def test_image_files_pass_through_and_are_decoded_on_request(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)
    # A byte of zero at the end must survive, too.
    files = [tf.io.encode_png(image).numpy() + b"\0" for image in pixels]
    examples = [(file, {"digit": number}) for number, file in enumerate(files)]
    path = write_shards(examples, tmp_path / "set")
    x, _ = gathered(from_shards(path, TASKS))
    assert x.tolist() == files
    x, found = gathered(from_shards(path, TASKS, image_size=(5, 4)))
    np.testing.assert_allclose(x, pixels / 255, atol=1e-6)
    assert found["digit"].tolist() == list(range(6))
    grey = from_shards(path, TASKS, image_size=2, channels=1, batch_size=4)
    assert grey.element_spec[0] == tf.TensorSpec((None, 2, 2, 1))


@pytest.mark.parametrize("given", ["by task", "one"])
def test_weights(tmp_path, given):
    weights = {"digit": np.arange(ROWS, dtype="float32")} if given == "by task" else np.arange(ROWS) / 2
    path = write_shards(dataset(images(), labels(), weights), tmp_path / "set")
    _, _, found = gathered(from_shards(path, TASKS))
    assert list(found) == [task.name for task in TASKS]
    expected = {"by task": np.arange(ROWS), "one": np.arange(ROWS) / 2}[given]
    np.testing.assert_array_equal(found["digit"], expected.astype("float32"))
    np.testing.assert_array_equal(found["angle"], np.ones(ROWS, "float32"))
    np.testing.assert_array_equal(found["place"], np.ones(ROWS) if given == "by task" else expected)


def singles():
    for row, image in enumerate(images()):
        yield image, {name: values[row] for name, values in labels().items()}


FORMS = {
    "batches": lambda: dataset().batch(10),
    "batches of one size": lambda: (dataset().take(30).batch(10, drop_remainder=True), {"batched": True}),
    "no static shape": lambda: tf.data.Dataset.from_generator(
        singles, output_types=(tf.uint8, {"digit": tf.int32, "place": tf.float32, "findings": tf.int64})
    ),
    "an iterable": lambda: [(image, {**given, "place": list(given["place"])}) for image, given in singles()],
    "an iterable of batches": lambda: (
        iter([(images()[:30], {n: v[:30] for n, v in labels().items()})]),
        {"batched": True},
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_examples_come_in_many_forms(tmp_path, form):
    given = FORMS[form]()
    data, options = given if isinstance(given, tuple) else (given, {})
    x, found = gathered(from_shards(write_shards(data, tmp_path / "set", **options), TASKS))
    count = 30 if options else ROWS
    np.testing.assert_array_equal(x, images()[:count])
    for name, values in labels().items():
        np.testing.assert_array_equal(found[name], values[:count])


@pytest.mark.parametrize("kind", FORMATS)
def test_a_shuffle_mixes_the_whole_set(tmp_path, kind):
    x = np.arange(2000, dtype="float32")
    path = write_shards(dataset(x, {"digit": np.zeros(2000, int)}), tmp_path / "set", format=kind)
    order, _ = gathered(from_shards(path, TASKS, shuffle=True))
    assert sorted(order) == x.tolist()
    assert abs(np.corrcoef(order, x)[0, 1]) < 0.1
    assert np.mean(np.abs(np.diff(order)) == 1) < 0.01


def test_equal_sets_are_written_as_equal_bytes(tmp_path):
    first, second = (write_shards(dataset(), tmp_path / name) for name in "ab")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()


def test_other_tools_read_the_records(tmp_path):
    path = write_shards(dataset(), tmp_path / "set", shards=1)
    record = next(tf.data.TFRecordDataset(str(path / "shard-00000.tfrecord")).as_numpy_iterator())
    example = tf.train.Example.FromString(record)
    assert example.features.feature["label/digit"].int64_list.value == [-1]
    assert example.features.feature["x"].bytes_list.value == [images()[0].tobytes()]


def test_a_model_trains_on_shards(tmp_path):
    x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
    path = write_shards(dataset(x, {"angle": x.sum(axis=1), "digit": (x[:, 0] > 0).astype(int)}), tmp_path / "set")
    tasks = [kmtl.Classification("digit", 2), kmtl.Regression("angle")]
    inputs = keras.Input((3,))
    model = kmtl.MultiTaskModel.from_features(inputs, keras.layers.Dense(8, "relu")(inputs), tasks)
    model.compile(keras.optimizers.Adam(0.05))
    history = model.fit(from_shards(path, tasks, batch_size=16, shuffle=True), epochs=6, verbose=0).history
    assert history["loss"][-1] < 0.6 * history["loss"][0]


PROCESS = """
import resource, sys
import kmtl, numpy as np
from kmtl.feeding.resume import stream_from

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def streamed(kind, count, **options):
    blocks = ((np.zeros((500, 2000), "uint8"), {"digit": np.ones(500, int)}) for _ in range(count // 500))
    path = kmtl.data.write_shards(blocks, f"{sys.argv[1]}/{kind}", format=kind, batched=True)
    return kmtl.data.from_shards(path, [kmtl.Classification("digit", 10)], shuffle=True, **options)

data = streamed("tfrecord", 30_000, batch_size=250)
batches = iter(stream_from(data, 0))
peaks = []
for _ in range(8):
    for _ in range(len(data)):
        next(batches)
    peaks.append(peak())
print(*peaks)
data = streamed("array_record", 1000, batch_size=16)
left = [iter(stream_from(data, 0)) for _ in range(6)]
for iterator in left:
    next(iterator)
"""


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    """A process that streams much, and ends while iterators are in the middle."""
    folder = tmp_path_factory.mktemp("streamed")
    command = [sys.executable, "-c", PROCESS, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    return done, sum(file.stat().st_size for file in (folder / "tfrecord").iterdir())


@pytest.mark.long
def test_memory_does_not_grow_with_the_data(process):
    done, size = process
    peaks = list(map(float, done.stdout.split()))
    assert size > 58 * 2**20
    # Memory holds one pass of it, since all fits into the shuffle's buffer; seven more passes are not kept.
    assert peaks[-1] - peaks[0] < 40, peaks


@pytest.mark.long
def test_a_process_may_end_with_iterators_in_the_middle(process):
    done, _ = process
    assert done.returncode == 0, done.stderr[-2000:]
    assert "terminate" not in done.stderr
