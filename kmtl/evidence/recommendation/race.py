"""Trains candidates within a budget, and remembers what each cost and how it does beside the tasks alone."""

import json
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kmtl.data import only
from kmtl.evidence.recommendation.paired_scores import Change, RowScores, changes, row_scores
from kmtl.tasks import Task
from kmtl.training import Recipe
from kmtl.training.progress import Progress
from kmtl.training.step_seconds import step_seconds
from kmtl.training.work import Given, Work


class Entry(NamedTuple):
    """A candidate that was trained.

    Attributes:
        name: Its name.
        model: The trained model.
        weights: How many it has.
        cost: What it cost, in trainings of every task alone.
        scores: Its metrics on the data for choosing.
        changes: Its change against the tasks alone, by task.
        history: Logs by epoch.
        seed: Its random seed.
    """

    name: str
    model: Any
    weights: int
    cost: float
    scores: RowScores
    changes: Mapping[str, Change]
    history: Mapping[str, Any]
    seed: int


class Race:
    """Trains candidates, each in a folder of its own.

    Args:
        given: What recipes are called with; its folder is that of the whole race.
        choice: Data for choosing, a stream of batches.
        budget: In trainings of every task alone once.

    Attributes:
        spent: What has been spent of the budget.
        looked: What the look at the training data found.
    """

    def __init__(self, given: Given, choice: Any, budget: float) -> None:
        self.given, self.choice, self.budget = given, choice, budget
        self.spent = 0.0
        self.skipped: dict[str, str] = {}
        self.yardstick: RowScores | None = None
        self.looked: Any = None
        self.progress = Progress(None, given.verbose, unit="training")
        self._folder = None if given.folder is None else Path(os.path.expanduser(given.folder))
        self._seconds: dict[str, float] = self._held_seconds()

    @property
    def left(self) -> float:
        """What is left of the budget."""
        return self.budget - self.spent

    def check(self, recipe: Recipe) -> None:
        """Refuses what a recipe cannot train, before anything is trained."""
        self.looked = Work(recipe, self.given._replace(folder=None), self.looked).looked

    def train(
        self,
        name: str,
        recipe: Recipe,
        *,
        cost: float,
        seed: int | None = None,
        task: Task | None = None,
        build: Callable[..., Any] | None = None,
    ) -> Entry:
        """Trains a recipe, or reads it where it was trained before.

        Args:
            name: Of the candidate.
            recipe: How it is trained.
            cost: What that costs, in trainings of every task alone.
            seed: Another seed than that of the race.
            task: The one task that is trained; None trains all.
            build: Another build function than the user's.
        """
        seed = self.given.seed if seed is None else seed
        folder = None if self._folder is None else self._folder / f"{_file_name(name)}-{seed}"
        self.progress.say(f"{name}: seed {seed}, cost {cost:.2f}, {self.left:.2f} of {self.budget:g} left")
        given, choice = self.given._replace(folder=folder, seed=seed), self.choice
        given = given._replace(build=build or given.build)
        if task is not None:
            train, validation, choice = (only(data, [task.name]) for data in (given.train, given.validation, choice))
            given = given._replace(tasks=[task.alone()], train=train, validation=validation)
        work = Work(recipe, given, None if task else self.looked)
        trained = recipe.trained(work)
        model = trained.model
        found = row_scores(model, choice, "recommend")
        known = changes(found, self.yardstick or found, work.tasks)
        self.spent += cost
        self.progress.add(1)
        return Entry(name, model, int(model.count_params()), cost, found, known, trained.history, seed)

    def seconds(self, form: str, make: Callable[[], Any], data: Any) -> float:
        """Seconds of a training step of a model, measured once and then read: a race that goes on decides alike.

        Args:
            form: Its name.
            make: Makes the model.
            data: Batches.
        """
        if form not in self._seconds:
            self._seconds[form] = step_seconds(make, data)
            self._keep_seconds()
        return self._seconds[form]

    def _held_seconds(self) -> dict[str, float]:
        """What was measured before a kill."""
        file = None if self._folder is None else self._folder / "step_seconds.json"
        return json.loads(file.read_text()) if file is not None and file.is_file() else {}

    def _keep_seconds(self) -> None:
        """Writes what was measured."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        beside = self._folder / f"step_seconds.json.{os.getpid()}"
        beside.write_text(json.dumps(self._seconds))
        beside.replace(self._folder / "step_seconds.json")


def _file_name(name: str) -> str:
    """A name as a folder has it."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", name)
