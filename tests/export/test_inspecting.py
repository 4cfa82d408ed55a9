"""What an artifact tells, whatever its form; what is none, told in one sentence."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from states import with_scales

import kmtl

TASKS = ["span", "bird"]


@pytest.fixture(scope="module")
def birds():
    keras.utils.set_random_seed(3)
    row = keras.Input((4,), name="row")
    names = ("wren", "line\nbreak", "中文")
    tasks = [kmtl.Regression("span", shape=(2,), unit="cm"), kmtl.Classification("bird", 3, label_names=names)]
    return with_scales(kmtl.MultiTaskModel.from_features(row, keras.layers.Dense(6, activation="relu")(row), tasks))


@pytest.fixture(scope="module")
def forms(birds, tmp_path_factory):
    """One artifact of each form."""
    folder = tmp_path_factory.mktemp("forms")
    metrics = {"bird_accuracy": 0.75}
    birds.save(folder / "birds.keras")
    return {
        "SavedModel": kmtl.export.saved_model(birds, folder / "birds", metrics=metrics),
        "LiteRT": kmtl.export.litert(birds, folder / "birds.tflite", metrics=metrics),
        "ONNX": kmtl.export.onnx(birds, folder / "birds.onnx", metrics=metrics),
        "Keras": folder / "birds.keras",
    }


@pytest.mark.parametrize("form", ["SavedModel", "LiteRT", "ONNX", "Keras"])
def test_every_form_tells_its_tasks(forms, form):
    found = kmtl.export.inspect(forms[form])
    assert found.form == form
    assert found.path == forms[form]
    files = [path for path in [found.path, *found.path.rglob("*")] if path.is_file()]
    assert found.size == sum(path.stat().st_size for path in files)
    assert list(found.told["tasks"]) == TASKS
    assert found.told["tasks"]["bird"]["label_names"] == ["wren", "line\nbreak", "中文"]
    assert found.told["inputs"]["row"]["shape"] == [None, 4]
    lines = str(found).splitlines()
    assert f"{found.size:,} bytes" in lines[0]
    (row,) = [line.split() for line in lines if line.startswith("bird ") and "classification" in line]
    assert row[-3:] == ['"wren",', '"line\\nbreak",', '"中文"']
    assert any(line.startswith("metrics: bird_accuracy 0.75") for line in lines) == (form != "Keras")


@pytest.mark.parametrize("form", ["SavedModel", "LiteRT"])
def test_signatures_are_read_from_the_artifact_itself(forms, form):
    found = kmtl.export.inspect(str(forms[form])).signatures
    assert list(found) == ["serving_default", *TASKS]
    row = {"row": {"shape": [None, 4], "dtype": "float32"}}
    span = {"shape": [None, 2], "dtype": "float32"}
    assert found["span"] == {"inputs": row, "outputs": {"span": span}}
    assert set(found["serving_default"]["outputs"]) == set(TASKS)


def test_of_a_folder_of_versions_the_highest_is_shown(birds, tmp_path):
    for version in (2, 10, 9):
        kmtl.export.saved_model(birds, tmp_path, version, tasks=["bird"] if version == 10 else None)
    found = kmtl.export.inspect(tmp_path)
    assert found.path == tmp_path / "10"
    assert found.versions == (2, 9, 10)
    assert list(found.told["tasks"]) == ["bird"]
    assert "versions 2, 9, 10" in str(found)


def test_what_others_made_is_shown_as_far_as_it_tells(tmp_path):
    module = tf.Module()
    module.run = tf.function(lambda x: {"y": x + 1}, input_signature=[tf.TensorSpec((None, 2), tf.int64, "x")])
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures={"go": module.run.get_concrete_function()})
    found = kmtl.export.inspect(tmp_path / "saved")
    assert found.told == {}
    assert found.signatures["go"]["inputs"] == {"x": {"shape": [None, 2], "dtype": "int64"}}
    lite = tmp_path / "other.tflite"
    lite.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved")).convert())
    found = kmtl.export.inspect(lite)
    assert found.told == {}
    assert "go" in str(found)


def test_what_is_no_artifact_is_told(forms, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").touch()
    for name in ("a.tflite", "a.onnx", "a.keras"):
        (tmp_path / name).write_bytes(b"not that")
    cut = tmp_path / "cut"
    cut.mkdir()
    (cut / "saved_model.pb").write_bytes((forms["SavedModel"] / "saved_model.pb").read_bytes()[:999])
    for name in ("empty", "note.txt", "gone.tflite", "a.tflite", "a.onnx", "a.keras", "cut"):
        with pytest.raises(ValueError, match=r"^(inspect|load_keras): `(artifact|path)` must be"):
            kmtl.export.inspect(tmp_path / name)
    half = tmp_path / "half.tflite"
    content = forms["LiteRT"].read_bytes()
    half.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"^(inspect|litert_metadata): "):
        kmtl.export.inspect(half)


class Doubled(keras.layers.Layer):
    """A layer that nothing registered."""

    def call(self, inputs):
        return 2 * inputs


def saved(folder, name, layer):
    row = keras.Input((4,), name="row")
    path = folder / f"{name}.keras"
    keras.Model(row, {"a": layer(row)}).save(path)
    return path


def test_files_that_cannot_be_loaded_are_told(tmp_path):
    good = saved(tmp_path, "good", keras.layers.Dense(2))
    content = good.read_bytes()
    (tmp_path / "cut.keras").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.keras").write_text("no zip")
    (tmp_path / "empty.keras").touch()
    saved(tmp_path, "lambda", keras.layers.Lambda(lambda values: values * 2, output_shape=(4,)))
    saved(tmp_path, "custom", Doubled())
    for name, words in (
        ("cut", "must be a whole .keras file, got .*cut off"),
        ("text", "no zip archive"),
        ("empty", "no zip archive"),
        ("lambda", "must hold no lambda"),
        ("custom", "must hold known classes, got 'Doubled', which nothing registered. Register it"),
        ("gone", "must be a .keras file, got .*gone.keras, where nothing is"),
    ):
        with pytest.raises(ValueError, match=f"^load_keras: `path` .*{words}"):
            kmtl.export.load_keras(tmp_path / f"{name}.keras")
    assert np.all(kmtl.export.load_keras(good).get_weights()[0] == keras.saving.load_model(good).get_weights()[0])


def test_a_module_that_registers_the_layer_makes_it_load(tmp_path, monkeypatch):
    lines = [
        "import keras",
        "@keras.saving.register_keras_serializable(package='birds')",
        "class Tripled(keras.layers.Layer):",
        "    def call(self, inputs):",
        "        return 3 * inputs",
    ]
    (tmp_path / "my_own_layers.py").write_text("\n".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="`modules` must be modules that Python finds, got 'my_own_layer'"):
        kmtl.export.load_keras(tmp_path / "a.keras", ["my_own_layer"])
    import my_own_layers

    path = saved(tmp_path, "tripled", my_own_layers.Tripled())
    assert kmtl.export.load_keras(path, ["my_own_layers"]).layers[-1].name == "tripled"


@pytest.mark.long
def test_unregistered_layers_are_exported_all_the_same(tmp_path):
    """Graphs need no classes; only a `.keras` file does."""
    row = keras.Input((4,), name="row")
    model = keras.Model(row, {"a": Doubled()(row), "b": row + 1})
    rows = np.ones((2, 4), "float32")
    for artifact in (
        kmtl.export.saved_model(model, tmp_path / "versions"),
        kmtl.export.litert(model, tmp_path / "m.tflite"),
    ):
        assert kmtl.export.check(model, artifact, rows).worst == 0


def test_odd_descriptions_are_told_in_the_one_form(forms, tmp_path):
    """Whoever wrote them: wrong types, half of one, too much of one, and what would move the cursor."""
    version = tmp_path / "1"
    shutil.copytree(forms["SavedModel"], version)
    file = version / "assets.extra" / "kmtl.json"
    good = json.loads(file.read_text())
    bird = good["tasks"]["bird"]
    odd = [
        "[]",
        "3",
        '"text"',
        "",
        "{",
        file.read_text()[:200],
        "\xff",
        "[" * 100_000,
        '{"a": ' * 5000 + "1" + "}" * 5000,
    ]
    for changed in (
        {"tasks": None},
        {"tasks": ["bird"]},
        {"tasks": {"bird": None}},
        {"tasks": {"bird": {}}},
        {"tasks": {"bird": {**bird, "shape": 3}}},
        {"tasks": {"bird": {**bird, "shape": ["3"]}}},
        {"tasks": {"bird": {**bird, "label_names": "abc"}}},
        {"tasks": {"bird": {**bird, "label_names": [1]}}},
        {"tasks": {"bird": {**bird, "unit": {}}}},
        {"made": []},
        {"made": {}},
        {"made": {"time": 3}},
        {"parameters": "many"},
        {"parameters": None},
        {"metrics": [1]},
        {"metrics": {"bird_accuracy": "good"}},
        {"quantize": 8},
        {"signatures": 5},
    ):
        odd.append(json.dumps({**good, **changed}))
    for content in odd:
        file.write_bytes(content.encode("latin-1"))
        with pytest.raises(ValueError, match=r"^inspect: `artifact` must be whole, got .*Export it again\.$"):
            kmtl.export.inspect(version)
    made = {**good["made"], "time": "\x1b[2Jnow"}
    tasks = {"bird\x1b[1A": {**bird, "unit": "\x07cm", "kind": "\x9b31m"}}
    file.write_text(json.dumps({**good, "made": made, "tasks": tasks, "metrics": {"a\rb": 1.0}}))
    shown = str(kmtl.export.inspect(version))
    assert all(letter.isprintable() for line in shown.split("\n") for letter in line)
    assert r"\x1b[2Jnow" in shown


@pytest.fixture
def planted(tmp_path):
    """A folder with a file that names a class of `keras_hub`, beside a `keras_hub.py` that tells when it runs."""
    with zipfile.ZipFile(saved(tmp_path, "plain", keras.layers.Dense(2))) as plain:
        parts = {name: plain.read(name) for name in plain.namelist()}
    parts["config.json"] = parts["config.json"].replace(b'"keras.layers"', b'"keras_hub.layers"')
    with zipfile.ZipFile(tmp_path / "named.keras", "w") as named:
        for name, content in parts.items():
            named.writestr(name, content)
    (tmp_path / "keras_hub.py").write_text("open('ran', 'w').close()")
    return tmp_path


ABSENT = "load_keras: `path` must hold classes of installed packages, got one of 'keras_hub.layers'"


def test_a_file_imports_nothing_from_the_current_folder(planted, monkeypatch):
    """Keras imports what a file says of `keras_hub`, and Python from the current folder where its path says so."""
    monkeypatch.chdir(planted)
    (planted / "link").symlink_to(planted)
    for entry in ("", ".", str(planted), str(planted / "link"), f"{planted}/link/../link"):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", [entry, *sys.path])
            before = list(sys.path)
            with pytest.raises(ValueError, match=ABSENT):
                kmtl.export.load_keras("named.keras")
            with pytest.raises(ValueError, match="`modules` must be modules that Python finds"):
                kmtl.export.load_keras("named.keras", ["keras_hub.layers"])
            assert sys.path == before
    before = list(sys.path)
    with pytest.raises(ValueError, match=ABSENT):
        kmtl.export.inspect("named.keras")
    assert sys.path == before
    assert not (planted / "ran").exists()


@pytest.mark.long
def test_a_program_imports_nothing_from_its_folder(planted):
    """Here the current folder stands in the path by itself."""
    environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(kmtl.__file__).parents[1])}
    code = "import sys; from kmtl import cli; sys.exit(cli.main(['inspect', 'named.keras']))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=planted, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert ABSENT in done.stderr
    assert not (planted / "ran").exists()
