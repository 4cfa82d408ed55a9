"""Trunks tuned on inputs alone, whose labels are not read."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from kmtl import _keras_private, gradients
from kmtl._checks import Refusals, words
from kmtl._replicas import sum_over_replicas
from kmtl.feeding import InputForm
from kmtl.feeding.resume import transform_stream
from kmtl.model.compile_like import compile_like
from kmtl.model.forward_pass import Pass
from kmtl.model.model import MultiTaskModel
from kmtl.model.setup import Setup
from kmtl.model.step import Step
from kmtl.sharing import present_rows
from kmtl.tasks import Regression
from kmtl.training.combined import called, inputs_like
from kmtl.training.pseudo_labels import real_rows
from kmtl.training.step_parts import held
from kmtl.training.trunk_branches import by_name
from kmtl.training.view_losses import view_losses
from kmtl.training.views import Views

_ENCODER = "encoder"
_ENDING = "_reconstruction"


class ViewStep(Step):
    """Moves an encoder by the losses of two views; heads stand still, and no label is read.

    Args:
        model: The model, of which the encoder is part.
        setup: What `compile` decided.
        encoder: From inputs to features `(batch, d)`.
        views: Makes the views.
        weights: Factors of `agreement`, `variance` and `covariance`, under which these are logged.
    """

    extra_names: ClassVar[Sequence[str]] = ("agreement", "variance", "covariance")

    def __init__(self, model: Any, setup: Setup, *, encoder: Any, views: Views, weights: Mapping[str, float]) -> None:
        super().__init__(model, setup)
        self.encoder, self.views, self.weights = encoder, views, dict(weights)
        self.taken = held(np.zeros((), "int64"), "taken")
        self.state = [self.taken, *views.variables]

    @property
    def variables(self) -> list[Any]:
        """Those of the encoder."""
        return self.encoder.trainable_variables

    def extra_losses(self, batch: Sequence[Any], outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The losses of the two views, weighed."""
        del outputs
        one, other = (self.encoder(view, training=True) for view in self.views(batch[0], self.taken.value))
        found = view_losses(one, other, real_rows(batch[0]))
        return {name: self.weights[name] * value for name, value in found.items()}

    def run(self, batch: Sequence[Any], *, due: bool = True) -> Any:
        """The step itself; there is nothing to balance."""
        del due
        scale = self.model.optimizer.scale_loss(tf.ones(()))
        with tf.GradientTape() as tape:
            extras = self.extra_losses(batch, {})
            target = scale * tf.add_n(list(extras.values()))
        variables = self.variables
        updates = sum_over_replicas(tape.gradient(target, [variable.value for variable in variables]))
        sound = None if self.is_scaled else gradients.all_finite(updates)
        skipped = _keras_private.apply_summed(self.model.optimizer, updates, variables, sound)
        self.setup.balancer.skipped.assign_add(skipped)
        self.taken.assign(self.taken.value + 1)
        nothing = tf.zeros((len(self.setup.names),))
        parts = tf.zeros((sum(len(group.parts) for group in self.setup.groups),))
        self.setup.task_losses.update_state(nothing, nothing, nothing, tf.zeros(()), extras, parts)
        return tf.constant(0.0)


class DenoisingStep(Step):
    """A step on the strong view of inputs, whose labels are the weak view.

    Args:
        model: A model of one regression an input.
        setup: What `compile` decided.
        views: Makes the views.
        targets: Makes labels of inputs.
    """

    def __init__(self, model: Any, setup: Setup, *, views: Views, targets: Any) -> None:
        super().__init__(model, setup)
        self.views, self.targets = views, targets
        self.taken = held(np.zeros((), "int64"), "taken")
        self.state = [self.taken, *views.variables]

    def forward(self, batch: Sequence[Any], *, training: bool = True, gated: bool = False) -> Pass:
        """A pass of the strong view; in an evaluation of the inputs themselves."""
        if training:
            weak, strong = self.views(batch[0], self.taken.value)
            batch = strong, self.targets(weak), None
        return super().forward(batch, training=training, gated=gated)

    def update(self, updates: list[Any], known: Any) -> None:
        """Moves the variables, and counts the step."""
        super().update(updates, known)
        self.taken.assign(self.taken.value + 1)


class Reconstruction:
    """Inputs as labels, in units of their standard deviation; missing where a row of an input is.

    Args:
        form: Of the inputs.
        scales: Standard deviation of each input that is reconstructed, by name.
    """

    def __init__(self, form: InputForm, scales: Mapping[str, float]) -> None:
        self.form, self.scales = form, dict(scales)

    @property
    def tasks(self) -> list[Regression]:
        """A regression an input."""
        sizes = {name: math.prod(self.form.shapes[name]) for name in self.scales}  # type: ignore[arg-type]
        return [Regression(name + _ENDING, shape=(size,), standardize=False) for name, size in sizes.items()]

    def __call__(self, x: Any) -> dict[str, Any]:
        """The labels of a batch."""
        inputs = by_name(x, list(self.form.shapes))
        found = {}
        for name, scale in self.scales.items():
            rows = tf.cast(inputs[name], tf.float32)
            flat = tf.reshape(rows, (-1, math.prod(self.form.shapes[name])))  # type: ignore[arg-type]
            found[name + _ENDING] = tf.where(present_rows(rows)[:, None], flat / scale, float("nan"))
        return found

    def data(self, data: Any) -> Any:
        """A dataset of inputs with these labels."""
        return transform_stream(data, lambda given: given.map(lambda x, *_: (x, self(x))))


def refuse_unreconstructed(refusals: Refusals, spec: Any) -> None:
    """Records inputs of which none can be reconstructed: floats of known size."""
    parts = keras.tree.flatten(spec)
    nested = not all(hasattr(part, "dtype") for part in (spec.values() if isinstance(spec, Mapping) else parts))
    if nested or not any(part.dtype.is_floating and None not in part.shape[1:] for part in parts):
        got = words(f"{[f'{part.dtype.name} {tuple(part.shape)}' for part in parts]}")
        fix = "Use tune='views' with augment=(weak, strong)."
        refusals.add("tune", "must have an input of floats of a known size to denoise", got, fix)


def deviations(data: Any, form: InputForm) -> dict[str, float]:
    """The standard deviation of each float input of a known size, over all of its numbers; 1 of a constant one."""
    names = list(form.shapes)
    moments: dict[str, Any] = {}
    for x, *_ in data.as_numpy_iterator():
        for name, value in by_name(x, names).items():
            if value.dtype.kind == "f" and None not in form.shapes[name]:
                wide = value.astype("float64")
                moments[name] = moments.get(name, 0.0) + np.array([wide.size, wide.sum(), np.square(wide).sum()])
    spread = {name: np.sqrt(max(0.0, squares / n - (total / n) ** 2)) for name, (n, total, squares) in moments.items()}
    return {name: float(value) or 1.0 for name, value in spread.items()}


def tune_by_views(
    work: Any, model: Any, encoder: Any, *, augment: Any, weights: Mapping[str, float], **stage: Any
) -> None:
    """Tunes an encoder inside a compiled model by two views of the training inputs.

    Args:
        work: The work.
        model: The model.
        encoder: Its layers from inputs to features.
        augment: As of `Views`.
        weights: As of `ViewStep`.
        **stage: As of `Work.fit`.
    """
    work.take_step(model, ViewStep, encoder=encoder, views=Views(augment, work.seed), weights=weights)
    work.fit("views", model, **stage)


def tune_by_denoising(work: Any, joint: Any, encoder: Any, *, augment: Any, rate: float, **stage: Any) -> None:
    """Tunes an encoder, with a linear decoder for the time, to tell the weak view of inputs from the strong one.

    Args:
        work: The work.
        joint: The model whose inputs and optimizer are taken.
        encoder: From inputs to features.
        augment: As of `Views`.
        rate: What the encoder's learning rate is multiplied by.
        **stage: As of `Work.fit`.
    """
    form: Any = InputForm.of(joint.input)
    scales = work.keep("scales of inputs", lambda: deviations(work.train, form))
    targets = Reconstruction(form, {name: float(value) for name, value in scales.items()})
    with joint.distribute_strategy.scope():
        inputs = inputs_like(joint)
        model = MultiTaskModel.from_features(inputs, called(encoder, inputs, _ENCODER), targets.tasks)
        compile_like(model, dict.fromkeys(model.tasks, joint), rates={_ENCODER: rate})
    work.take_step(model, DenoisingStep, views=Views(augment, work.seed), targets=targets)
    held_out = False if work.validation is None else targets.data(work.validation)
    work.fit("denoising", model, targets.data(work.train), validation=held_out, **stage)
