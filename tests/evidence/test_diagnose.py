"""A diagnosis from end to end: planted causes, what it prints and draws, and what it refuses."""

import keras
import numpy as np
import pages
import pytest
from planted_causes import CAUSES, seeds_of

import kmtl
from kmtl.evidence import diagnose


def diagnosed(problem, seeds, **options):
    sets = (problem.train, problem.validation)
    settings = {"epochs": problem.epochs, "batch_size": problem.batch, "seeds": seeds, "verbose": 0, **options}
    return diagnose(problem.build, problem.tasks, *sets, **settings)


def of(diagnosis):
    return {(finding.task, finding.cause) for finding in diagnosis.findings}


# What is trained by hand in `test_causes.py` is not trained by Keras again, but for this one.
_IN_EVERY_RUN = ("conflict", 0)


@pytest.mark.parametrize(
    ("cause", "seed"),
    [
        pytest.param(cause, seed, marks=() if (cause, seed) == _IN_EVERY_RUN else pytest.mark.slow)
        for cause in CAUSES
        for seed in range(10)
    ],
)
def test_a_planted_cause_is_named_with_its_figures(cause, seed, tmp_path):
    problem = CAUSES[cause](seed)
    diagnosis = diagnosed(problem, seeds_of(seed))
    assert of(diagnosis) == problem.found, str(diagnosis)
    assert diagnosis.cost["trainings"] == 9
    text = str(diagnosis)
    for finding in diagnosis.findings:
        assert f"{finding.cause} -> {finding.remedy}: {finding.text}" in text
        assert all(np.isfinite(value) for value in finding.figures.values() if not isinstance(value, str))
    assert ("Nothing found" in text) == (not problem.found)
    frame = diagnosis.table()
    assert frame["task"].tolist() == ["zoo", "ant"]
    assert frame["share"].sum() == pytest.approx(1)
    (picture,) = diagnosis.pictures()
    assert len(picture.figure.axes) == 4
    assert "zoo: training loss" in picture.description
    assert diagnosis.plot(tmp_path / "curves.png").exists()


def build(tasks, trunk=True):
    """Two tasks on a trunk, or each on its own."""
    row = keras.Input((6,), name="row")
    shared = keras.layers.Dense(4)(row)
    given = {task.name: shared if trunk else keras.layers.Dense(4)(row) for task in tasks}
    model = kmtl.MultiTaskModel.from_features(row, given, tasks)
    model.compile("sgd")
    return model


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tasks": 1}, "diagnose: `tasks` must be 2 or more"),
        ({"epochs": 3}, "diagnose: `epochs` must be a whole number of at least 4, got 3. A curve needs points"),
        ({"seeds": []}, "diagnose: `seeds` must be different whole numbers"),
        ({"seeds": [1, 1]}, "diagnose: `seeds` must be different whole numbers"),
        ({"batches": 0}, "diagnose: `batches` must be a whole number of at least 1"),
        ({"validation": None}, "diagnose: `validation` must be given, got none. Hold rows out"),
        ({"build": 3}, "diagnose: `build` must be a function"),
        ({"build": lambda tasks: build(tasks, trunk=False)}, "must make a model whose tasks share trainable weights"),
    ],
)
def test_what_is_wrong_is_told_before_any_training(changes, message):
    problem = CAUSES["nothing"](0)
    given = {
        "build": build,
        "tasks": 2,
        "train": problem.train,
        "validation": problem.validation,
        "epochs": 4,
        **changes,
    }
    given["tasks"] = problem.tasks[: given["tasks"]]
    with pytest.raises(ValueError, match=f"(?s).*{message}"):
        diagnose(**given, verbose=0)


def test_a_misspelt_argument_is_told_its_match():
    with pytest.raises(
        TypeError, match=r"diagnose: `seed` must be an argument that it takes, got 1\. Did you mean 'seeds'"
    ):
        diagnose(build, [], None, None, epochs=4, seed=1)


def test_of_one_initialisation_nothing_is_found_and_chance_in_build_is_told():
    problem, drawn = CAUSES["conflict"](0), iter(range(1000))

    def drifting(tasks):
        model = problem.build(tasks)
        model.get_layer("one").bias.assign([float(next(drawn))])
        return model

    with pytest.warns(UserWarning, match="diagnose: `build` makes another model under the same seed: one/bias starts"):
        diagnosis = diagnosed(problem._replace(build=drifting, epochs=4), 1)
    assert diagnosis.findings == []
    assert "One initialisation decides nothing: no finding is made." in str(diagnosis)


@pytest.mark.long
def test_the_weight_of_a_balancer_is_told_and_missing_labels_are_left_out():
    problem = CAUSES["nothing"](0)
    labels = {name: label.copy() for name, label in problem.train[1].items()}
    labels["zoo"][:100] = np.nan

    def balanced(tasks):
        model = problem.build(tasks)
        model.compile("adam", balancer="unit", loss_weights={task.name: 0.5 for task in tasks})
        return model

    settled = problem._replace(build=balanced, train=(problem.train[0], labels))
    with pages.eagerly():
        diagnosis = diagnosed(settled, 1, epochs=4, batch_size=128)
    weights = np.array([diagnosis.tasks[name].weight for name in ("zoo", "ant")])
    # Weights of a balancer sum to K; static ones of a half multiply them.
    assert weights.sum(axis=0) == pytest.approx([1.0], rel=0.1)
    # Each gradient counts its direction alone.
    assert diagnosis.tasks["zoo"].share.mean() == pytest.approx(0.5, abs=0.1)
    assert np.isfinite(diagnosis.pairs[0].cosines).all()


@pytest.mark.long
def test_the_blocks_of_the_page_name_the_labels_without_a_signal(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = pages.run("diagnosing.md", [("epochs=12, seeds=3", "epochs=8, seeds=2")])
    assert ("drawn", "no signal") in of(names["diagnosis"])
    assert "no signal -> check labels: 'drawn' has no signal" in capsys.readouterr().out
    assert (tmp_path / "out" / "diagnosis.png").exists()
