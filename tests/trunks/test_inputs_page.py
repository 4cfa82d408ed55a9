"""The blocks of docs/inputs.md run, and do what the page says."""

import contextlib
import json

import keras
import numpy as np
import pages
import pytest

import kmtl

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """What the blocks define, run once in a folder of their own."""
    folder, names = tmp_path_factory.mktemp("page"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        keras.utils.set_random_seed(1)
        for code in pages.blocks("inputs.md"):
            # The last one trains for long, the others for a few steps.
            with contextlib.nullcontext() if "epochs=6" in code else pages.eagerly():
                for old, new in (("batch_size=32", "batch_size=160"), ("labels, epochs=1", "labels, 160, epochs=1")):
                    code = code.replace(old, new)
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
    assert told.worst < 1e-5
    for write in (kmtl.export.litert, kmtl.export.onnx):
        with pytest.raises(ValueError, match=r"must read numbers, got text in \['job'\]"):
            write(model, tmp_path / "file")


def test_what_is_missing_takes_no_part(page):
    fusion, rows = page["fusion"], {name: array[:8].copy() for name, array in page["rows"].items()}
    whole, no_table, no_picture = 2, 1, 4
    rows["note"][[whole, no_table, no_picture]] = "feels well"
    expected = fusion.predict(rows, verbose=0)["height"].ravel()
    assert not rows["image"][no_picture].any()
    assert (rows["job"][no_table], rows["region"][no_table]) == ("", -1)
    # Without its table a row is read by its picture, and whatever is taken from a whole one changes it.
    rows["image"][no_table] = 1.0 - rows["image"][no_table]
    rows["note"][whole] = ""
    changed = fusion.predict(rows, verbose=0)["height"].ravel()
    assert (changed != expected)[[whole, no_table]].all()
    assert changed[no_picture] == pytest.approx(expected[no_picture], rel=1e-6)
    # With nothing at all every row is alike.
    nothing = {name: np.repeat(array[no_table : no_table + 1], 8) for name, array in rows.items() if name != "image"}
    empty = {**nothing, "note": np.array([""] * 8), "image": np.zeros_like(rows["image"])}
    assert np.ptp(fusion.predict(empty, verbose=0)["height"]) == 0


def test_the_sound_is_learned_and_its_files_are_alike(page, tmp_path):
    history, waves = page["listening"], page["waves"]
    assert history["pitch_mae"][-1] < 0.5 * np.abs(page["pitch"] - page["pitch"].mean()).mean()
    assert page["bands"].shape == (1, 32, 30, 1)
    assert json.loads(next(page["folder"].rglob("kmtl.json")).read_text())["inputs"]["waveform"]["rate"] == page["RATE"]
    for write, name in ((kmtl.export.litert, "sound.tflite"), (kmtl.export.onnx, "sound.onnx")):
        told = kmtl.export.check(page["listener"], write(page["listener"], tmp_path / name), waves[:8])
        assert told.worst < 1e-4
