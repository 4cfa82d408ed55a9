"""One step: the pass, the balance, the backward passes, the update, the report."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import keras
import tensorflow as tf

from kmtl import _keras_private, gradients
from kmtl._replicas import branch, sum_over_replicas
from kmtl.losses import Examples, possible_labels
from kmtl.model.graph import TaskGraph
from kmtl.model.setup import Setup

_ROUTES = {
    "exact": gradients.exact_route,
    "kept": gradients.kept_weights_route,
    "online": gradients.online_route,
}


class Pass(NamedTuple):
    """What a forward pass tells of the tasks; this replica's part of it.

    Attributes:
        examples: What each group of tasks looked at.
        gates: What can stop the gradient of single tasks, one a group; none if not asked for.
        sums: Summed loss of each task, `(K,)`.
        counts: Labels of each task that count, `(K,)`.
        penalty: Part of the penalties.
        extras: Part of each loss that belongs to no task, by name.
        losses: Part of each task's mean over the global batch, under its static weight, `(K,)`.
        means: That mean itself, `(K,)`.
        totals: Labels of each task in the global batch, `(K,)`.
        present: Which tasks have a label in the global batch and a weight above 0, `(K,)`.
    """

    examples: list[Examples]
    gates: list[gradients.Gate]
    sums: Any
    counts: Any
    penalty: Any
    extras: Mapping[str, Any]
    losses: Any = None
    means: Any = None
    totals: Any = None
    present: Any = None


class Step:
    """One step of training, as `fit` runs it on each replica.

    `compile` makes a plain one; `model.step = MyStep(model, model.setup)` puts another in its place until the next
    `compile`. A form of training that differs from the plain one overrides what differs: `forward` for what is computed
    of a batch, `extra_losses` for losses that belong to no task (they are logged by name and never balanced),
    `variables` for what moves, or calls the step that it wraps.

    Args:
        model: The model.
        setup: What `compile` decided.

    Attributes:
        extra_names: Log keys of what `extra_losses` gives.

    >>> from kmtl.model.step import Step
    >>> class Shrinking(Step):
    ...     extra_names = ("size",)
    ...     def extra_losses(self, batch, outputs):
    ...         return {"size": tf.add_n([tf.reduce_mean(tf.square(value)) for value in outputs.values()])}
    """

    extra_names: ClassVar[Sequence[str]] = ()

    def __init__(self, model: TaskGraph, setup: Setup) -> None:
        self.model = model
        self.setup = setup
        self.names = list(model.tasks)

    # What another form of training may replace.

    @property
    def variables(self) -> list[Any]:
        """The variables that a step moves; one left out stands still, and so does what the optimizer holds of it."""
        return self.model.trainable_variables

    @property
    def is_scaled(self) -> bool:
        """Whether the optimizer scales the losses."""
        return isinstance(self.model.optimizer, keras.optimizers.LossScaleOptimizer)

    def extra_losses(self, batch: Sequence[Any], outputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """Losses that belong to no task, by name: means over the global batch, this replica's part of each.

        Args:
            batch: `(x, y, sample_weight)`.
            outputs: What the model made of it, by task name.
        """
        del batch, outputs
        return {}

    def __call__(self, batch: Sequence[Any]) -> None:
        """Takes a step on a batch `(x, y, sample_weight)`."""
        balancer = self.setup.balancer
        if balancer.update_every > 1 and self.setup.route in ("exact", "sliced"):
            # The forward pass goes with the branch: cut off from it, the gradients of pooling take a slow path.
            branch(balancer.due, lambda: self.run(batch), lambda: self.run(batch, due=False))
        else:
            self.run(batch)

    def run(self, batch: Sequence[Any], *, due: bool = True) -> Any:
        """The step itself; in one that is not due the balancer keeps its weights."""
        setup = self.setup
        draws = gradients.generator_states(setup.draws) if setup.draws else []
        with tf.GradientTape(persistent=setup.route not in ("losses", "features")) as tape:
            seen = self.forward(batch, gated=True)
            known = self.known(seen)
            weights = self.loss_weights(known)
            parts = tf.unstack(known.scale * weights * tf.where(known.healthy, seen.losses, 0.0))
            unbalanced = [*([seen.penalty] if self.model.losses else []), *seen.extras.values()]
            rest = known.scale * tf.add_n(unbalanced) if unbalanced else None
            target = tf.add_n(parts) + (0.0 if rest is None else rest)
        if (setup.route if due else "kept") in ("losses", "features"):
            updates, balanced = self._one_pass(tape, target, known, weights)
        else:
            updates, balanced = self._passes(setup.route if due else "kept", tape, parts, rest, known, weights, batch)
        self.update(updates, known)
        if setup.balancer.looks_again:
            again = gradients.SecondPass(lambda: self.forward(batch).means, draws)
            setup.balancer.after_update(again.values(), known.present)
        self.report(seen, known, balanced)
        return tf.constant(0.0)

    # The pass.

    def forward(self, batch: Sequence[Any], *, training: bool = True, gated: bool = False) -> Pass:
        """One forward pass and its losses; in an evaluation the sums alone, which nothing crosses replicas for."""
        x, labels, sample_weight = batch
        outputs = self.model(x, training=training)
        examples = [group.examples(labels, outputs, sample_weight) for group in self.setup.groups]
        gates = [gradients.Gate() for _ in examples] if gated else []
        for place, gate in enumerate(gates):
            examples[place] = examples[place]._replace(predictions=gate(examples[place].predictions))
        extras = self.extra_losses(batch, outputs) if training else {}
        seen = Pass(examples, gates, *self.sums(examples), self.penalty(), extras)
        return self._compared(seen) if training else seen

    def sums(self, examples: Sequence[Examples]) -> tuple[Any, Any]:
        """Summed losses and counts of labels, `(K,)` each, in task order."""
        parts = [group.sums(seen) for group, seen in zip(self.setup.groups, examples, strict=True)]
        sums, counts = (tf.concat(part, axis=0) for part in zip(*parts, strict=True))
        if self.setup.order is None:
            return sums, counts
        return tf.gather(sums, self.setup.order), tf.gather(counts, self.setup.order)

    def penalty(self) -> Any:
        """Penalties and added losses: this replica's part."""
        losses = self.model.losses
        # Losses that layers add show in a call, not before.
        self.setup.task_losses.regularized = self.setup.task_losses.regularized or bool(losses)
        total = tf.add_n([tf.cast(loss, tf.float32) for loss in losses]) if losses else tf.zeros(())
        return total / tf.distribute.get_strategy().num_replicas_in_sync

    def _compared(self, seen: Pass) -> Pass:
        """The same with what takes all replicas to know: one sum of 2 K numbers."""
        known = tf.stop_gradient(tf.stack([seen.sums, seen.counts]))
        whole, totals = tf.unstack(sum_over_replicas(known))
        weights, divisor = self.setup.loss_weights.value, tf.maximum(totals, 1.0)
        # A task of weight 0 is as good as absent: its zero row would stop methods that seek a common descent.
        present = (totals > 0) & (weights > 0)
        # The parts of all replicas are added up in the gradient.
        losses, means = weights * (seen.sums / divisor), weights * (whole / divisor)
        return seen._replace(losses=losses, means=means, totals=totals, present=present)

    # The balance.

    def known(self, seen: Pass) -> gradients.Known:
        """What the balancer may know, over all replicas; tells the gates which tasks sit out."""
        losses = seen.means
        finite = tf.math.is_finite(losses)
        # Without one finite loss nothing is worth keeping: the step is skipped.
        healthy = finite | ~tf.reduce_any(finite & seen.present)
        for gate, places in zip(seen.gates, self.setup.places, strict=True):
            gate.healthy = tf.gather(healthy, places)
        scale = self.model.optimizer.scale_loss(tf.ones(()))
        return gradients.Known(losses, seen.present, seen.totals, scale, self.is_scaled, healthy)

    def loss_weights(self, known: gradients.Known) -> Any:
        """Weights of the losses `(K,)`: the balancer's, if losses are what it needs."""
        balancer = self.setup.balancer
        if balancer.needs != "losses":
            return tf.ones_like(known.losses)

        def fresh() -> Any:
            return balancer.weigh(losses=known.losses, present=known.present, counts=known.counts)

        if balancer.update_every == 1:
            return fresh()
        return branch(balancer.due, fresh, lambda: balancer.keep(known.losses, known.present))

    # The backward passes.

    def _passes(
        self, route: str, tape: tf.GradientTape, parts: list[Any], rest: Any, known: Any, weights: Any, batch: Any
    ) -> tuple[list[Any], gradients.Balanced]:
        """Backward passes of the heads and the trunk apart."""
        balancer = self.setup.balancer
        back = gradients.Backward(tape, parts, rest, self.variables, self._shared(), self.cut())
        if route == "sliced":
            balanced = gradients.slice_route(*self._slice(batch, known), back, balancer, known)
        elif route == "tracked":
            balanced = gradients.tracking_route(back, weights, known)
        else:
            balanced = _ROUTES[route](back, balancer, known)
        return back.updates(balanced.direction, mend=not known.is_scaled), balanced

    def _shared(self) -> list[Any]:
        """The shared variables among those that move."""
        moving = {id(variable) for variable in self.variables}
        return [variable for variable in self.setup.shared if id(variable) in moving]

    def cut(self) -> Any:
        """Where the last forward pass cut the model, if it did."""
        return None if self.setup.cut is None else self.setup.cut.cut

    def losses(self, *batch: Any) -> tuple[Any, Any]:
        """This replica's part of each task's weighted mean in a batch, and which tasks are present, `(K,)` each."""
        seen = self.forward(batch)
        return seen.losses, seen.present

    def _one_pass(
        self, tape: tf.GradientTape, target: Any, known: gradients.Known, weights: Any
    ) -> tuple[list[Any], gradients.Balanced]:
        """One backward pass through everything; forks balance on the way."""
        forks = self.model.forks if self.setup.route == "features" else []
        for fork in forks:
            fork.hear(known, self.names)
        variables = self.variables
        updates = sum_over_replicas(tape.gradient(target, [variable.value for variable in variables]))
        if not forks:
            return updates, gradients.Balanced([], weights, None)
        if not known.is_scaled:
            shared = {id(variable) for variable in self.setup.shared}
            own = [id(variable) not in shared for variable in variables]
            mended = gradients.zero_where_not_finite(updates)
            updates = [one if mend else other for one, other, mend in zip(mended, updates, own, strict=True)]
        weights = tf.reduce_mean(tf.stack([fork.spread(self.names) for fork in forks]), axis=0)
        return updates, gradients.Balanced([], weights, forks[0].balanced.gram if len(forks) == 1 else None)

    def _slice(self, batch: Any, known: gradients.Known) -> tuple[gradients.Backward, Any]:
        """Backward passes of the first examples of the batch, and the labels among them."""
        first = tf.nest.flatten(batch[0])[0]
        share = self.setup.balancer.gram_fraction
        if first.shape[0] is None:
            size = tf.cast(tf.math.ceil(share * tf.cast(tf.shape(first)[0], tf.float32)), tf.int32)
        else:
            size = math.ceil(share * first.shape[0])
        part = [None if one is None else tf.nest.map_structure(lambda tensor: tensor[:size], one) for one in batch]
        with tf.GradientTape(persistent=True) as tape, keras.StatelessScope():
            seen = self.forward(part)
            parts = tf.unstack(known.scale * seen.losses)
        shared = self._shared()
        return gradients.Backward(tape, parts, None, shared, shared, self.cut()), seen.counts

    # The update and the report.

    def update(self, updates: list[Any], known: gradients.Known) -> None:
        """Moves the variables, unless nothing finite came of the step."""
        some = tf.reduce_any(known.present & tf.math.is_finite(known.losses)) | ~tf.reduce_any(known.present)
        # An optimizer that scales losses skips by itself.
        sound = None if known.is_scaled else gradients.all_finite(updates) & some
        skipped = _keras_private.apply_summed(self.model.optimizer, updates, self.variables, sound)
        self.setup.balancer.skipped.assign_add(skipped)

    def report(self, seen: Pass, known: gradients.Known, balanced: gradients.Balanced) -> None:
        """Adds the step to the logs."""
        setup = self.setup
        finite = tf.math.is_finite(known.losses)
        sums, counts = tf.where(finite, seen.sums, 0.0), tf.where(finite, seen.counts, 0.0)
        weights = setup.loss_weights.value * balanced.weights
        setup.task_losses.update_state(sums, counts, weights, seen.penalty, seen.extras)
        setup.task_metrics.update_state(seen.examples)
        if setup.conflicts is not None and balanced.gram is not None:
            setup.conflicts.update_state(balanced.gram, known.present)

    def evaluate(self, batch: Sequence[Any]) -> None:
        """Adds a batch to the losses and metrics; the losses weigh what `loss_weights` says.

        A class out of range is left out, and counted for `evaluate` to tell: nobody has looked at the data before.
        """
        x, labels, sample_weight = batch
        labels, impossible = possible_labels(labels, self.model.tasks)
        self.setup.task_losses.impossible.assign_add(impossible)
        seen = self.forward((x, labels, sample_weight), training=False)
        self.setup.task_losses.update_state(seen.sums, seen.counts, self.setup.loss_weights.value, seen.penalty)
        self.setup.task_metrics.update_state(seen.examples)
