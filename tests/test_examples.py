"""Every example runs, and leaves what it says."""

import contextlib
import os
import pathlib
import re
import runpy
import subprocess
import sys

import numpy as np
import pages
import pandas as pd
import pytest

EXAMPLES = pathlib.Path(__file__).parents[1] / "examples"
NUMBER = re.compile(r"[+-]?\d+\.\d+")
# Of losses and metrics of Keras and kmtl, which are seen in graphs elsewhere.
OF_A_FEW_STEPS = {"click_and_purchase", "diseases", "emobank", "every_kind", "labels_from_csv", "search_weights"}


@pytest.fixture
def run(prepared, tmp_path):
    """Runs an example in a process of its own, with few examples; what it prints."""

    def printed(name, *launcher):
        command = [sys.executable, *launcher, EXAMPLES / f"{name}.py", "--smoke", "--out", tmp_path]
        environment = {**os.environ, "TFDS_DATA_DIR": str(prepared)}
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return printed


@pytest.fixture
def main(monkeypatch, capsys):
    """Runs an example in this process, which has imported what it needs; its names, and what it prints."""

    def found(name, *arguments):
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments), "--smoke"])
        with pages.eagerly() if name in OF_A_FEW_STEPS else contextlib.nullcontext():
            names = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return names, capsys.readouterr().out

    return found


@pytest.fixture
def run_here(main):
    """An example that writes nothing: its names, and the numbers that it prints by row."""

    def found(name):
        names, printed = main(name)
        rows = (re.split(r" {2,}", line.strip()) for line in printed.splitlines())
        return names, {row[0]: [float(number) for cell in row[1:] for number in NUMBER.findall(cell)] for row in rows}

    return found


@pytest.fixture
def write_here(main, prepared, tmp_path, monkeypatch):
    """An example that writes files: what it prints."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    return lambda name, *files: main(name, *files, "--out", tmp_path)[1]


def is_picture(path):
    """Whether a file is a PNG that shows something."""
    content = path.read_bytes()
    return content.startswith(b"\x89PNG") and len(content) > 5000


@pytest.mark.long
def test_quickstart(run, tmp_path):
    # Six models of a few steps each: in graphs the README's example runs.
    printed = run("quickstart", "-m", "eagerly")
    for word in ("digit [accuracy]", "angle [deg]", "position [px]", "delta_m", "weights", "seconds"):
        assert word in printed
    # The second joint model is as large as the three single ones, and no larger.
    weights = {
        name: int(re.search(rf"^{name} .*?([\d,]+) +\d+$", printed, re.MULTILINE).group(1).replace(",", ""))
        for name in ("three models", "one, same trunk", "one, as many weights")
    }
    assert 0.3 < weights["one, same trunk"] / weights["three models"] < 0.35
    assert 0.9 < weights["one, as many weights"] / weights["three models"] <= 1
    assert all(is_picture(tmp_path / f"digit_poses_{name}.png") for name in ("curves", "samples"))
    assert (tmp_path / "digit_poses.tflite").stat().st_size > 1000
    assert (tmp_path / "digit_poses" / "1" / "saved_model.pb").exists()


@pytest.mark.long
def test_many_workers(run, tmp_path):
    assert "2 replicas, position_mae" in run("many_workers", "-m", "kmtl.distribution", "--workers", "2")
    assert not (tmp_path / "backups").exists()


@pytest.mark.long
def test_export_forms(write_here, tmp_path):
    printed = write_here("export_forms")
    for words in ("SavedModel of", "LiteRT of", "ONNX of", "JPEG files in, labels out", "image_bytes"):
        assert words in printed
    assert (tmp_path / "digit_poses_float32.tflite").exists()
    # What one epoch of a few batches has learned may be lost in rounding: such a file is refused by name.
    assert (tmp_path / "digit_poses_int8.tflite").exists() != ("digit_poses_int8.tflite was not written" in printed)


@pytest.mark.long
def test_intent_and_slots(write_here, tmp_path):
    printed = write_here("intent_and_slots")
    assert re.search(r"on 20 test sentences: intent \d\.\d{4}, slots F1 \d\.\d{4}", printed)
    assert len(re.findall(r"^'.*': (?:PlayMusic|GetWeather)\(.*\)$", printed, re.MULTILINE)) == 3
    assert (tmp_path / "intent_and_slots" / "1" / "saved_model.pb").exists()


@pytest.mark.long
def test_trade_off(write_here, tmp_path):
    printed = write_here("trade_off")
    for words in ("21 points in", "steps make the favoured task worse", "knee: {'digit':", "with each request"):
        assert words in printed
    assert is_picture(tmp_path / "front.png")
    for name in ("knee", "any_preference"):
        assert (tmp_path / name / "1" / "saved_model.pb").exists()


@pytest.mark.long
def test_search_weights(write_here, tmp_path):
    # Ten models of a few steps each: what a graph changes, tests/search sees.
    printed = write_here("search_weights")
    for words in ("best is trial", "equal weights", "uncertainty", "found weights"):
        assert words in printed
    assert is_picture(tmp_path / "trials.png")


@pytest.mark.long
def test_trackers(run, tmp_path):
    printed = run("trackers")
    assert {path.name for path in (tmp_path / "tensorboard").iterdir()} == {"train", "validation"}
    assert re.search(r"^each has 28 values of 2 epochs: angle_excluded, ", printed, re.MULTILINE)
    for name, told in (("wandb", "wandb sync"), ("mlflow", "mlflow ui")):
        assert (f"{name} is not installed: pip install {name}" in printed) != (told in printed)
        assert (told in printed) == (tmp_path / name).exists()


@pytest.mark.long
def test_digit_files_and_labels_from_csv(write_here, tmp_path):
    assert write_here("digit_files") == f"120 rows in {tmp_path / 'labels.csv'}\n"
    frame = pd.read_csv(tmp_path / "labels.csv")
    assert {path.name for path in tmp_path.glob("*.png")} == set(frame["file"])
    shares = frame[["digit", "angle", "row"]].isna().mean()
    assert ((shares > 0.3) & (shares < 0.7)).all()
    assert set(frame["digit"].dropna()) == set(range(10))
    printed = write_here("labels_from_csv", tmp_path / "labels.csv")
    for place in (tmp_path / "report.html", tmp_path / "digits" / "1" / "saved_model.pb"):
        assert place.exists()
        assert str(place).removesuffix("/saved_model.pb") in printed


def test_from_a_table_to_a_model_to_ship_takes_less_than_40_lines():
    assert len((EXAMPLES / "labels_from_csv.py").read_text().splitlines()) < 40


@pytest.mark.long
def test_recommendation(run_here):
    names, rows = run_here("recommendation")
    for row in ("true probabilities", "each supervised", "the mean alone"):
        assert len(rows[row]) == 4
        assert abs(rows[row][-1]) < 1
    one, other = np.random.default_rng(0).random((2, 100))
    outputs = {"personal": one[:, None], "bundle": (other + one)[:, None]}
    logs = {each.__name__: np.mean(each({}, outputs)) for each in names["MOMENTS"]}
    assert names["pearson"](logs) == pytest.approx(np.corrcoef(one, other + one)[0, 1])


@pytest.mark.long
def test_diseases(run_here):
    names, rows = run_here("diseases")
    _, known, truth = names["patients"](1000, seed=3)
    for name in names["DISEASES"]:
        assert (known[name] == -1).mean() > 0.8
        assert (known[name] == truth[name])[known[name] >= 0].all()
    for row in ("one model", "one a disease", "one, -1 as healthy"):
        assert len(rows[row]) == 4


@pytest.mark.long
def test_click_and_purchase(run_here):
    names, rows = run_here("click_and_purchase")
    _, labels, _ = names["shop"](1000, seed=3)
    assert not labels["purchase"][labels["click"] == 0].any()
    for row in ("from clicks only", "ESMM", "ESMM, and clicks"):
        assert len(rows[row]) == 6


@pytest.mark.long
def test_every_kind(write_here, tmp_path):
    printed = write_here("every_kind")
    told = {path.name for path in tmp_path.iterdir()}
    assert all(f"{tmp_path / name}" in printed for name in told)
    # The page shows these, and each of them is committed.
    page = EXAMPLES.parent / "docs"
    assert told == set(re.findall(r"\(kinds/(\w+\.png)\)", (page / "tasks.md").read_text()))
    assert told == {path.name for path in (page / "kinds").iterdir()}
    assert all(is_picture(tmp_path / name) for name in told)


@pytest.mark.long
def test_census_income(run_here):
    names, rows = run_here("census_income")
    people = names["people"](None, smoke=True)
    assert not set(names["NO_INPUTS"]) & set(names["columns_of"](people, names["NO_INPUTS"]))
    for row in ("each alone", "joint", "joint, equal cost"):
        assert len(rows[row]) >= 4


@pytest.mark.long
def test_spoken_digits(run_here):
    names, rows = run_here("spoken_digits")
    images, labels, split = names["made_up"](120)
    assert (images.shape, set(split)) == ((120, 64, 63, 1), {0, 2})
    assert 0.2 < np.isnan(labels["pitch"]).mean() < 0.4
    for row in ("each alone", "joint", "joint, equal cost"):
        assert len(rows[row]) >= 5


@pytest.mark.long
def test_omniglot(run_here):
    names, rows = run_here("omniglot")
    images = np.arange(32, dtype="uint8").reshape(1, 4, 8, 1)
    assert names["halved"](images)[0, 1, 0, 0] == pytest.approx(np.mean([16, 17, 24, 25]) / 255)
    _, labels, split = names["made_up"](120)
    # A character has its alphabet and its strokes.
    assert len({*zip(labels["character"], labels["alphabet"], labels["strokes"], strict=True)}) == 12
    always = {**labels, "strokes": np.where(split == 2, 5, 3)}
    assert names["constants"]((None, always, split))["strokes"] == 2
    for row in ("each alone", "joint", "joint, equal cost"):
        assert len(rows[row]) >= 6


@pytest.mark.long
def test_clothing(run_here):
    names, rows = run_here("clothing")
    _, labels, split = names["made_up"](120)
    assert 0 < (labels["garment"] == -1).mean() < 0.2
    assert all(set(labels["kids"][split == part]) == {0, 1} for part in (0, 2))
    for row in ("each alone", "joint", "joint, equal cost"):
        assert len(rows[row]) >= 5


def test_emobank(run_here):
    names, _ = run_here("emobank")
    labels = {name: np.array([1.0, 2.0, 4.0]) for name in names["SCALES"]} | {"genre": np.array([0, 1, 1])}
    outputs = {name: -3 * values[:, None] for name, values in labels.items() if name != "genre"}
    outputs["genre"] = np.eye(2)[[0, 1, 0]]
    expected = pytest.approx([-1, -1, -1, 2 / 3])
    assert list(names["scores"](outputs, labels).values()) == expected


@pytest.mark.long
def test_financial_opinion(run_here):
    names, rows = run_here("financial_opinion")
    assert rows["alarms without a surge"] == [0.0]
    quiet = np.random.default_rng(5).normal(0.3, 0.03, 200)
    assert names["deviations"](quiet).max() < names["THRESHOLD"]
    # Whatever a topic's usual share: what counts is its own history.
    loud = np.where(np.arange(200) == 150, 0.55, quiet)
    assert np.argmax(names["deviations"](loud)) == np.argmax(names["deviations"](loud + 5)) == 150
    assert names["deviations"](loud)[150] > names["THRESHOLD"]


@pytest.mark.long
def test_answer_matching(run_here):
    names, rows = run_here("answer_matching")
    assert rows["chance"] == pytest.approx([1 / 6, 1 / 48, 3 / 48], abs=1e-3)
    assert rows["dual encoder"][0] > 0.3
    assert rows["dual encoder"][1] > 0.05
    # The row's own answer, and the other row's that is the same one, of three.
    outputs = np.array([[1.0, 0.5, 0.0], [0.0, 0.5, 0.0], [0.0, 1.5, 0.0]], "float32")
    labels = np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 2.0]], "float32")
    found = names["InBatchSoftmax"]("equal").call(labels, outputs)
    share = np.exp(0.5) * 2 / (np.exp(0.5) * 2 + np.exp(1.5))
    np.testing.assert_allclose(found, -np.log([share, 2 / 3, 1 / 3]), rtol=1e-5)


def test_every_example_is_run():
    # That of the server runs against a stand-in for it, in tests/export/serving.
    here = pathlib.Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        ways = (f'{way}("{path.stem}"' for way in ("run", "run_here", "write_here"))
        assert path.stem == "serve" or any(way in here for way in ways)
