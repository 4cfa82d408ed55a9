"""Every block of docs/serving.md runs as it stands, against a stand-in for the server; so does the example."""

import contextlib
import functools
import io
import json
import os
import pathlib
import re
import runpy
import shutil
import subprocess
import sys

import keras
import pytest
from export.serving import stand_in
from states import with_scales

import kmtl

ROOT = pathlib.Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "serve.py"
PAGE = (ROOT / "docs" / "serving.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(COMMAND,) = re.findall(r"`(sh saved_models/[^`]*)`", PAGE)

needs_tools = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("bash")), reason="curl or bash is missing")


def skeleton(value):
    """What a reply is made of: keys, lengths and types, without the numbers."""
    if isinstance(value, dict):
        return {key: skeleton(part) for key, part in value.items()}
    return [skeleton(part) for part in value] if isinstance(value, list) else type(value).__name__


def documents(text):
    """Reads JSON documents that stand one after another."""
    found, text = [], text.strip()
    while text:
        value, end = json.JSONDecoder().raw_decode(text)
        found.append(skeleton(value))
        text = text[end:].strip()
    return found


class Reader:
    """Reads the page as a user does, from top to bottom, in a folder with a trained model.

    The only changes: the ports, which must be free ones here, and where the data lies.
    """

    def __init__(self, folder, data, stack):
        self.folder, self.data, self.stack = folder, data, stack
        self.names, self.ports, self.models, self.output, self.read = {}, {}, {}, "", ""

    def local(self, text):
        for documented, found in self.ports.items():
            text = text.replace(documented, found)
        return text.replace('load("digit_poses")', f'load("digit_poses", data_dir={str(self.data)!r})')

    def python(self, code):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(self.local(code), "docs/serving.md", "exec"), self.names)
        self.output = printed.getvalue()
        server = self.names["server"]
        if self.models and server.models.read_text() != self.read:  # a running server looks at the file again
            self.models.update(stand_in.started(str(server)))

    def docker(self, command):
        written = command.replace("$PWD", str(self.folder)).strip()
        assert written == str(self.names["server"])
        self.read = self.names["server"].models.read_text()
        rest, grpc, self.models = self.stack.enter_context(stand_in.serving(written))
        self.ports = {"localhost:8501": rest, "localhost:8500": grpc}
        script = self.folder / "saved_models" / "requests" / "curl.sh"
        script.write_text(self.local(script.read_text()))

    def bash(self, commands):
        path = f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        command = ["bash", "-eu", "-o", "pipefail", "-c", self.local(commands)]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=120, env={**os.environ, "PATH": path}
        )
        assert done.returncode == 0, (commands, done.stdout, done.stderr)
        self.output = done.stdout

    def json(self, replies):
        assert documents(self.output) == [skeleton(json.loads(line)) for line in replies.splitlines()]

    def text(self, printed):
        assert self.output.strip() == printed.strip()


@pytest.mark.long
@needs_tools
def test_every_block_of_the_page_runs_as_written(prepared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    image = keras.Input((32, 32, 1), name="image")
    features = kmtl.trunks.convnet(image, widths=(4,))
    model = kmtl.MultiTaskModel.from_features(image, features, kmtl.data.tasks("digit_poses"))
    with_scales(model).save("digit_poses.keras")
    with contextlib.ExitStack() as stack:
        reader = Reader(tmp_path, prepared, stack)
        for language, block in BLOCKS:
            getattr(reader, language)(block)
        assert [version.warmed != [] for version in reader.models["digit_poses"].versions.values()] == [True, True]
        reader.bash(COMMAND)
        assert "== digit.decoded, columns" in reader.output
    assert [language for language, _ in BLOCKS].count("docker") == 1


def test_the_page_is_short_says_what_was_not_run_and_its_links_hold():
    assert len(PAGE.splitlines()) < 220
    assert "container and the real server were not run here" in PAGE
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / link).exists(), link


@pytest.mark.long
@needs_tools
def test_the_example_prints_a_command_and_requests_that_work(prepared, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(kmtl.data, "load", functools.partial(kmtl.data.load, data_dir=prepared))
    run_here(monkeypatch, EXAMPLE, "--smoke", "--out", tmp_path)
    printed = capsys.readouterr().out
    command = re.search(r"^docker run .*?(?=\n\n)", printed, re.MULTILINE | re.DOTALL)[0]
    (script,) = re.findall(r"^(/.*curl.sh)$", printed, re.MULTILINE)
    with stand_in.serving(command) as (rest, _, models):
        assert len(models["digit_poses"].versions[1].warmed) == 24
        env = {**os.environ, "SERVER": f"http://{rest}"}
        told = subprocess.run([script], env=env, capture_output=True, text=True, check=True, timeout=120).stdout
    assert '"digit_label"' in told.partition("== digit.decoded, columns")[2]


@pytest.mark.long
def test_the_example_serves_a_model_that_is_there(prepared, tmp_path, monkeypatch, capsys):
    image = keras.Input((32, 32, 1), name="image")
    model = with_scales(
        kmtl.MultiTaskModel.from_features(image, keras.layers.Flatten()(image), kmtl.data.tasks("digit_poses"))
    )
    for _ in range(2):
        kmtl.export.saved_model(model, tmp_path / "digit_poses")
    monkeypatch.setattr(kmtl.data, "load", functools.partial(kmtl.data.load, data_dir=prepared))
    run_here(monkeypatch, EXAMPLE, "--smoke", "--out", tmp_path / "out", "--model", tmp_path / "digit_poses")
    assert f"source={tmp_path / 'digit_poses'},target=/models/digit_poses" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["requests", "server"]


def run_here(monkeypatch, program, *words):
    """Runs a script in this process, which has TensorFlow loaded."""
    monkeypatch.setattr(sys, "argv", [str(program), *map(str, words)])
    runpy.run_path(str(program), run_name="__main__")
