"""A step in which a joint model learns to see and to answer as single-task models do."""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import keras
import tensorflow as tf
from keras import ops

from kmtl import gradients
from kmtl._keras_private import apply_summed
from kmtl._types import Tensor
from kmtl.model.compile_like import fresh_optimizer
from kmtl.model.setup import Setup
from kmtl.model.step import Step
from kmtl.training.output_distances import divergence, squared_distance
from kmtl.training.pseudo_labels import real_rows
from kmtl.training.step_parts import factors_of, weighed_sum


class Teacher(NamedTuple):
    """A trained model of one task.

    Attributes:
        model: From its inputs to `[features, outputs]`.
        width: Size of the last axis of its features; None where features are not compared.
    """

    model: Any
    width: int | None


class DistillationStep(Step):
    r"""A plain step with two losses more on every row, labelled or not.

        feature_distillation = sum_k lambda_k w_k / n sum_b || A_k z_b / |A_k z_b| - z'_kb / |z'_kb| ||^2
        output_distillation  = sum_k lambda_k v_k / n sum_b D_k(f_k(x_b), f'_k(x_b))

    with the shared features `z`, the teacher's `z'_k`, the linear adaptor `A_k` (a dense layer without bias, on a map
    a 1x1 convolution, which starts as the identity), and `D_k` the divergence of softened probabilities or, of values,
    the squared distance in standard deviations of the label. Teachers are in inference mode and do not move.

    The adaptors have an optimizer of their own, of the settings of that of the shared weights, so that nothing of them
    is left in the model; gradients are scaled as those of the model.

    Args:
        model: The joint model, the student.
        setup: What `compile` decided.
        student: From its inputs to `[shared features, outputs]`, of the same layers; None where features are not
            compared.
        teachers: By task name.
        feature_weight: `w`, one for all or by task.
        output_weight: `v`, the like.
        temperature: Of the divergence.
    """

    extra_names: ClassVar[Sequence[str]] = ("feature_distillation", "output_distillation")

    def __init__(
        self,
        model: Any,
        setup: Setup,
        *,
        student: Any,
        teachers: Mapping[str, Teacher],
        feature_weight: Any = 1.0,
        output_weight: Any = 1.0,
        temperature: float = 2.0,
    ) -> None:
        super().__init__(model, setup)
        self.student, self.teachers, self.temperature = student, dict(teachers), float(temperature)
        self.feature_factors = factors_of(feature_weight, self.names)
        self.output_factors = factors_of(output_weight, self.names)
        self.adaptors: dict[str, Any] = {}
        if student is not None:
            self.adaptors = {name: _adaptor(student.output[0], teachers[name].width) for name in self.names}
        self.optimizer = fresh_optimizer(model.optimizer)
        self.optimizer.build(self.own_variables)
        self.state = [*self.own_variables, *self.optimizer.variables]
        # Replicas trace in threads of their own.
        self._now = threading.local()

    @property
    def own_variables(self) -> list[Any]:
        """The adaptors' kernels."""
        return [variable for adaptor in self.adaptors.values() for variable in adaptor.trainable_variables]

    @property
    def variables(self) -> list[Any]:
        """Those of the model, then those of the adaptors."""
        return [*super().variables, *self.own_variables]

    def outputs(self, x: Any, *, training: bool) -> Any:
        """What the model makes of a batch; the features that it shares are kept for the losses."""
        if self.student is None or not training:
            return super().outputs(x, training=training)
        self._now.features, outputs = self.student(x, training=True)
        return outputs

    def extra_losses(self, batch: Sequence[Any], outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The distances from the teachers."""
        rows = tf.cast(real_rows(batch[0]), tf.float32)
        counts = tf.fill([len(self.names)], tf.reduce_sum(rows))
        features, answers = [], []
        for name, teacher in self.teachers.items():
            seen, found = keras.tree.map_structure(tf.stop_gradient, teacher.model(batch[0], training=False))
            answers.append(tf.reduce_sum(rows * self._answer_distance(name, outputs[name], found[name])))
            if self.student is not None:
                own = self.adaptors[name](tf.cast(self._now.features, tf.float32))
                features.append(tf.reduce_sum(rows * feature_distance(own, seen)))
        sums = features or [tf.zeros([])] * len(self.names)
        return {
            "feature_distillation": weighed_sum(self.setup, self.feature_factors, tf.stack(sums), counts),
            "output_distillation": weighed_sum(self.setup, self.output_factors, tf.stack(answers), counts),
        }

    def _answer_distance(self, name: str, outputs: Any, wanted: Any) -> Any:
        """How far outputs of one task are from the teacher's, `(batch,)`."""
        task = self.model.tasks[name]
        found = divergence(task, outputs, wanted, self.temperature)
        return squared_distance(task, outputs, wanted, self.model.scalers.get(name)) if found is None else found

    def update(self, updates: list[Any], known: Any) -> None:
        """Moves the model's variables by its optimizer, and the adaptors by theirs."""
        number = len(updates) - len(self.own_variables)
        super().update(updates[:number], known)
        own = [gradient / tf.cast(known.scale, gradient.dtype) for gradient in updates[number:]]
        if own:
            apply_summed(self.optimizer, own, self.own_variables, gradients.all_finite(own))


def feature_distance(one: Any, other: Any) -> Tensor:
    """Squared distance of features at length 1, a number a row, `(batch,)`, from 0 to 4.

    Source: Li and Bilen, "Knowledge Distillation for Multi-task Learning", ECCV Workshops 2020.

    Args:
        one: Features `(batch, ..., width)`; on a map or a sequence each place has length 1, and the mean is taken.
        other: The like.

    >>> round(float(feature_distance(ops.array([[3.0, 4.0]]), ops.array([[0.0, 9.0]]))[0]), 4)  # 2 - 2 * 4 / 5
    0.4
    """
    unit = [ops.normalize(ops.cast(features, "float32"), axis=-1, order=2) for features in (one, other)]
    squares = ops.sum(ops.square(unit[0] - unit[1]), axis=-1)
    axes = tuple(range(1, len(squares.shape)))
    return ops.mean(squares, axis=axes) if axes else squares


def _adaptor(features: Any, width: Any) -> Any:
    """A linear map of features to a width, which starts as the identity."""
    adaptor = keras.layers.Dense(width, use_bias=False, kernel_initializer="identity", dtype="float32")
    adaptor.build(features.shape)
    return adaptor
