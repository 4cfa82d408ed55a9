"""Every block of docs/exporting.md runs as it stands, and its links hold."""

import contextlib
import functools
import io
import pathlib
import re
import shlex

import keras
import numpy as np
import pytest
from states import with_scales

import kmtl
import kmtl_command

ROOT = pathlib.Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "exporting.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def write_model(path):
    """A model whose decisions are sure, so that no rounding changes them."""
    image = keras.Input((32, 32, 1), name="image")
    features = keras.layers.Flatten()(keras.layers.AveragePooling2D(8)(image))
    model = kmtl.MultiTaskModel.from_features(image, features, kmtl.data.tasks("digit_poses"))
    model.get_layer("digit").set_weights([np.zeros((16, 10)), np.arange(10.0)])
    model.compile()
    with_scales(model).save(path)


def run(commands):
    """Runs lines of the command in this process, which has TensorFlow loaded; that it is installed, test_cli sees."""
    with contextlib.redirect_stdout(io.StringIO()) as out:
        for line in commands.splitlines():
            program, *arguments = shlex.split(line)
            assert program == "kmtl"
            assert kmtl_command.main(arguments) == 0
    return out.getvalue()


@pytest.mark.long
def test_every_block_runs_as_it_stands(prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kmtl.data, "load", functools.partial(kmtl.data.load, data_dir=prepared))
    write_model("digit_poses.keras")
    names, printed = {}, ""
    for language, block in BLOCKS:
        if language == "python":
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(block, "docs/exporting.md", "exec"), names)
            printed = out.getvalue()
        elif language == "bash":
            printed = run(block)
        else:
            assert (language, printed) == ("text", block)
    assert "SavedModel" in printed
    assert "quantized float16" in printed
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "digit_poses",
        "digit_poses.onnx",
        "digit_poses.tflite",
        "lite",
        "served",
    ]


def test_links_hold():
    for link in re.findall(r"\]\(([\w./-]+\.md)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link
