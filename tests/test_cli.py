"""The command: what the functions do, and a message in place of a traceback."""

import importlib.metadata
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from states import with_scales

import kmtl
import kmtl_command
from kmtl import cli


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A model in a file, and samples of its input."""
    keras.utils.set_random_seed(3)
    folder = tmp_path_factory.mktemp("cli")
    image = keras.Input((8, 8, 1), name="image")
    features = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3, activation="relu")(image))
    tasks = [kmtl.Regression("span", unit="cm"), kmtl.Classification("bird", 3)]
    with_scales(kmtl.MultiTaskModel.from_features(image, features, tasks)).save(folder / "birds.keras")
    np.save(folder / "images.npy", np.random.default_rng(3).random((20, 8, 8, 1), "float32"))
    return folder


def run(capsys, *arguments):
    status = cli.main(list(map(str, arguments)))
    out, err = capsys.readouterr()
    return status, out, err


def test_a_saved_model_with_everything(saved, tmp_path, capsys):
    options = ["--decode", "--images", "--warmup", saved / "images.npy", "--version", 4, "--tasks", "bird"]
    status, out, err = run(capsys, "export", saved / "birds.keras", "--to", tmp_path / "birds", *options)
    assert (status, out, err) == (0, f"{tmp_path / 'birds' / '4'}\n", "")
    found = kmtl.export.inspect(tmp_path / "birds")
    bases = ("serving_default", "bird")
    forms = ("decoded", "image_bytes", "bird.decoded", "bird.image_bytes")
    assert set(found.signatures) == {*bases, *forms}
    assert (tmp_path / "birds" / "4" / "assets.extra" / "tf_serving_warmup_requests").exists()


@pytest.mark.long
def test_all_forms_in_one_folder(saved, tmp_path, capsys):
    forms = ["--saved-model", "--litert", "--quantize", "int8", "--calibration", saved / "images.npy", "--onnx"]
    arguments = ["export", saved / "birds.keras", "--to", tmp_path, *forms, "--tolerance", 1]
    assert run(capsys, *arguments)[:2] == (
        0,
        "".join(f"{tmp_path / name}\n" for name in ("1", "birds.tflite", "birds.onnx")),
    )
    assert run(capsys, *arguments)[:1] == (0,)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "birds.onnx", "birds.tflite"]
    status, out, _ = run(capsys, "inspect", tmp_path / "birds.tflite")
    assert status == 0
    assert "quantized int8" in out
    assert out.rstrip("\n") == str(kmtl.export.inspect(tmp_path / "birds.tflite"))


def refused(saved):
    keras_file = saved / "birds.keras"
    return [
        (["inspect", saved / "gone"], "inspect: `artifact` must be"),
        (["export", keras_file, "--to", saved / "new", "--version", 2**70], "`version` must be a whole number of at"),
        (["export", saved / "gone.keras", "--to", saved / "new"], "`path` must be a .keras file"),
        (["export", keras_file, "--to", saved / "new", "--tasks", "brid"], "Did you mean 'bird'"),
        (["export", keras_file, "--to", saved / "new", "--import", "no_such_module"], "`modules` must be modules"),
        (["export", keras_file, "--to", saved / "new", "--litert", "--quantize", "int8"], "`calibration`"),
        (["export", keras_file, "--to", saved / "new", "--quantize", "int8"], "`--quantize` belongs to a LiteRT file"),
        (["export", keras_file, "--to", saved / "new", "--litert", "--decode"], "`--decode` belongs to a SavedModel"),
        (
            ["export", keras_file, "--to", saved / "new", "--warmup", saved / "text.npy"],
            "`--warmup` must be a .npy or .npz",
        ),
        (["export", keras_file, "--to", saved / "new", "--warmup", saved / "gone.npy"], "gone.npy"),
        (["export", keras_file, "--to", saved], "`directory` must be empty or hold versions"),
    ]


def test_what_is_wrong_is_one_message_and_a_status(saved, capsys):
    (saved / "text.npy").write_text("no array")
    for arguments, words in refused(saved):
        status, out, err = run(capsys, *arguments)
        assert (status, out) == (2, "")
        assert err.startswith(f"kmtl {arguments[0]}: ")
        assert words in err
        assert "inspect: inspect:" not in err
        assert "Traceback" not in err
    assert not (saved / "new").exists()


OPTIONS = {
    "export": "--to --tasks --litert --quantize --calibration --onnx --decode --images",
    "compare": "SCRIPT:BUILD --epochs --seeds --recipes --folder --batch-size --report --quiet",
    "recommend": "SCRIPT:BUILD --epochs --seed --budget --folder --save --export --report",
    "report": "DIR --to --title",
}


@pytest.mark.parametrize("name", OPTIONS)
def test_help_tells_the_options_and_does_not_wait_for_tensorflow(name):
    code = "import sys, atexit, kmtl_command; atexit.register(lambda: print(sorted(sys.modules))); kmtl_command.main()"
    root = str(pathlib.Path(kmtl.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    command = [sys.executable, "-c", code, name, "--help"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    for option in OPTIONS[name].split():
        assert option in done.stdout
    assert not {"'tensorflow'", "'keras'", "'numpy'"} & set(done.stdout.splitlines()[-1].strip("[]").split(", "))


@pytest.mark.long
def test_the_command_is_installed_and_is_a_module_too(saved):
    command = [sys.executable, "-m", "kmtl.cli", "inspect", saved / "birds.keras"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "classification" in done.stdout
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="kmtl")
    assert entry.load() is kmtl_command.main
