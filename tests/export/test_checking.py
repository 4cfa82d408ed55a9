import shutil
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import cases

import kmtl.export
from kmtl.export import fresh_process, signatures
from kmtl.export.onnx import onnx


def build():
    """An image to a class and a number of unlike scale."""
    keras.utils.set_random_seed(4)
    image = keras.Input((8, 8, 1), name="image")
    hidden = keras.layers.Conv2D(8, 3, activation="relu")(image)
    hidden = keras.layers.Flatten()(keras.layers.BatchNormalization()(hidden))
    sort = keras.layers.Dense(3, activation="softmax")(hidden)
    return keras.Model(image, {"sort": sort, "angle": keras.layers.Dense(1)(hidden) * 40.0})


@pytest.fixture(scope="module")
def convnet():
    return build()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(7).random((6, 8, 8, 1), "float32")


@pytest.fixture(scope="module")
def written(convnet, tmp_path_factory):
    """The same model in each form."""
    folder = tmp_path_factory.mktemp("forms")
    return {
        "SavedModel": kmtl.export.saved_model(convnet, folder / "saved"),
        "LiteRT": kmtl.export.litert(convnet, folder / "m.tflite"),
        "ONNX": onnx(convnet, folder / "m.onnx"),
    }


@pytest.mark.parametrize("form", cases(["SavedModel", "LiteRT", "ONNX"], "LiteRT"))
def test_every_form_is_run_timed_and_told(convnet, images, written, form):
    table = kmtl.export.check(convnet, written[form], images, tolerance=1e-5)
    assert (table.form, table.samples, table.artifact) == (form, 6, str(written[form]))
    files = [path for path in [written[form], *written[form].rglob("*")] if path.is_file()]
    assert table.size == sum(path.stat().st_size for path in files)
    assert [(row.task, row.decisions) for row in table.rows] == [("sort", 1.0), ("angle", None)]
    assert all(row.milliseconds > 0 and row.keras_milliseconds > 0 for row in (table, *table.rows))
    assert str(table).startswith(f"{written[form]}: {form} of {table.size:,} bytes; 6 samples; all tasks in ")


def quantized(model, images, dtype, path):
    with_range = [images[:1] * 0.0, images[:1] * 0.0 + 1.0, *images[:, None]]
    folder = str(path.with_suffix(""))
    names = signatures.save(model, model.output, folder)
    converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=names)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ((name, {"image": one}) for name in names for one in with_range)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = dtype
    path.write_bytes(converter.convert())
    return path


# The converter calibrates by an interpreter that warns of its own end.
@pytest.mark.long
@pytest.mark.filterwarnings("ignore:(?s).*tf.lite.Interpreter is deprecated:UserWarning")
@pytest.mark.parametrize("dtype", cases(["int8", "uint8", "float32"], "int8", others="slow"))
def test_integers_that_stand_for_numbers_are_made_and_read(convnet, images, tmp_path, dtype):
    path = quantized(convnet, images, tf.as_dtype(dtype), tmp_path / "m.tflite")
    table = kmtl.export.check(convnet, path, images, tolerance=0.05)
    sort, angle = table.rows
    assert 1e-5 < sort.difference < 0.02
    assert 1e-3 < angle.difference < 0.05 * angle.largest
    with pytest.raises(ValueError, match=r"^check: `tolerance` of 1e-05 must hold for task 'sort'"):
        kmtl.export.check(convnet, path, images, tolerance=1e-5)


def test_quantising_rounds_shifts_and_stays_in_range():
    detail = {"dtype": np.uint8, "quantization": (0.5, 100)}
    assert fresh_process.quantize(np.array([-1e9, -0.2, 0.3, 70.0, 1e9]), detail).tolist() == [0, 100, 101, 240, 255]
    assert fresh_process.dequantize(np.array([0, 100, 255], "uint8"), detail).tolist() == [-50.0, 0.0, 77.5]
    plain = {"dtype": np.int32, "quantization": (0.0, 0)}
    ids = np.array([3, 70000], "int32")
    assert fresh_process.quantize(ids, plain) is ids
    assert fresh_process.dequantize(ids, plain) is ids


@pytest.mark.parametrize(("seconds", "calls", "median"), [([100, 7, 1, 9], 3, 7000.0), ([100] + [0.0] * 99, 20, 0.0)])
def test_the_median_leaves_out_the_first_call(monkeypatch, seconds, calls, median):
    """Slow calls are few, fast ones many."""
    left, now = list(seconds), [0.0]
    monkeypatch.setattr(fresh_process.time, "perf_counter", lambda: now[0])

    def call():
        now[0] += left.pop(0)
        return {"a": len(left)}

    assert fresh_process.time_call(call) == ({"a": len(seconds) - 1}, median)
    assert len(seconds) - len(left) == 1 + calls


@pytest.mark.long
def test_further_signatures_are_left_alone_and_names_tell_nothing(rows, tmp_path):
    row = keras.Input((4,), name="row")
    outputs = {"digit.decoded": keras.layers.Dense(2)(row), "digit": keras.layers.Dense(3)(row)}
    model = keras.Model(row, outputs)
    functions = signature_functions(model)
    other = tf.function(
        lambda file: {"digit": tf.strings.length(file)}, input_signature=[tf.TensorSpec([None], "string")]
    )
    functions |= {"image_bytes": other.get_concrete_function(), "digit.image_bytes": other.get_concrete_function()}
    tf.saved_model.save(signatures.keeper(model, functions), str(tmp_path / "m"), signatures=functions)
    table = kmtl.export.check(model, tmp_path / "m", rows, tolerance=1e-6)
    assert [row.task for row in table.rows] == ["digit.decoded", "digit"]


def signature_functions(model):
    with signatures.parts(model, model.output) as parts:
        return {name: signatures.trace(run, signatures.specs(model)) for name, run in parts.items()}


def test_some_of_the_tasks_are_compared_and_unknown_ones_refused(small, rows, tmp_path):
    part = keras.Model(small.input, {"depth": small.output["depth"]})
    path = kmtl.export.litert(part, tmp_path / "part.tflite")
    assert [row.task for row in kmtl.export.check(small, path, rows, tolerance=1e-5).rows] == ["depth"]
    more = {**small.output, "height": small.output["width"] * 2, "wdth": small.output["width"] * 3}
    path = kmtl.export.litert(keras.Model(small.input, more), path)
    with pytest.raises(ValueError, match=r"(?s)must hold tasks of the model, got 'height'.*got 'wdth'.*mean 'width'"):
        kmtl.export.check(small, path, rows)


@pytest.mark.long
def test_a_part_may_take_fewer_inputs_than_the_model(rows, tmp_path):
    row, more = keras.Input((4,), name="row"), keras.Input((2,), name="more")
    width = keras.layers.Dense(2)(row)
    model = keras.Model([row, more], {"width": width, "depth": keras.layers.Concatenate()([row, more])})
    path = kmtl.export.saved_model(keras.Model(row, {"width": width}), tmp_path)
    samples = {"row": rows, "more": np.ones((5, 2))}
    assert [one.task for one in kmtl.export.check(model, path, samples, tolerance=1e-6).rows] == ["width"]


def test_two_outputs_swapped_are_noticed(small, rows, tmp_path):
    swapped = keras.Model(small.input, {"width": small.output["depth"], "depth": small.output["width"]})
    path = onnx(swapped, tmp_path / "m.onnx")
    with pytest.raises(ValueError, match=r"(?s)^check: `tolerance` of 0.001 must hold for task 'width'.*task 'depth'"):
        kmtl.export.check(small, path, rows, tolerance=1e-3)
    outputs = {task: np.array(values) for task, values in small(rows).items()}
    for row in kmtl.export.check(small, path, rows).rows:
        assert row.difference == pytest.approx(np.abs(outputs["width"] - outputs["depth"]).max(), rel=1e-5)
        assert row.largest == pytest.approx(np.abs(outputs[row.task]).max(), rel=1e-5)


def test_one_changed_task_is_the_only_one_named(small, rows, tmp_path):
    path = kmtl.export.litert(small, tmp_path / "m.tflite")
    head = small.get_layer("two")
    head.set_weights([head.get_weights()[0], np.array([np.nan, 0.0])])
    with pytest.raises(ValueError, match="task 'depth', got a difference of nan") as caught:
        kmtl.export.check(small, path, rows, tolerance=1e-3)
    assert "width" not in str(caught.value)


@pytest.mark.long
@pytest.mark.parametrize("export", [kmtl.export.litert, onnx], ids=["LiteRT", "ONNX"])
def test_another_models_artifact_is_refused(small, rows, tmp_path, export):
    path = tmp_path / f"m.{'onnx' if export is onnx else 'tflite'}"
    row, column = keras.Input((4,), name="row"), keras.Input((4,), name="column")
    export(keras.Model(row, {"width": keras.layers.Dense(3)(row)}), path)
    with pytest.raises(
        ValueError, match=r"(?s)give 'width' of shape \(5, 2\) by .*got shape \(5, 3\).*signature 'width'"
    ):
        kmtl.export.check(small, path, rows)
    export(keras.Model(column, {"width": keras.layers.Dense(2)(column)}), path)
    with pytest.raises(ValueError, match=r"^check: `artifact` must run on the samples, got .*\['column'\].*\['row'\]"):
        kmtl.export.check(small, path, rows)


def test_a_file_without_the_joint_signature_is_refused(small, rows, tmp_path):
    signatures.save(small, small.output, str(tmp_path / "m"))
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "m"), signature_keys=["width"])
    (tmp_path / "m.tflite").write_bytes(converter.convert())
    with pytest.raises(ValueError, match=r"got .* no signature 'serving_default' among \['width'\]\. Export it"):
        kmtl.export.check(small, tmp_path / "m.tflite", rows)


def test_select_operations_that_nothing_here_runs_are_told(small, rows, tmp_path):
    def infer(row):
        return {"width": row[:, :2], "depth": tf.linalg.inv(tf.reshape(row, (-1, 2, 2)))[:, 0]}

    function = tf.function(infer, input_signature=[tf.TensorSpec([None, 4], name="row")]).get_concrete_function()
    tf.saved_model.save(tf.Module(), str(tmp_path / "m"), signatures={"serving_default": function})
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "m"))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    (tmp_path / "m.tflite").write_bytes(converter.convert())
    with pytest.raises(ValueError, match=r"FlexMatrixInverse.*export with built-in ops only"):
        kmtl.export.check(small, tmp_path / "m.tflite", rows)


TRUNCATED = ["m.tflite", "m.onnx", "m/variables/variables.data-00000-of-00001"]


@pytest.mark.parametrize("name", cases(TRUNCATED, "m.onnx"))
def test_a_truncated_artifact_is_refused_with_the_cause(convnet, images, written, tmp_path, name):
    source = written["SavedModel"] if name.startswith("m/") else written["LiteRT" if "tfl" in name else "ONNX"]
    path = shutil.copytree(source, tmp_path / "m") if source.is_dir() else shutil.copy(source, tmp_path / name)
    with (tmp_path / name).open("r+b") as file:
        file.truncate((tmp_path / name).stat().st_size // 2)
    with pytest.raises(
        ValueError,
        # Some releases of the interpreter crash on half a file.
        match=r"^check: `artifact` must run on the samples, got (\w+: [^\n]+|a process killed by SIG\w+\.) Export it",
    ):
        kmtl.export.check(convnet, path, images)


def test_a_process_that_is_killed_is_told(small, rows, tmp_path, monkeypatch):
    killed = tmp_path / "killed.py"
    killed.write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    (tmp_path / "m.tflite").touch()
    monkeypatch.setattr(fresh_process, "__file__", str(killed))
    with pytest.raises(ValueError, match=r"got a process killed by SIGKILL\. Export it again"):
        kmtl.export.check(small, tmp_path / "m.tflite", rows)


def test_a_package_absent_here_or_there_is_named(small, rows, tmp_path, monkeypatch):
    path = onnx(small, tmp_path / "m.onnx")
    (tmp_path / "paths").mkdir()
    (tmp_path / "paths" / "onnxruntime.py").write_text("import no_such_package")
    with monkeypatch.context() as patch:
        patch.setenv("PYTHONPATH", str(tmp_path / "paths"))
        with pytest.raises(ValueError, match="ModuleNotFoundError: No module named 'no_such_package'"):
            kmtl.export.check(small, path, rows)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"^check: needs the package 'onnxruntime'.*pip install 'kmtl\[onnx\]'"):
        kmtl.export.check(small, path, rows)


def test_neither_keras_nor_kmtl_is_within_reach(small, rows, tmp_path, monkeypatch):
    (tmp_path / "onnxruntime.py").write_text("import keras")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ValueError, match="got ModuleNotFoundError: import of keras halted"):
        kmtl.export.check(small, onnx(small, tmp_path / "m.onnx"), rows)


def test_what_is_no_artifact_is_refused(small, rows, tmp_path):
    kmtl.export.saved_model(small, tmp_path / "versions")
    (tmp_path / "m.h5").touch()
    (tmp_path / "folder.onnx").mkdir()
    for path, words in (
        (tmp_path / "none", "none, where nothing is. Export the model first"),
        (tmp_path / "none.onnx", "none.onnx, where nothing is. Export the model first"),
        (tmp_path / "folder.onnx", "Export the model first"),
        (tmp_path / "m.h5", "Export the model first"),
        (tmp_path / "versions", "Pass one of its versions: 1"),
    ):
        with pytest.raises(ValueError, match=f"^check: `artifact` must be the folder of one SavedModel.*{words}"):
            kmtl.export.check(small, path, rows)


def test_all_that_is_wrong_is_told_before_anything_runs(small, tmp_path):
    with pytest.raises(ValueError, match=r"(?s)`artifact` must.*`samples` must have the shape \(None, 4\)"):
        kmtl.export.check(small, tmp_path / "none", np.ones((5, 3)))
    with pytest.raises(ValueError, match="`tolerance` must be a finite number"):
        kmtl.export.check(small, tmp_path / "none", np.ones((5, 4)), tolerance=-1)
    with pytest.raises(ValueError, match=r"(?s)`model` must.*`artifact` must"):
        kmtl.export.check(None, tmp_path / "none", np.ones((5, 4)))
