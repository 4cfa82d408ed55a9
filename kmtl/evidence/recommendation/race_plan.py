"""The order in which a race tries its candidates, and what follows from them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kmtl.data import only
from kmtl.evidence.recommendation.candidates import SHARES, SHORTEST, Form, form, unwidened
from kmtl.evidence.recommendation.paired_scores import Change
from kmtl.evidence.recommendation.race import Entry, Race
from kmtl.evidence.recommendation.serving_choice import ALONE, Choice, holds_up, smallest
from kmtl.training.builds import Build


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

    def all_hold(self) -> bool:
        """Whether some candidate holds up on every task."""
        return any(all(self.holds(name, task) for task in self.weights) for name in self.trained)

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

    def forms(self) -> Iterator[Form]:
        """Joint models of several sizes, from small to large, each made when it is asked for."""
        given, total, found = self.race.given, sum(self.weights.values()), 0
        for name, share in SHARES.items():
            # Nothing costs less than one trunk of the given size.
            if self.race.left * len(self.weights) < SHORTEST:
                self.race.skipped[name] = f"{self.race.left:.2f} of the budget was left"
                continue
            try:
                made = form(given.build, given.tasks, int(share * total), name)
            except ValueError as error:
                self.race.skipped[name] = str(error)
                continue
            found += 1
            yield made
        if not found and self.race.left * len(self.weights) >= SHORTEST:
            yield unwidened(given.build, given.tasks, total)

    def ratio(self, joint: Form) -> float:
        """What a joint training of a form costs over the given epochs, in trainings of every task alone."""
        given, first = self.race.given, self.race.given.tasks[0]
        alone = self.race.seconds(
            "alone", lambda: Build(given.build, "recommend")([first.alone()]), only(given.train, [first.name])
        )
        together = self.race.seconds(joint.name, lambda: joint.build(given.tasks), given.train)
        return together / (alone * len(given.tasks))


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
