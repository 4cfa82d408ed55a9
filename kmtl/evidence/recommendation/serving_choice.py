"""Which trained model serves which task: the smallest that is not worse than the tasks alone."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from kmtl.evidence.recommendation.paired_scores import Change

# Of two choices of about the same size the better one is taken.
_SAME_SIZE = 1.1
# What serves a task that has a model of its own.
ALONE = "alone"


class Choice(NamedTuple):
    """Which model serves each task.

    Attributes:
        serves: `{task: name of a candidate}`, `"alone"` for the task's own model.
        weights: How many all of them have.
    """

    serves: dict[str, str]
    weights: int


def holds_up(change: Change, margin: float) -> bool:
    """Whether a task is not worse than alone by the data for choosing.

        change <= margin * error

    Args:
        change: Of the task; no verdict without an error.
        margin: How many standard errors it may look worse by.

    >>> holds_up(Change(-2.0, 1.0), 0.5), holds_up(Change(0.6, 1.0), 0.5), holds_up(Change(-9.0, float("nan")), 0.5)
    (True, False, False)
    """
    known = math.isfinite(change.percent) and math.isfinite(change.error)
    return known and change.percent <= margin * change.error


def smallest(
    candidates: Mapping[str, tuple[int, Mapping[str, Change]]],
    alone: Mapping[str, int],
    accepted: Mapping[str, Sequence[str]],
) -> Choice:
    """Chooses the models that have the fewest weights together; of about the same size those that change most.

    Args:
        candidates: Weights and changes of each candidate by its name.
        alone: Weights of each task's own model.
        accepted: `{task: names of the candidates that hold up}`.

    >>> half = (50, {"digit": Change(-1.0, 0.5), "angle": Change(3.0, 0.5)})
    >>> smallest({"half": half}, {"digit": 60, "angle": 60}, {"digit": ["half"], "angle": []})
    Choice(serves={'digit': 'half', 'angle': 'alone'}, weights=110)
    """
    options = []
    for count in range(len(candidates) + 1):
        for used in itertools.combinations(candidates, count):
            serves = {task: _best(task, used, accepted[task], candidates) for task in alone}
            if set(serves.values()) - {ALONE} == set(used):
                own = sum(weights for task, weights in alone.items() if serves[task] == ALONE)
                options.append(Choice(serves, own + sum(candidates[name][0] for name in used)))
    least = min(option.weights for option in options)
    return min(
        (option for option in options if option.weights <= _SAME_SIZE * least),
        key=lambda option: _mean(option, candidates),
    )


def _best(
    task: str,
    used: Sequence[str],
    accepted: Sequence[str],
    candidates: Mapping[str, tuple[int, Mapping[str, Change]]],
) -> str:
    """The model among some that serves a task best."""
    able = [name for name in used if name in accepted]
    return min(able, key=lambda name: candidates[name][1][task].percent) if able else ALONE


def _mean(option: Choice, candidates: Mapping[str, tuple[int, Mapping[str, Change]]]) -> float:
    """The mean change of the tasks."""
    found = [0.0 if name == ALONE else candidates[name][1][task].percent for task, name in option.serves.items()]
    return sum(found) / len(found)
