import math

import pytest

import kmtl
from kmtl.search.objectives import Constrained, Custom, DeltaM, objective_of

TASKS = {"speed": kmtl.Regression("speed"), "digit": kmtl.Classification("digit", 10)}
KNOWN = {"speed": ["loss", "mae", "mse"], "digit": ["loss", "accuracy"]}
BASE = {"speed": {"mae": 2.0}, "digit": {"accuracy": 0.8}}
SCORES = {"speed": {"loss": 4.0, "mae": 2.5, "mse": 9.0}, "digit": {"loss": 0.3, "accuracy": 0.9}}


def refused(given):
    with pytest.raises(ValueError, match="weights: ") as caught:
        objective_of(given).check(TASKS, KNOWN)
    return str(caught.value)


def test_delta_m_is_the_packages_own():
    # +25 % of mae, +12.5 % of accuracy.
    assert DeltaM(BASE).score(SCORES, TASKS) == pytest.approx((25.0 - 12.5) / 2)
    DeltaM(BASE).check(TASKS, KNOWN)


def test_a_constraint_comes_before_any_gain():
    best = Constrained("digit", "accuracy", keep={"speed": {"mae": 0.25}}, baselines=BASE)
    best.check(TASKS, KNOWN)

    def score(accuracy, mae):
        return best.score({"speed": {"mae": mae}, "digit": {"accuracy": accuracy}}, TASKS)

    kept = [score(0.9, 2.5), score(0.8, 1.0), score(0.0, 2.0)]
    assert kept == sorted(kept)
    assert kept[-1] < 1.0 < score(1.0, 2.51) < score(1.0, 2.6)
    assert score(1.0, 2.6) == pytest.approx(1.0 + 0.3 - 0.25)


def test_a_constraint_turns_round_where_more_is_better():
    best = Constrained("speed", "mae", keep={"digit": {"accuracy": 0.1}}, baselines=BASE)
    assert best.score({"speed": {"mae": 3.0}, "digit": {"accuracy": 0.73}}, TASKS) == pytest.approx(3 / 4)
    assert best.score({"speed": {"mae": 3.0}, "digit": {"accuracy": 0.64}}, TASKS) == pytest.approx(1.1)


def test_a_function_gets_every_metric_and_its_result_counts():
    seen = []
    objective = objective_of(lambda scores: seen.append(scores) or scores["speed"]["mse"] - scores["digit"]["accuracy"])
    objective.check(TASKS, KNOWN)
    assert {name: list(found) for name, found in seen[0].items()} == KNOWN
    assert objective.score(SCORES, TASKS) == pytest.approx(8.1)
    assert isinstance(objective, Custom)


@pytest.mark.parametrize("name", ["val_loss", "loss"])
def test_the_weighted_loss_is_no_objective(name):
    assert "falls when a weight falls" in refused(name)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("digit_accuracy", ["one task", "Constrained"]),
        (3, ["DeltaM"]),
        (DeltaM({"speed": {"mae": 2.0}}), ["every task", "'digit'"]),
        (DeltaM({**BASE, "sped": {"mae": 2.0}}), ["'sped'", "'speed'"]),
        (DeltaM({**BASE, "speed": {"maee": 2.0}}), ["'maee'", "'mae'"]),
        (DeltaM({**BASE, "speed": {"mae": 0.0}}), ["'speed'", "'mae'", "0.0"]),
        (DeltaM({**BASE, "digit": {"accuracy": math.nan}}), ["'digit'", "nan"]),
        (DeltaM({}), ["baselines"]),
        (Constrained("digt", "accuracy", keep={"speed": {"mae": 0.1}}, baselines=BASE), ["'digt'", "'digit'"]),
        (Constrained("digit", "acuracy", keep={"speed": {"mae": 0.1}}, baselines=BASE), ["'acuracy'", "'accuracy'"]),
        (Constrained("digit", "accuracy", keep={}, baselines=BASE), ["another task"]),
        (Constrained("digit", "accuracy", keep={"digit": {"loss": 0.1}}, baselines=BASE), ["another task"]),
        (Constrained("digit", "accuracy", keep={"sped": {"mae": 0.1}}, baselines=BASE), ["'sped'", "'speed'"]),
        (Constrained("digit", "accuracy", keep={"speed": {"mae": -0.1}}, baselines=BASE), ["at least 0"]),
        (Constrained("digit", "accuracy", keep={"speed": {"mse": 0.1}}, baselines=BASE), ["'mse'", "'speed'", "none"]),
        (lambda scores: scores["digit"]["f1"], ["'f1'", "accuracy"]),
        (lambda scores: scores["sped"]["mae"], ["'sped'"]),
        (lambda: 0.0, ["function of"]),
        (lambda scores: str(scores), ["function of"]),
    ],
)
def test_what_cannot_be_an_objective_is_refused_with_its_name(given, words):
    message = refused(given)
    assert [word for word in words if word not in message] == []


def test_baselines_that_are_not_given_are_asked_for():
    assert objective_of("delta_m").needs()
    assert Constrained("digit", "accuracy", keep={"speed": {"mae": 0.1}}).needs()
    assert not DeltaM(BASE).needs()
