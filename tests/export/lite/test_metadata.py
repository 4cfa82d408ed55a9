import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import kmtl.export
from kmtl.export.lite import metadata, running


@pytest.mark.long
def test_a_description_changes_no_output_and_keeps_weights_aligned(model, samples, tmp_path):
    path = kmtl.export.litert(model, tmp_path / "m.tflite", quantize="dynamic")
    content = path.read_bytes()
    again = metadata.add(content, {"name": "µ-Größe", "quality": None}, "another line")
    before, after = running.runner(content)(samples), running.runner(again)(samples)
    for name, outputs in before.items():
        for task, values in outputs.items():
            np.testing.assert_array_equal(values, after[name][task])
    model = schema.Model.GetRootAs(again)
    assert model.Description() == b"another line"
    buffers = [model.Buffers(place) for place in range(model.BuffersLength())]
    filled = [buffer._tab for buffer in buffers if buffer.DataLength()]
    assert len(filled) > 10
    assert {table.Vector(table.Offset(4)) % 16 for table in filled} == {0}


def test_other_files_have_no_description(small, tmp_path):
    path = kmtl.export.litert(small, tmp_path / "m.tflite")
    content = path.read_bytes()
    for bad, words in ((b"text", "must be a LiteRT file"), (b"", "must be a LiteRT file")):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=words):
            metadata.read(path)
    path.write_bytes(content.replace(b'"format": 1', b'"format": }'))
    with pytest.raises(ValueError, match="must be whole, got a damaged description"):
        metadata.read(path)
    path.write_bytes(content.replace(b"kmtl.json", b"else.json"))
    assert metadata.read(path) is None
