"""Joint training on rows with and without labels."""

from collections.abc import Mapping
from typing import Any

import keras

from kmtl._checks import Refusals, is_number, known_keys, near, require, words
from kmtl._replicas import is_replicated
from kmtl.tasks import Task
from kmtl.tasks.shapes import known_shape
from kmtl.training.recipe import Recipe, share
from kmtl.training.semi_supervised_step import FixMatchStep, MeanTeacherStep
from kmtl.training.step_parts import check_factors
from kmtl.training.unlabelled import Unlabelled, joined
from kmtl.training.views import Views, check_augment, check_form
from kmtl.training.work import Work

_METHODS = ("fixmatch", "mean_teacher")


class SemiSupervised(Recipe):
    r"""Joint training that also learns from rows without labels, of all tasks or of some.

    A row without the label of a task is unlabelled *for that task*, whatever else it carries; `unlabelled` brings
    further rows that carry nothing. Each batch is seen three times: as it is, by the plain loss of the labels it
    has; as a weak view; and as a strong view, made of the weak one.

    - `"fixmatch"`: where the weak view's likeliest class has a probability of at least `threshold`, it is the label of
      the strong view, under the task's own loss. It is for tasks with probabilities of classes; the others of the
      model (a regression says nothing of how sure it is) learn from their labels alone.
    - `"mean_teacher"`: the strong view's outputs are drawn to those of a teacher on the weak view, of every task and
      on every row: squared distance of probabilities, or of values in standard deviations of the label. The teacher's
      weights are a running mean of the student's. **The model that is returned has the teacher's weights**; the
      optimizer's state is the student's, and so are the logs.

    The loss is logged by the method's name (`fixmatch`, or `consistency`) and never balanced; formulas stand in
    `kmtl.training.semi_supervised_step`. A change that alters a label (a flip, a turned image) may be in the weak view,
    where both views share it, never in the strong one. The default for images shifts them in the weak view and changes
    contrast, brightness, noise and a patch in the strong one.

    Cost: with `u` unlabelled rows for each row of `train`, `1 + u` for the plain pass and as much for the strong view,
    a third of it for the weak view, where there is one: 7/3 without further rows.

    Source: Sohn et al., "FixMatch: Simplifying Semi-Supervised Learning with Consistency and Confidence", NeurIPS 2020;
    Tarvainen and Valpola, "Mean Teachers are Better Role Models", NeurIPS 2017. Departures: rows with a label take no
    part in `fixmatch`, and the strong view is made of the weak one. Row S0-10 of the articles, which name no method.

    Args:
        method: `"fixmatch"` or `"mean_teacher"`.
        unlabelled: Rows `x` alone: arrays, a `tf.data.Dataset` of examples or batches, or `(x, labels)`, whose labels
            are never read. None takes what `train` has.
        weight: Factor of the loss, at least 0, or `{task: factor}`, a task left out with 0.
        threshold: Least probability of a pseudo-label, above 0; above 1 there is none, and training is the plain one.
        augment: None for images `(height, width, channels)`; a number, the standard deviation of Gaussian noise on
            float inputs; or `(weak, strong)`: functions `x -> x` or `(x, seed) -> x`, or Keras layers, of the model's
            inputs. `weak=None` takes the input itself. Draw from the seed `(2,)` by `tf.random.stateless_*`.
        decay: Of the teacher's weights, in [0, 1).
        ramp_up: Share of the training until `consistency` has its whole weight, in [0, 1].
        ratio: Unlabelled rows for each row of a batch of `train`; a dataset of batches brings its own.
        epochs: As a multiple of the given epochs; one epoch is one pass over `train`.

    >>> import numpy as np
    >>> SemiSupervised("mean_teacher", unlabelled=np.zeros((1000, 8, 8, 1)), weight=3.0)
    SemiSupervised(method='mean_teacher', unlabelled=1000 rows, weight=3.0)
    """

    source = "Sohn et al., FixMatch, NeurIPS 2020; Tarvainen and Valpola, Mean Teachers, NeurIPS 2017"

    def __init__(
        self,
        method: str = "fixmatch",
        unlabelled: Any = None,
        *,
        weight: float | Mapping[str, float] = 1.0,
        threshold: float = 0.95,
        augment: Any = None,
        decay: float = 0.99,
        ramp_up: float = 0.2,
        ratio: float = 1.0,
        epochs: float = 1.0,
    ) -> None:
        with Refusals("SemiSupervised") as refusals:
            if method not in _METHODS:
                refusals.add("method", f"must be one of {list(_METHODS)}", method, near(str(method), _METHODS))
            check_factors(refusals, "weight", weight)
            for argument, value, least, most, rule in (
                ("threshold", threshold, 1e-9, float("inf"), "must be a finite number above 0"),
                ("decay", decay, 0, 1 - 1e-9, "must be at least 0 and below 1"),
                ("ramp_up", ramp_up, 0, 1, "must be from 0 to 1"),
                ("ratio", ratio, 1e-9, float("inf"), "must be a finite number above 0"),
            ):
                if not is_number(value) or not least <= value <= most:
                    refusals.add(argument, rule, value)
            check_form(refusals, augment)
        self.method, self.weight, self.threshold, self.augment = method, weight, threshold, augment
        self.unlabelled = Unlabelled(unlabelled) if unlabelled is not None else None
        self.decay, self.ramp_up, self.ratio = decay, ramp_up, ratio
        self.epochs = share("SemiSupervised", "epochs", epochs)

    def check(self, refusals: Refusals, work: Work) -> None:
        """Refuses inputs without views, tasks without classes, and a set in which nothing is unlabelled."""
        spec = work.train.element_spec[0]
        check_augment(refusals, self.augment, spec)
        if self.unlabelled is not None:
            self.unlabelled.check(refusals, spec)
        if isinstance(self.weight, Mapping):
            known_keys(refusals, "weight", self.weight, work.names)
        if self.method == "mean_teacher":
            return
        able = [task.name for task in work.tasks if has_classes(task)]
        fix = 'Use method="mean_teacher", which takes every task.'
        if not able:
            refusals.add("tasks", "must have one with probabilities of classes for FixMatch", work.tasks, fix)
        elif self.unlabelled is None:
            found = [work.statistics[name] for name in able]
            if all(one.labelled == one.examples for one in found):
                got = words(f"None, and every row is labelled for {able}")
                refusals.add("unlabelled", "must be given where no label is missing", got, fix)

    def run(self, work: Work) -> Any:
        """Trains with the method's step."""
        return self.train_model(work, work.model())

    def train_model(self, work: Work, model: Any, *, trunks: float = 1.0) -> Any:
        """Trains a model that is there; returns it.

        Args:
            work: The work.
            model: A compiled model of all tasks.
            trunks: How many trunks it has.
        """
        data, more = self.data(work)
        views = Views(self.augment, work.seed)
        replicated = is_replicated(model.distribute_strategy)
        fix = "Pass functions (x, seed) -> x that draw by tf.random.stateless_*."
        rule = "must have no layers with state on several replicas"
        require(not (replicated and views.variables), work.owner, "augment", rule, self.augment, fix)
        steps = work.epochs_of(self.epochs) * work.steps
        step = self.take_step(work, model, views, steps)
        passes = trunks * (1 + more) * (2 + (1 / 3 if views.has_weak or self.method == "mean_teacher" else 0))
        work.fit(self.method, model, data, epochs=self.epochs, passes=passes, steps=work.steps)
        if self.method == "mean_teacher":
            step.use_teacher()
        return model

    def take_step(self, work: Work, model: Any, views: Views, steps: int) -> Any:
        """Puts the method's step into a model.

        Args:
            work: The work.
            model: The model.
            views: Makes the views.
            steps: Steps of the training.
        """
        if self.method == "fixmatch":
            return work.take_step(model, FixMatchStep, views=views, weight=self.weight, threshold=self.threshold)
        options = {"decay": self.decay, "ramp_up": self.ramp_up * steps}
        return work.take_step(model, MeanTeacherStep, views=views, weight=self.weight, **options)

    def data(self, work: Work) -> tuple[Any, float]:
        """The batches to train on, and how many further rows come with each row of `train`."""
        if self.unlabelled is None:
            return work.train, 0.0
        spec = work.train.element_spec[0]
        rows = _rows(next(iter(work.train))[0])
        batches = self.unlabelled.batches(spec, max(1, round(self.ratio * rows)), work.seed)
        more = _rows(next(iter(batches(0)))) / rows
        return joined(work.train, batches, {task.name: task for task in work.tasks}), more


def has_classes(task: Task) -> bool:
    """Whether outputs of a task are probabilities of classes."""
    return task.class_probabilities(keras.ops.ones((1, *known_shape(task.output_shape)))) is not None


def _rows(x: Any) -> int:
    """Rows of a batch of inputs."""
    return int(keras.tree.flatten(x)[0].shape[0])
