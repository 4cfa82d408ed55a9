"""Trains every recipe under every seed, unless it is done, or another process does it."""

import functools
import importlib.metadata
import os
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import keras

from kmtl._checks import Refusals, words
from kmtl.evidence.comparisons.comparison import Comparison
from kmtl.evidence.comparisons.comparison_folder import BUILT, ComparisonFolder
from kmtl.evidence.comparisons.data_digest import ANEW, data_digest
from kmtl.evidence.comparisons.run_claims import claim
from kmtl.feeding.resume import restart_of
from kmtl.tasks import Task
from kmtl.training import Recipe
from kmtl.training.builds import Build
from kmtl.training.latency import latency
from kmtl.training.progress import Progress
from kmtl.training.reusable import form_of
from kmtl.training.same_build import difference
from kmtl.training.trainer import Run, Trainer, scores, task_scores
from kmtl.training.work import Given, Work

_PAUSE = 0.5


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


class ComparisonRuns:
    """The runs of a comparison.

    Args:
        contest: What is the same for all recipes.
        recipes: Recipes by the name of their row.
        baseline: The row that the others are held against.
        folder: Where finished runs, and the stages of those that run, are kept; None keeps nothing.

    Raises:
        ValueError: If a recipe cannot train the tasks, if nobody knows which end of a metric is better, or if the
            folder holds another comparison.
    """

    def __init__(self, contest: Contest, recipes: Mapping[str, Recipe], baseline: str, folder: Any) -> None:
        self.contest, self.recipes, self.baseline = contest, dict(recipes), baseline
        self.files = None if folder is None else ComparisonFolder(folder)
        self.batch = next(x for x, *_ in contest.test.take(1))
        self.looked: Any = None
        for recipe in recipes.values():
            # Whatever a recipe cannot train is told before the first one begins.
            self.looked = Work(recipe, self._given(0, None), self.looked).looked
        functions = dict.fromkeys(recipe.build_function(contest.build) for recipe in recipes.values())
        self.forms = {function: self._form(function) for function in functions}
        self.places = {} if self.files is None else self._begun(self.files)
        self.runs: dict[tuple[str, int], Run] = {}
        self.models: dict[str, Callable[[], Any]] = {}

    def _given(self, seed: int, folder: Path | None) -> Given:
        """What a recipe is called with."""
        contest = self.contest
        return Given(
            contest.build,
            contest.tasks,
            contest.train,
            contest.validation,
            contest.epochs,
            seed,
            callbacks=contest.callbacks,
            verbose=contest.verbose,
            folder=folder,
        )

    def _form(self, function: Any) -> str | None:
        """What a build function makes; warns if it makes another model each time, or one that nothing tells apart."""
        trainer = Trainer(Build(function, "compare"), owner="compare")
        names = [task.name for task in self.contest.tasks]
        one, other = (trainer.model(self.contest.tasks, seed=self.contest.seeds[0], names=names) for _ in range(2))
        _refuse_metrics(one)
        told = difference(one, other)
        form = form_of(one)
        if told:
            text = f"compare: `build` makes another model under the same seed: {told}. Runs of one seed are not paired."
            warnings.warn(text, UserWarning, stacklevel=2)
        # An address is another one in each process.
        if form is None or re.search(r" at 0x[0-9a-f]+", form):
            form = None
            if self.files:
                text = "compare: `build` makes a model that cannot tell its settings: no run is known again."
                warnings.warn(text, UserWarning, stacklevel=2)
        return form

    # What is kept.

    def _begun(self, files: ComparisonFolder) -> dict[tuple[str, int], Path]:
        """The folder of each run, by row and seed."""
        contest = self.contest
        self.shared = self._shared()
        rows = {name: self._told(recipe) for name, recipe in self.recipes.items()}
        places = {
            (name, seed): files.place({**self.shared, **self._known_again(row), "seed": seed})
            for name, row in rows.items()
            for seed in contest.seeds
        }
        listed = {
            name: {"configuration": row, "runs": {seed: places[name, seed].name for seed in contest.seeds}}
            for name, row in rows.items()
        }
        files.begin(self.shared, listed, self.baseline)
        return places

    def _shared(self) -> dict[str, Any]:
        """What decides how all runs go."""
        contest = self.contest
        by_task = isinstance(contest.train, Mapping)
        sets = (
            {f"train of {name}": data for name, data in contest.train.items()} if by_task else {"train": contest.train}
        )
        held = {"test": contest.test, "validation": contest.validation}
        digests = {name: None if data is None else data_digest(data) for name, data in {**sets, **held}.items()}
        if any(ANEW in (digests[name] or {}).values() and restart_of(data) is None for name, data in sets.items()):
            fix = "Take arrays or sets of kmtl.data, whose order and chance follow from a seed and the epoch alone."
            text = "compare: `train` changes by itself from pass to pass, as by tf.data's own shuffle: a run depends"
            warnings.warn(f"{text} on those before it, so that a killed comparison ends otherwise. {fix}", stacklevel=2)
        return {
            "kmtl": importlib.metadata.version("kmtl"),
            "tasks": {task.name: keras.saving.serialize_keras_object(task) for task in contest.tasks},
            "order": [task.name for task in contest.tasks],
            "data": digests,
            "epochs": contest.epochs,
        }

    def _told(self, recipe: Recipe) -> dict[str, Any]:
        """What decides how the runs of a row go."""
        return {"recipe": recipe.configuration(), BUILT: self.forms[recipe.build_function(self.contest.build)]}

    def _known_again(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The same; of a model that cannot tell its settings a text that no other process has."""
        return {**row, BUILT: row[BUILT] or f"{os.getpid()} {time.time()}"}

    # Training.

    def comparison(self) -> Comparison:
        """Does what is not done, and returns all of it."""
        seeds = self.contest.seeds
        waiting = [(name, seed) for seed in seeds for name in self.recipes]
        waiting = [one for one in waiting if not self._read(*one)]
        done = len(self.runs)
        self.progress = Progress(len(waiting), self.contest.verbose, unit="run")
        told = f", {done} runs of them done before" if done else ""
        self.progress.say(f"{len(self.recipes)} recipes under {len(seeds)} seeds{told}")
        while waiting:
            left = [one for one in waiting if not self._settle(*one)]
            if len(left) == len(waiting):
                # All that is left is in the hands of other processes.
                time.sleep(_PAUSE)
            waiting = left
        runs = {name: [self.runs[name, seed] for seed in seeds] for name in self.recipes}
        return Comparison(self.contest.tasks, runs, self.baseline, self.models)

    def _read(self, name: str, seed: int) -> bool:
        """Reads a run, if it is finished; tells whether it is."""
        if self.files is None:
            return False
        place = self.places[name, seed]
        held = self.files.load(place)
        if held is None:
            return False
        self._keep(name, seed, held, functools.partial(self.files.model, place))
        return True

    def _keep(self, name: str, seed: int, run: Run, model: Callable[[], Any]) -> None:
        """Notes a finished run; of the first seed its model, too."""
        self.runs[name, seed] = run
        if seed == self.contest.seeds[0]:
            self.models[name] = model

    def _settle(self, name: str, seed: int) -> bool:
        """Reads or trains a run; False if another process is at it."""
        if self.files is None:
            run, model = self._trained(name, seed, None)
            self._keep(name, seed, run, lambda: model)
        else:
            with claim(self.places[name, seed]) as mine:
                if not mine:
                    return False
                if not self._read(name, seed):
                    self._train_and_write(self.files, name, seed)
        self.progress.add(1)
        return True

    def _train_and_write(self, files: ComparisonFolder, name: str, seed: int) -> None:
        """Trains a run that this process has claimed, and writes it."""
        place = self.places[name, seed]
        run, model = self._trained(name, seed, files.stages(place))
        configuration = {**self.shared, **self._told(self.recipes[name]), "seed": seed}
        files.save(place, run, configuration, model if seed == self.contest.seeds[0] else None)
        self._read(name, seed)

    def _trained(self, name: str, seed: int, stages: Path | None) -> tuple[Run, Any]:
        """Trains a recipe, and measures what came of it."""
        self.progress.say(f"{name}, seed {seed}")
        recipe = self.recipes[name]
        trained = recipe.trained(Work(recipe, self._given(seed, stages), self.looked))
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


def _refuse_metrics(model: Any) -> None:
    """Refuses metrics of which nobody knows whether more is better."""
    fix = 'Let its name tell: keras.metrics.MeanMetricWrapper(function, name="own_error"), or "own_accuracy".'
    with Refusals("compare") as refusals:
        for task, metric in _metrics_of(model):
            try:
                task.direction(metric)
            except ValueError:
                got = words(f"{metric!r} of {task.name!r}")
                refusals.add("tasks", "must have metrics whose better end is known", got, fix)


def _metrics_of(model: Any) -> Iterator[tuple[Task, str]]:
    """Every task and metric of a compiled model."""
    tasks = list(model.tasks.values())
    names = dict.fromkeys((name for name in model.metrics_names if name not in model.setup.joint_keys), 0.0)
    for name, metrics in task_scores(names, tasks).items():
        yield from ((model.tasks[name], metric) for metric in metrics)
