"""Which tasks to train together: the result, in words, as tables and as a picture."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from kmtl import _figures
from kmtl._table import Result, Table
from kmtl.evidence.grouping.group_effects import Effects
from kmtl.evidence.grouping.groups_picture import draw
from kmtl.evidence.intervals import with_interval
from kmtl.training import Grouped

_SHOWN = 6
_CLOSE = 1e-9


class Alternative(NamedTuple):
    """Another grouping beside the one that was chosen.

    Attributes:
        name: What it is.
        groups: Names of the tasks of each group.
        gain: As of `Groups`.
        half: Half its 95 % interval.
        behind: By how much its gain is less than that of the chosen one.
        behind_half: Half the 95 % interval of that.
        stability: In what share of the draws none is better.
    """

    name: str
    groups: tuple[tuple[str, ...], ...]
    gain: float
    half: float
    behind: float
    behind_half: float
    stability: float


@dataclasses.dataclass(frozen=True, repr=False)
class Groups(Result):
    """Tasks in groups, each to be trained as one joint model.

    A task's score is the mean effect that the others of the group that serves it have on it, in units of the affinity
    above the level of unrelated tasks; alone it is 0.

    Attributes:
        groups: Names of the tasks of each group.
        serves: `{task: place of the group that serves it}`.
        gain: Mean score of the tasks.
        half: Half its 95 % interval, of this grouping; NaN if the affinity has no intervals.
        luck: How much of the gain is likely to be luck: of many groupings the one that measured best was taken.
        stability: In what share of the draws within the affinity's intervals no other grouping is better; NaN if there
            are none.
        is_proven: Whether no grouping has a larger gain by these affinities.
        bound: What the gain of any grouping is at most.
        scores: Each task's score, by name.
        halves: Half their 95 % intervals.
        together: `(K, K)`: in what share of the draws one group serves two tasks; None without intervals.
        alternatives: The next best grouping, one group of all, and each task alone, as far as allowed.
        effects: What was read of the affinity, a `kmtl.evidence.group_effects.Effects`.
    """

    groups: tuple[tuple[str, ...], ...]
    serves: Mapping[str, int]
    gain: float
    half: float
    luck: float
    stability: float
    is_proven: bool
    bound: float
    scores: Mapping[str, float]
    halves: Mapping[str, float]
    together: Any
    alternatives: tuple[Alternative, ...]
    effects: Effects

    def recipe(self, *, epochs: float = 1.0) -> Grouped:
        """The recipe that trains them, for `kmtl.evidence.compare` or on its own."""
        return Grouped(self.groups, dict(self.serves), epochs=epochs)

    @property
    def verdict(self) -> str:
        """What it says, and how sure that is, in words."""
        lines = [f"{_counted(len(self.groups))} of {len(self.serves)} tasks: {told(self.groups)}."]
        lines.append(f"Gain {with_interval(self.gain, self.half, '+.3g')}{self._unit()}.{self._sureness()}")
        lines += [*self._proof(), *self._rivals(), *self._unknown()]
        lines.append("Affinities are no trained models: hold recipe() against Joint and Separate by compare.")
        return "\n".join(lines)

    def _unit(self) -> str:
        """What the gain is a mean of."""
        kind = f"{self.effects.kind} affinity" if self.effects.kind else "affinity"
        level = f" above {self.effects.level:.3g}, the level of unrelated tasks" if self.effects.level else ""
        return f", the mean {kind}{level} of a task's companions to it"

    def _sureness(self) -> str:
        """How the grouping stands in the draws."""
        if np.isnan(self.stability):
            return " Without intervals of the affinity it is not known how sure that is."
        shown = "" if abs(self.gain) > self.half or not self.half else " It is not told from 0: nothing is shown."
        luck = f" About {self.luck:.2g} of it is the luck of choosing." if self.luck > 0.1 * abs(self.gain) else ""
        return f"{shown}{luck} In {self.stability:.0%} of the draws within the intervals no grouping is better."

    def _proof(self) -> list[str]:
        """Whether there may be a better one."""
        if self.is_proven:
            return []
        return [f"Not proven to be the best: the time was up; no grouping has a gain above {self.bound:.3g}."]

    def _rivals(self) -> list[str]:
        """What is as good within the interval."""
        near = [one for one in self.alternatives if one.behind <= max(np.nan_to_num(one.behind_half), _CLOSE)]
        if near:
            texts = [f"{one.name} ({told(one.groups)}, {one.behind:.2g} less)" for one in near]
            return [f"Nearly as good, within the interval: {'; '.join(texts)}."]
        return []

    def _unknown(self) -> list[str]:
        """Which pairs were taken for unrelated."""
        pairs = self.effects.unmeasured
        if not pairs:
            return []
        more = f" and {len(pairs) - _SHOWN} more" if len(pairs) > _SHOWN else ""
        named = ", ".join(" and ".join(pair) for pair in pairs[:_SHOWN])
        return [f"Not measurable, taken for unrelated: {named}{more}."]

    def _row(self, place: int, name: str) -> dict[str, Any]:
        """A task as it stands in the frame."""
        served = self.serves[name]
        others = [other for other in self.groups[served] if other != name]
        share = float("nan")
        if self.together is not None:
            mates = [other == served for other in self.serves.values()]
            agrees = np.where(mates, self.together[place], 1 - self.together[place])
            share = float(np.delete(agrees, place).mean())
        return {
            "task": name,
            "group": served + 1,
            "with": ", ".join(others) or "alone",
            "score": self.scores[name],
            "score_interval": self.halves[name],
            "agreement": share,
        }

    def parts(self) -> list[str | Table]:
        """The verdict, a row a task, and a row a grouping."""
        import pandas as pd

        rows = [self._row(place, name) for place, name in enumerate(self.serves)]
        mine = Alternative("these groups", self.groups, self.gain, self.half, 0.0, 0.0, self.stability)
        others = [one._asdict() | {"groups": len(one.groups)} for one in (mine, *self.alternatives)]
        tasks = Table([_task_cells(row) for row in rows], frame=pd.DataFrame(rows))
        return [self.verdict, "", tasks, "", Table([_cells(one) for one in others], frame=pd.DataFrame(others))]

    def conclusions(self) -> list[str]:
        """The verdict."""
        return [self.verdict]

    def plot(self, path: Any = None) -> Any:
        """Draws the affinities in the order of the groups, each group outlined.

        Args:
            path: Where the picture goes, e.g. `groups.png`; None writes none.

        Returns:
            The path, or without one the figure.
        """
        return _figures.save(draw(self.effects, self.groups, self.serves), path)

    def pictures(self) -> list[_figures.Picture]:
        """The picture, with its words."""
        scores = ", ".join(f"{name} {score:+.2g}" for name, score in self.scores.items())
        text = f"Affinities in the order of the groups, which are outlined: {told(self.groups)}. Scores: {scores}."
        return [_figures.Picture("Groups of tasks", self.plot(), text)]


def _counted(number: int) -> str:
    """How many groups, in words."""
    return "One group" if number == 1 else f"{number} groups"


def told(groups: Any) -> str:
    """Groups as a text.

    >>> told((("digit", "angle"), ("noise",)))
    'digit + angle | noise'
    """
    return " | ".join(" + ".join(group) for group in groups)


def _task_cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """A task as it is shown."""
    return {
        "task": row["task"],
        "group": row["group"],
        "with": row["with"],
        "score": with_interval(row["score"], row["score_interval"], "+.3g"),
        "agreement": None if np.isnan(row["agreement"]) else f"{row['agreement']:.0%}",
    }


def _cells(row: Mapping[str, Any]) -> dict[str, Any]:
    """A grouping as it is shown."""
    return {
        "grouping": row["name"],
        "groups": row["groups"],
        "gain": with_interval(row["gain"], row["half"], "+.3g"),
        "behind": with_interval(row["behind"], row["behind_half"], ".3g") if row["behind"] else None,
        "best in": None if np.isnan(row["stability"]) else f"{row['stability']:.0%}",
    }
