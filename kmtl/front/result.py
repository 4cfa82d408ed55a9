"""A trade-off between tasks: its points, its measures, its picture, and the model at any place of it."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from kmtl._checks import refusal, require, words
from kmtl._table import Table
from kmtl.front import pareto
from kmtl.front.conditioning import fold, preference_shares
from kmtl.front.plot_front import plot_front
from kmtl.front.trade_off import Point, TradeOff
from kmtl.metrics import delta_m
from kmtl.tasks import Task


class Front(TradeOff):
    """What `train` found.

    Args:
        build: Makes a plain model of the form that was conditioned; it takes nothing.
        origin: The model that was conditioned; it shares its layers.
        conditioned: The trained model with the input `preference`.
        found: The points, over a lattice of preferences.
        seconds: Wall time of the training and of measuring the points.

    Attributes:
        conditioned: The same: it predicts for any preference, one an example, and exports as any model does.
    """

    plot = plot_front

    def __init__(
        self, build: Callable[[], Any], origin: Any, conditioned: Any, found: Sequence[Point], seconds: float
    ) -> None:
        self.build = build
        self.origin = origin
        self.conditioned = conditioned
        self.seconds = seconds
        self._points = list(found)

    @property
    def points(self) -> list[Point]:
        """The points, in the order of the lattice."""
        return self._points

    @property
    def tasks(self) -> list[Task]:
        """The tasks, in order."""
        return list(self.conditioned.tasks.values())

    def parts(self) -> list[str | Table]:
        """The points: a column for each preference and each score, and `non_dominated`."""
        bad = f"{100 * self.violations():.0f} % of the steps make the favoured task worse"
        kept = pareto.non_dominated(*self.values())
        rows = [
            {
                **{f"{task.name}_preference": share for task, share in zip(self.tasks, point.preference, strict=True)},
                **{
                    f"{name}_{metric}": value for name, found in point.scores.items() for metric, value in found.items()
                },
                "non_dominated": bool(is_kept),
            }
            for point, is_kept in zip(self.points, kept, strict=True)
        ]
        return [f"{len(self.points)} points in {self.seconds:.0f} s; {bad}", Table(rows)]

    def hypervolume(self, reference: Mapping[str, float], metrics: Mapping[str, str] | None = None) -> float:
        """The volume that the points dominate within a reference.

        Args:
            reference: `{task: value}`: what is barely acceptable, in each metric's own unit.
            metrics: As in `values`.
        """
        values, better = self.values(metrics)
        names = [task.name for task in self.tasks]
        require(
            set(reference) == set(names),
            "hypervolume",
            "reference",
            f"must give a value for each of {names}",
            dict(reference),
        )
        return pareto.hypervolume(values, [reference[name] for name in names], better)

    def violations(self) -> float:
        """Share of steps of the lattice, 0..1, after which the task that gained preference has the larger loss."""
        losses = [[point.scores[task.name]["loss"] for task in self.tasks] for point in self.points]
        failed, made = pareto.violations([point.preference for point in self.points], losses)
        return failed / made

    def select(
        self,
        *,
        delta_m: Mapping[str, Mapping[str, float]] | None = None,
        constraint: Mapping[str, float] | None = None,
        knee: bool = False,
        preference: Sequence[float] | Mapping[str, float] | None = None,
        metrics: Mapping[str, str] | None = None,
    ) -> Point:
        """Chooses a point by its scores on the validation set.

        Args:
            delta_m: Single-task baselines `{task: {metric: value}}`: the point with the least mean change against them.
            constraint: `{task: bound}` on each metric but one: of the points that keep all bounds the best of the task
                left out. A bound is the worst value allowed.
            knee: The point nearest to the best value of every task at once, each scaled from its best (0) to its worst
                (1) value on the front.
            preference: One number a task, in order or by name: the point nearest to it. `model` takes any preference.
            metrics: As in `values`.

        Raises:
            ValueError: If not exactly one way is chosen, a bound holds for no point, or a baseline is not usable.
        """
        ways = [delta_m is not None, constraint is not None, knee, preference is not None]
        fix = "Pass `delta_m=baselines`, `constraint={task: bound}`, `knee=True` or `preference=shares`."
        require(
            sum(ways) == 1,
            "select",
            "delta_m",
            "or `constraint`, `knee` or `preference` must say how",
            words("none" if not any(ways) else "several"),
            fix,
        )
        if delta_m is not None:
            return self._least_change(delta_m)
        if preference is not None:
            wanted = preference_shares("select", [task.name for task in self.tasks], preference)
            return min(self.points, key=lambda point: math.dist(point.preference, wanted))
        values, better = self.values(metrics)
        signs = np.where(np.array(better) == "max", -1.0, 1.0)
        place = _knee(values * signs) if constraint is None else self._kept(constraint, values, signs)
        return self.points[place]

    def _least_change(self, baselines: Mapping[str, Mapping[str, float]]) -> Point:
        """The point with the least mean change against baselines."""
        return min(self.points, key=lambda point: delta_m(point.scores, baselines, self.tasks))

    def _kept(self, bounds: Mapping[str, float], values: Any, signs: Any) -> int:
        """The place of the best point of the one task without a bound; `signs` are -1 where more is better."""
        names = [task.name for task in self.tasks]
        free = [place for place, name in enumerate(names) if name not in bounds]
        rule = f"must bound all tasks of {names} but one"
        require(len(free) == 1 and set(bounds) < set(names), "select", "constraint", rule, dict(bounds))
        costs = values * signs
        limits = [sign * bounds[name] if name in bounds else np.inf for name, sign in zip(names, signs, strict=True)]
        good = (costs <= limits).all(axis=1)
        if not good.any():
            best = {name: float(values[costs[:, place].argmin(), place]) for place, name in enumerate(names)}
            fix = f"The best values are {best}, not all at one point."
            raise ValueError(refusal("select", "constraint", "must hold for some point", dict(bounds), fix))
        return int(np.where(good, costs[:, free[0]], np.inf).argmin())

    def model(self, preference: Sequence[float] | Mapping[str, float] | Point) -> Any:
        """Returns a plain model for one preference: base size, compiled, ready to be tuned further or exported.

        It gives what the conditioned model gives at that preference, up to rounding.

        Args:
            preference: One number a task, in order or by name, or a point.
        """
        wanted = preference.preference if isinstance(preference, Point) else preference
        shares = preference_shares("model", [task.name for task in self.tasks], wanted)
        model = fold(self.conditioned, self.origin, self.build(), shares)
        model.set_loss_weights({task.name: len(shares) * share for task, share in zip(self.tasks, shares, strict=True)})
        return model


def _knee(costs: Any) -> int:
    """The place of the point nearest to the best of every task."""
    low, high = np.nanmin(costs, axis=0), np.nanmax(costs, axis=0)
    scaled = (costs - low) / np.where(high > low, high - low, 1.0)
    return int(np.nanargmin(np.linalg.norm(scaled, axis=1)))
