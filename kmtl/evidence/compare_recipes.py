"""Trains every recipe under every seed, and remembers what is done."""

import importlib.metadata
import os
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from kmtl._checks import Refusals, words
from kmtl.evidence.recipe_comparison import RecipeComparison
from kmtl.evidence.run_files import RunFiles, data_digest
from kmtl.tasks import Task
from kmtl.training import Recipe, Separate
from kmtl.training.builds import Build
from kmtl.training.latency import latency
from kmtl.training.progress import Progress
from kmtl.training.reusable import form_of
from kmtl.training.same_build import difference
from kmtl.training.trainer import Run, Trainer, scores
from kmtl.training.work import Given, Work


class Contest(NamedTuple):
    """What is the same for all recipes of a comparison.

    Attributes:
        build: The user's build function.
        tasks: The tasks, in order.
        train: Training data, as all a dataset of batches; or one a task.
        test: Data for the scores.
        validation: Validation data, or None.
        epochs: Of one training.
        seeds: Random seeds.
        callbacks: Makes fresh callbacks for each stage, or None.
        verbose: As in `fit`.
    """

    build: Callable[..., Any]
    tasks: list[Task]
    train: Any
    test: Any
    validation: Any
    epochs: int
    seeds: list[int]
    callbacks: Callable[[], list[Any]] | None
    verbose: Any


def compare_recipes(contest: Contest, recipes: Mapping[str, Recipe], folder: Any) -> RecipeComparison:
    """Compares recipes; see `compare`.

    Args:
        contest: What is the same for all.
        recipes: Recipes by the name of their row.
        folder: Where finished runs, and the stages of the one that runs, are kept; None keeps nothing.
    """
    _check(recipes)
    is_baseline = [name for name, recipe in recipes.items() if isinstance(recipe, Separate)]
    chosen = dict(recipes) if is_baseline else {"separate": Separate(), **recipes}
    files = None if folder is None else RunFiles(folder)
    runner = _Runner(contest, chosen, files)
    runs: dict[str, list[Run]] = {name: [] for name in chosen}
    for seed in contest.seeds:
        for name in chosen:
            runs[name].append(runner.run(name, seed))
    return RecipeComparison(contest.tasks, runs, (is_baseline or ["separate"])[0], runner.models)


def _check(recipes: Any) -> None:
    """Refuses what is no mapping of recipes."""
    with Refusals("compare") as refusals:
        if not isinstance(recipes, Mapping) or not recipes:
            fix = 'As {"joint": kmtl.training.Joint(), ...}.'
            refusals.add("recipes", "must be a dict of recipes by name", words(type(recipes).__name__), fix)
            return
        for name, recipe in recipes.items():
            if not isinstance(name, str) or not isinstance(recipe, Recipe):
                fix = "See kmtl.training."
                refusals.add(f"recipes[{name!r}]", "must be a recipe under a text", words(type(recipe).__name__), fix)


class _Runner:
    """Runs one recipe under one seed, or reads how it went."""

    def __init__(self, contest: Contest, recipes: Mapping[str, Recipe], files: RunFiles | None) -> None:
        self.contest, self.recipes, self.files = contest, recipes, files
        self.models: dict[str, Callable[[], Any]] = {}
        self.batch = next(x for x, *_ in contest.test.take(1))
        looked: Any = None
        for recipe in recipes.values():
            # Whatever a recipe cannot train is told before the first one begins.
            work = Work(recipe, self._given(0, None), looked)
            looked = work.looked
        self.progress = Progress(len(contest.seeds) * len(recipes), contest.verbose, unit="run")
        self.progress.say(f"{len(recipes)} recipes under {len(contest.seeds)} seeds")
        sets = contest.train if isinstance(contest.train, Mapping) else {"": contest.train}
        self.digests = [data_digest(data) for data in (*sets.values(), contest.test)] if files else []
        forms = {recipe.build_function(contest.build) for recipe in recipes.values()}
        self.forms = {function: self._form(function) for function in forms}

    def _given(self, seed: int, folder: Path | None) -> Given:
        """What a recipe is called with."""
        contest = self.contest
        quiet = 0 if contest.verbose == 0 else contest.verbose
        return Given(
            contest.build,
            contest.tasks,
            contest.train,
            contest.validation,
            contest.epochs,
            seed,
            callbacks=contest.callbacks,
            verbose=quiet,
            folder=folder,
        )

    def _form(self, function: Any) -> str:
        """What a build function makes; warns if it makes another model each time."""
        trainer = Trainer(Build(function, "compare"), owner="compare")
        names = [task.name for task in self.contest.tasks]
        one, other = (trainer.model(self.contest.tasks, seed=self.contest.seeds[0], names=names) for _ in range(2))
        told = difference(one, other)
        form = form_of(one)
        if told:
            text = f"compare: `build` makes another model under the same seed: {told}. Runs of one seed are not paired."
            warnings.warn(text, UserWarning, stacklevel=2)
        if form is None and self.files:
            text = "compare: `build` makes a model that cannot tell its settings: no run of before can be known again."
            warnings.warn(text, UserWarning, stacklevel=2)
        return form or f"{os.getpid()} {time.time()}"

    def _configuration(self, name: str, seed: int) -> dict[str, Any]:
        """What decides how a run goes."""
        recipe, contest = self.recipes[name], self.contest
        return {
            "kmtl": importlib.metadata.version("kmtl"),
            "recipe": recipe.configuration(),
            "form": self.forms[recipe.build_function(contest.build)],
            "tasks": [repr(task.get_config()) for task in contest.tasks],
            "data": self.digests,
            "epochs": contest.epochs,
            "seed": seed,
        }

    def run(self, name: str, seed: int) -> Run:
        """A run that is done already, or is done now."""
        place = None if self.files is None else self.files.place(self._configuration(name, seed))
        held = None if self.files is None or place is None else self.files.load(place)
        self.progress.say(f"{name}, seed {seed}" + (": done before" if held else ""))
        found, model = (held, None) if held else self._trained(name, seed, place)
        first = seed == self.contest.seeds[0]
        if self.files is not None and place is not None:
            if not held:
                self.files.save(place, found, model if first else None)
            if first:
                self.models[name] = lambda files=self.files, place=place: files.model(place)  # type: ignore[misc]
        elif first:
            self.models[name] = lambda model=model: model  # type: ignore[misc]
        self.progress.add(1)
        return found

    def _trained(self, name: str, seed: int, place: Path | None) -> tuple[Run, Any]:
        """Trains a recipe, and measures what came of it."""
        stages = None if self.files is None or place is None else self.files.stages(place)
        recipe = self.recipes[name]
        trained = recipe.trained(Work(recipe, self._given(seed, stages)))
        model = trained.model
        run = Run(
            tuple(task.name for task in self.contest.tasks),
            seed,
            scores(model, self.contest.test),
            {key: list(values) for key, values in trained.history.items()},
            trained.seconds,
            model.count_params(),
            trained.cost,
            latency(model, self.batch),
        )
        return run, model
