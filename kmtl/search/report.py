"""The ways to loss weights beside each other, at one cost."""

import pathlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kmtl import balancers as known
from kmtl._checks import Refusals, is_whole, near, words
from kmtl.evidence.comparison import interval
from kmtl.search.ways import WAYS, Outcome, Trainer
from kmtl.tasks import Task

_BALANCERS = ("uncertainty", "dwa", "famo", "imtl_l", "stch")


def report(
    build: Callable[..., Any],
    tasks: Sequence[Task],
    train: Any,
    validation: Any,
    test: Any,
    *,
    epochs: int,
    budget: int = 12,
    ways: Sequence[str] | None = None,
    balancers: Sequence[str] = _BALANCERS,
    seeds: Iterable[int] = (0, 1, 2),
    directory: str | Path = "searches",
    verbose: Any = 0,
) -> "Report":
    """Goes every way to loss weights under one budget, and measures what each leads to on the test set.

    What a way chooses, it chooses on the validation set; the model that counts is trained anew from another seed (a
    front's is folded out of it, and `"longer"` chooses nothing):

    | way | what it does | cost in trainings |
    |---|---|---|
    | `equal` | equal weights | 1 |
    | `dynamic` | fixed weights out of a run of the first balancer | 2 |
    | `balancer` | the best of the balancers | one each, and 1 |
    | `longer` | equal weights, trained `budget` times as long | `budget` |
    | `random`, `bayesian` | `budget - 1` trials of `kmtl.search.weights` | `budget` |
    | `halving` | as many candidates as that affords | at most `budget` |
    | `front` | one training of `budget` times the length, the best preference folded | `budget` |

    `longer` is there because a longer training is what else the budget buys. The single-task models that `delta_m`
    refers to are trained once a seed and count for no way.

    Args:
        build: `build(tasks)` makes a compiled `MultiTaskModel` without loss weights or balancer; `build(tasks, epochs)`
            is told how long it will be trained, which a schedule of the learning rate needs.
        tasks: The tasks, two or more.
        train: A tf.data.Dataset of batches `(x, {task: label})`.
        validation: The same, to choose by.
        test: The same, to report.
        epochs: Of one training.
        budget: Trainings that a way may cost, at least 3.
        ways: Names out of the table; None takes all.
        balancers: Names for `balancer`; the first is that of `dynamic`.
        seeds: Each is a whole comparison.
        directory: Folder of the searches, which go on if it is called again.
        verbose: As in `fit`.

    Returns:
        The report: print it, or take its `table()` and `outcomes`.

    Raises:
        ValueError: With all offenders.
    """
    seeds = list(seeds)
    _check(tasks, epochs, budget, ways, balancers, seeds)
    chosen = [way for way in WAYS if ways is None or way in ways]
    found = []
    for seed in seeds:
        sets = (train, validation, test)
        trainer = Trainer(build, tasks, sets, epochs, budget, balancers, seed, Path(directory), verbose)
        for way in chosen:
            found.append(trainer.outcome(way))
            if verbose != 0:
                print(f"seed {seed}: {way} {found[-1].delta_m:+.2f} %", flush=True)
    return Report(found)


def _check(tasks: Any, epochs: Any, budget: Any, ways: Any, balancers: Any, seeds: list[Any]) -> None:
    """Refuses what cannot be compared."""
    with Refusals("report") as refusals:
        if len(tasks) < 2 or not all(isinstance(task, Task) for task in tasks):
            refusals.add("tasks", "must hold two kmtl tasks or more", tasks)
        for argument, value, least in (("epochs", epochs, 1), ("budget", budget, 3)):
            if not is_whole(value) or value < least:
                refusals.add(argument, f"must be a whole number of at least {least}", value)
        _check_names(refusals, "ways", list(WAYS) if ways is None else ways, WAYS)
        _check_names(refusals, "balancers", balancers, known.names())
        if not seeds or len(set(seeds)) != len(seeds) or not all(map(is_whole, seeds)):
            refusals.add("seeds", "must be different whole numbers, at least one", words(str(seeds)))


def _check_names(refusals: Refusals, argument: str, given: Any, names: Iterable[str]) -> None:
    """Records names that are not known."""
    if isinstance(given, str) or not given:
        refusals.add(argument, "must hold at least one name", given)
        return
    for name in given:
        if name not in names:
            refusals.add(argument, "must be known", name, near(str(name), names))


class Report:
    """What the ways led to.

    A difference against equal weights is paired by seed; it is a tie where its 95 % interval holds 0, and one seed
    decides nothing.

    Args:
        outcomes: One a way and seed; those of several reports may be joined.

    Attributes:
        outcomes: The same.

    >>> rows = [Outcome(way, seed, 1.0, 9.0, change + seed, "-", {}) for way, change in (("equal", 4.0), ("front", 1.0))
    ...         for seed in range(3)]
    >>> print(Report(rows).table()[["way", "delta_m", "against_equal", "verdict"]].to_string(index=False))
      way  delta_m  against_equal verdict
    equal      5.0            0.0       -
    front      2.0           -3.0  better
    """

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes = list(outcomes)

    @property
    def ways(self) -> list[str]:
        """The ways, in the order in which they were gone."""
        return list(dict.fromkeys(one.way for one in self.outcomes))

    def of(self, way: str) -> dict[int, Outcome]:
        """A way's outcomes by seed."""
        return {one.seed: one for one in self.outcomes if one.way == way}

    def table(self) -> Any:
        """A row a way, as a pandas frame: cost, delta_m, the difference to equal weights; intervals are 95 % halves."""
        import pandas as pd

        return pd.DataFrame([self._row(way) for way in self.ways])

    def _row(self, way: str) -> dict[str, Any]:
        """The numbers of one way."""
        found, equal = self.of(way), self.of("equal")
        changes = [one.delta_m for one in found.values()]
        pairs = [(one.delta_m - equal[seed].delta_m) for seed, one in found.items() if seed in equal]
        costs = [one.seconds / equal[seed].seconds for seed, one in found.items() if seed in equal]
        difference, half = (float(np.mean(pairs)), interval(pairs)) if pairs else (np.nan, np.nan)
        decided = "tie" if abs(difference) <= half else "better" if difference < 0 else "worse"
        return {
            "way": way,
            "runs": float(np.mean([one.runs for one in found.values()])),
            "time": float(np.mean(costs)) if costs else np.nan,
            "delta_m": float(np.mean(changes)),
            "interval": interval(changes),
            "against_equal": difference,
            "difference_interval": half,
            "verdict": "-" if way == "equal" or np.isnan(half) else decided,
            "seeds": len(found),
        }

    def __str__(self) -> str:
        """The table, and what the ways chose."""
        frame = self.table().rename(columns={"delta_m": "delta_m %", "time": "time / equal", "interval": "+-"})
        frame = frame.rename(columns={"difference_interval": "+- ", "against_equal": "against equal"})
        chosen = [
            f"{way}, seed {seed}: {one.chosen}"
            for way in self.ways
            for seed, one in self.of(way).items()
            if one.chosen != "-"
        ]
        return "\n".join([frame.to_string(index=False, float_format="{:.3g}".format), "", *chosen])

    def plot(self, path: Any) -> pathlib.Path:
        """Draws delta_m of every way with its interval; each seed is a point.

        Args:
            path: Where the picture goes, e.g. `ways.png`.

        Returns:
            The path.
        """
        import matplotlib.figure

        figure = matplotlib.figure.Figure(figsize=(7, 0.5 * len(self.ways) + 1.4), layout="constrained")
        axis = figure.subplots()
        for place, row in enumerate(self.table().to_dict("records")):
            values = [one.delta_m for one in self.of(row["way"]).values()]
            axis.scatter(values, [place] * len(values), color="#b8c4d0", s=18, zorder=2)
            half = 0.0 if np.isnan(row["interval"]) else row["interval"]
            axis.errorbar(row["delta_m"], place, xerr=half, color="#1f5fa8", marker="o", capsize=3, zorder=3)
        labels = [f"{row['way']} ({row['runs']:.0f})" for row in self.table().to_dict("records")]
        axis.set_yticks(range(len(labels)), labels)
        axis.invert_yaxis()
        axis.axvline(0, color="black", linewidth=0.8)
        axis.set_xlabel("delta_m on the test set, %; negative is better than single-task models")
        axis.set_title("ways to loss weights (cost in trainings)", fontsize=10)
        axis.grid(alpha=0.3, axis="x")
        target = pathlib.Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(target, dpi=120)
        return target
