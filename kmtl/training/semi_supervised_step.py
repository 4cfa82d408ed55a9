"""Steps that learn from rows without labels, beside those with labels."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from kmtl.model.setup import Setup
from kmtl.model.side_pass import side_pass
from kmtl.model.step import Step
from kmtl.training.output_distances import squared_distance
from kmtl.training.pseudo_labels import pseudo_labels, real_rows
from kmtl.training.step_parts import factors_of, held, weighed_sum
from kmtl.training.views import Views

# Steepness of the ramp of Tarvainen and Valpola.
_RAMP = 5.0


class UnlabelledStep(Step):
    """A plain step with one loss more, on two views of every row.

    Args:
        model: The model.
        setup: What `compile` decided.
        views: Makes the views.
        weight: Factor of the loss of each task, one for all or `{task: factor}`; a task left out has 0. The static loss
            weights multiply it, too, so that a task of weight 0 learns nothing here either.

    Attributes:
        taken: Steps taken, of which the draws depend.
    """

    def __init__(self, model: Any, setup: Setup, *, views: Views, weight: float | Mapping[str, float] = 1.0) -> None:
        super().__init__(model, setup)
        self.views = views
        self.factors = factors_of(weight, self.names)
        self.taken = held(np.zeros((), "int64"), "taken")
        self.state = [self.taken, *views.variables]

    def update(self, updates: list[Any], known: Any) -> None:
        """Moves the variables, and counts the step."""
        super().update(updates, known)
        self.taken.assign(self.taken.value + 1)


class FixMatchStep(UnlabelledStep):
    r"""Adds the loss of the strong view under labels that the weak view gives, logged as `fixmatch`.

        sum_k lambda_k w_k / n_k sum_b 1[max_c p_k(c | weak x_b) >= tau] L_k(argmax_c p_k(c | weak x_b), strong x_b)

    over the `n_k` rows whose label of task `k` is missing, with the task's own loss `L_k`. Both passes are in training
    mode and leave moving statistics and random generators alone: without a pseudo-label the step is the plain one.

    Args:
        model: The model.
        setup: What `compile` decided.
        views: Makes the views.
        weight: As of `UnlabelledStep`.
        threshold: `tau`.
    """

    extra_names: ClassVar[Sequence[str]] = ("fixmatch",)

    def __init__(self, model: Any, setup: Setup, *, threshold: float = 0.95, **options: Any) -> None:
        super().__init__(model, setup, **options)
        self.threshold = float(threshold)

    def extra_losses(self, batch: Sequence[Any], outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The loss on pseudo-labels."""
        x, labels, _ = batch
        weak, strong = self.views(x, self.taken.value)
        guesses = side_pass(self.model, weak)[0] if self.views.has_weak else outputs
        guesses = {name: tf.stop_gradient(tf.cast(guesses[name], tf.float32)) for name in self.names}
        wanted, counts = pseudo_labels(self.model.tasks, labels, guesses, self.threshold, real_rows(x))
        found = side_pass(self.model, strong)[0]
        sums = self.sums([group.examples(wanted, found) for group in self.setup.groups])[0]
        return {"fixmatch": weighed_sum(self.setup, self.factors, sums, counts)}


class MeanTeacherStep(UnlabelledStep):
    r"""Adds the distance of the strong view's outputs from those of a teacher, logged as `consistency`.

        r(t) sum_k lambda_k w_k / n sum_b d_k(f_k(strong x_b), f'_k(weak x_b)),    r(t) = exp(-5 (1 - min(t/T, 1))^2)

    over all rows, labelled or not, with `kmtl.training.output_distances.squared_distance` as `d_k`. The teacher `f'`
    has the mean of the student's weights over its steps, theta' <- a theta' + (1 - a) theta with a = min(decay,
    t / (t + 1)): first their plain mean, later an exponential one. Its moving statistics are of its own passes.

    Args:
        model: The model: the student.
        setup: What `compile` decided.
        views: Makes the views.
        weight: As of `UnlabelledStep`.
        decay: Of the teacher's weights, in [0, 1).
        ramp_up: `T`, steps until the loss has its whole weight; 0 for all at once.
    """

    extra_names: ClassVar[Sequence[str]] = ("consistency",)

    def __init__(self, model: Any, setup: Setup, *, decay: float = 0.99, ramp_up: float = 0.0, **options: Any) -> None:
        super().__init__(model, setup, **options)
        self.decay, self.ramp_up = float(decay), float(ramp_up)
        statistics = [item for item in model.non_trainable_variables if item.name.startswith("moving_")]
        # What the student has, and what the teacher has in its place.
        self.weights = [(item, held(item, "teacher")) for item in model.trainable_variables]
        self.statistics = [(item, held(item, "teacher", aggregation="mean")) for item in statistics]
        self.state = [*self.state, *(own for _, own in [*self.weights, *self.statistics])]

    @property
    def ramp(self) -> Any:
        """The share of its weight that the loss has now."""
        if not self.ramp_up:
            return 1.0
        gone = tf.minimum(tf.cast(self.taken.value, tf.float32) / self.ramp_up, 1.0)
        return tf.exp(-_RAMP * tf.square(1.0 - gone))

    def extra_losses(self, batch: Sequence[Any], outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The distance from the teacher."""
        del outputs
        weak, strong = self.views(batch[0], self.taken.value)
        values = [(student, own.value) for student, own in [*self.weights, *self.statistics]]
        wanted, scope = side_pass(self.model, weak, values=values)
        for student, own in self.statistics:
            own.assign(scope.get_current_value(student))
        found = side_pass(self.model, strong)[0]
        rows = tf.cast(real_rows(batch[0]), tf.float32)
        sums = [self._distance(name, found[name], tf.stop_gradient(wanted[name]), rows) for name in self.names]
        counts = tf.fill([len(self.names)], tf.reduce_sum(rows))
        return {"consistency": self.ramp * weighed_sum(self.setup, self.factors, tf.stack(sums), counts)}

    def _distance(self, name: str, found: Any, wanted: Any, rows: Any) -> Any:
        """Sum of one task's distances over the rows."""
        distances = squared_distance(self.model.tasks[name], found, wanted, self.model.scalers.get(name))
        return tf.reduce_sum(distances * rows)

    def update(self, updates: list[Any], known: Any) -> None:
        """Moves the student, and the teacher after it."""
        taken = tf.cast(self.taken.value, tf.float32)
        kept = tf.minimum(self.decay, taken / (taken + 1.0))
        super().update(updates, known)
        for student, own in self.weights:
            share = tf.cast(kept, own.dtype)
            own.assign(share * own.value + (1.0 - share) * tf.cast(student.value, own.dtype))

    def use_teacher(self) -> None:
        """Gives the model the teacher's weights and moving statistics."""
        for student, own in [*self.weights, *self.statistics]:
            student.assign(own.numpy())
