"""Each task tuned further from a joint model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from kmtl._checks import Refusals, is_number, is_whole, known_keys, near, refusal, require, words
from kmtl.gradients import over_batches
from kmtl.model.compile_like import compile_like
from kmtl.model.graph import every_layer
from kmtl.model.model import MultiTaskModel
from kmtl.training.adapted import Adapted
from kmtl.training.combined import combined
from kmtl.training.joint import Joint, alone
from kmtl.training.recipe import Recipe, share
from kmtl.training.trainer import scores
from kmtl.training.work import Work

_HOW = ("full", "head", "adapters")
_CHOICES = ("all", "worse", "affinity")
_BATCHES = 8
_JOINT = Joint()


class FineTuned(Recipe):
    r"""A joint training, after which each task is tuned further by its own loss alone.

    How a task is tuned decides what it has of its own afterwards:

    - `"full"`: a copy of the whole model for its task;
    - `"head"`: its head, on a trunk that stands still: one trunk serves all tasks;
    - `"adapters"`: its head and a low-rank change of each dense and convolutional layer that tasks share,
      `W + A_k B_k`, with `B_k` at 0 at the start (`kmtl.sharing.low_rank.LowRankChange`). Folded, they become a copy
      of the trunk; else one trunk stays, with small additions a task, which the model runs once for each such task.

    Normalisation is in inference mode meanwhile: its statistics are of all tasks, and a short training would drag them
    to one. Tasks that are not tuned keep their outputs bit for bit. The optimizer begins anew, at `rate` times the rate
    of the joint training; the model that is returned is compiled as the joint one, without its balancer.

    `Trained.notes` holds `"tuned"`, the names; and with validation data `"forgetting"`, each task's metrics before and
    after, `{task: {metric: (before, after)}}`: what a tuned task gained, and what others lost.

    Cost: that of `after`, plus `epochs` for each tuned task; for heads, which go forward through the trunk together,
    a third of `epochs` in all. `"worse"` trains each task alone first, `K` more; `"affinity"` measures 8 batches.

    Source: row S1-06 of the articles, which say "depending on relatedness" and give no rule: the two given here are
    tasks whose gradients on average oppose the others' and tasks that joint training made worse. Adapters after Hu et
    al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022.

    Args:
        after: The recipe that trains the joint model.
        tasks: `"all"`; names; `"worse"`: those whose first metric is worse on the validation data than that of a model
            trained alone; `"affinity"`: those whose gradient on what is shared has a mean cosine below 0 with those of
            the other tasks.
        how: `"full"`, `"head"` or `"adapters"`.
        epochs: Of the tuning, as a multiple of the given epochs.
        rate: Factor of the learning rate, above 0.
        fold: Whether adapters end in copies of the trunk.
        rank: Of the adapters.

    >>> FineTuned(tasks=["angle"], how="adapters", fold=False)
    FineTuned(tasks=['angle'], how='adapters', fold=False)
    """

    source = "Caruana, Multitask Learning, Machine Learning, 1997; Hu et al., LoRA, ICLR 2022"

    def __init__(
        self,
        after: Recipe = _JOINT,
        tasks: str | Sequence[str] = "all",
        how: str = "full",
        *,
        epochs: float = 0.5,
        rate: float = 0.1,
        fold: bool = True,
        rank: int = 4,
    ) -> None:
        with Refusals("FineTuned") as refusals:
            if not isinstance(after, Recipe):
                refusals.add("after", "must be a recipe", after, "As kmtl.training.Joint().")
            if how not in _HOW:
                refusals.add("how", f"must be one of {list(_HOW)}", how, near(str(how), _HOW))
            if isinstance(tasks, str) and tasks not in _CHOICES:
                fix = f"One task is a list of one: [{tasks!r}]."
                refusals.add("tasks", f"must be one of {list(_CHOICES)} or names of tasks", tasks, fix)
            if not is_number(rate) or rate <= 0:
                refusals.add("rate", "must be a finite number above 0", rate)
            if not isinstance(fold, bool):
                refusals.add("fold", "must be True or False", fold)
            if not is_whole(rank) or rank < 1:
                refusals.add("rank", "must be a whole number of at least 1", rank)
        self.after = after
        self.tasks: Any = tasks if isinstance(tasks, str) else list(tasks)
        self.how, self.rate, self.fold, self.rank = how, float(rate), fold, rank
        self.epochs = share("FineTuned", "epochs", epochs)

    def build_function(self, build: Any) -> Any:
        """That of the joint training."""
        return self.after.build_function(build)

    def check(self, refusals: Refusals, work: Work) -> None:
        """Refuses what the joint training refuses, a single task, and tasks that have no model of their own."""
        self.after.check(refusals, work)
        if len(work.tasks) < 2:
            refusals.add("tasks", "must be two or more", work.names, "Train one task longer: Joint(epochs=2.0).")
        if not isinstance(self.tasks, str):
            known_keys(refusals, "tasks", self.tasks, work.names)
            if not self.tasks:
                refusals.add("tasks", "must name a task", self.tasks)
        if self.tasks == "worse" and work.validation is None:
            refusals.add("validation", 'must be given for tasks="worse"', None, "Or name the tasks.")
        open_ = work.names if isinstance(self.tasks, str) else self.tasks
        for task in work.tasks:
            if task.name in open_ and (task.product_of or (task.where and self.how != "head")):
                rule = "must name tasks that stand by themselves"
                fix = 'Name others, or, of one with `where`, use how="head".'
                refusals.add("tasks", rule, words(f"{task.name!r}, which is made of others"), fix)

    def run(self, work: Work) -> Any:
        """Trains the joint model, chooses tasks, and tunes them."""
        model = self.after.run(work)
        rule = "must end in a kmtl.MultiTaskModel of all tasks"
        fits = isinstance(model, MultiTaskModel) and list(model.tasks) == work.names
        require(fits, work.owner, "after", rule, words(f"a {type(model).__name__}"), "Use another recipe.")
        chosen = self.chosen(work, model)
        work.notes["tuned"] = chosen
        before = None if work.validation is None else scores(model, work.validation)
        tuned = self.tuned(work, model, chosen) if chosen else model
        if before is not None:
            after = scores(tuned, work.validation)
            work.notes["forgetting"] = {
                name: {key: (value, after[name][key]) for key, value in found.items()} for name, found in before.items()
            }
        return tuned

    # Which tasks.

    def chosen(self, work: Work, model: Any) -> list[str]:
        """Names of the tasks to tune."""
        if self.tasks == "all":
            return list(work.names)
        if self.tasks == "affinity":
            return self._opposed(work, model)
        if self.tasks == "worse":
            apart = alone(work)
            joint = scores(model, work.validation, losses=True)
            return [name for name in work.names if _is_worse(joint[name], apart[name], name, work)]
        return [name for name in work.names if name in self.tasks]

    def _opposed(self, work: Work, model: Any) -> list[str]:
        """Tasks whose gradients oppose those of the others."""
        number = min(_BATCHES, work.steps)

        def measured() -> dict[str, Any]:
            cosines = model.gramians(work.train, batches=number).cosines
            pairs = [[over_batches(np.mean, cosines[:, one, other]) for other in places] for one in places]
            return {"cosines": np.asarray(pairs)}

        places = range(len(work.names))
        # One forward pass a batch, and a backward pass, twice as long, a task.
        cost = work.forward_cost(number) * (1 + 2 * len(work.names))
        cosines = work.keep("affinity", measured, cost=cost)["cosines"]
        np.fill_diagonal(cosines, np.nan)
        return [name for name, row in zip(work.names, cosines, strict=True) if over_batches(np.mean, row) < 0]

    # How.

    def tuned(self, work: Work, model: Any, chosen: Sequence[str]) -> Any:
        """The model in which tasks are tuned."""
        if self.how == "head":
            return self._heads(work, model, chosen)
        if self.how == "adapters":
            return self._adapters(work, model, chosen)
        return combined(
            {name: self._copy(work, model, name) if name in chosen else model for name in work.names},
            like=model,
            optimizer=None,
        )

    def _copy(self, work: Work, model: Any, name: str) -> Any:
        """A copy of the model for one task, tuned."""
        keras.utils.set_random_seed(work.seed)
        copy = model.without(*(other for other in work.names if other != name))
        with _frozen(layer for layer in every_layer(copy) if isinstance(layer, keras.layers.BatchNormalization)):
            self._fit(work, copy, model, [name], f"{name} tuned", 1.0)
        return copy

    def _heads(self, work: Work, model: Any, chosen: Sequence[str]) -> Any:
        """The same model, heads tuned on a trunk that stands still."""
        _refuse_shared(work, model, chosen)
        own = {id(layer) for name in chosen for layer in model.task_layers(name)}
        tasks = [model.tasks[name].alone() for name in chosen]
        with model.distribute_strategy.scope():
            part = MultiTaskModel(model.input, {name: model.output[name] for name in chosen}, tasks=tasks)
        with _frozen(layer for layer in model.layers if id(layer) not in own):
            self._fit(work, part, model, chosen, "heads tuned", 1 / 3)
        with model.distribute_strategy.scope():
            return compile_like(model, model)

    def _adapters(self, work: Work, model: Any, chosen: Sequence[str]) -> Any:
        """The model with low-rank changes of its trunk, folded or beside it."""
        _refuse_shared(work, model, chosen)
        keras.utils.set_random_seed(work.seed)
        adapted = {name: Adapted(work.owner, model, name, self.rank) for name in chosen}
        for name, found in adapted.items():
            with _frozen(layer for layer in model.layers if layer not in found.head):
                self._fit(work, found.model, model, [name], f"{name} tuned", 1.0)
        if self.fold:
            parts = {name: adapted[name].folded() if name in chosen else model for name in work.names}
            return combined(parts, like=model, optimizer=None)
        outputs = {name: adapted[name].output if name in chosen else model.output[name] for name in work.names}
        with model.distribute_strategy.scope():
            made = MultiTaskModel(model.input, outputs, tasks=list(model.tasks.values()))
            return compile_like(made, model)

    def _fit(self, work: Work, part: Any, model: Any, names: Sequence[str], stage: str, passes: float) -> None:
        """Tunes what is not frozen of a model of some tasks."""
        with part.distribute_strategy.scope():
            compile_like(part, dict.fromkeys(names, model), rates=self.rate)
        work.fit(stage, part, work.data_of(names), epochs=self.epochs, passes=passes)


@contextmanager
def _frozen(layers: Iterator[Any]) -> Iterator[None]:
    """Lets layers stand still, and normalise in inference mode."""
    # What is inside of a layer follows it, and may have stood still before.
    before = [(one, one.trainable) for layer in layers for one in (layer, *every_layer(layer))]
    for layer, _ in before:
        layer.trainable = False
    try:
        yield
    finally:
        for layer, was in before:
            layer.trainable = was


def _refuse_shared(work: Work, model: Any, chosen: Sequence[str]) -> None:
    """Refuses heads that are slices of one kernel: one cannot move without the others."""
    for name in chosen:
        if not any(layer.weights for layer in model.task_layers(name)):
            fix = 'Build the heads apart: from_features(..., fuse=False); or use how="full".'
            rule = "must make a model whose tasks have heads of their own"
            raise ValueError(refusal(work.owner, "build", rule, words(f"one whose {name!r} has none"), fix))


def _is_worse(joint: Any, apart: Any, name: str, work: Work) -> bool:
    """Whether a task's first metric, or its loss without any, is worse in the joint model."""
    single = scores(apart, work.data_of([name], work.validation), losses=True)[name]
    key = next((key for key in joint if key != "loss" and key in single), "loss")
    task = next(task for task in work.tasks if task.name == name)
    sign = -1.0 if key != "loss" and task.direction(key) == "max" else 1.0
    return bool(sign * (joint[key] - single[key]) > 0)
