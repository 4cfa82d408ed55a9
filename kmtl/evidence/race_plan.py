"""The order in which a race tries its candidates, and what follows from them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from kmtl.data import only
from kmtl.evidence.candidates import Form, affordable, forms, recipe_of
from kmtl.evidence.paired_scores import Change
from kmtl.evidence.race import Entry, Race
from kmtl.evidence.serving_choice import ALONE, Choice, holds_up, smallest
from kmtl.training import Separate
from kmtl.training.builds import Build

# Seeds of what would be shipped, as far as the budget goes.
_SEEDS = 3


class Plan:
    """What is known so far.

    Args:
        race: Trains.
        weights: Of each task's own model.
        margin: See `recommend`.

    Attributes:
        alone: The single models, trained in full; None where only probes were.
        singles: Single tasks that were trained in full one by one.
        trained: Entries by candidate, one a seed.
        caveats: What could not be shown, in words.
    """

    def __init__(self, race: Race, weights: Mapping[str, int], margin: float) -> None:
        self.race, self.weights, self.margin = race, dict(weights), margin
        self.alone: Entry | None = None
        self.singles: dict[str, Entry] = {}
        self.trained: dict[str, list[Entry]] = {}
        self.caveats: list[str] = []

    def add(self, entry: Entry) -> None:
        """Takes note of a candidate."""
        self.trained.setdefault(entry.name, []).append(entry)

    def holds(self, name: str, task: str) -> bool:
        """Whether a task holds up in a candidate under every seed; one that nothing was held against does."""
        if self.alone is None and task not in self.singles:
            return True
        return all(holds_up(entry.changes[task], self.margin) for entry in self.trained[name])

    def choice(self) -> Choice:
        """The smallest models that are not worse."""
        candidates = {name: (entries[0].weights, mean_changes(entries)) for name, entries in self.trained.items()}
        accepted = {task: [name for name in candidates if self.holds(name, task)] for task in self.weights}
        return smallest(candidates, self.weights, accepted)

    def model(self, source: str, task: str) -> Any:
        """The model that serves a task."""
        if source != ALONE:
            return self.trained[source][0].model
        return self.singles[task].model if self.alone is None else self.alone.model

    def forms(self) -> list[Form]:
        """Joint models of several sizes, from small to large."""
        given = self.race.given
        found, why_not = forms(given.build, given.tasks, self.weights)
        if why_not:
            self.caveats.append(f"No wider trunk was tried. {why_not}")
        return found

    def ratio(self, form: Form) -> float:
        """What a joint training of a form costs over the given epochs, in trainings of every task alone."""
        given, first = self.race.given, self.race.given.tasks[0]
        alone = self.race.seconds(
            "alone", lambda: Build(given.build, "recommend")([first.alone()]), only(given.train, [first.name])
        )
        joint = self.race.seconds(form.name, lambda: form.build(given.tasks), given.train)
        return joint / (alone * len(given.tasks))


def mean_changes(entries: Sequence[Entry]) -> dict[str, Change]:
    """Changes over the seeds of a candidate."""
    count = len(entries)
    return {
        task: Change(
            sum(entry.changes[task].percent for entry in entries) / count,
            math.sqrt(sum(entry.changes[task].error ** 2 for entry in entries)) / count,
        )
        for task in entries[0].changes
    }


def full_race(plan: Plan) -> None:
    """Every task alone, then joint models from small to large until one holds up, then further seeds of it."""
    race = plan.race
    race.check(Separate())
    plan.alone = race.train("each task alone", Separate(), cost=1.0)
    race.yardstick = plan.alone.scores
    tried: dict[str, tuple[Form, float, float]] = {}
    for form in plan.forms():
        ratio = plan.ratio(form)
        length = affordable(race.left, ratio)
        if not length:
            race.skipped[form.name] = f"it costs {ratio:.2f} over the given epochs, and {race.left:.2f} was left"
            continue
        tried[form.name] = (form, length, ratio * length)
        plan.add(race.train(form.name, recipe_of(form, length), cost=ratio * length))
        if all(plan.holds(form.name, task) for task in plan.weights):
            break
    _confirm(plan, tried)


def _confirm(plan: Plan, tried: Mapping[str, tuple[Form, float, float]]) -> None:
    """Trains what would be shipped under further seeds, while the budget lasts."""
    race = plan.race
    while True:
        used = [name for name in dict.fromkeys(plan.choice().serves.values()) if name != ALONE]
        open_ = [name for name in used if len(plan.trained[name]) < _SEEDS and tried[name][2] <= race.left]
        if not open_:
            return
        name = min(open_, key=lambda name: len(plan.trained[name]))
        form, length, cost = tried[name]
        seed = race.given.seed + len(plan.trained[name])
        plan.add(race.train(name, recipe_of(form, length), cost=cost, seed=seed))
