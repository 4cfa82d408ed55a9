"""The work of a recipe: its models and its stages, counted, told, and kept where a killed training finds them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from kmtl import data as datasets
from kmtl._checks import Refusals, is_whole, known_keys, refusal, words
from kmtl.feeding import as_dataset, look_at
from kmtl.feeding.datasets import refuse_endless
from kmtl.feeding.resume import register_restart, stream_from
from kmtl.model.step import Step
from kmtl.tasks import Task
from kmtl.training.builds import Build, checked_tasks, refuse_build
from kmtl.training.rows_in_memory import Rows, rows_of
from kmtl.training.same_build import check_same
from kmtl.training.stage_files import StageFiles
from kmtl.training.trained import Stage, Trained
from kmtl.training.trainer import Trainer


class Given(NamedTuple):
    """What `Recipe.train` was called with; attributes as its arguments."""

    build: Any
    tasks: Any
    train: Any
    validation: Any
    epochs: Any
    seed: Any
    batch_size: Any = 32
    callbacks: Any = None
    verbose: Any = "auto"
    folder: Any = None


class Work:
    """What a recipe works with.

    Args:
        recipe: The recipe.
        given: What it is to train.
        looked: What another recipe's look at the same training data found.

    Attributes:
        tasks: The tasks, in order.
        names: Their names.
        train: The training data, a `tf.data.Dataset` of batches `(x, {task: label})`; `{task: dataset}` if the recipe
            takes such and was given it.
        validation: The same for validation, or None.
        epochs: Of one training.
        seed: The seed.
        statistics: What the training labels hold, `kmtl.tasks.LabelStatistics` by task name.
        steps: Batches of an epoch of `train`.
        looked: The statistics and the batches.
        notes: What the recipe wants told beside the model.
    """

    def __init__(self, recipe: Any, given: Given, looked: tuple[dict[str, Any], int] | None = None) -> None:
        self.recipe = recipe
        self.owner = type(recipe).__name__
        self.seed, self.epochs, self.verbose = given.seed, given.epochs, given.verbose
        self.batch_size = given.batch_size
        self.notes: dict[str, Any] = {}
        self._stages: list[Stage] = []
        self._accept(given)
        self.names = [task.name for task in self.tasks]
        self.looked = looked or self._look()
        self.statistics, self.steps = self.looked
        self._build = Build(recipe.build_function(given.build), self.owner)
        self._trainer = Trainer(self._build, owner=self.owner, callbacks=given.callbacks, verbose=given.verbose)
        with Refusals(self.owner) as refusals:
            recipe.check(refusals, self)
        plan = {"recipe": recipe.configuration(), "tasks": self._told_tasks(), "epochs": self.epochs, "seed": self.seed}
        self._files = None if given.folder is None else StageFiles(given.folder, self.owner, plan)

    def _accept(self, given: Given) -> None:
        """Takes tasks and data; refuses what cannot be trained on."""
        with Refusals(self.owner) as refusals:
            refuse_build(refusals, given.build)
            self.tasks: list[Task] = checked_tasks(refusals, given.tasks, "train(build, tasks, train, epochs=...)")
            for argument, value in (("epochs", given.epochs), ("batch_size", given.batch_size)):
                if not is_whole(value) or value < 1:
                    refusals.add(argument, "must be a whole number of at least 1", value)
            if not is_whole(given.seed) or not 0 <= given.seed < 2**32:
                refusals.add("seed", "must be a whole number from 0 on", given.seed)
            refusals.check()
            named = {task.name: task for task in self.tasks}

            def taken(argument: str, data: Any) -> Any:
                options = {"batch_size": given.batch_size, "shuffle": argument == "train"}
                found = as_dataset(refusals, argument, data, named, **options)
                refuse_endless(refusals, argument, found)
                return None if found is None else datasets.in_task_space(found, self.tasks)

            sets = given.train
            if isinstance(sets, Mapping) and self.recipe.takes_sets_by_task:
                known_keys(refusals, "train", sets, named)
                refusals.check()
                self.train: Any = {name: taken("train", data) for name, data in sets.items()}
            elif isinstance(sets, Mapping):
                fix = "Put them into one set with labels missing, or use kmtl.training.Alternating."
                refusals.add("train", "must be one set of data", words(f"{len(sets)} by name"), fix)
            else:
                self.train = taken("train", sets)
            self.validation = None if given.validation is None else taken("validation", given.validation)

    def _look(self) -> tuple[dict[str, Any], int]:
        """Statistics of the labels and batches of an epoch; refuses a task without a label and what else cannot be."""
        named, steps = {task.name: task for task in self.tasks}, 0
        found: dict[str, Any] = {}
        sets = self.train if isinstance(self.train, Mapping) else {"": self.train}
        for key, data in sets.items():
            own = {key: named[key]} if key in named else named
            seen = look_at(data, own, self.owner)
            steps, found = steps + seen.batches, {**found, **seen.tasks}
        return found, steps

    def _told_tasks(self) -> list[Any]:
        """The tasks as a file tells them."""
        return [repr(task) for task in self.tasks]

    # Models.

    def model(self, tasks: Sequence[Task] | None = None, *, seed: int | None = None) -> Any:
        """Builds a model of some of the tasks, all of them if none are named."""
        chosen = self.tasks if tasks is None else list(tasks)
        names = [task.name for task in chosen]
        return self._trainer.model(chosen, seed=self.seed if seed is None else seed, names=names)

    def alone(self, task: Task, *, seed: int | None = None) -> Any:
        """Builds a model of one task."""
        return self.model([task.alone()], seed=seed)

    def check_build(self) -> None:
        """Warns of a build function that makes another model each time under one seed; tells what differs."""
        check_same(self.owner, self.model)

    def member_seed(self, member: int) -> int:
        """The seed of one of several models; the first has the seed itself."""
        if not member:
            return int(self.seed)
        return int(np.random.SeedSequence([self.seed, member]).generate_state(1)[0])

    def take_step(self, model: Any, step: Callable[..., Step], **options: Any) -> Any:
        """Puts another step into a model: `step(model, model.setup, **options)`, in the model's strategy."""
        with model.distribute_strategy.scope():
            model.step = step(model, model.setup, **options)
        return model.step

    # Data.

    def data_of(self, names: Iterable[str], data: Any = None) -> Any:
        """The training data, or other data, with the labels of some tasks only."""
        chosen = list(names)
        if data is None and isinstance(self.train, Mapping):
            # Of sets by task each task has its own.
            data = self.train[chosen[0]]
        return datasets.only(self.train if data is None else data, chosen)

    def rows(self, data: Any = None) -> Rows:
        """All rows of the training data, or of other data, in memory, in an order that the seed gives."""
        return rows_of(self.train if data is None else data)

    # Stages.

    def say(self, text: str) -> None:
        """Tells what comes next, unless `verbose` is 0."""
        if self.verbose != 0:
            print(f"{self.owner}: {text}", flush=True)

    def epochs_of(self, share: float) -> int:
        """Epochs of a share of a training, at least one."""
        return max(1, round(share * self.epochs))

    def fit(
        self,
        stage: str,
        model: Any,
        data: Any = None,
        *,
        epochs: float = 1.0,
        validation: Any = None,
        passes: float = 1.0,
        steps: int | None = None,
        callbacks: Sequence[Any] = (),
    ) -> dict[str, list[float]]:
        """Trains a model; a stage that was finished before a kill is read instead, one that was begun goes on.

        Args:
            stage: Its name, one of its own in the recipe.
            model: A compiled `MultiTaskModel`.
            data: A dataset of batches, finite or, with `steps`, endless; None takes `train`.
            epochs: As a share of a training.
            validation: Validation data; None takes those of the recipe, False none.
            passes: How many trunks a batch goes forward and backward through; forward alone counts a third.
            steps: Batches an epoch; None counts them.
            callbacks: Beside the user's.

        Returns:
            Logs by epoch.
        """
        data = self.train if data is None else data
        number = self.epochs_of(epochs)
        steps = steps or self._steps(data)
        validation = self.validation if validation is None else validation
        names = list(model.tasks)
        held_out = None if validation is None or validation is False else datasets.only(validation, names)
        stream = register_restart(stream_from(data, 0), lambda first: stream_from(data, first))
        self.say(f"{stage}, {number} epoch{'s' * (number > 1)}")
        keras.utils.set_random_seed(self.seed)
        options: dict[str, Any] = {"epochs": number, "validation": held_out, "steps_per_epoch": steps}
        if self._files is None:
            history, seconds = self._trainer.fit(model, stream, callbacks=callbacks, **options)
        else:
            history, seconds = self._files.stage(
                stage, model, lambda backup: self._trainer.fit(model, stream, callbacks=[*callbacks, backup], **options)
            )
        ran = len(next(iter(history.values()), []))
        cost = passes * ran * steps / (self.epochs * self.steps)
        self._stages.append(Stage(stage, ran, cost, seconds, history))
        return history

    def keep(self, stage: str, compute: Callable[[], Mapping[str, Any]], *, cost: float = 0.0) -> dict[str, Any]:
        """Computes arrays once: after a kill they are read.

        Args:
            stage: Its name.
            compute: Makes `{name: array}`.
            cost: What it costs, in joint trainings.
        """
        found = dict(compute()) if self._files is None else self._files.arrays(stage, compute)
        if cost:
            self._stages.append(Stage(stage, 0, cost, 0.0, {}))
        return found

    def forward_cost(self, batches: float) -> float:
        """The cost of batches that only go forward, in joint trainings."""
        return batches / 3 / (self.epochs * self.steps)

    def _steps(self, data: Any) -> int:
        """Batches of a dataset."""
        if data is self.train:
            return self.steps
        size = int(data.cardinality())
        if size == 0:
            raise ValueError(refusal(self.owner, "train", "must hold an example for every stage", words("none")))
        return size if size > 0 else sum(1 for _ in data)

    def trained(self, model: Any) -> Trained:
        """The result; the model takes plain steps again."""
        if hasattr(model, "step") and type(model.step) is not Step:
            self.take_step(model, Step)
        return Trained(model, self._stages, self.notes)
