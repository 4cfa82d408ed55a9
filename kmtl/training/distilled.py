"""A joint model taught by a model of each task."""

import copy
from collections.abc import Mapping
from typing import Any, Self

import keras

from kmtl._checks import Refusals, is_number, known_keys
from kmtl.training.distillation_step import DistillationStep, Teacher
from kmtl.training.recipe import Recipe, share
from kmtl.training.shared_trunk import shared_trunk, trunk_in
from kmtl.training.step_parts import check_factors, factors_of
from kmtl.training.work import Work


class Distilled(Recipe):
    r"""A model a task is trained alone; the joint model learns to have their features and to answer as they do.

    The joint model's loss is that of its labels, plus `feature_distillation` and `output_distillation`, which are
    logged by these names and never balanced; `kmtl.training.distillation_step.DistillationStep` has the formulas. The
    first compares what a linear adaptor a task makes of the shared features with the teacher's features, both at
    length 1; the adaptors are gone from the model that is returned. The second compares outputs, and so gives each row
    that lacks a label of a task what its teacher thinks of it.

    Features are those that all heads read, so `build` must make one trunk, the same for one task as for all; with
    `feature_weight=0.0` any model will do.

    Cost: with `K` tasks, `K` for the teachers, and `1 + K/3` for the student, since every teacher sees every batch.

    Source: Li and Bilen, "Knowledge Distillation for Multi-task Learning", ECCV Workshops 2020, which has the features
    alone (`output_weight=0.0`); the outputs after Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural
    Network", 2015. The adaptors start as the identity, since teachers and student start from the same weights.

    Args:
        feature_weight: Factor of the features' distance, at least 0, or `{task: factor}`, a task left out with 0.
        output_weight: Factor of the outputs' distance, the like.
        temperature: Of probabilities, above 0: above 1 the unlikely classes count for more.
        teacher_epochs: As a multiple of the given epochs, for each teacher.
        epochs: The same for the student.

    >>> Distilled(output_weight=0.0)
    Distilled(output_weight=0.0)
    """

    source = "Li and Bilen, Knowledge Distillation for Multi-task Learning, ECCV Workshops 2020"

    def __init__(
        self,
        feature_weight: float | Mapping[str, float] = 1.0,
        output_weight: float | Mapping[str, float] = 1.0,
        temperature: float = 2.0,
        *,
        teacher_epochs: float = 1.0,
        epochs: float = 1.0,
    ) -> None:
        with Refusals("Distilled") as refusals:
            check_factors(refusals, "feature_weight", feature_weight)
            check_factors(refusals, "output_weight", output_weight)
            if not is_number(temperature) or temperature <= 0:
                refusals.add("temperature", "must be a finite number above 0", temperature)
        self.feature_weight, self.output_weight, self.temperature = feature_weight, output_weight, temperature
        self.teacher_epochs = share("Distilled", "teacher_epochs", teacher_epochs)
        self.epochs = share("Distilled", "epochs", epochs)
        self._teachers: dict[str, Any] | None = None

    def taught_by(self, teachers: Mapping[str, Any]) -> Self:
        """The same recipe with teachers that are trained already, which cost nothing then.

        Args:
            teachers: `{task: a trained model that has this task}`; one model may teach several.
        """
        twin = copy.copy(self)
        twin._teachers = dict(teachers)
        return twin

    def check(self, refusals: Refusals, work: Work) -> None:
        """Refuses a single task, and factors of tasks that are not there."""
        if len(work.tasks) < 2:
            refusals.add("tasks", "must be two or more", work.names, "One task's teacher would be its like.")
        for argument, weight in (("feature_weight", self.feature_weight), ("output_weight", self.output_weight)):
            if isinstance(weight, Mapping):
                known_keys(refusals, argument, weight, work.names)

    def run(self, work: Work) -> Any:
        """Trains the teachers, then the student."""
        model = work.model()
        alone = self._teachers or {task.name: work.alone(task) for task in work.tasks}
        # The forms are compared before anything is trained.
        student, teachers = self.forms(work, model, alone)
        for name, teacher in alone.items() if self._teachers is None else ():
            work.fit(f"{name} alone", teacher, work.data_of([name]), epochs=self.teacher_epochs)
        options = {"feature_weight": self.feature_weight, "output_weight": self.output_weight}
        options["temperature"] = self.temperature
        work.take_step(model, DistillationStep, student=student, teachers=teachers, **options)
        work.fit("distilled", model, epochs=self.epochs, passes=1 + len(alone) / 3)
        return model

    def forms(self, work: Work, model: Any, alone: Mapping[str, Any]) -> tuple[Any, dict[str, Teacher]]:
        """The student and the teachers as models that give features, too.

        Args:
            work: The work.
            model: The joint model.
            alone: A model a task.
        """
        if not any(factors_of(self.feature_weight, work.names)):
            return None, {name: Teacher(_answering(one, name), None) for name, one in alone.items()}
        trunk = shared_trunk(work.owner, model)
        teachers = {}
        for name, one in alone.items():
            with one.distribute_strategy.scope():
                seen = trunk_in(work.owner, one, trunk).output
            teachers[name] = Teacher(_with(seen, one), seen.shape[-1])
        return _with(trunk.output, model), teachers


def _answering(model: Any, task: str) -> Any:
    """What answers one task of a model; features are not asked for."""
    with model.distribute_strategy.scope():
        return keras.Model(model.input, [model.inputs[0], {task: model.output[task]}])


def _with(features: Any, model: Any) -> Any:
    """A model that gives features and outputs."""
    with model.distribute_strategy.scope():
        return keras.Model(model.input, [features, model.output])
