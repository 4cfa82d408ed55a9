"""The model: a functional `keras.Model` with one named output a task."""

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from kmtl import _keras_private, gradients
from kmtl._checks import require, words
from kmtl._interrupts import held
from kmtl.losses import Examples
from kmtl.model.execution import ReplicatedModel


class Pass(NamedTuple):
    """What a forward pass tells of the tasks; this replica's part of it.

    Attributes:
        examples: What each group of tasks looked at.
        gates: What can stop the gradient of single tasks, one a group; none if not asked for.
        sums: Summed loss of each task, `(K,)`.
        counts: Labelled examples of each task, `(K,)`.
        penalty: Part of the penalties.
        losses: Part of each task's mean over the global batch, under its static weight, `(K,)`.
        means: That mean itself, `(K,)`.
        totals: Labelled examples in the global batch, `(K,)`.
        present: Which tasks have a label in the global batch and a weight above 0, `(K,)`.
    """

    examples: list[Examples]
    gates: list[gradients.Gate]
    sums: Any
    counts: Any
    penalty: Any
    losses: Any = None
    means: Any = None
    totals: Any = None
    present: Any = None


@keras.saving.register_keras_serializable(package="kmtl")
class MultiTaskModel(ReplicatedModel):
    """One Keras model that is trained on many tasks.

    It is used as any functional Keras model is: `compile`, `fit`, `evaluate`,
    `predict`, `save`, `keras.saving.load_model`, callbacks. What is new:
    labels may be missing; losses and metrics come from the tasks where
    `compile` is given none; `class_weight` works by task; loss weights may
    move; a balancer settles conflicts between the tasks.

    Args:
        *args: Inputs and a dict of outputs keyed by task name, as for `keras.Model`.
        tasks: The tasks; their order is the order of everything that has one.
        **kwargs: As for `keras.Model`.

    Raises:
        ValueError: If outputs and tasks do not match, or a name is used twice.

    Attributes:
        tasks: The tasks by name, in order.
        balancer: The balancer that `compile` was given.

    >>> from kmtl.tasks import Classification, Regression
    >>> image = keras.Input((8,), name="image")
    >>> features = keras.layers.Dense(16, activation="relu")(image)
    >>> model = MultiTaskModel.from_features(image, features, [Classification("digit", 10), Regression("angle")])
    >>> {name: output.shape for name, output in model.output.items()}
    {'digit': (None, 10), 'angle': (None, 1)}
    """

    def train_step(self, data: Any) -> dict[str, Any]:
        """One step: losses, their weights, one update of every weight."""
        with nullcontext() if tf.executing_eagerly() else held():
            return self._traced(keras.utils.unpack_x_y_sample_weight(data))

    def _traced(self, batch: Any) -> dict[str, Any]:
        """The step as TensorFlow traces it."""
        if self.balancer.update_every > 1 and self._route in ("exact", "sliced"):
            # The forward pass goes with the branch: cut off from it, the gradients of pooling take a slow path.
            gradients.branch(self.balancer.due, lambda: self._step(batch), lambda: self._step(batch, due=False))
        else:
            self._step(batch)
        return self.get_metrics_result()

    def _step(self, batch: Any, *, due: bool = True) -> Any:
        """The step itself; in one that is not due the balancer keeps its weights."""
        draws = gradients.drawn(self._draws)
        with tf.GradientTape(persistent=self._route not in ("losses", "features")) as tape:
            seen = self._pass(*batch, gated=True)
            known = self._known(seen)
            weights = self._loss_balance(known)
            parts = tf.unstack(known.scale * weights * tf.where(known.healthy, seen.losses, 0.0))
            penalty = known.scale * seen.penalty if self.losses else None
            target = tf.add_n(parts) + (0.0 if penalty is None else penalty)
        route = self._route if due else "kept"
        if route in ("losses", "features"):
            updates, found = self._one_pass(tape, target, known, weights)
        else:
            updates, found = self._passes(route, tape, parts, penalty, known, weights, batch)
        self._apply(updates, known)
        if self.balancer.looks_again:
            again = gradients.Again(lambda: self._pass(*batch).means, draws)
            self.balancer.after_update(again.values(), known.present)
        self._report(seen, known, found)
        return tf.constant(0.0)

    def _report(self, seen: Pass, known: gradients.Known, found: gradients.Balanced) -> None:
        """Adds the step to the logs."""
        finite = tf.math.is_finite(known.losses)
        sums, counts = tf.where(finite, seen.sums, 0.0), tf.where(finite, seen.counts, 0.0)
        self._task_losses.update_state(sums, counts, self._loss_weights.value * found.weights, seen.penalty)
        self._task_metrics.update_state(seen.examples)
        if self._conflicts is not None and found.gram is not None:
            self._conflicts.update_state(found.gram, known.present)

    def _known(self, seen: Pass) -> gradients.Known:
        """What the balancer may know, over all replicas; tells the gates which tasks sit out."""
        losses = seen.means
        finite = tf.math.is_finite(losses)
        # Without one finite loss nothing is worth keeping: the step is skipped.
        healthy = finite | ~tf.reduce_any(finite & seen.present)
        for gate, places in zip(seen.gates, self._places, strict=True):
            gate.healthy = tf.gather(healthy, places)
        scale = self.optimizer.scale_loss(tf.ones(()))
        return gradients.Known(losses, seen.present, seen.totals, scale, self._is_scaled, healthy)

    def _loss_balance(self, known: gradients.Known) -> Any:
        """Weights of the losses `(K,)`: the balancer's, if losses are what it needs."""
        if self.balancer.needs != "losses":
            return tf.ones_like(known.losses)
        if self.balancer.update_every == 1:
            return self.balancer.weigh(losses=known.losses, present=known.present, counts=known.counts)
        return gradients.branch(
            self.balancer.due,
            lambda: self.balancer.weigh(losses=known.losses, present=known.present, counts=known.counts),
            lambda: self.balancer.keep(known.losses, known.present),
        )

    def _passes(
        self, route: str, tape: tf.GradientTape, parts: list[Any], penalty: Any, known: Any, weights: Any, batch: Any
    ) -> tuple[list[Any], gradients.Balanced]:
        """Backward passes of the heads and the trunk apart."""
        cut = None if self._cut is None else self._cut.cut
        back = gradients.Backward(tape, parts, penalty, self.trainable_variables, self._shared, cut)
        if route == "sliced":
            found = gradients.sliced(*self._slice(batch, known), back, self.balancer, known)
        elif route == "tracked":
            found = gradients.tracked(back, weights, known)
        else:
            take = {"exact": gradients.exact, "kept": gradients.kept, "online": gradients.online}[route]
            found = take(back, self.balancer, known)
        return back.updates(found.direction, mend=not known.is_scaled), found

    def _one_pass(
        self, tape: tf.GradientTape, target: Any, known: gradients.Known, weights: Any
    ) -> tuple[list[Any], gradients.Balanced]:
        """One backward pass through everything; forks balance on the way."""
        forks = self.forks if self._route == "features" else []
        for fork in forks:
            fork.hear(known, list(self.tasks))
        updates = tape.gradient(target, [variable.value for variable in self.trainable_variables])
        updates = gradients.sum_over_replicas(updates)
        if forks and not known.is_scaled:
            shared = {id(variable) for variable in self._shared}
            own = [id(variable) not in shared for variable in self.trainable_variables]
            mended = gradients.cleaned(updates)
            updates = [one if mend else other for one, other, mend in zip(mended, updates, own, strict=True)]
        if forks:
            weights = tf.reduce_mean(tf.stack([fork.spread(list(self.tasks)) for fork in forks]), axis=0)
        gram = forks[0].balanced.gram if len(forks) == 1 else None
        return updates, gradients.Balanced([], weights, gram)

    def _slice(self, batch: Any, known: gradients.Known) -> tuple[gradients.Backward, Any]:
        """Backward passes of the first examples of the batch, and the labelled ones among them."""
        first = tf.nest.flatten(batch[0])[0]
        share = self.balancer.gram_fraction
        if first.shape[0] is None:
            size = tf.cast(tf.math.ceil(share * tf.cast(tf.shape(first)[0], tf.float32)), tf.int32)
        else:
            size = math.ceil(share * first.shape[0])
        part = [None if one is None else tf.nest.map_structure(lambda tensor: tensor[:size], one) for one in batch]
        with tf.GradientTape(persistent=True) as tape, keras.StatelessScope():
            seen = self._pass(*part)
            parts = tf.unstack(known.scale * seen.losses)
        cut = None if self._cut is None else self._cut.cut
        return gradients.Backward(tape, parts, None, self._shared, self._shared, cut), seen.counts

    def _apply(self, updates: list[Any], known: gradients.Known) -> None:
        """Takes the step, unless nothing finite came of it."""
        some = tf.reduce_any(known.present & tf.math.is_finite(known.losses)) | ~tf.reduce_any(known.present)
        # An optimizer that scales losses skips by itself.
        sound = None if known.is_scaled else gradients.all_finite(updates) & some
        self.balancer.skipped.assign_add(
            _keras_private.apply_summed(self.optimizer, updates, self.trainable_variables, sound)
        )

    def test_step(self, data: Any) -> dict[str, Any]:
        """Adds a batch to the losses and metrics; the losses weigh what `loss_weights` says."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        seen = self._pass(x, y, sample_weight, training=False)
        self._task_losses.update_state(seen.sums, seen.counts, self._loss_weights.value, seen.penalty)
        self._task_metrics.update_state(seen.examples)
        return self.get_metrics_result()

    def gramians(
        self, x: Any, y: Any = None, sample_weight: Any = None, *, batches: int = 8, batch_size: int = 32
    ) -> gradients.Gramians:
        """Measures losses and Gramians of the tasks' gradients on some batches; no weight moves.

        It learns the statistics of standardised regressions first, as `fit` does.

        Args:
            x: As in `fit`.
            y: As in `fit`.
            sample_weight: As in `fit`.
            batches: How many batches are looked at, from the first on.
            batch_size: Of arrays.

        Raises:
            ValueError: If the model is not compiled or shares nothing, or the data is not fit for it.
        """
        self._assert_ready("gramians")
        shared = self._shared or self.shared_variables
        require(bool(shared), "gramians", "model", "must have trainable weights that tasks share", words("none"))
        given = self._checked_for("gramians", x, y, sample_weight, batches)

        def forward(*batch: Any) -> tuple[Any, Any]:
            seen = self._pass(*batch)
            return seen.losses, seen.present

        parts = gradients.batched(given.x, given.y, given.sample_weight, batch_size, batches)
        return gradients.measured(
            forward, lambda: None if self._cut is None else self._cut.cut, shared, list(self.tasks), parts
        )

    def compute_loss(
        self, x: Any = None, y: Any = None, y_pred: Any = None, sample_weight: Any = None, training: bool = True
    ) -> Any:
        """The weighted sum of the tasks' losses and the penalties, without a balancer; this replica's part."""
        del x, training
        sums, counts = self._sums(self._examples(y, y_pred, sample_weight))
        means = sums / tf.maximum(gradients.sum_over_replicas(counts), 1.0)
        return tf.reduce_sum(self._loss_weights.value * means) + self._penalty()

    def _pass(self, x: Any, y: Any, sample_weight: Any, *, training: bool = True, gated: bool = False) -> Pass:
        """One forward pass and its losses; in an evaluation the sums alone, which nothing crosses replicas for."""
        examples = self._examples(y, self(x, training=training), sample_weight)
        gates = [gradients.Gate() for _ in examples] if gated else []
        for place, gate in enumerate(gates):
            examples[place] = examples[place]._replace(predictions=gate(examples[place].predictions))
        sums, counts = self._sums(examples)
        seen = Pass(examples, gates, sums, counts, self._penalty())
        return self._compared(seen) if training else seen

    def _compared(self, seen: Pass) -> Pass:
        """The same with what takes all replicas to know: one sum of 2 K numbers."""
        known = tf.stop_gradient(tf.stack([seen.sums, seen.counts]))
        whole, totals = tf.unstack(gradients.sum_over_replicas(known))
        weights, divisor = self._loss_weights.value, tf.maximum(totals, 1.0)
        # A task of weight 0 is as good as absent: its zero row would stop methods that seek a common descent.
        present = (totals > 0) & (weights > 0)
        # The parts of all replicas are added up in the gradient.
        losses, means = weights * (seen.sums / divisor), weights * (whole / divisor)
        return seen._replace(losses=losses, means=means, totals=totals, present=present)

    def _examples(self, labels: Any, predictions: Any, weights: Any) -> list[Examples]:
        """What each group of tasks looks at."""
        return [group.examples(labels, predictions, weights) for group in self._groups]

    def _sums(self, examples: Sequence[Examples]) -> tuple[Any, Any]:
        """Summed losses and counts of labelled examples, `(K,)` each, in task order."""
        parts = [group.sums(seen) for group, seen in zip(self._groups, examples, strict=True)]
        sums, counts = (tf.concat(part, axis=0) for part in zip(*parts, strict=True))
        if self._order is None:
            return sums, counts
        return tf.gather(sums, self._order), tf.gather(counts, self._order)

    def _penalty(self) -> Any:
        """Penalties and added losses: this replica's part."""
        # Losses that layers add show in a call, not before.
        self._task_losses.regularized = self._task_losses.regularized or bool(self.losses)
        total = tf.add_n([tf.cast(loss, tf.float32) for loss in self.losses]) if self.losses else tf.zeros(())
        return total / tf.distribute.get_strategy().num_replicas_in_sync
