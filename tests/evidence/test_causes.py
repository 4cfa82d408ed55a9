"""Which cause figures name: on problems trained by hand, whose cause is planted, and at the edges of every rule."""

import numpy as np
import pytest
from numpy_trials import figures
from planted_causes import CAUSES, seeds_of

from kmtl.evidence.diagnosis.causes import UNDECIDED, findings
from kmtl.evidence.diagnosis.diagnosis_figures import Curves, PairFigures, Range, TaskFigures, doubling_fall

EPOCHS = np.arange(1, 9)


def decided(told):
    return {(finding.task, finding.cause) for finding in told if finding.cause != UNDECIDED}


@pytest.mark.parametrize("cause", CAUSES)
def test_the_planted_cause_is_named_in_nine_of_ten_seeds(cause):
    problems = [CAUSES[cause](seed) for seed in range(10)]
    named = [decided(findings(*figures(problem, seeds_of(seed)))) for seed, problem in enumerate(problems)]
    assert sum(found == problem.found for found, problem in zip(named, problems, strict=True)) >= 9, named


def test_a_fall_by_doubling_is_that_of_the_logarithm_of_time():
    times = np.arange(16) + 0.5
    assert doubling_fall(np.stack([5 - 0.3 * np.log2(times), np.full(16, 2.0)])) == pytest.approx([0.3, 0.0])
    # Of a power law the next doubling brings less than the line through the last one says.
    power = times**-0.5
    assert doubling_fall(power[None])[0] > power[-1] - (2 * times[-1]) ** -0.5
    assert doubling_fall(np.array([[3.0, 1.0]]))[0] == pytest.approx(2 / np.log2(3))


def test_a_range_holds_every_initialisation_and_the_interval():
    seen = Range.over([1.0, 2.0, 3.0])
    assert (seen.low, seen.high) == pytest.approx((2 - 2.4841, 2 + 2.4841), abs=1e-3)
    assert Range.over([1.0, 1.0, 1.0, 1.0, 5.0]).high == pytest.approx(5.0)
    assert Range.over([0.5, 0.5, 9.0], 0.5).low == 0.5
    assert Range.over([0.5, 0.5, 9.0], 0.5).mean == pytest.approx(10 / 3)
    for nothing in ([1.0], [1.0, np.nan], []):
        assert (Range.over(nothing).low, Range.over(nothing).high) == (-np.inf, np.inf)


def curves(fitted, *, validation=None, fall=0.0, seeds=3):
    """Losses that end at a level, falling by an amount a doubling."""
    jitter = 1 + 0.001 * np.arange(seeds)
    line = fall * (np.log2(7.5) - np.log2(EPOCHS - 0.5))
    end = fitted if validation is None else validation
    return Curves(np.outer(jitter, fitted + line), np.outer(jitter, end + line), fitted * jitter)


def task(joint, alone, name="zoo", **changes):
    """Figures of one task; guessing is at 1, its share an equal one of two."""
    seeds = len(joint.fitted)
    flags = {"unreached": np.zeros(seeds, bool), "constant": np.zeros(seeds, bool)}
    values = {
        "weight": np.ones(seeds),
        "norm": np.ones(seeds),
        "share": np.full((seeds, 4), 0.5),
        "static": 1.0,
        **flags,
    }
    return TaskFigures(name, 1.0, 1.0, joint, alone, **{**values, **changes})


FINE = task(curves(0.1), curves(0.1), "ant")
LOW, HIGH = curves(0.1), curves(0.5)


def named(one, pairs=()):
    """What the first of two tasks is told."""
    told = [finding for finding in findings([one, FINE], pairs) if finding.task == "zoo"]
    return [finding.cause for finding in told]


def pair(start, going=-0.9, spread=0.01):
    starts = start + spread * np.linspace(-1, 1, 8)
    return PairFigures("ant", "zoo", starts, np.full((3, 3), going))


@pytest.mark.parametrize(
    ("one", "causes"),
    [
        (task(LOW, LOW), []),
        (task(HIGH, LOW), ["narrow trunk"]),
        (task(HIGH, LOW, share=np.full((3, 4), 0.01)), ["starved"]),
        (task(HIGH, LOW, static=0.0), ["starved"]),
        (task(HIGH, LOW, unreached=np.ones(3, bool)), ["dead"]),
        (task(LOW, LOW, unreached=np.ones(3, bool)), ["dead"]),
        (task(HIGH, LOW, constant=np.ones(3, bool)), ["dead"]),
        (task(LOW, LOW, constant=np.array([True, False, False])), [UNDECIDED]),
        (task(curves(0.5, fall=0.4), LOW), ["short training"]),
        (task(curves(0.5, fall=0.4), curves(0.5, fall=0.4)), ["short training"]),
        (task(curves(0.25, fall=0.075), LOW), [UNDECIDED]),
        # It fits less, and predicts no worse: sharing regularises.
        (task(curves(0.5, validation=0.5), curves(0.1, validation=0.5)), []),
        (task(curves(0.9, validation=1.1), curves(0.3, validation=1.2)), ["no signal"]),
        (task(curves(1.0), curves(1.0)), ["no signal"]),
        # Nothing learned yet, but on the way.
        (task(curves(0.96, fall=0.3), curves(0.96, fall=0.3)), ["short training"]),
    ],
)
def test_every_rule_has_its_figures(one, causes):
    assert named(one) == causes


def test_a_validation_loss_that_rose_is_overfit():
    rising = np.outer(1 + 0.001 * np.arange(3), 0.4 + 0.05 * np.arange(8))
    joint = Curves(LOW.training, rising, LOW.fitted)
    assert named(task(joint, joint)) == ["overfit"]
    settled = Curves(LOW.training, np.full((3, 8), 0.75), LOW.fitted)
    assert named(task(settled, settled)) == []


def test_a_conflict_is_there_before_the_first_step():
    held = task(HIGH, LOW)
    assert named(held, [pair(-0.8)]) == ["conflict"]
    # At rest all gradients oppose each other: that alone is want of room.
    assert named(held, [pair(0.1)]) == ["narrow trunk"]
    assert named(held, [pair(-0.8, going=0.1)]) == ["narrow trunk"]
    assert named(held, [pair(-0.4, spread=1.0)]) == [UNDECIDED]
    # And one that costs nothing is none.
    assert named(task(LOW, LOW), [pair(-0.8)]) == []


def test_no_verdict_on_a_knife_s_edge():
    """Gaps on both sides of the threshold, over the initialisations."""
    joint = HIGH._replace(fitted=np.array([0.12, 0.19, 0.5]), validation=HIGH.validation)
    assert named(task(joint, LOW)) == [UNDECIDED]
    shares = np.array([0.05, 0.09, 0.12])[:, None] * np.ones(4)
    assert named(task(HIGH, LOW, share=shares)) == [UNDECIDED]
    single = task(curves(0.5, seeds=1), curves(0.1, seeds=1))
    assert decided(findings([single, single._replace(name="ant")], [])) == set()


def test_which_task_loses_may_differ_where_all_together_lose():
    levels = np.array([0.25, 0.6, 0.35])
    zoo, ant = (
        task(Curves(np.tile(level[:, None], 8), np.tile(level[:, None], 8), level), LOW, name)
        for name, level in (("zoo", levels), ("ant", 0.85 - levels))
    )
    assert decided(findings([zoo, ant], [])) == {("zoo", "narrow trunk"), ("ant", "narrow trunk")}
    assert decided(findings([zoo, FINE], [])) == set()


def test_rules_do_not_depend_on_the_scale_of_a_loss():
    def scaled(one, factor):
        parts = [Curves(*(factor * value for value in part[:3])) for part in (one.joint, one.alone)]
        return one._replace(guessing=factor, guessing_validation=factor, joint=parts[0], alone=parts[1])

    for one in (task(HIGH, LOW), task(curves(0.5, fall=0.4), LOW), task(LOW, LOW), task(curves(1.0), curves(1.0))):
        assert named(scaled(one, 250.0)) == named(one)
