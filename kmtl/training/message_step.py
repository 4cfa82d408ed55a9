"""A step of trunk copies that exchange their weights every so often."""

from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from kmtl import gradients
from kmtl._keras_private import write_copies
from kmtl._replicas import branch
from kmtl.model.graph import TaskGraph
from kmtl.model.setup import Setup
from kmtl.model.step import Step
from kmtl.training.sinkhorn import sinkhorn

# Of a cosine in the running mean, a step.
_MEMORY = 0.99


class MessageStep(Step):
    """A step that mixes trunk copies: `theta_t <- sum_s P_ts theta_s`, every so many steps.

    Args:
        model: A model with one trunk a task.
        setup: What `compile` decided.
        copies: The weights of each trunk, in one order, moving statistics among them; in task order.
        every: Steps from one exchange to the next.
        exchange: P, `(K, K)`; None makes it of the cosines between the gradients of the copies.
        temperature: Of the affinities.

    Attributes:
        counter: Steps so far, int64.
    """

    def __init__(
        self,
        model: TaskGraph,
        setup: Setup,
        copies: Sequence[Sequence[Any]],
        every: int,
        exchange: Any = None,
        temperature: float = 1.0,
    ) -> None:
        super().__init__(model, setup)
        self.copies, self.every, self.temperature = [list(copy) for copy in copies], every, temperature
        self.fixed = None if exchange is None else tf.constant(exchange, tf.float32)
        options: dict[str, Any] = {"trainable": False, "aggregation": "only_first_replica"}
        self.counter = keras.Variable("zeros", shape=(), dtype="int64", name="steps", **options)
        square = (len(self.copies),) * 2
        self.cosines, self.mass = (
            keras.Variable("zeros", shape=square, dtype="float32", name=name, **options) for name in ("cosines", "mass")
        )
        self.state = [self.counter, self.cosines, self.mass]

    @property
    def affinity(self) -> Any:
        """The running mean of the cosines, `(K, K)`, with 1 on the diagonal and 0 where none was seen."""
        mean = self.cosines.value / tf.maximum(self.mass.value, 1e-12)
        return tf.linalg.set_diag(mean, tf.ones(len(self.copies)))

    @property
    def exchange(self) -> Any:
        """P as it is now, `(K, K)`; its rows and columns sum to 1."""
        return self.fixed if self.fixed is not None else sinkhorn(tf.exp((self.affinity - 1.0) / self.temperature))

    def update(self, updates: list[Any], known: gradients.Known) -> None:
        """Moves every trunk and head; then, every so many steps, mixes the trunks."""
        super().update(updates, known)
        if self.fixed is None:
            self._measure(updates)
        self.counter.assign_add(1)
        branch(self.counter.value % self.every == 0, self._mix, lambda: tf.constant(0.0))

    def _measure(self, updates: list[Any]) -> None:
        """Adds the cosines of this step to the running mean; a task without a gradient has none."""
        by_variable = {id(variable): update for variable, update in zip(self.variables, updates, strict=True)}
        parts = []
        for place in zip(*self.copies, strict=True):
            given = [by_variable.get(id(variable)) for variable in place]
            if all(update is not None for update in given):
                rows = [tf.reshape(tf.cast(tf.convert_to_tensor(update), tf.float32), [-1]) for update in given]
                parts.append(tf.matmul(tf.stack(rows), tf.stack(rows), transpose_b=True))
        gram = tf.add_n(parts)
        norms = tf.sqrt(tf.linalg.diag_part(gram))
        products = norms[:, None] * norms[None, :]
        seen = tf.math.is_finite(products) & (products > 0)
        cosines = tf.where(seen, gram / tf.where(seen, products, 1.0), 0.0)
        for held, new in ((self.cosines, cosines), (self.mass, tf.ones_like(cosines))):
            held.assign(tf.where(seen, _MEMORY * held.value + (1 - _MEMORY) * new, held.value))

    def _mix(self) -> Any:
        """Gives every trunk its mean of all."""
        exchange, number = self.exchange, len(self.copies)
        variables: list[Any] = []
        values: list[Any] = []
        for place in zip(*self.copies, strict=True):
            held = [variable.value for variable in place]
            shares = tf.cast(exchange, held[0].dtype)
            # No matrix product: TensorFloat-32 would round the weights of those that exchange nothing.
            values += [
                tf.add_n([shares[row, column] * held[column] for column in range(number)]) for row in range(number)
            ]
            variables += place
        write_copies(variables, values)
        return tf.constant(0.0)
