"""Many heads of one form as one kernel."""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import pairwise
from typing import Any

import keras
import numpy as np
from keras import ops

from kmtl._checks import require, sizes


@dataclasses.dataclass(frozen=True)
class Narrow:
    """Some of the heads of a fused layer.

    Attributes:
        kernels: One a layer.
        biases: One a layer.
        held: Names of the heads whose slices they hold, in order.
        wanted: Names of those to compute, in order.
    """

    kernels: list[Any]
    biases: list[Any]
    held: list[str]
    wanted: list[str]


@keras.saving.register_keras_serializable(package="kmtl")
class FusedHeads(keras.layers.Layer):
    """Computes K heads of one form with one kernel a layer and splits the result by name.

    Same weights, same outputs as K separate heads; the step launches one
    operation where they launch K. Each slice of a kernel belongs to one task:
    the gradient that reaches it comes from that task's loss alone.

    Shapes: `(batch, width)` in, or a list of one such a head; `{name: (batch, units)}` out.

    Args:
        names: Names of the heads, in order.
        units: Width of each head's output.
        hidden: Units of each head's hidden layers.
        activation: Of the output.
        dropout: Share of hidden units that is dropped.
        l1: Factor of the L1 penalty on the kernels.
        l2: Factor of the L2 penalty on the kernels.
        **kwargs: Keras layer options.

    >>> heads = FusedHeads(["smiling", "bald"], units=1, activation="sigmoid")
    >>> {name: output.shape for name, output in heads(ops.ones((3, 8))).items()}
    {'smiling': TensorShape([3, 1]), 'bald': TensorShape([3, 1])}
    """

    # Slices of its weights belong to one output each, so that nothing of them is shared. A layer that says so has
    # `names` (in its config, too), `only`, `part` and `fold_into_input`.
    serves_outputs_apart = True

    def __init__(
        self,
        names: Sequence[str],
        units: int,
        *,
        hidden: Sequence[int] = (),
        activation: str | None = None,
        dropout: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
        **kwargs: Any,
    ) -> None:
        # Outputs must be float32 under every policy, and the heads are a small part of the work.
        super().__init__(**{**kwargs, "dtype": "float32", "autocast": False})
        self.names = list(names)
        require(bool(self.names), "FusedHeads", "names", "must not be empty", names)
        self.units = units
        self.hidden = sizes("FusedHeads", "hidden", tuple(hidden))
        self.activation = activation
        self.dropout = dropout
        self.l1 = l1
        self.l2 = l2
        self.drop = keras.layers.Dropout(dropout)
        self.narrow: Narrow | None = None

    def build(self, input_shape: Any) -> None:
        """Makes the kernels: `(width, K * n)` first, `(K, m, n)` behind."""
        count = len(self.names)
        width = input_shape[0][-1] if isinstance(input_shape[0], list | tuple) else input_shape[-1]
        widths = [width, *self.hidden, self.units]
        self.kernels, self.biases = [], []
        for index, (fan_in, fan_out) in enumerate(pairwise(widths)):
            shape = (fan_in, count * fan_out) if index == 0 else (count, fan_in, fan_out)
            self.kernels.append(self._kernel(shape, fan_in, fan_out, f"kernel_{index}"))
            self.biases.append(self.add_weight(shape=(count, fan_out), initializer="zeros", name=f"bias_{index}"))

    def _kernel(self, shape: tuple[int, ...], fan_in: int, fan_out: int, name: str) -> Any:
        """Makes a kernel whose slices are drawn as a separate head's would be (Glorot uniform)."""
        limit = math.sqrt(6.0 / (fan_in + fan_out))
        return self.add_weight(
            shape=shape,
            initializer=keras.initializers.RandomUniform(-limit, limit),
            regularizer=keras.regularizers.L1L2(self.l1, self.l2) if self.l1 or self.l2 else None,
            name=name,
        )

    @contextlib.contextmanager
    def only(self, names: Collection[str], *, copied: bool = False) -> Iterator[None]:
        """Computes only the heads of these names for a while; the outputs of the others are zeros.

        A function that is traced meanwhile, and gives these outputs alone, does the work of these heads alone.

        Args:
            names: Some of `names`, in any order.
            copied: Whether it reads copies of these heads' slices rather than the kernels of all.
        """
        before = self.narrow
        kernels, biases, held = self._held()
        wanted = [name for name in held if name in names]
        if copied:
            places = [held.index(name) for name in wanted]
            kernels = [_copy(_slices(kernel, places, len(held))) for kernel in kernels]
            biases, held = [_copy(ops.take(bias, places, axis=0)) for bias in biases], wanted
        self.narrow = Narrow(kernels, biases, held, wanted)
        try:
            yield
        finally:
            self.narrow = before

    def _held(self) -> tuple[list[Any], list[Any], list[str]]:
        """Kernels, biases and the names of the heads whose slices they hold."""
        narrow = self.narrow
        return (narrow.kernels, narrow.biases, narrow.held) if narrow else (self.kernels, self.biases, self.names)

    def call(self, inputs: Any, training: bool | None = None) -> dict[str, Any]:
        """Computes every head and names the outputs."""
        kernels, biases, held = self._held()
        names = self.narrow.wanted if self.narrow else held
        if names != held:
            places = [held.index(name) for name in names]
            kernels = [_slices(kernel, places, len(held)) for kernel in kernels]
            biases = [ops.take(bias, places, axis=0) for bias in biases]
        several = inputs if isinstance(inputs, list | tuple) else [inputs] * len(self.names)
        values = self._first([several[self.names.index(name)] for name in names], kernels[0]) + biases[0]
        last = len(kernels) - 1
        for index in range(last):
            values = self.drop(ops.relu(values), training=training) if index == last - 1 else ops.relu(values)
            values = ops.einsum("bki,kij->bkj", values, kernels[index + 1]) + biases[index + 1]
        values = keras.activations.get(self.activation)(values)
        outputs = ops.split(ops.reshape(values, (-1, len(names) * self.units)), len(names), axis=-1)
        found = dict(zip(names, outputs, strict=True))
        if len(found) < len(self.names):
            found = {**dict.fromkeys(self.names, ops.zeros_like(outputs[0])), **found}
        return {name: found[name] for name in self.names}

    def _first(self, several: list[Any], kernel: Any) -> Any:
        """What the first kernel makes of the features, one a head: `(batch, heads, n)`."""
        count = len(several)
        if all(one is several[0] for one in several):
            values = ops.matmul(ops.cast(several[0], "float32"), kernel)
            return ops.reshape(values, (-1, count, kernel.shape[-1] // count))
        # Copies that a fork keeps apart.
        stacked = ops.stack([ops.cast(one, "float32") for one in several])
        return ops.einsum("kbi,ikj->bkj", stacked, ops.reshape(kernel, (-1, count, kernel.shape[-1] // count)))

    def part(self, variable: Any, names: Sequence[str]) -> Callable[[Any], Any]:
        """How to cut what belongs to some heads out of an array that is shaped as one of the layer's variables.

        Args:
            variable: One of the layer's.
            names: Some of `names`; their slices come in this order.
        """
        places = [self.names.index(name) for name in names]

        def cut(values: Any) -> Any:
            if variable is not self.kernels[0]:
                return np.take(values, places, axis=0)
            apart = np.reshape(values, (len(values), len(self.names), -1))
            return np.reshape(np.take(apart, places, axis=1), (len(values), -1))

        return cut

    def fold_into_input(self, name: str, scale: Any, shift: Any) -> None:
        """Writes a scale and a shift of what one head reads into its weights: `W' = diag(s) W`, `c' = c + t W`.

        Args:
            name: One of `names`.
            scale: `(width,)`.
            shift: `(width,)`.
        """
        place = self.names.index(name)
        kernel, bias = np.array(self.kernels[0]), np.array(self.biases[0])
        # A view on the kernel.
        own = kernel.reshape(kernel.shape[0], len(self.names), -1)[:, place]
        bias[place] += shift @ own
        own *= np.asarray(scale)[:, None]
        self.kernels[0].assign(kernel)
        self.biases[0].assign(bias)

    def divide_logits(self, name: str, divisor: float) -> None:
        """Divides what one head gives before its activation: its part of the last kernel and bias.

        Args:
            name: One of `names`.
            divisor: Above 0.
        """
        parts, last = self.slices(name), len(self.kernels) - 1
        for place in (last, last + len(self.kernels)):
            parts[place] = parts[place] / divisor
        self.assign_slices(name, parts)

    def slices(self, name: str) -> list[Any]:
        """One head's part of every kernel and bias, as arrays.

        Args:
            name: One of `names`.
        """
        return [view.copy() for _, view in self._views(name)]

    def assign_slices(self, name: str, values: Sequence[Any]) -> None:
        """Gives one head its part of every kernel and bias, as `slices` returns them.

        Args:
            name: One of `names`.
            values: One array a kernel, then one a bias.
        """
        for variable, (whole, view), value in zip(
            [*self.kernels, *self.biases], self._views(name), values, strict=True
        ):
            view[...] = value
            variable.assign(whole)

    def _views(self, name: str) -> list[tuple[Any, Any]]:
        """Copies of kernels and biases, and of each a view on one head's part."""
        place, found = self.names.index(name), []
        for variable in [*self.kernels, *self.biases]:
            whole = np.array(variable)
            first = variable is self.kernels[0]
            found.append(
                (whole, whole.reshape(whole.shape[0], len(self.names), -1)[:, place] if first else whole[place])
            )
        return found

    def compute_output_shape(self, input_shape: Any) -> dict[str, tuple[int | None, ...]]:
        """One `(batch, units)` a head."""
        first = input_shape[0] if isinstance(input_shape[0], list | tuple) else input_shape
        return dict.fromkeys(self.names, (first[0], self.units))

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {
            "names": self.names,
            "units": self.units,
            "hidden": list(self.hidden),
            "activation": self.activation,
            "dropout": self.dropout,
            "l1": self.l1,
            "l2": self.l2,
        }
        return {**super().get_config(), **own}


def _slices(kernel: Any, places: list[int], count: int) -> Any:
    """The slices of a kernel for `count` heads that belong to some of them, in the kernel's own form."""
    if len(kernel.shape) == 3:
        return ops.take(kernel, places, axis=0)
    apart = ops.reshape(kernel, (kernel.shape[0], count, -1))
    return ops.reshape(ops.take(apart, places, axis=1), (kernel.shape[0], -1))


def _copy(values: Any) -> Any:
    """A variable of its own, not of the layer's."""
    return keras.Variable(values, trainable=False, name="head")
