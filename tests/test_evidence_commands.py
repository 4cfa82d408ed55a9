"""`kmtl compare`, `recommend` and `report`: what the functions do, with the script's names."""

import itertools
import sys
import types

import pytest

import kmtl
from kmtl import cli, evidence

SCRIPT = """
import keras
import numpy as np
import kmtl

def rows(count, seed):
    generator = np.random.default_rng(seed)
    x = generator.normal(size=(count, 4)).astype("float32")
    return x, {"kind": (x[:, 0] > 0).astype("int32"), "size": x[:, 1]}

tasks = [kmtl.BinaryClassification("kind"), kmtl.Regression("size")]
train, test = rows(32, 0), rows(16, 1)

def validation():
    return rows(16, 2)

recipes = {"long": kmtl.training.Joint(epochs=2), "separate": kmtl.training.Separate()}

def build(tasks, units=2):
    row = keras.Input((4,), name="row")
    model = kmtl.MultiTaskModel.from_features(row, keras.layers.Dense(units)(row), tasks)
    model.compile("adam", run_eagerly=True)
    return model

def wide(tasks):
    return build(tasks, 8)

def broken(tasks):
    raise RuntimeError("no such trunk")
"""
COUNT = itertools.count()


@pytest.fixture
def script(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    path = tmp_path / f"planted_{next(COUNT)}.py"
    path.write_text(SCRIPT)
    yield path
    sys.modules.pop(path.stem, None)


@pytest.fixture
def run(capsys):
    def ran(*arguments):
        status = cli.main(list(map(str, arguments)))
        out, err = capsys.readouterr()
        return status, out, err

    return ran


class Found(types.SimpleNamespace):
    """Stands in for a result."""

    def __str__(self):
        return "the result"


@pytest.fixture
def calls(monkeypatch):
    """What the functions of `kmtl.evidence` were called with, in place of a training."""
    made = {}

    def stand_in(name, result):
        def called(*args, **options):
            made[name] = (args, options)
            return result

        monkeypatch.setattr(evidence, name, called, raising=False)

    page = types.SimpleNamespace(save=lambda path: made.setdefault("saved", path))
    model = types.SimpleNamespace(save=lambda path: made.setdefault("model", path))
    for name, result in {"compare": Found(), "recommend": Found(model=model), "load": Found(), "report": page}.items():
        stand_in(name, result)
    monkeypatch.setattr(kmtl.export, "saved_model", lambda _, folder: folder / "1")
    return made


def test_compare_hands_over_what_the_script_and_the_options_say(script, run, calls):
    status, out, err = run("compare", f"{script}:build,wide", "--epochs", 3, "--seeds", 2, "--quiet")
    assert (status, out, err) == (0, f"the result\nkept in {script.stem}_compare\n", "")
    (build,), options = calls["compare"]
    assert build.__name__ == "build"
    assert {name: one.__name__ for name, one in options["builds"].items()} == {"wide": "wide"}
    assert list(options["recipes"]) == ["long", "separate"]
    assert [task.name for task in options["tasks"]] == ["kind", "size"]
    assert [len(options[part][0]) for part in ("train", "test", "validation")] == [32, 16, 16]
    assert {name: options[name] for name in ("epochs", "seeds", "verbose")} == {"epochs": 3, "seeds": 2, "verbose": 0}
    assert str(options["folder"]) == f"{script.stem}_compare"
    assert "batch_size" not in options


def test_recipes_are_the_scripts_or_kmtls(script, run, calls, tmp_path):
    options = ["--recipes", "Joint,long, Distilled", "--folder", tmp_path / "runs", "--batch-size", 7]
    assert run("compare", script, "--epochs", 1, *options)[0] == 0
    given = calls["compare"][1]
    kinds = {name: type(recipe).__name__ for name, recipe in given["recipes"].items()}
    assert kinds == {"Joint": "Joint", "long": "Joint", "Distilled": "Distilled"}
    assert given["recipes"]["long"].epochs == 2
    assert (given["folder"], given["batch_size"]) == (tmp_path / "runs", 7)
    assert {"builds", "seeds", "verbose"}.isdisjoint(given)


def test_recommend_writes_what_it_ships_and_the_report(script, run, calls, tmp_path):
    places = ["--save", tmp_path / "new" / "best.keras", "--export", tmp_path / "served"]
    options = ["--epochs", 2, "--budget", 1.5, "--seed", 5, "--report", tmp_path / "page.html"]
    status, out, _ = run("recommend", f"{script}:wide", *options, *places)
    assert status == 0
    assert calls["recommend"][0][0].__name__ == "wide"
    assert calls["recommend"][1]["budget"] == 1.5
    assert calls["recommend"][1]["seed"] == 5
    assert {"recipes", "builds", "seeds"}.isdisjoint(calls["recommend"][1])
    assert calls["model"] == tmp_path / "new" / "best.keras"
    assert calls["saved"] == tmp_path / "page.html"
    # What the model is shown on has chosen nothing.
    assert len(calls["report"][1]["data"][0]) == 16
    assert calls["report"][1]["data"] is calls["recommend"][1]["test"]
    assert calls["report"][1]["model"] is calls["report"][0][0].model
    for place in (tmp_path / "page.html", f"{script.stem}_recommend", calls["model"], tmp_path / "served" / "1"):
        assert str(place) in out


def test_report_is_of_a_folder(run, calls, tmp_path):
    assert run("report", tmp_path)[:2] == (0, f"{tmp_path / 'report.html'}\n")
    assert calls["load"] == ((tmp_path,), {})
    calls.clear()
    assert run("report", tmp_path, "--to", tmp_path / "page.md", "--title", "Two tasks")[0] == 0
    assert calls["report"][1] == {"title": "Two tasks"}
    assert calls["saved"] == tmp_path / "page.md"


def test_what_is_wrong_is_one_message_and_nothing_is_trained(script, run, calls):
    cases = [
        (["compare", "gone.py", "--epochs", 1], "`script` must be a Python file"),
        (["compare", f"{script}:biuld", "--epochs", 1], "Did you mean 'build'"),
        (["compare", script, "--epochs", 1, "--recipes", "Jiont"], "Did you mean 'Joint'"),
        (["compare", script, "--epochs", 1, "--recipes", "CoTraining"], "recipes = {'cotraining': kmtl.training.CoTr"),
        (["compare", script, "--epochs", 1, "--recipes", "Recipe"], "`--recipes` must be of kmtl.training or of the s"),
        (["compare", script, "--epochs", 1, "--report", "page.pdf"], "`--report` must end in .html or .md"),
        (["recommend", script, "--epochs", 1, "--save", "best.h5"], "`--save` must end in .keras, got 'best.h5'"),
        (["recommend", f"{script}:build,wide", "--epochs", 1], "`script` must name one function"),
    ]
    for arguments, words in cases:
        status, out, err = run(*arguments)
        assert (status, out) == (2, "")
        assert err.startswith(f"kmtl {arguments[0]}: ")
        assert words in err
        assert not calls


def test_an_error_of_the_build_is_told_by_its_line(script, run):
    status, _, err = run("compare", f"{script}:broken", "--epochs", 1, "--quiet")
    line = SCRIPT.splitlines().index('    raise RuntimeError("no such trunk")') + 1
    assert status == 2
    assert f"got line {line} in broken: RuntimeError: no such trunk" in err
    assert "Traceback" not in err


@pytest.mark.long
def test_a_comparison_and_its_report(script, run, tmp_path):
    arguments = ["compare", script, "--epochs", 1, "--seeds", 2, "--quiet", "--folder", "runs"]
    status, out, _ = run(*arguments)
    assert status == 0
    assert out.count("\nlong ") + out.count("\n    long ") == 1
    again = run(*arguments)[1]
    assert again.splitlines()[:3] == out.splitlines()[:3]
    assert run("report", "runs", "--to", "page.html")[:2] == (0, "page.html\n")
    page = (tmp_path / "page.html").read_text()
    assert page.startswith("<!")
    assert "long" in page
