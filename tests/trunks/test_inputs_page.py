"""The blocks of docs/inputs.md run, and do what the page says."""

import json
import re
from pathlib import Path

import keras
import numpy as np
import pytest

import kmtl

PAGE = (Path(__file__).parents[2] / "docs" / "inputs.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What the blocks define, run once in a folder of their own."""
    folder, names = tmp_path_factory.mktemp("page"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        keras.utils.set_random_seed(1)
        for code in BLOCKS:
            exec(compile(code, "docs/inputs.md", "exec"), names)
    return {**names, "folder": folder / names["folder"]}


def test_the_table_of_kinds_is_that_of_the_columns(page):
    assert {name: one.kind for name, one in page["columns"].items()} == {
        "age": "number",
        "income": "number",
        "job": "category",
        "region": "code",
    }
    assert page["columns"]["age"].has_gaps
    assert page["columns"]["job"].has_gaps
    again = kmtl.trunks.Columns.from_config(json.loads(json.dumps(page["columns"].get_config())))
    assert again["job"] == page["columns"]["job"]
    assert np.isfinite(page["outputs"]["height"]).all()


def test_a_table_is_served_and_refused_where_the_page_says(page, tmp_path):
    model, columns = page["model"], page["columns"]
    arrays = columns.arrays(page["test"])
    told = kmtl.export.check(model, kmtl.export.saved_model(model, tmp_path / "table"), arrays)
    assert told.passed
    with pytest.raises(ValueError, match="must use LiteRT's built-in ops"):
        kmtl.export.litert(model, tmp_path / "table.tflite")
    with pytest.raises(ValueError, match="must use operations that ONNX has, got LookupTableFindV2"):
        kmtl.export.onnx(model, tmp_path / "table.onnx")


def test_what_is_missing_takes_no_part(page):
    fusion, rows = page["fusion"], {name: array[:8].copy() for name, array in page["rows"].items()}
    both_there, no_picture, no_table = 2, 4, 1
    expected = fusion.predict(rows, verbose=0)["height"]
    # Without a picture the table alone speaks, and without the table the picture alone.
    assert not rows["image"][no_picture].any()
    assert (rows["job"][no_table], rows["region"][no_table]) == ("", -1)
    rows["image"][no_table] = 1.0 - rows["image"][no_table]
    for name in ("age", "job", "region", "income"):
        rows[name][both_there] = rows[name][no_table]
    changed = fusion.predict(rows, verbose=0)["height"]
    assert changed[no_picture] == expected[no_picture]
    assert changed[no_table] != expected[no_table]
    assert changed[both_there] != expected[both_there]
    for name, array in rows.items():
        array[:] = 0.0 if name == "image" else page["rows"][name][no_table]
    empty = fusion.predict(rows, verbose=0)["height"]
    assert np.unique(empty).size == 1


def test_the_sound_is_learned_and_its_files_are_alike(page, tmp_path):
    history, waves = page["listening"], page["waves"]
    assert history["pitch_mae"][-1] < 0.5 * np.abs(page["pitch"] - page["pitch"].mean()).mean()
    assert page["bands"].shape == (1, 32, 30, 1)
    assert json.loads(next(page["folder"].rglob("kmtl.json")).read_text())["inputs"]["waveform"]["rate"] == page["RATE"]
    for write, name in ((kmtl.export.litert, "sound.tflite"), (kmtl.export.onnx, "sound.onnx")):
        assert kmtl.export.check(page["listener"], write(page["listener"], tmp_path / name), waves[:8]).passed
