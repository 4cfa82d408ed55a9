"""A step of one task: the trunk and this task's head move, nothing else."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import keras
import tensorflow as tf

from kmtl import _keras_private, gradients
from kmtl._replicas import branch
from kmtl.model.forward_pass import Pass
from kmtl.model.graph import TaskGraph
from kmtl.model.setup import Setup
from kmtl.model.step import Step
from kmtl.training.turn_optimizer import OptimizerByTurn
from kmtl.training.turns import Turns


class AlternatingStep(Step):
    """A step on the loss of the one task whose turn it is.

    One forward and one backward pass. The heads of the others stand still: their weights, what the optimizer holds
    of them, and moving statistics inside of them. A task that has no label in the batch passes its turn on to the next
    one that has.

    Args:
        model: The model.
        setup: What `compile` decided.
        turns: Whose turn each step is.

    Attributes:
        counter: Steps so far, int64.
    """

    def __init__(self, model: TaskGraph, setup: Setup, turns: Turns) -> None:
        super().__init__(model, setup)
        self.turns = turns
        options: dict[str, Any] = {"trainable": False, "dtype": "int64", "aggregation": "only_first_replica"}
        self.counter = keras.Variable("zeros", shape=(), name="turns", **options)
        self.state = [self.counter]
        layers = {name: model.task_layers(name) for name in self.names}
        self.owners = {id(item): name for name, own in layers.items() for layer in own for item in layer.variables}
        scales = {id(item) for layer in model.scalers.values() for item in layer.variables}
        # What normalisation inside of a head counts, which a forward pass moves.
        self.statistics = [
            (place, variable)
            for place, name in enumerate(self.names)
            for layer in layers[name]
            for variable in layer.non_trainable_variables
            if id(variable) not in scales and keras.backend.is_float_dtype(variable.dtype)
        ]

    def chosen(self, present: Any) -> Any:
        """The task of this step, as booleans `(K,)`; none where the batch has no label.

        Args:
            present: Which tasks have a label in the global batch, `(K,)`.
        """
        number = len(self.names)
        after = (tf.range(number, dtype=tf.int64) - self.turns.at(self.counter.value)) % number
        first = tf.argmin(tf.where(present, after, number))
        return present & (tf.range(number, dtype=tf.int64) == first)

    def forward(self, batch: Sequence[Any], *, training: bool = True, gated: bool = False) -> Pass:
        """The pass of all tasks; moving statistics of the heads that have no turn are set back."""
        before = [tf.identity(variable.value) for _, variable in self.statistics] if training else []
        seen = super().forward(batch, training=training, gated=gated)
        if before:
            chosen = self.chosen(seen.present)
            for (place, variable), old in zip(self.statistics, before, strict=True):
                variable.assign(tf.where(chosen[place], variable.value, old))
        return seen

    def known(self, seen: Pass) -> gradients.Known:
        """The same with one task alone; no gradient comes from the others."""
        known, chosen = super().known(seen), self.chosen(seen.present)
        for gate, places in zip(seen.gates, self.setup.places, strict=True):
            gate.healthy = tf.gather(chosen, places)
        return known._replace(present=chosen, healthy=chosen)

    def update(self, updates: list[Any], known: gradients.Known) -> None:
        """Moves the trunk and one head."""
        sound = None if known.is_scaled else tf.reduce_any(known.present & tf.math.is_finite(known.losses))
        apply: Callable[[], Any] = lambda: tf.constant(0.0)  # noqa: E731
        for place in reversed(range(len(self.names))):
            apply = self._or(place, updates, known, sound, apply)
        self.setup.balancer.skipped.assign_add(apply())
        self.counter.assign_add(1)

    def _or(self, place: int, updates: list[Any], known: Any, sound: Any, other: Callable[[], Any]) -> Any:
        """Lets a task move what is its own if it has the turn, or does the other thing."""
        return lambda: branch(known.present[place], lambda: self._move(place, updates, sound), other)

    def _move(self, place: int, updates: list[Any], sound: Any) -> Any:
        """Applies what belongs to the trunk and one head."""
        name, optimizer = self.names[place], self.model.optimizer
        pairs = [
            (update, variable)
            for update, variable in zip(updates, self.variables, strict=True)
            if self.owners.get(id(variable), name) == name
        ]
        given, variables = [update for update, _ in pairs], [variable for _, variable in pairs]
        if not variables:
            return tf.constant(0.0)
        inner = getattr(optimizer, "inner_optimizer", optimizer)
        finite = None if sound is None else gradients.all_finite(given) & sound
        with inner.turn_of(name) if isinstance(inner, OptimizerByTurn) else nullcontext():
            return _keras_private.apply_summed(optimizer, given, variables, finite)
