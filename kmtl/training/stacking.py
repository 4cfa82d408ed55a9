"""Stacking: a model of models, fitted on predictions for rows that they did not see."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from kmtl import data as datasets
from kmtl._checks import Refusals, is_number, require, whole, words
from kmtl.model.compile_like import compile_like
from kmtl.model.model import MultiTaskModel
from kmtl.tasks import Task
from kmtl.tasks.combinations import exclusive_classes
from kmtl.training.combined import called, inputs_like
from kmtl.training.joint import Separate
from kmtl.training.meta_models import Linear, convex, logistic, ridge, yes_or_no
from kmtl.training.output_columns import OutputColumns, columns_of
from kmtl.training.output_sum import weighted_sum
from kmtl.training.part import Part
from kmtl.training.recipe import Recipe
from kmtl.training.rows_in_memory import Rows
from kmtl.training.scored_outputs import labelled, outputs_of, weights_of
from kmtl.training.work import Work

_METAS = ("ridge", "logistic", "non_negative")


class Stacking(Recipe):
    """Base models, and a meta model that joins their outputs; it is fitted on rows that the base models did not see.

    The rows are dealt into F folds in which every label, missing ones too, is spread as in the whole. The base models
    are trained F times, each time without one fold, and predict that fold: the rows Z of these **out-of-fold outputs**
    are what the meta model learns from. A meta model that learned from outputs for rows of the base models' own
    training would trust the one that over-fits most; that is not offered. In the end the base models are trained on all
    rows, and the meta model stands behind them as layers of one model, which saves and exports.

    Columns of Z: values of values, `log p` of each class, `log p / (1 - p)` of yes; of all tasks, so that one task's
    output may tell of another's, or with `all_tasks=False` of the task itself. They are standardised, so that the
    penalty asks nobody's unit. A task learns from the rows that have its label. The meta model of a task, by `meta`:

    - `"ridge"`: `beta = (Z'Z + penalty I)^-1 Z'y` for values; classes have none, so that theirs is the logistic one;
    - `"logistic"`: `softmax(Z K + b)`, or a sigmoid for each yes or no, with the same penalty on K; for classes only;
    - `"non_negative"`: weights of at least 0 that add up to 1 on the outputs that several base recipes give for this
      task, by least squares (the super learner of van der Laan, Polley and Hubbard, 2007).

    `trained.notes["weights"]` holds the weights of the meta models: by task, `{column: weights}`. All rows are held in
    memory. The meta model has no penalty on its bias and knows nothing of `loss`: it is least squares or likelihood.

    Cost: with base recipes of cost c each, (F - 1) c for the folds, c for all rows, and a third of a pass for the
    outputs of the rows held out.

    Source: Wolpert, "Stacked Generalization", Neural Networks, 1992. Rows S0-07 and S2-06 of the articles, which say
    "a regression between the models' outputs" and nothing of which rows it may learn from.

    Args:
        meta: As above.
        folds: Number of folds, 2 or more.
        all_tasks: Whether each task's meta model sees the outputs of all tasks.
        penalty: Above 0, of `"ridge"` and `"logistic"`.
        base: A recipe that makes base models, or several; None takes `Separate()`.

    >>> Stacking(folds=3, base=Separate(epochs=2.0))
    Stacking(folds=3, base=Separate(epochs=2.0))
    """

    source = "Wolpert, Stacked Generalization, Neural Networks, 1992"

    def __init__(
        self,
        meta: str = "ridge",
        *,
        folds: int = 5,
        all_tasks: bool = True,
        penalty: float = 1.0,
        base: Recipe | Sequence[Recipe] | None = None,
    ) -> None:
        require(meta in _METAS, "Stacking", "meta", f"must be one of {list(_METAS)}", meta)
        self.meta = meta
        self.folds = whole("Stacking", "folds", folds, 2)
        require(isinstance(all_tasks, bool), "Stacking", "all_tasks", "must be True or False", all_tasks)
        self.all_tasks = all_tasks
        good = is_number(penalty) and penalty > 0
        require(good, "Stacking", "penalty", "must be a finite number above 0", penalty)
        self.penalty = float(penalty)
        self.base = base
        recipes = all(isinstance(one, Recipe) for one in self.bases)
        require(recipes and bool(self.bases), "Stacking", "base", "must be a recipe or several", base)
        fix = "For example base=[Separate(), Joint()]."
        several = meta != "non_negative" or len(self.bases) > 1
        require(several, "Stacking", "base", "must be two recipes or more to weigh their outputs", base, fix)

    @property
    def bases(self) -> list[Recipe]:
        """The base recipes."""
        if self.base is None:
            return [Separate()]
        return [self.base] if isinstance(self.base, Recipe) else list(self.base)

    def check(self, refusals: Refusals, work: Work) -> None:
        """Records tasks that a meta model cannot be fitted for, and what the base recipes refuse."""
        for task in work.tasks:
            if not fits(task):
                rule = "must have one output a class or an element of the label to be fitted by a meta model"
                refusals.add("tasks", rule, task)
            elif self.meta != "non_negative" and not (is_of_classes(task) or task.final_activation is None):
                got, fix = words(f"{task} of {task.final_activation}"), "Use meta='non_negative'."
                refusals.add("tasks", "must have probabilities of classes, or any number, as outputs", got, fix)
            elif self.meta == "logistic" and not is_of_classes(task):
                refusals.add(
                    "meta", f"must not be 'logistic' for values, as of {task.name!r}", "logistic", "Use 'ridge'."
                )
        for base in self.bases:
            base.check(refusals, work)

    def run(self, work: Work) -> Any:
        """Trains base models without each fold, fits the meta models, and trains the base models on all rows."""
        rows = work.rows()
        folds = folds_of(work, rows, self.folds)
        unseen = [self._out_of_fold(work, rows, folds, place) for place in range(len(self.bases))]
        models = {
            _name(place): base.run(Part(work, base, f"{_name(place)} of all rows"))
            for place, base in enumerate(self.bases)
        }
        return self._joined(work, rows, models, unseen)

    def _out_of_fold(self, work: Work, rows: Rows, folds: Sequence[Any], place: int) -> dict[str, Any]:
        """Outputs of a base recipe for each row, by the models that did not see it."""
        found: dict[str, Any] = {}
        for number, (seen, held) in enumerate(folds, 1):
            data = rows.take(seen).dataset(seed=work.seed)
            part = Part(work, self.bases[place], f"{_name(place)} without fold {number}", data)
            for name, values in _held_out(part, rows.take(held)).items():
                found.setdefault(name, np.zeros((rows.number, *values.shape[1:]), values.dtype))[held] = values
        return found

    def _joined(self, work: Work, rows: Rows, models: Mapping[str, Any], unseen: Sequence[Mapping[str, Any]]) -> Any:
        """One model of the base models and the meta models behind them."""
        first = next(iter(models.values()))
        notes = work.notes["weights"] = {}
        with first.distribute_strategy.scope():
            inputs = inputs_like(first)
            outputs = [called(model, inputs, name) for name, model in models.items()]
            joined = {}
            for task in work.tasks:
                seen = Seen(task, rows.y[task.name], weights_of(rows, task))
                join = self._weighed if self.meta == "non_negative" else self._mapped
                joined[task.name], notes[task.name] = join(work.tasks, seen, outputs, unseen)
            made = MultiTaskModel(inputs, joined, tasks=work.tasks)
            return compile_like(made, first)

    def _weighed(
        self, tasks: Sequence[Task], seen: "Seen", outputs: Sequence[Any], unseen: Sequence[Mapping[str, Any]]
    ) -> tuple[Any, Any]:
        """The weighted mean of the base models' outputs for a task, and the weights."""
        del tasks
        name = seen.task.name
        weights = convex([found[name] for found in unseen], seen.values(), seen.weights)
        total = weighted_sum(name, [output[name] for output in outputs], weights.tolist())
        return keras.layers.Identity(dtype="float32", name=name)(total), _told(weights, map(_name, range(len(weights))))

    def _mapped(
        self, tasks: Sequence[Task], seen: "Seen", outputs: Sequence[Any], unseen: Sequence[Mapping[str, Any]]
    ) -> tuple[Any, Any]:
        """A linear map of the columns of the base models, and its weights."""
        task = seen.task
        read = tasks if self.all_tasks else [task]
        columns = np.hstack([columns_of(one, found[one.name]) for found in unseen for one in read])
        fitted = fitted_map(seen, columns.astype("float64"), self.penalty)
        parts = [OutputColumns.of(one)(output[one.name]) for output in outputs for one in read]
        together = keras.layers.Concatenate(dtype="float32")(parts) if len(parts) > 1 else parts[0]
        mean, variance = fitted.mean.tolist(), (fitted.scale**2).tolist()
        scaled = keras.layers.Normalization(mean=mean, variance=variance, dtype="float32")(together)
        layer = keras.layers.Dense(task.units, task.final_activation, dtype="float32", name=task.name)
        output = layer(scaled)
        layer.set_weights([fitted.kernel, fitted.bias])
        names = [
            f"{_name(place)} {one.name} {column}"
            for place in range(len(outputs))
            for one in read
            for column in range(one.units)
        ]
        return output, _told(fitted.weights, names)


class Seen(NamedTuple):
    """What a meta model learns a task from.

    Attributes:
        task: The task.
        labels: Of all rows.
        weights: Sample weights `(rows,)`, or None.
    """

    task: Task
    labels: Any
    weights: Any

    def values(self) -> Any:
        """The labels in the form of outputs, `(rows, units)`, NaN where missing: 1 for the true class, 0 else."""
        task, labels = self.task, np.asarray(self.labels)
        classes = exclusive_classes(task)
        if classes and task.units == classes:
            found = np.eye(classes)[np.maximum(labels.reshape(-1), 0)]
            return np.where(labels.reshape(-1, 1) < 0, np.nan, found)
        flat = labels.reshape(len(labels), -1)
        return np.where(np.asarray(task.present(flat)), flat.astype("float64"), np.nan)


def fits(task: Task) -> bool:
    """Whether a task's output is a vector of one number a class, or an element of its label."""
    elements = int(np.prod([size or 0 for size in task.label_shape]))
    return len(task.output_shape) == 1 and task.units in (exclusive_classes(task) or elements, elements)


def is_of_classes(task: Task) -> bool:
    """Whether a task's outputs are probabilities of classes."""
    return task.final_activation in ("softmax", "sigmoid")


def fitted_map(seen: Seen, columns: Any, penalty: float) -> Linear:
    """Fits the map of columns that suits a task: ridge of values, logistic of classes."""
    task, labels = seen.task, np.asarray(seen.labels)
    if not is_of_classes(task):
        return ridge(columns, seen.values(), penalty, seen.weights)
    if task.units == exclusive_classes(task):
        return logistic(columns, labels.reshape(-1), task.classes, penalty, seen.weights)
    return yes_or_no(columns, labels.reshape(len(labels), -1), penalty, seen.weights)


def folds_of(work: Work, rows: Rows, number: int) -> list[tuple[Any, Any]]:
    """Deals rows into folds in which labels are spread alike: of each the rows to train on, and those held out.

    Raises:
        ValueError: If a task has no label among the rows to train on.
    """
    labels = {task.name: rows.y[task.name] for task in work.tasks}
    pairs = datasets.split((np.arange(rows.number), labels), folds=number, stratify=work.tasks, seed=work.seed)
    found = [(seen[0], held[0]) for seen, held in pairs]
    known = labelled(work.tasks, rows)
    with Refusals(work.owner) as refusals:
        for task, there in zip(work.tasks, known, strict=True):
            if not all(there[seen].any() for seen, _ in found):
                got = words(f"{int(there.sum())} in one fold alone for {task.name!r}")
                refusals.add("train", "must have labels of each task outside of every fold", got, "Give more labels.")
    return found


def _held_out(part: Part, rows: Rows) -> dict[str, Any]:
    """Trains the base models on a part, and computes their outputs for the rows held out."""
    model = part.recipe.run(part)
    cost = part.forward_cost(part.trunks * -(-rows.number // rows.batch_size))
    return part.keep("outputs", lambda: outputs_of(model, rows), cost=cost)


def _name(place: int) -> str:
    """The name of a base recipe."""
    return f"base_{place + 1}"


def _told(weights: Any, names: Any) -> dict[str, Any]:
    """Weights by the name of their column."""
    return {name: np.asarray(weight).tolist() for name, weight in zip(names, weights, strict=True)}
