"""Where the shared trunk ends: one copy of its output a task."""

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import keras
from keras import ops

from kmtl import balancers
from kmtl._checks import refusal, require, words
from kmtl._replicas import branch, sum_over_replicas
from kmtl.gradients import Balanced, Cut, Known

# What a step knows of each task.
_BY_TASK = ("losses", "present", "counts", "healthy")


@keras.saving.register_keras_serializable(package="kmtl")
class Fork(keras.layers.Layer):
    """Hands each task its own copy of the features.

    The copies are equal, so nothing changes in a prediction. In training, the
    gradients that come back tell the tasks apart: here they can be balanced
    for about the cost of the plain step (`level="features"`), or each be
    sent through the trunk alone.

    `MultiTaskModel.from_features` builds one in, and `compile` gives it its
    work. In a plain Keras model it balances by itself if it is given a
    balancer, in plain `fit`. A model may have several, as one a modality.

    The Gramian at the features is `M_ij = <dL_i/dz, dL_j/dz>` over the whole
    batch `z`; the gradient that goes on is `sum_k w_k dL_k/dz`. It is no
    substitute for that of the weights where a method depends on angles:
    Nash-MTL on QM9 lost 179 % against 62 % (Navon et al., "Multi-Task
    Learning as a Bargaining Game", ICML 2022).

    Shapes: any tensor in, a vector, a sequence or a map; `{name: the same tensor}` out, each with the
    mask of the padding that came along.

    Args:
        names: Names of the tasks, in order.
        balancer: None, a name of `kmtl.balancers.names()` or a balancer that needs
            gradients, for a plain Keras model.
        **kwargs: Keras layer options.

    Raises:
        ValueError: If there are no names, or the balancer does not need gradients.

    >>> copies = Fork(["digit", "angle"])(ops.ones((2, 3)))
    >>> {name: copy.shape for name, copy in copies.items()}
    {'digit': TensorShape([2, 3]), 'angle': TensorShape([2, 3])}
    """

    def __init__(self, names: Sequence[str], *, balancer: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.names = list(names)
        fix = "Give the tasks' names."
        require(
            bool(self.names) and len(set(self.names)) == len(self.names), "Fork", "names", "must differ", names, fix
        )
        self.balancer = None if balancer is None else balancers.get(balancer)
        self.attach(self.balancer)

    def attach(self, balancer: Any, *, order: Sequence[int] | None = None, cuts: bool = False) -> None:
        """Gives the fork its work in training.

        Args:
            balancer: What settles the gradients that come back; None lets them be summed.
            order: Places of the balancer's tasks among `names`, in its order; None is that of `names`.
            cuts: Whether the copies are kept apart for passes of their own through the trunk.
        """
        if balancer is not None and balancer.needs == "losses":
            fix = "Pass it to compile(balancer=...) of a MultiTaskModel."
            raise ValueError(refusal("Fork", "balancer", "must need gradients", words(balancer.name), fix))
        # Plain attributes: what Keras tracks becomes part of the weights and of every export.
        object.__setattr__(self, "_attached", balancer)
        object.__setattr__(self, "_order", list(order or range(len(self.names))))
        object.__setattr__(self, "_cuts", cuts)
        # Replicas trace in threads of their own.
        object.__setattr__(self, "_now", threading.local())

    def build(self, input_shape: Any) -> None:
        """Makes the state of the balancer of a plain Keras model."""
        del input_shape
        if self.balancer is not None:
            self.balancer._build_once((len(self.names),))

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Returns one copy a task; the very tensor where there is nothing to do."""
        works = self._attached is not None or self._cuts
        if not training or not works or getattr(self._now, "rests", False):
            return dict.fromkeys(self.names, inputs)
        if self._cuts:
            copies = [ops.copy(inputs) for _ in self.names]
            self._now.cut = Cut(inputs, copies)
        else:
            copies = self._balancing_copies(inputs)
        return dict(zip(self.names, copies, strict=True))

    @contextlib.contextmanager
    def at_rest(self) -> Iterator[None]:
        """Lets the calls inside hand on the very tensor, as in a prediction: what it knows of the last pass stays."""
        self._now.rests = True
        try:
            yield
        finally:
            self._now.rests = False

    def _balancing_copies(self, inputs: Any) -> Any:
        """Copies whose gradients are balanced on their way back."""

        @ops.custom_gradient
        def copy(value: Any) -> Any:
            return tuple(ops.copy(value) for _ in self.names), self._join

        return copy(inputs)

    def _join(self, *upstream: Any) -> Any:
        """One gradient of the features from one a copy."""
        shape, dtype = ops.shape(upstream[0]), upstream[0].dtype
        matrix = ops.stack(
            [ops.reshape(ops.cast(one, "float32"), (-1,)) for one in (upstream[place] for place in self._order)]
        )
        vector = self._direction(matrix)
        return ops.cast(ops.reshape(vector, shape), dtype)

    def _direction(self, matrix: Any) -> Any:
        """The direction `(P,)` of gradients `(K, P)`."""
        balancer = self._attached
        known = getattr(self._now, "known", None)
        losses, present, counts, scale, is_scaled, _ = known or (None, None, None, 1.0, False, None)
        gram = sum_over_replicas(ops.matmul(matrix, ops.transpose(matrix))) / ops.square(scale)
        if is_scaled:
            # An overflow is no fault of a task's: the balancer learns nothing from it.
            present = present & ops.all(ops.isfinite(ops.diagonal(gram)))
        if balancer.needs == "gradients":
            vector = balancer.combine(matrix / scale, losses=losses, present=present) * scale
            weights = balancer.last
        else:
            weights = self._weights(balancer, losses, gram, present, counts)
            sound = ops.isfinite(ops.diagonal(gram))[:, None]
            vector = ops.matmul(weights[None, :], ops.where(sound, matrix, 0.0))[0]
        self._now.balanced = Balanced([], weights, gram)
        # Under loss scaling an overflow must reach the optimizer, which lowers the scale.
        return ops.where(ops.all(ops.isfinite(ops.diagonal(gram))), vector, float("nan")) if is_scaled else vector

    def _weights(self, balancer: Any, losses: Any, gram: Any, present: Any, counts: Any) -> Any:
        """The balancer's weights, new ones where they are due."""

        def fresh() -> Any:
            return balancer.weigh(losses=losses, gram=gram, present=present, counts=counts)

        if balancer.update_every == 1:
            return fresh()
        there = ops.ones_like(ops.diagonal(gram), dtype="bool") if present is None else present
        return branch(balancer.due, fresh, lambda: balancer.keep(losses, there))

    def hear(self, known: Known, tasks: Sequence[str]) -> None:
        """Takes what a step of a `MultiTaskModel` knows, before its backward pass.

        Args:
            known: Of all tasks of the model.
            tasks: Their names, in its order.
        """
        places = [place for place, name in enumerate(tasks) if name in self.names]
        served = known
        if len(places) < len(tasks):
            served = known._replace(**{key: ops.take(getattr(known, key), places) for key in _BY_TASK})
        self._now.known = served

    @property
    def cut(self) -> Cut:
        """Where the last forward pass in training cut the model."""
        return self._now.cut

    @property
    def balanced(self) -> Balanced:
        """Weights and Gramian of the last backward pass."""
        return self._now.balanced

    def spread(self, tasks: Sequence[str]) -> Any:
        """Weights of the last backward pass among all tasks `(K,)`; 1 for a task that passes by."""
        own = iter(ops.unstack(self.balanced.weights))
        return ops.stack([next(own) if name in self.names else ops.ones(()) for name in tasks])

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The input's mask for every task."""
        del inputs
        return None if previous_mask is None else dict.fromkeys(self.names, previous_mask)

    def compute_output_shape(self, input_shape: Any) -> dict[str, Any]:
        """The input's shape for every task."""
        return dict.fromkeys(self.names, input_shape)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        balancer = None if self.balancer is None else keras.saving.serialize_keras_object(self.balancer)
        return {**super().get_config(), "names": self.names, "balancer": balancer}
