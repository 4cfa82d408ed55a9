"""One step: the pass, the balance, the backward passes, the update, the report."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import keras
import tensorflow as tf

from kmtl import _keras_private, gradients
from kmtl._replicas import branch, sum_over_replicas
from kmtl.losses import Examples, group_sums, possible_labels
from kmtl.model.forward_pass import Pass, first_examples
from kmtl.model.graph import TaskGraph
from kmtl.model.setup import Setup
from kmtl.model.side_pass import at_rest

_ROUTES = {
    "exact": gradients.exact_route,
    "kept": gradients.kept_weights_route,
    "online": gradients.online_route,
}


class Step:
    """One step of training, as `fit` runs it on each replica.

    `compile` makes a plain one; `model.step = MyStep(model, model.setup)` puts another in its place until the next
    `compile`. Another form of training overrides what differs: `outputs` for what is computed of a batch,
    `extra_losses` for losses that belong to no task (logged by name, never balanced), `variables` for what moves.

    Args:
        model: The model.
        setup: What `compile` decided.

    Attributes:
        extra_names: Log keys of what `extra_losses` gives.
        state: Variables of its own, which a backup holds, too.

    >>> from kmtl.model.step import Step
    >>> class Shrinking(Step):
    ...     extra_names = ("size",)
    ...     def extra_losses(self, batch, outputs):
    ...         return {"size": tf.add_n([tf.reduce_mean(tf.square(value)) for value in outputs.values()])}
    """

    extra_names: ClassVar[Sequence[str]] = ()
    state: Sequence[Any] = ()

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

    def outputs(self, x: Any, *, training: bool) -> Any:
        """What the model makes of a batch of inputs, by task name."""
        return self.model(x, training=training)

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
            parts = tf.unstack(known.scale * weights * tf.where(known.healthy, self.balanced(seen.losses), 0.0))
            unbalanced = [*([seen.penalty] if self.model.losses else []), *seen.extras.values()]
            unbalanced += [] if setup.joint_excluded is None else [seen.sum_beside(setup.number_balanced)]
            rest = known.scale * tf.add_n(unbalanced) if unbalanced else None
            target = tf.add_n(parts) + (0.0 if rest is None else rest)
        if (setup.route if due else "kept") in ("losses", "features"):
            updates, balanced = self._one_pass(tape, target, known, weights)
        else:
            updates, balanced = self._passes(setup.route if due else "kept", tape, parts, rest, known, weights, batch)
        self.update(updates, known)
        if setup.balancer.looks_again:
            again = gradients.SecondPass(lambda: self.balanced(self.forward(batch).means), draws)
            setup.balancer.after_update(again.values(), known.present)
        self.report(seen, known, balanced)
        return tf.constant(0.0)

    def forward(self, batch: Sequence[Any], *, training: bool = True, gated: bool = False) -> Pass:
        """One forward pass and its losses; in an evaluation the sums alone, which nothing crosses replicas for."""
        x, labels, sample_weight = batch
        # Forks balance in a step alone: gradients that are looked at are the tasks' own.
        balancing = self.model.forks if self.setup.route == "features" and not gated else []
        with at_rest([*self.model.borrowed_forks, *balancing]):
            outputs = self.outputs(x, training=training)
        examples = [group.examples(labels, outputs, sample_weight) for group in self.setup.groups]
        gates = [gradients.Gate() for _ in self.setup.places] if gated else []
        for place, gate in enumerate(gates[: len(examples)]):
            examples[place] = examples[place]._replace(predictions=gate(examples[place].predictions))
        seen = Pass(examples, gates, *self.sums(examples), self.penalty(), {})
        seen = self._with_joint_terms(seen, outputs, batch)
        # At the end: they may call layers again, and the penalty is of each layer's last call.
        return self._compared(seen._replace(extras=self.extra_losses(batch, outputs))) if training else seen

    def sums(self, examples: Sequence[Examples]) -> tuple[Any, Any, Any]:
        """Summed losses and counts of labels, `(K,)` each, in task order; and the sums of several losses of a task."""
        sums, counts, parts = group_sums(self.setup.groups, examples)
        if self.setup.order is None:
            return sums, counts, parts
        return tf.gather(sums, self.setup.order), tf.gather(counts, self.setup.order), parts

    def _with_joint_terms(self, seen: Pass, outputs: Mapping[str, Any], batch: Sequence[Any]) -> Pass:
        """The same with the losses and metrics over several outputs."""
        joint, (_, labels, sample_weight) = self.setup.joint, batch
        if joint.metrics:
            seen = seen._replace(joint_metrics=joint.metric_sums(labels, outputs))
        if not joint.losses:
            return seen
        sums, counts = joint.loss_sums(labels, outputs, sample_weight, seen.gates[len(seen.examples) :])
        return seen._replace(sums=tf.concat([seen.sums, sums], 0), counts=tf.concat([seen.counts, counts], 0))

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
        losses, present = self.balanced(seen.means), self.balanced(seen.present)
        finite = tf.math.is_finite(losses)
        # Without one finite loss nothing is worth keeping: the step is skipped.
        healthy = finite | ~tf.reduce_any(finite & present)
        beside = [] if self.setup.joint_excluded is None else [seen.finite_beside(self.setup.number_balanced)]
        every = tf.concat([healthy, *beside], axis=0) if beside else healthy
        for gate, places in zip(seen.gates, self.setup.places, strict=True):
            gate.healthy = tf.gather(every, places)
        scale = self.model.optimizer.scale_loss(tf.ones(()))
        return gradients.Known(losses, present, self.balanced(seen.totals), scale, self.is_scaled, healthy)

    def balanced(self, values: Any) -> Any:
        """Of one value a loss, `(K + J,)`, those that the balancer sees."""
        number = self.setup.number_balanced
        return values if number == len(self.setup.names) else values[:number]

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
        return seen.losses[: len(self.names)], seen.present[: len(self.names)]

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
        part = first_examples(batch, self.setup.balancer.gram_fraction)
        with tf.GradientTape(persistent=True) as tape, keras.StatelessScope():
            seen = self.forward(part)
            parts = tf.unstack(known.scale * self.balanced(seen.losses))
        shared = self._shared()
        return gradients.Backward(tape, parts, None, shared, shared, self.cut()), self.balanced(seen.counts)

    # The update and the report.

    def update(self, updates: list[Any], known: gradients.Known) -> None:
        """Moves the variables, the first ones if there are fewer updates, unless nothing finite came of the step."""
        some = tf.reduce_any(known.present & tf.math.is_finite(known.losses)) | ~tf.reduce_any(known.present)
        # An optimizer that scales losses skips by itself.
        sound = None if known.is_scaled else gradients.all_finite(updates) & some
        skipped = _keras_private.apply_summed(self.model.optimizer, updates, self.variables[: len(updates)], sound)
        self.setup.balancer.skipped.assign_add(skipped)

    def report(self, seen: Pass, known: gradients.Known, balanced: gradients.Balanced) -> None:
        """Adds the step to the logs."""
        setup = self.setup
        finite = tf.math.is_finite(seen.means)
        sums, counts = tf.where(finite, seen.sums, 0.0), tf.where(finite, seen.counts, 0.0)
        factors = balanced.weights
        if setup.joint_excluded is not None:
            beside, sound = seen.present[setup.number_balanced :], seen.finite_beside(setup.number_balanced)
            factors = tf.concat([factors, tf.cast(beside, tf.float32)], axis=0)
            setup.joint_excluded.assign_add(tf.cast(beside & ~sound, tf.float32))
        weights = setup.loss_weights.value * factors
        setup.task_losses.update_state(sums, counts, weights, seen.penalty, seen.extras, seen.parts)
        self._report_metrics(seen)
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
        weights = self.setup.loss_weights.value
        self.setup.task_losses.update_state(seen.sums, seen.counts, weights, seen.penalty, parts=seen.parts)
        self._report_metrics(seen)

    def _report_metrics(self, seen: Pass) -> None:
        """Adds a batch to the metrics."""
        self.setup.task_metrics.update_state(seen.examples)
        if self.setup.joint_metrics is not None:
            self.setup.joint_metrics.update_state(*seen.joint_metrics)
