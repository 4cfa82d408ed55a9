import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

import kmtl.export
from kmtl.export.lite import running


def test_every_signature_gives_the_keras_outputs(model, samples, tmp_path):
    path = kmtl.export.litert(model, tmp_path / "new" / "pets.tflite")
    assert path == tmp_path / "new" / "pets.tflite"
    assert path._repr_html_() == f"<code>{path}</code>"
    table = kmtl.export.check(model, path, samples, tolerance=1e-5)
    assert [row.task for row in table.rows] == ["species", "age-1.y", "area"]
    assert table.size == path.stat().st_size


@pytest.mark.long
def test_signatures_share_the_weights(model, tmp_path):
    path = kmtl.export.litert(model, str(tmp_path / "pets.tflite"))
    assert path.stat().st_size < 1.1 * sum(weight.nbytes for weight in model.get_weights())


@pytest.mark.long
def test_names_that_look_alike_to_tensorflow_stay_apart(rows, tmp_path):
    first, second = keras.Input((4,), name="in-1"), keras.Input((4,), name="in.2")
    tasks = {"b-c": 1.0, "b.c": 10.0, "b_c": 100.0}
    outputs = {task: keras.layers.Rescaling(scale)(first - 2 * second) for task, scale in tasks.items()}
    path = kmtl.export.litert(keras.Model([first, second], outputs), tmp_path / "m.tflite")
    interpreter = Interpreter(model_path=str(path))
    assert set(interpreter.get_signature_list()) == {"serving_default", *tasks}
    for task, scale in tasks.items():
        for name in ("serving_default", task):
            found = interpreter.get_signature_runner(name)(**{"in-1": rows, "in.2": rows + 1})[task]
            np.testing.assert_allclose(found, scale * (rows - 2 * (rows + 1)), rtol=1e-5)


@pytest.mark.long
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_model_in_mixed_precision_converts_as_its_float32_twin(policy, tmp_path):
    def build(dtype):
        image = keras.Input((6, 6, 1), name="image")
        hidden = keras.layers.Conv2D(4, 3, dtype=dtype)(image)
        hidden = keras.layers.Flatten()(keras.layers.BatchNormalization(dtype=dtype)(hidden))
        outputs = {
            "sort": keras.layers.Dense(3, activation="softmax", dtype="float32")(hidden),
            "angle": keras.layers.Dense(1, dtype="float32")(hidden),
        }
        return keras.Model(image, outputs)

    mixed, twin = build(policy), build("float32")
    twin.set_weights(mixed.get_weights())
    path = kmtl.export.litert(mixed, tmp_path / "m.tflite")
    images = np.random.default_rng(3).random((4, 6, 6, 1), "float32")
    kmtl.export.check(twin, path, images, tolerance=1e-5)
    assert mixed.layers[1].compute_dtype == policy.removeprefix("mixed_")


@pytest.mark.long
def test_a_model_that_does_not_convert_leaves_the_old_file(small, tmp_path, capfd):
    path = kmtl.export.litert(small, tmp_path / "m.tflite")
    before = path.read_bytes()
    row = keras.Input((4,), name="row")
    recurrent = keras.layers.LSTM(2)(keras.layers.Reshape((2, 2))(row))
    capfd.readouterr()
    with pytest.raises(
        ValueError, match=r"^litert: `model` must use LiteRT's built-in ops, got 'tf.TensorListReserve'"
    ):
        kmtl.export.litert(keras.Model(row, {"a": recurrent}), path)
    # MLIR's own pages are held back.
    assert "SELECT_TF_OPS" not in capfd.readouterr().err
    assert path.read_bytes() == before
    kmtl.export.litert(keras.Model(row, {"a": keras.layers.Dense(9)(row)}), path)
    assert path.read_bytes() != before
    assert [entry.name for entry in tmp_path.iterdir()] == ["m.tflite"]


def test_paths_that_cannot_become_a_file_are_refused(small, tmp_path):
    (tmp_path / "note").touch()
    (tmp_path / "folder.tflite").mkdir()
    for path, words in (
        (tmp_path / "m.h5", "must end in .tflite.*Write '.*m.tflite'"),
        (tmp_path / "m", "must end in .tflite"),
        (tmp_path / "note" / "m.tflite", "must lie in a folder"),
        (tmp_path / "folder.tflite", "must be a file"),
    ):
        with pytest.raises(ValueError, match=f"^litert: `path` {words}"):
            kmtl.export.litert(small, path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.tflite", "note"]


@pytest.mark.long
def test_operations_of_tensorflow_come_in_only_when_asked_for(tmp_path):
    row = keras.Input((4,), name="row")
    recurrent = keras.layers.LSTM(2)(keras.layers.Reshape((2, 2))(row))
    path = kmtl.export.litert(keras.Model(row, {"a": recurrent}), tmp_path / "m.tflite", select_tf_ops=True)
    assert b"FlexTensorListReserve" in path.read_bytes()
    with pytest.raises(RuntimeError, match="Select TensorFlow op"):
        running.runner(path.read_bytes())({"row": np.ones((1, 4), "float32")})
