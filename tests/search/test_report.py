"""Every way to loss weights at one cost."""

import keras
import numpy as np
import pytest

import kmtl
from kmtl.metrics import delta_m
from kmtl.search import Report, report
from kmtl.search.ways import WAYS, Outcome, Trainer, takes_epochs

TASKS = [kmtl.Regression("zoo", shape=(2,), unit="mm"), kmtl.Classification("ant", 3)]


def build(tasks, epochs):
    row = keras.Input((6,), name="row")
    hidden = keras.layers.BatchNormalization(momentum=0.9)(keras.layers.Dense(4)(row))
    model = kmtl.MultiTaskModel.from_features(row, keras.layers.ReLU()(hidden), tasks)
    model.compile(keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.05, 4 * epochs)))
    return model


def sets():
    """Training, validation and test set; some labels are missing."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(192, 6)).astype("float32")
    zoo = (40 + 9 * rows[:, :2] + generator.normal(size=(192, 2))).astype("float32")
    ant = np.digitize(rows[:, 2] + 0.3 * generator.normal(size=192), (-0.5, 0.5)).astype("int32")
    zoo[::5], ant[::7] = np.nan, -1
    parts = ((0, 128), (128, 160), (160, 192))
    return [
        kmtl.data.from_arrays(rows[a:b], {"zoo": zoo[a:b], "ant": ant[a:b]}, TASKS, batch_size=32) for a, b in parts
    ]


def gone(tmp_path, **options):
    settings = {"epochs": 2, "budget": 4, "balancers": ["famo", "dwa"], "seeds": [0], "directory": tmp_path}
    return report(build, TASKS, *sets(), **{**settings, **options})


@pytest.mark.long
def test_ways_cost_what_they_say_and_are_scored_against_single_tasks(tmp_path):
    found = gone(tmp_path, ways=["halving", "dynamic", "equal"])
    # Named in any order, gone in that of the table.
    assert found.ways == ["equal", "dynamic", "halving"]
    costs = {way: found.of(way)[0].runs for way in found.ways}
    # Six epochs are left beside the last training: three candidates of two.
    assert costs == {"equal": 1.0, "dynamic": 2.0, "halving": 4.0}
    trainer = Trainer(build, TASKS, tuple(sets()), 2, 4, ["famo"], 0, tmp_path, 0)
    for way in found.ways:
        one = found.of(way)[0]
        assert one.delta_m == pytest.approx(delta_m(one.scores, trainer.baselines[1], TASKS))
        assert set(one.scores) == {"zoo", "ant"}
    assert "zoo" in found.of("dynamic")[0].chosen
    # Two routes: the way itself, and a training with equal weights by hand.
    keras.utils.set_random_seed(1000)
    by_hand = build(TASKS, 2)
    by_hand.fit(sets()[0], epochs=2, verbose=0)
    logs = by_hand.evaluate(sets()[2], verbose=0, return_dict=True)
    assert found.of("equal")[0].scores["zoo"]["mae"] == pytest.approx(logs["zoo_mae"], rel=1e-5)


@pytest.mark.slow
def test_every_way_is_gone(tmp_path, capsys):
    found = gone(tmp_path, seeds=[0, 1], verbose=2)
    assert found.ways == list(WAYS)
    costs = {way: found.of(way)[1].runs for way in found.ways}
    assert costs == {
        "equal": 1, "dynamic": 2, "balancer": 3, "longer": 4, "random": 4, "bayesian": 4, "halving": 4, "front": 4
    }  # fmt: skip
    assert found.of("balancer")[0].chosen in ("famo", "dwa")
    assert "seed 1: front" in capsys.readouterr().out
    assert np.isfinite([one.delta_m for one in found.outcomes]).all()
    assert found.plot(tmp_path / "ways.png").stat().st_size > 5000
    # The searches are there already.
    assert gone(tmp_path, ways=["random"]).of("random")[0].scores == found.of("random")[0].scores


def planted(**changes):
    return Report(
        [
            Outcome(way, seed, 3.0, 10.0 + seed, change, "-", {})
            for way, row in changes.items()
            for seed, change in enumerate(row)
        ]
    )


def test_verdicts_are_of_differences_paired_by_seed(tmp_path):
    found = planted(equal=[5.0, 50.0, -20.0], front=[4.0, 48.9, -20.9], longer=[0.0, 60.0, -25.0])
    rows = {row["way"]: row for row in found.table().to_dict("records")}
    # The seeds differ by far more than the ways: only the pairs tell.
    assert rows["front"]["against_equal"] == pytest.approx(-1.0)
    assert rows["front"]["difference_interval"] == pytest.approx(2.484 * 0.1, rel=1e-3)
    assert [rows[way]["verdict"] for way in ("equal", "front", "longer")] == ["-", "better", "tie"]
    assert planted(equal=[0.0, 0.0], front=[1.0, 1.1]).table()["verdict"][1] == "worse"
    assert planted(equal=[0.0], front=[1.0]).table()["verdict"][1] == "-"
    assert rows["front"]["time"] == pytest.approx(1.0)
    assert "front" in str(found)
    assert found.plot(tmp_path / "new" / "ways.png").stat().st_size > 5000


def test_a_build_may_ask_how_long_it_is_trained():
    assert takes_epochs(build)
    assert takes_epochs(lambda tasks, epochs=3: (tasks, epochs))
    assert not takes_epochs(lambda tasks: tasks)


def test_what_cannot_be_compared_is_refused(tmp_path):
    for wrong, words in (
        ({"epochs": 0}, "`epochs` must be a whole number of at least 1"),
        ({"budget": 2}, "`budget` must be a whole number of at least 3"),
        ({"ways": ["fronts"]}, "`ways` must be known, got 'fronts'. Did you mean 'front'"),
        ({"balancers": ["dwaa"]}, "`balancers` must be known, got 'dwaa'"),
        ({"balancers": "dwa"}, "`balancers` must hold at least one name"),
        ({"seeds": [1, 1]}, "`seeds` must be different whole numbers"),
    ):
        with pytest.raises(ValueError, match=f"^report: {words}"):
            gone(tmp_path, **wrong)
    with pytest.raises(ValueError, match=r"^report: `tasks` must hold two kmtl tasks or more"):
        report(build, TASKS[:1], *sets(), epochs=1)
