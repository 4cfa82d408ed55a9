"""Every result prints as text, shows as HTML in a notebook, gives a frame, and draws what it has."""

import dataclasses
import html.parser
import pathlib

import keras
import numpy as np
import pandas as pd
import pytest

import kmtl
from kmtl import _figures
from kmtl._table import Result, Table
from kmtl.distribution import StepCost
from kmtl.evidence import (
    Advice,
    Affinity,
    Calibration,
    Comparison,
    ConflictGap,
    Conformal,
    Coverage,
    Diagnosis,
    Finding,
    GradCAM,
    Recommendation,
    Run,
    TaskCalibration,
)
from kmtl.evidence.diagnosis.diagnosis_figures import Curves, PairFigures, TaskFigures
from kmtl.evidence.recommendation.paired_scores import Change
from kmtl.export import Inspection, Parity, Quality, TaskParity
from kmtl.export.lite.scoring import TaskQuality
from kmtl.front import Front, Point, plot_front
from kmtl.front.trade_off import TradeOff
from kmtl.gradients import Gramians
from kmtl.metrics import ClassificationReport
from kmtl.search import Space, WeightSearch
from kmtl.search.hypermodel import Trainee, TrialTrainer
from kmtl.search.objectives import Custom
from kmtl.search.space import TaskSpace
from kmtl.search.trials import Trial
from kmtl.tasks.detection.coco_evaluation import AveragePrecision
from kmtl.training import Stage, Trained

TASKS = [kmtl.Regression("zoo", unit="mm"), kmtl.Classification("ant", 3)]
PREFERENCES = np.linspace(0, 1, 5)


def comparison():
    def run(seed, scale):
        scores = {"zoo": {"mae": scale * (1 + seed)}, "ant": {"accuracy": 0.5 + 0.1 * seed}}
        history = {"zoo_mae": [3.0, 2.0, scale], "val_ant_accuracy": [0.1, 0.2, 0.3 + seed], "ant_accuracy": [9.0] * 3}
        return Run(("zoo", "ant"), seed, scores, history, 2.0, 100, 2.0, 0.5)

    runs = {"separate": [run(0, 2.0), run(1, 2.0)], "<joint>": [run(0, 1.0), run(1, 1.0)]}
    return Comparison(TASKS, runs, "separate")


def advice():
    tasks = pd.DataFrame({"loss": [1.0, 2.0], "gradient_norm": [3.0, np.nan]}, index=["zoo", "ant"])
    pair = {
        "task": "zoo",
        "other": "ant",
        "norm_similarity": 0.5,
        "overlap": 0.1,
        "cosine": np.nan,
        "conflicts": np.nan,
    }
    pairs = pd.DataFrame([{**pair, "batches": 0, "is_measurable": False}])
    return Advice("equal", "Keep <equal> & search.", tasks, pairs)


def affinity():
    values = np.array([[1.0, -0.5], [np.nan, 1.0]])
    counts = np.full((2, 2), 4)
    return Affinity("lookahead", ("<zoo>", "ant"), values, values / 4, np.isfinite(values), counts, "seeds", 4)


def diagnosis():
    losses = Curves(np.full((2, 4), 1.0), np.full((2, 4), 1.5), np.full(2, 0.5), {"mae": 0.25})
    flags = np.zeros(2, bool)
    figures = TaskFigures("zoo", 2.0, 2.0, losses, losses, np.ones(2), 1.0, np.ones(2), np.ones((2, 4)), flags, flags)
    told = [Finding("zoo", "narrow trunk", "widen", "Widen the <trunk>.", {}), Finding("ant", "undecided", "", "?", {})]
    pair = PairFigures("zoo", "ant", np.array([0.5, 0.25]), np.full((2, 3), -0.5))
    both = [figures, figures._replace(name="ant")]
    return Diagnosis(both, [pair], told, 3.0, {"seeds": 2, "trainings": 6, "epochs": 4, "seconds": 1.0})


def calibration():
    bins = (np.array([0.5]), np.array([0.75]), np.array([1.0]))
    ant = TaskCalibration("ant", 9, 1.5, (0.7, 0.6), (0.25, 0.125), (0.25, 0.5), (bins, bins))
    return Calibration((ant, dataclasses.replace(ant, task="owl", threshold=None)), {"zoo": "no <softmax>"})


def conformal():
    return Conformal(model_of(TASKS), 0.1, "lac", {"zoo": np.array([2.5])}, {"zoo": np.array([9])})


def grad_cam():
    maps, images = np.array([[[0.0, 0.0], [3.0, 0.0]]]), np.zeros((1, 4, 4, 1))
    return GradCAM("<map>", {"zoo": maps, "ant": 0 * maps}, {"zoo": ["2 mm"], "ant": ["<0>"]}, {"zoo": True}, images)


def model_of(tasks):
    """What a front reads of a model."""
    return type("Tasks", (), {"tasks": {task.name: task for task in tasks}})


def groups():
    values = np.array([[0.0, 0.5, -0.2], [0.4, 0.0, -0.1], [0.0, -0.3, 0.0]])
    return kmtl.evidence.groups(values, names=["zoo", "ant", "<bee>"])


def front():
    points = [
        Point((share, 1 - share), {"zoo": {"loss": 1.0, "mae": 3 - share}, "ant": {"loss": 1.0, "accuracy": 1 - share}})
        for share in PREFERENCES.tolist()
    ]
    # One that others dominate.
    points[2].scores["zoo"]["mae"] = 9.0
    return Front(None, None, model_of(TASKS), points, 1.0)


def weight_search():
    space = TaskSpace(Space(), {"zoo": 1.0, "ant": 1.0})
    trainer = TrialTrainer(lambda tasks: tasks, TASKS)
    trainee = Trainee(trainer, space, Custom(len), {task.name: task for task in TASKS}, [])

    def trial(name, ratio, score, **changes):
        metrics = {"zoo_loss": 1.0, "zoo_mae": ratio, "ant_loss": 2.0, "ant_accuracy": ratio / 10}
        place, values = pathlib.Path("trial"), {"weight_ant": ratio}
        row = Trial(name, "COMPLETED", values, "", None, metrics, score, "", "one", 1.5, place)
        return row._replace(**changes)

    failed = trial("2", 2.0, None, status="FAILED", cause="ValueError: <too wide>", metrics={})
    return WeightSearch(trainee, [trial("0", 1.0, 3.0), trial("1", 3.0, -2.0), failed], None, ["worker 'one' joined"])


def recommendation():
    change = {"zoo": Change(-2.0, 0.5), "ant": Change(4.0, 1.0)}
    row = {"candidate": "<half>", "seed": 0, "weights": 50, "cost": 0.5, "changes": change, "is_held": True}
    scores = {"zoo": {"mae": 1.0}, "ant": {"accuracy": 0.75}}
    return Recommendation(
        model=None,
        serves={"zoo": "<half>", "ant": "alone"},
        reason="Ship a few.",
        caveats=["One seed."],
        tasks=TASKS,
        scores=scores,
        alone_scores=scores,
        changes=change,
        tried=[{**row, "holds": {"zoo": True, "ant": False}}],
        skipped={"all": "it costs 2"},
        cost=1.5,
        budget=2.0,
        weights=80,
        alone_weights=100,
        curves={"zoo": {"alone": [2.0, 1.0]}, "ant": {}},
    )


RESULTS = {
    "Recommendation": recommendation,
    "Comparison": comparison,
    "PairedComparison": lambda: comparison()["<joint>"],
    "Advice": advice,
    "Affinity": affinity,
    "Gramians": lambda: Gramians(
        ["zoo", "ant"], np.ones((2, 2)), np.array([[True, True], [True, False]]), np.ones((2, 2, 2))
    ),
    "Front": front,
    "WeightSearch": weight_search,
    "Parity": lambda: Parity("m", "ONNX", 9, 5, (TaskParity("zoo", 1e-9, 2.0, 1e-9, None),), 1.0, 2.0),
    "Quality": lambda: Quality("m", 5, (TaskQuality("zoo", "mae", 1.0, 1.5, 50.0),)),
    "Inspection": lambda: Inspection(
        pathlib.Path("<m>"),
        "ONNX",
        9,
        (),
        {
            "tasks": {"zoo": {"kind": "regression", "shape": [1], "unit": "<mm>", "label_names": None}},
            "made": {"time": "now", "kmtl": "1"},
            "parameters": 7,
        },
        {"go": {"inputs": {"row": {"dtype": "float32", "shape": [None, 2]}}, "outputs": {}}},
    ),
    "ClassificationReport": lambda: ClassificationReport(TASKS[1], np.array([0, 1, 2, 2]), np.eye(3)[[0, 1, 2, 0]]),
    "Calibration": calibration,
    "ConflictGap": lambda: ConflictGap({"zoo": [1.0, 2.0]}, {"zoo": [1.5, 2.75]}, {"zoo": 2.0}),
    "Conformal": conformal,
    "Diagnosis": diagnosis,
    "Coverage": lambda: Coverage(0.9, ({"task": "zoo", "labels": 9, "covered": 0.875, "size": 2.5, "unit": "mm"},)),
    "GradCAM": grad_cam,
    "Groups": groups,
    "AveragePrecision": lambda: AveragePrecision(
        0.75, 0.5, ({"class": "<cup>", "objects": 3, "ap50": 0.75, "ap": 0.5},), 4
    ),
    "Columns": lambda: kmtl.trunks.Columns.of(
        pd.DataFrame({"size": [1.0, 2.5, 4.0], "job": ["<cook>", "smith", "<cook>"]})
    ),
    "Trained": lambda: Trained("the model", [Stage("joint", 2, 1.0, 3.5, {"loss": [2.0, 1.0]})]),
    "Report": lambda: kmtl.evidence.report([conformal(), advice()], title="Two <results>"),
    "StepCost": lambda: StepCost(0.1, 0.025, 4_000, 3, 0.05),
}


class Cells(html.parser.HTMLParser):
    """Reads the cells of tables, row by row, and the text outside of them."""

    def __init__(self, text):
        super().__init__()
        self.rows, self.text, self.inside = [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        del attrs
        if tag == "tr":
            self.rows.append([])
        self.inside = tag in ("td", "th")
        if self.inside:
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        self.inside = self.inside and tag not in ("td", "th")

    def handle_data(self, data):
        if self.inside:
            self.rows[-1][-1] += data
        else:
            self.text += data


def subclasses(kind):
    return {kind.__name__} | {name for one in kind.__subclasses__() for name in subclasses(one)}


def test_every_result_is_in_the_table_above():
    assert subclasses(Result) - {"Result", "TradeOff"} == set(RESULTS)
    assert issubclass(Front, TradeOff)


@pytest.mark.parametrize("name", RESULTS)
def test_text_and_html_show_the_same_cells_and_the_frame_has_the_rows(name):
    result = RESULTS[name]()
    tables = [part for part in result.parts() if isinstance(part, Table)]
    rows = [row for table in tables for row in [table.columns, *table.cells]]
    assert rows
    found = Cells(result._repr_html_())
    assert found.rows == rows
    text = str(result)
    # A console shows what `print` does.
    assert repr(result) == text
    for row in rows:
        assert any(" ".join(line.split()) == " ".join(" ".join(row).split()) for line in text.splitlines()), row
    for line in (line for part in result.parts() if isinstance(part, str) for line in part.splitlines()):
        assert line in text
        assert line in found.text
    frame = result.table()
    assert isinstance(frame, pd.DataFrame)
    assert len(frame) == len(tables[0].cells)


def test_lines_and_cells_do_nothing_to_a_screen():
    class Told(Result):
        def parts(self):
            return ["best \x1b[31mred\x07\nnext", Table([{"na\x1bme": "a\x9bb"}])]

    for text in (str(Told()), repr(Told()), Told()._repr_html_()):
        assert all(letter.isprintable() for line in text.split("\n") for letter in line)
    assert str(Told()).startswith("best \\x1b[31mred\\x07\nnext\n")


def test_frames_hold_the_numbers_behind_the_cells():
    frame = comparison()["<joint>"].table()
    assert frame["value"].tolist() == pytest.approx([1.5, 0.55])
    assert advice().table()["task"].tolist() == ["zoo", "ant"]
    trials = weight_search().table()
    assert trials["score"].tolist()[:2] == [-2.0, 3.0]
    assert trials["cause"].tolist() == ["", "", "ValueError: <too wide>"]
    assert StepCost(0.1, 0.025, 4_000, 3, 0.05).table()["efficiency"].tolist() == [0.4]


def test_numbers_are_short_and_what_is_missing_is_a_dash():
    table = Table(
        [{"a": 1 / 3, "b": None, "c": 7}, {"a": float("nan"), "b": np.float32(2.5), "d": True}], {"a": "+.1f"}
    )
    assert table.columns == ["a", "b", "c", "d"]
    assert table.cells == [["+0.3", "-", "7", "-"], ["+nan", "2.5", "-", "True"]]
    assert str(Table([{"name": "x", "n": 12}], align="left")).splitlines() == ["name n", "x    12"]


# Pictures, by what is on them.


def points_of(axis):
    """The points that are scattered over an axis."""
    return sorted(map(tuple, np.concatenate([one.get_offsets() for one in axis.collections if len(one.get_offsets())])))


@pytest.mark.parametrize("make", [front, weight_search])
def test_a_trade_off_of_two_tasks_is_a_curve_through_its_points(make):
    result = make()
    figure = result.plot()
    axis = figure.axes[0]
    values, _ = result.values()
    assert points_of(axis) == sorted(map(tuple, values))
    (curve,) = axis.lines
    np.testing.assert_array_equal(curve.get_xydata(), values)
    assert axis.get_xlabel() == "zoo mae [mm], less is better"
    assert axis.get_ylabel() == "ant accuracy, more is better"
    assert figure.axes[1].get_ylabel() == "preference for zoo"


def test_dominated_points_are_not_coloured_by_their_preference():
    axis = front().plot().axes[0]
    left, kept = axis.collections[:2]
    assert left.get_offsets().tolist() == [[9.0, 0.5]]
    assert kept.get_array().tolist() == [0.0, 0.25, 0.75, 1.0]


@pytest.mark.parametrize(("count", "panels"), [(3, 3), (4, 1)])
def test_more_tasks_are_pairs_or_parallel_lines(count, panels):
    generator, names = np.random.default_rng(1), ["zoo", "ant", "bee", "cat"][:count]
    rows = [{name: {"loss": 1.0, "mae": float(generator.random())} for name in names} for _ in range(8)]
    points = [Point(tuple(np.eye(count)[place % count]), row) for place, row in enumerate(rows)]
    found = Front(None, None, model_of([kmtl.Regression(name) for name in names]), points, 1.0)
    axes = [axis for axis in plot_front(found).axes if axis.get_label() != "<colorbar>"]
    assert len(axes) == panels
    if count == 3:
        assert [len(points_of(axis)) for axis in axes] == [8, 8, 8]
        assert [axis.get_xlabel().split()[0] for axis in axes] == ["zoo", "zoo", "ant"]
        return
    (axis,) = axes
    assert len(axis.lines) == 8
    assert [label.get_text().split()[0] for label in axis.get_xticklabels()] == names
    # Less is better: the smallest value of a task stands at the top of its axis.
    values, _ = found.values()
    assert [int(np.argmax(ends)) for ends in zip(*(line.get_ydata() for line in axis.lines), strict=True)] == (
        values.argmin(axis=0).tolist()
    )


def test_learning_curves_are_drawn_a_panel_a_metric_and_a_line_a_seed():
    figure = comparison().plot()
    assert [axis.get_title() for axis in figure.axes if axis.get_visible()] == [
        "zoo: mae [mm], lower is better",
        "ant: accuracy, higher is better",
    ]
    zoo, ant = figure.axes[:2]
    assert [line.get_ydata().tolist() for line in zoo.lines] == [[3.0, 2.0, 1.0]] * 2 + [[3.0, 2.0, 2.0]] * 2
    # The validation's numbers, where there are some.
    assert [line.get_ydata().tolist()[-1] for line in ant.lines] == [0.3, 1.3, 0.3, 1.3]
    assert [text.get_text() for text in zoo.get_legend().get_texts()] == ["<joint>", "separate"]


LOGS = {
    "loss": [2.0, 1.0],
    "zoo_loss": [1.0, 0.5],
    "zoo_mae": [3.0, 2.0],
    "zoo_weight": [1.0, 1.0],
    "ant_own": [5.0, 6.0],
    "val_loss": [2.0, 2.0],
    "val_zoo_mae": [4.0, 3.0],
    "val_ant_own": [7.0, 8.0],
}


def test_curves_of_one_training_are_its_losses_and_metrics_with_their_validation():
    # As `fit` returns it.
    history = keras.callbacks.History()
    history.set_model(model_of(TASKS))
    history.history = LOGS
    axes = [axis for axis in kmtl.evidence.plot_curves(history).axes if axis.get_visible()]
    titles = ["zoo: loss, lower is better", "zoo: mae [mm], lower is better", "ant: own"]
    assert [axis.get_title() for axis in axes] == titles
    assert [[line.get_ydata().tolist() for line in axis.lines] for axis in axes] == [
        [[1.0, 0.5]],
        [[3.0, 2.0], [4.0, 3.0]],
        [[5.0, 6.0], [7.0, 8.0]],
    ]
    bare = kmtl.evidence.plot_curves({"a": [1.0], "val_a": [2.0], "b": [3.0]}).axes
    assert [axis.get_title() for axis in bare if axis.get_visible()] == ["a", "b"]
    for wrong in (3, {}, None):
        with pytest.raises(TypeError, match="plot_curves: `source` must be a Comparison, a History or its dict"):
            kmtl.evidence.plot_curves(wrong)


def test_a_picture_goes_where_it_is_told(tmp_path):
    path = tmp_path / "new" / "front.png"
    assert front().plot(path) == path
    assert front().plot(path)._repr_html_() == f"<code>{path}</code>"
    assert path.read_bytes().startswith(b"\x89PNG")
    figure, _ = _figures.panels(1, columns=1, width=2, height=1)
    assert _figures.save(figure, None) is figure
