"""The backward passes of one step: the heads once, the trunk as often as a method needs."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from kmtl._replicas import sum_over_replicas
from kmtl._types import Tensor
from kmtl.gradients.vectors import gradients_of, weighted_sum, zero_where_not_finite


class Cut(NamedTuple):
    """Where the trunk ends: the features, and the copy that each task works on.

    Attributes:
        features: The trunk's output.
        copies: One tensor a task, equal to the features.
    """

    features: Any
    copies: Sequence[Any]


class Backward:
    """Takes gradients of one forward pass.

    With a cut the heads are passed once, and each pass through the trunk
    starts from the gradients of the copies. Without one each pass starts from
    a task's loss. A part behind those of the copies is a loss over several tasks: its pass starts from
    the gradients of all copies, which are added up.

    Args:
        tape: A persistent tape that saw the forward pass.
        parts: This replica's part of each task's weighted loss, scaled; then of losses over several tasks.
        penalty: This replica's part of the penalties, scaled; None without any.
        every: All trainable variables.
        shared: Those that tasks share.
        cut: Where the trunk ends, if it ends in one place.
    """

    def __init__(
        self,
        tape: tf.GradientTape,
        parts: Sequence[Any],
        penalty: Any,
        every: Sequence[Any],
        shared: Sequence[Any],
        cut: Cut | None = None,
    ) -> None:
        self.tape = tape
        self.parts = list(parts)
        self.penalty = penalty
        self.every = list(every)
        self.shared = list(shared)
        self.cut = cut
        known = {id(variable) for variable in shared}
        self.own = [variable for variable in every if id(variable) not in known]
        self.heads, self.starts = self._pass_heads()

    def _pass_heads(self) -> tuple[list[Any], list[Any]]:
        """Gradients of the heads' own variables, and of the copies if there are any."""
        values = [variable.value for variable in self.own]
        copies = [] if self.cut is None else list(self.cut.copies)
        number = len(copies) or len(self.parts)
        found = self.tape.gradient(self.parts[:number], [*values, *copies])
        heads, starts = found[: len(values)], found[len(values) :]
        if self.penalty is not None:
            more = self.tape.gradient(self.penalty, values)
            heads = [_sum(one, other) for one, other in zip(heads, more, strict=True)]
        starts = [tf.zeros_like(copy) if start is None else start for start, copy in zip(starts, copies, strict=True)]
        for part in self.parts[number:]:
            found = self.tape.gradient(part, [*values, *copies])
            heads = [_sum(one, other) for one, other in zip(heads, found[: len(values)], strict=True)]
            reached = [start for start in found[len(values) :] if start is not None]
            starts.append(tf.add_n(reached) if reached else tf.zeros_like(copies[0]))
        return heads, starts

    def rows(self) -> list[list[Any]]:
        """Gradients of the shared variables, summed over replicas, one list a task.

        A row crosses the replicas in one go, while the next is taken. The passes
        wait for each other: side by side, each would hold its own gradients of the activations.
        """
        found: list[list[Any]] = []
        last: list[Any] = []
        for place, part in enumerate(self.parts):
            with tf.control_dependencies(last):
                start = tf.ones_like(part) if self.cut is None else tf.identity(self.starts[place])
            target = part if self.cut is None else self.cut.features
            last = gradients_of(self.tape, target, self.shared, start)
            found.append(sum_over_replicas(last))
        return found

    def lengths(self) -> Tensor:
        """Lengths of the gradients of the copies, `(K,)`: a guess at those of the weights; None without a cut."""
        if self.cut is None:
            return None
        squares = [tf.reduce_sum(tf.square(tf.cast(start, tf.float32))) for start in self.starts]
        return tf.sqrt(sum_over_replicas(tf.stack(squares)))

    def direction(self, weights: Tensor) -> list[Tensor]:
        """This replica's part of the gradient of the tasks' weighted sum by the shared variables: one pass.

        Args:
            weights: `(K,)`.
        """
        if self.cut is not None:
            return self._through(self.cut, weighted_sum([[start] for start in self.starts], weights)[0])
        return gradients_of(self.tape, self.parts, self.shared, tf.unstack(weights, num=len(self.parts)))

    def direction_with_slopes(self, weights: Tensor) -> tuple[list[Any], Callable[[Sequence[Any]], Any]]:
        """The direction, and a function that tells each task's slope along any direction.

        The direction is linear in the weights, `d = G'w`, so its derivative by them along `u`
        is `G u`: the inner product of each task's gradient with `u`, for all tasks by one more pass.
        A finite difference of the losses along `u` would be a cheaper one, of errors of 1 to 2 %: too much for
        the weights that are learned from it to settle (benchmarks/results/online.md).

        Args:
            weights: `(K,)`.
        """
        with tf.GradientTape() as outer:
            outer.watch(weights)
            direction = self.direction(weights)

        def slopes(along: Sequence[Any]) -> Tensor:
            found = outer.gradient(direction, weights, output_gradients=list(along))
            return tf.zeros_like(weights) if found is None else found

        return direction, slopes

    def _through(self, cut: Cut, start: Tensor) -> list[Tensor]:
        """One pass through the trunk, from a gradient of the features."""
        return gradients_of(self.tape, cut.features, self.shared, start)

    def updates(self, direction: Sequence[Any], *, mend: bool) -> list[Tensor]:
        """One gradient a variable, in the order of all: the direction and penalties of the shared, the heads' own.

        Args:
            direction: Of the shared variables, summed over replicas as all that is returned.
            mend: Whether a head's gradient that is not finite is replaced by zeros.

        Returns:
            Gradients, each of its variable's shape. None is that of a head's variable that no loss or penalty reaches
            in this step: an optimizer leaves it out, so that neither it nor its state moves. A shared variable has
            a gradient always, zeros where nothing reaches it.
        """
        if self.penalty is not None:
            penalties = sum_over_replicas(gradients_of(self.tape, self.penalty, self.shared))
            direction = [_sum(one, other) for one, other in zip(direction, penalties, strict=True)]
        found = {id(variable): gradient for variable, gradient in zip(self.shared, direction, strict=True)}
        heads = sum_over_replicas(self.heads)
        heads = zero_where_not_finite(heads) if mend else heads
        found.update({id(variable): gradient for variable, gradient in zip(self.own, heads, strict=True)})
        return [found[id(variable)] for variable in self.every]


def _sum(one: Any, other: Any) -> Tensor:
    """Sum of two gradients, either of which may be None."""
    if one is None or other is None:
        return other if one is None else one
    return one + other
