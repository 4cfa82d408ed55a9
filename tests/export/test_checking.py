import keras
import numpy as np
import pytest

import kmtl.export


def test_two_outputs_swapped_are_noticed(small, rows, tmp_path):
    swapped = keras.Model(small.input, {"width": small.output["depth"], "depth": small.output["width"]})
    path = kmtl.export.litert(swapped, tmp_path / "m.tflite")
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


def test_the_table_is_readable(small, rows, tmp_path):
    path = kmtl.export.litert(small, tmp_path / "m.tflite")
    lines = str(kmtl.export.check(small, path, rows)).splitlines()
    assert lines[0] == f"{path}: {path.stat().st_size:,} bytes, 5 samples against the Keras model"
    assert lines[1].split() == ["difference", "largest", "relative", "decisions"]
    assert [line.split()[0] for line in lines[2:]] == ["width", "depth"]


def test_another_models_artifact_is_refused(small, rows, tmp_path):
    kernel = keras.Input((4,), name="row")
    fewer = keras.Model(kernel, {"width": keras.layers.Dense(3)(kernel)})
    path = kmtl.export.litert(fewer, tmp_path / "m.tflite")
    with pytest.raises(ValueError, match=r"(?s)'width' of shape \(5, 2\).*got shape \(5, 3\).*'depth'.*got none"):
        kmtl.export.check(small, path, rows)
    other = keras.Input((4,), name="column")
    path = kmtl.export.litert(keras.Model(other, {"width": keras.layers.Dense(2)(other)}), path)
    with pytest.raises(ValueError, match=r"^check: `artifact` must run on the samples, got .*row"):
        kmtl.export.check(small, path, rows)


def test_what_is_no_artifact_is_refused(small, rows, tmp_path):
    kmtl.export.saved_model(small, tmp_path / "versions")
    (tmp_path / "m.h5").touch()
    (tmp_path / "bad.tflite").write_bytes(b"not a model")
    for path, words in (
        (tmp_path / "none", "Export the model first"),
        (tmp_path / "m.h5", "Export the model first"),
        (tmp_path / "versions", "Pass one of its versions: 1"),
        (tmp_path / "bad.tflite", "run on the samples, got ValueError: .*[Mm]odel"),
    ):
        with pytest.raises(ValueError, match=f"^check: `artifact` must .*{words}"):
            kmtl.export.check(small, path, rows)


def test_all_that_is_wrong_is_told_before_anything_runs(small, tmp_path):
    with pytest.raises(ValueError, match=r"(?s)`artifact` must.*`samples` must have the shape \(None, 4\)"):
        kmtl.export.check(small, tmp_path / "none", np.ones((5, 3)))
    with pytest.raises(ValueError, match="`tolerance` must be a finite number"):
        kmtl.export.check(small, tmp_path / "none", np.ones((5, 4)), tolerance=-1)
    with pytest.raises(ValueError, match=r"(?s)`model` must.*`artifact` must"):
        kmtl.export.check(None, tmp_path / "none", np.ones((5, 4)))
