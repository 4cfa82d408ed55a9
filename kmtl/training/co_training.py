"""Two views of the data that label it for each other."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from kmtl._checks import Refusals, is_number, refusal, whole, words
from kmtl.feeding import InputForm
from kmtl.model.compile_like import compile_like
from kmtl.model.model import MultiTaskModel
from kmtl.tasks.shapes import known_shape
from kmtl.training.combined import called, inputs_like
from kmtl.training.confident_labels import confident_labels
from kmtl.training.input_views import InputView
from kmtl.training.recipe import Recipe, share
from kmtl.training.reusable import Reusable
from kmtl.training.rows_in_memory import Rows
from kmtl.training.unlabelled import Unlabelled
from kmtl.training.work import Work


@keras.saving.register_keras_serializable(package="kmtl")
class NormalizedProduct(keras.layers.Layer):
    """Probabilities of two sources that are independent given the class, as one distribution.

        p(c) = p_1(c) p_2(c) / sum_d p_1(d) p_2(d)

    Shapes: a list of `(batch, classes)`, or of `(batch, 1)`, the probability of yes; the same out.

    >>> NormalizedProduct()([ops.array([[0.5, 0.5]]), ops.array([[0.25, 0.75]])]).numpy().tolist()
    [[0.25, 0.75]]
    """

    def call(self, inputs: Any) -> Any:
        """Multiplies and normalises."""
        product, rest = inputs[0], 1.0 - inputs[0]
        for one in inputs[1:]:
            product, rest = product * one, rest * (1.0 - one)
        whole = product + rest if inputs[0].shape[-1] == 1 else ops.sum(product, axis=-1, keepdims=True)
        return product / ops.maximum(whole, keras.config.epsilon() ** 2)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape of each."""
        return input_shape[0]


class CoTraining(Recipe):
    r"""Two views label data for each other.

    Each view has a model of its own. In a round both are trained from their start on the rows that have a label; then
    each takes, of the rows that have none, those whose class it is surest of, as many of a class as the given labels
    have it, and these become labels for both. After the last round both are trained once more. What both views took and
    called differently stays without a label.

    It pays where each view alone tells the class and the two are independent given it: then what one view is sure of
    is a random draw for the other. Where they are not, as in two halves of one image, mistakes are learned.

    The result is one model: for the tasks that got labels the normalised product of both views' probabilities, for
    others the mean of their outputs. Labels are given for tasks with one class a row; the others are trained on their
    labels as usual, which `notes["supervised"]` tells; `notes["labelled"]` tells how many labels there were to the good
    after each round. A row in which one view is missing, all zeros, is
    used by the other, and gets no label.

    Cost: two views are `2 * epochs * (rounds + 1)` if every row has some label, less where rows have none, which are
    not trained on; and `2 * rounds / 3` of an epoch to find labels.

    Source: Blum and Mitchell, "Combining Labeled and Unlabeled Data with Co-Training", COLT 1998, whose pool of random
    rows is left out: all are looked at. It is not what row S4-01 of the articles calls by this name: see `Alternating`.

    Args:
        views: Names of two inputs of `build`'s model, of which each model sees one and zeros for all others; or two
            functions of the inputs, in `keras.ops`, that give inputs of the same shape.
        unlabelled: Rows `x` beside those of `train` whose label is missing: arrays or a finite `tf.data.Dataset`, alone
            or as `(x, labels)`, whose labels are never read.
        rounds: How often labels are given.
        take: Rows that a view labels in a round, as a share of those that had no label at the start, in `(0, 1]`; at
            least one of each class.
        epochs: Epochs of each training, as a multiple of the given epochs.

    >>> CoTraining(("image", "text"), rounds=3)
    CoTraining(views=('image', 'text'), rounds=3)
    """

    source = "Blum and Mitchell, Combining Labeled and Unlabeled Data with Co-Training, COLT 1998"

    def __init__(
        self,
        views: Sequence[str | Callable[[Any], Any]],
        unlabelled: Any = None,
        *,
        rounds: int = 5,
        take: float = 0.1,
        epochs: float = 1.0,
    ) -> None:
        listed = list(views) if isinstance(views, list | tuple) else []
        named, functions = all(isinstance(view, str) for view in listed), all(callable(view) for view in listed)
        with Refusals("CoTraining") as refusals:
            if len(listed) != 2 or not (named or functions) or len({*map(id, listed)}) < 2 or listed[0] == listed[1]:
                refusals.add("views", "must be two different names of inputs, or two functions", views)
            if not is_number(take) or not 0 < take <= 1:
                refusals.add("take", "must be a share above 0 and up to 1", take)
        self.views, self.take = tuple(listed), take
        self.unlabelled = Unlabelled(unlabelled) if unlabelled is not None else None
        self.rounds, self.epochs = whole("CoTraining", "rounds", rounds, 1), share("CoTraining", "epochs", epochs)

    def check(self, refusals: Refusals, work: Work) -> None:
        """Refuses tasks of which none has a class a row, and rows of another form."""
        if self.unlabelled is not None:
            self.unlabelled.check(refusals, work.train.element_spec[0])
            if self.unlabelled.is_dataset and self.unlabelled.x.cardinality() == tf.data.INFINITE_CARDINALITY:
                refusals.add("unlabelled", "must have an end", words("an endless dataset"), "Take a part: .take(1000).")
        if not any(map(has_class_a_row, work.tasks)):
            fix = "A regression says nothing of how sure it is: use SemiSupervised('mean_teacher')."
            refusals.add("tasks", "must have one with one class a row", work.tasks, fix)

    def run(self, work: Work) -> Any:
        """Trains the rounds."""
        models = [work.model(seed=work.member_seed(place)) for place in range(2)]
        seen = self._seen(work, models[0])
        rows, tasks = self._all_rows(work), [task for task in work.tasks if has_class_a_row(task)]
        parts = [rows._replace(x=view.of_arrays(work.owner, rows.x)) for view in seen]
        there = [view.present(part.x) for view, part in zip(seen, parts, strict=True)]
        open_ = self._open_rows(work, rows, tasks, there[0] & there[1])
        starts = [Reusable(model) for model in models]
        work.notes["supervised"] = [task.name for task in work.tasks if task not in tasks]
        work.notes["labelled"] = {task.name: [] for task in tasks}
        labels = dict(rows.y)
        for number in range(self.rounds + 1):
            for start, view, part, where in zip(starts, seen, parts, there, strict=True):
                start.restore(start.fresh)
                self._train(work, number, start.model, view, part._replace(y=labels), where)
            if number < self.rounds:
                labels = self._labelled(work, number, models, parts, labels, open_)
        return joined_views(models, seen, {task.name for task in tasks})

    def _seen(self, work: Work, model: Any) -> list[InputView]:
        """The two views."""
        if callable(self.views[0]):
            return [InputView(f"view {place}", view) for place, view in enumerate(self.views, start=1)]
        form = InputForm.of(model.input)
        inputs = [] if form is None else list(form.shapes)
        with Refusals(work.owner) as refusals:
            for name in self.views:
                if name not in inputs:
                    refusals.add("views", "must name inputs of the model that `build` makes", name, f"It has {inputs}.")
        return [InputView(name, name, inputs) for name in self.views]

    def _all_rows(self, work: Work) -> Rows:
        """The rows of the training data, and those without labels behind them."""
        rows = work.rows()
        if self.unlabelled is None:
            return rows
        more = unlabelled_rows(self.unlabelled, work.train.element_spec[0])
        count = len(keras.tree.flatten(more)[0])
        missing = {task.name: task.missing for task in work.tasks}

        def longer(value: Any, fill: Any) -> Any:
            return np.concatenate([value, np.full((count, *value.shape[1:]), fill, value.dtype)])

        weights = rows.weights
        if weights is not None:
            weights = keras.tree.map_structure(lambda value: longer(value, 1), weights)
        return rows._replace(
            x=keras.tree.map_structure(lambda one, other: np.concatenate([one, other.astype(one.dtype)]), rows.x, more),
            y={name: longer(value, missing[name]) for name, value in rows.y.items()},
            weights=weights,
        )

    def _open_rows(self, work: Work, rows: Rows, tasks: list[Any], both: Any) -> dict[str, Any]:
        """By task, which rows may get a label: those that have none and both views; refuses if there are none."""
        open_ = {task.name: both & ~np.asarray(task.present(rows.y[task.name])).reshape(len(both)) for task in tasks}
        got = words(f"{int(both.sum())} rows with both views, {max(part.sum() for part in open_.values())} unlabelled")
        if not any(part.any() for part in open_.values()):
            names = [task.name for task in tasks]
            rule = f"must have rows that hold both views and no label of {names}"
            raise ValueError(refusal(work.owner, "train", rule, got, "Add them, with -1 for a label."))
        return open_

    def _train(self, work: Work, number: int, model: Any, view: InputView, rows: Rows, there: Any) -> None:
        """Trains the model of a view on the rows that hold it and have a label."""
        found = [np.asarray(task.present(rows.y[task.name])).reshape(rows.number, -1) for task in work.tasks]
        labelled = np.concatenate(found, axis=1).any(axis=1)
        data = rows.take(np.flatnonzero(labelled & there)).dataset(seed=work.seed)
        held_out = work.validation
        if held_out is not None:
            held_out = held_out.map(lambda x, *rest: (view(x), *rest))
        work.fit(f"{view.name}, training {number + 1}", model, data, epochs=self.epochs, validation=held_out)

    def _labelled(
        self, work: Work, number: int, models: list[Any], parts: list[Rows], labels: dict[str, Any], open_: Any
    ) -> dict[str, Any]:
        """The labels with those that both views give in a round."""
        tasks = {task.name: task for task in work.tasks if task.name in open_}

        def give() -> dict[str, Any]:
            guesses = [
                model.predict(part.x, batch_size=part.batch_size, verbose=0)
                for model, part in zip(models, parts, strict=True)
            ]
            return {
                name: confident_labels(
                    labels[name],
                    [task.class_probabilities(np.asarray(guess[name])) for guess in guesses],
                    open_[name],
                    self.take,
                    task.missing,
                )
                for name, task in tasks.items()
            }

        cost = 2 * work.forward_cost(-(-parts[0].number // parts[0].batch_size))
        given = work.keep(f"labels {number + 1}", give, cost=cost)
        for name, task in tasks.items():
            count = int((np.asarray(task.present(given[name])) & open_[name]).sum())
            work.notes["labelled"][name].append(count)
        return {**labels, **given}


def has_class_a_row(task: Any) -> bool:
    """Whether a row has one label of a task, with a probability a class."""
    outputs = np.ones((1, *known_shape(task.output_shape)), "float32")
    return not task.label_shape and task.class_probabilities(outputs) is not None


def unlabelled_rows(unlabelled: Unlabelled, spec: Any) -> Any:
    """Rows without labels as arrays.

    Args:
        unlabelled: The rows.
        spec: Specs of a batch of inputs.
    """
    if not unlabelled.is_dataset:
        return unlabelled.x
    batched = keras.tree.flatten(unlabelled.spec)[0].shape.rank == keras.tree.flatten(spec)[0].shape.rank
    batches = unlabelled.x if batched else unlabelled.x.batch(1024)
    return keras.tree.map_structure(lambda *parts: np.concatenate(parts), *batches.as_numpy_iterator())


def joined_views(models: Sequence[Any], views: Sequence[InputView], classes: set[str]) -> MultiTaskModel:
    """One model of the models of two views.

    Args:
        models: One a view, of the same tasks.
        views: What each sees.
        classes: Names of the tasks whose probabilities are multiplied; of others the mean is taken.
    """
    first = models[0]
    with first.distribute_strategy.scope():
        inputs = inputs_like(first)
        outputs = [
            called(model, view(inputs), f"view_{place}")
            for place, (model, view) in enumerate(zip(models, views, strict=True))
        ]
        made = {}
        for name in first.tasks:
            layer = NormalizedProduct if name in classes else keras.layers.Average
            made[name] = layer(dtype="float32", name=name)([output[name] for output in outputs])
        return compile_like(MultiTaskModel(inputs, made, tasks=list(first.tasks.values())), first)
