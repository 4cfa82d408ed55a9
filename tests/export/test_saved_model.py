import stat
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmtl.export
from kmtl.export import placing


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_every_signature_gives_the_keras_outputs_in_a_fresh_process(model, exported, samples):
    table = kmtl.export.check(model, exported, samples, tolerance=1e-6)
    assert [row.task for row in table.rows] == ["species", "age-1.y", "area"]
    assert [row.decisions for row in table.rows] == [1.0, None, 1.0]


def test_signatures_carry_the_names_of_inputs_and_tasks_and_any_batch_size(exported, samples):
    loaded = tf.saved_model.load(str(exported))
    tasks = {"species", "age-1.y", "area"}
    assert set(loaded.signatures) == {"serving_default", *tasks}
    for name, signature in loaded.signatures.items():
        assert set(signature.structured_outputs) == (tasks if name == "serving_default" else {name})
        for size in (1, 6):
            outputs = signature(**{key: tf.constant(values[:size]) for key, values in samples.items()})
            assert {len(values) for values in outputs.values()} == {size}


def test_weights_are_stored_once_and_nothing_of_the_training(model, exported):
    stored = dict(tf.train.list_variables(str(exported / "variables" / "variables")))
    shapes = sorted(tuple(shape) for name, shape in stored.items() if name != "_CHECKPOINTABLE_OBJECT_GRAPH")
    assert shapes == sorted(tuple(weight.shape) for weight in model.weights)
    size = sum(path.stat().st_size for path in exported.glob("variables/variables.data*"))
    assert size <= 1.01 * sum(weight.nbytes for weight in model.get_weights())


def test_a_task_alone_runs_no_other_head(exported):
    loaded = tf.saved_model.load(str(exported))
    read = {len(variable.shape) and tuple(variable.shape) for variable in loaded.signatures["area"].variables}
    assert (300, 2) in read
    assert not read & {(300, 3), (300, 1)}


def test_batch_normalisation_uses_its_moving_statistics(tmp_path):
    values = keras.Input((2,), name="values")
    norm = keras.layers.BatchNormalization(epsilon=0.5)
    model = keras.Model(values, {"z": norm(values), "a": keras.layers.Dense(1)(values)})
    norm.set_weights([np.array(weight) for weight in ([2.0, 3.0], [1.0, -1.0], [5.0, 6.0], [3.5, 8.5])])
    loaded = tf.saved_model.load(str(kmtl.export.saved_model(model, tmp_path)))
    x = np.array([[1.0, 0.0], [7.0, 9.0]], "float32")
    expected = (x - [5.0, 6.0]) / np.sqrt([4.0, 9.0]) * [2.0, 3.0] + [1.0, -1.0]
    for count in (1, 2):
        found = loaded.signatures["z"](values=tf.constant(x[:count]))["z"]
        np.testing.assert_allclose(found, expected[:count], rtol=1e-6)


def test_versions_count_up_and_touch_nothing_that_is_there(small, tmp_path):
    first = kmtl.export.saved_model(small, tmp_path)
    assert first == tmp_path / "1"
    assert first._repr_html_() == f"<code>{first}</code>"
    before = (tmp_path / "1" / "saved_model.pb").read_bytes()
    for name in ("7", "latest", "9.bak", "-8", "²"):
        (tmp_path / name).mkdir()
    assert kmtl.export.saved_model(small, str(tmp_path)) == tmp_path / "8"
    assert (tmp_path / "1" / "saved_model.pb").read_bytes() == before
    assert entries(tmp_path) == sorted(["1", "7", "8", "latest", "9.bak", "-8", "²"])


def test_exports_at_the_same_time_give_a_version_each(tmp_path):
    def place(number):
        with placing.beside(tmp_path) as scratch:
            finished = scratch / "model"
            finished.mkdir()
            (finished / str(number)).touch()
            return placing.place_version(finished, tmp_path)

    with ThreadPoolExecutor(8) as pool:
        placed = list(pool.map(place, range(40)))
    assert sorted(int(path.name) for path in placed) == list(range(1, 41))
    assert [entries(path) for path in placed] == [[str(number)] for number in range(40)]
    assert len(entries(tmp_path)) == 40


def test_others_may_read_the_artifact(small, tmp_path):
    (tmp_path / "plain").mkdir()
    version = kmtl.export.saved_model(small, tmp_path / "served")
    assert stat.S_IMODE(version.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


@pytest.fixture
def unsavable():
    """Traces well and fails while it is written: it reads a table that nothing keeps."""
    pairs = tf.lookup.KeyValueTensorInitializer([1, 2], [3, 4])
    table = tf.lookup.StaticHashTable(pairs, 0)

    class Hidden(keras.layers.Layer):
        def call(self, inputs):
            return table.lookup(inputs)

        def compute_output_spec(self, inputs):
            return keras.KerasTensor(inputs.shape, "int32")

    numbers = keras.Input((1,), dtype="int32")
    return keras.Model(numbers, {"a": Hidden()(numbers)})


def test_an_export_that_fails_leaves_nothing(unsavable, small, tmp_path):
    kmtl.export.saved_model(small, tmp_path)
    for directory in (tmp_path, tmp_path / "new" / "deep"):
        with pytest.raises(AssertionError, match="'untracked' resource"):
            kmtl.export.saved_model(unsavable, directory)
    assert entries(tmp_path) == ["1"]


@pytest.mark.long
def test_the_tables_of_a_text_layer_travel_with_it(tmp_path):
    text = keras.Input((), dtype="string", name="text")
    words = keras.layers.TextVectorization(output_sequence_length=3)
    words.adapt(["red fox", "blue fox"])
    hidden = keras.layers.Flatten()(keras.layers.Embedding(6, 2)(words(text)))
    model = keras.Model(text, {"tone": keras.layers.Dense(2)(hidden), "age": keras.layers.Dense(1)(hidden)})
    table = kmtl.export.check(model, kmtl.export.saved_model(model, tmp_path), ["fox blue", "a red one"])
    assert table.worst <= 1e-6


@pytest.mark.long
def test_one_dict_input_and_mixed_precision(rows, tmp_path):
    row = keras.Input((4,), name="row")
    hidden = keras.layers.Dense(3, dtype="mixed_bfloat16")(row)
    model = keras.Model({"row": row}, {"b": keras.layers.Dense(2, dtype="float32")(hidden), "a": hidden})
    table = kmtl.export.check(model, kmtl.export.saved_model(model, tmp_path), {"row": rows})
    assert [row.task for row in table.rows] == ["b", "a"]
    assert table.worst <= 1e-6


def refused_models():
    one, two = keras.Input((2,), name="one"), keras.Input((2,), sparse=True, name="two")
    subclassed = type("Subclassed", (keras.Model,), {})()
    return [
        ("model", 3, "got int"),
        ("model", keras.Model(one, keras.layers.Dense(1)(one)), "dict of outputs, got Functional with output of type"),
        ("model", keras.Model(one, [keras.layers.Dense(1)(one)]), "output of type list"),
        ("model", keras.Model(one, {"a": {"b": one}}), "dict of outputs"),
        ("model", keras.Sequential([keras.layers.Dense(1)]), "got Sequential"),
        ("model", subclassed, "got Subclassed"),
        ("name", keras.Model(one, {"serving_default": one}), "reserved"),
        ("name", keras.Model(one, {"../up": one}), "plain name"),
        ("model", keras.Model(two, {"a": keras.layers.Dense(1)(two)}), "dense inputs, got 'two'"),
    ]


@pytest.mark.parametrize("export", [kmtl.export.saved_model, kmtl.export.litert])
def test_models_without_named_outputs_are_refused_by_name(export, tmp_path):
    for argument, bad, words in refused_models():
        with pytest.raises(ValueError, match=f"^{export.__name__}: `{argument}` .*{words}"):
            export(bad, tmp_path / "new" / "m.tflite")
    assert entries(tmp_path) == []


def test_directories_that_cannot_hold_versions_are_refused(small, tmp_path):
    (tmp_path / "note").write_text("kept")
    version = kmtl.export.saved_model(small, tmp_path / "good")
    for directory, words in (
        (tmp_path / "note", "must lie in a folder"),
        (tmp_path / "note" / "below", "must lie in a folder"),
        (version, "not a version"),
    ):
        with pytest.raises(ValueError, match=f"^saved_model: `directory` .*{words}"):
            kmtl.export.saved_model(small, directory)
    assert entries(tmp_path) == ["good", "note"]
    assert entries(tmp_path / "good") == ["1"]
    assert (tmp_path / "note").read_text() == "kept"


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    (tmp_path / "note").touch()
    with pytest.raises(ValueError, match=r"(?s)`model` must.*\n.*`directory` must"):
        kmtl.export.saved_model(None, tmp_path / "note")
