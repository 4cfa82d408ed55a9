"""Features of several branches made one."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from kmtl._checks import near, require, whole
from kmtl.sharing.branches import (
    any_of,
    branch_names,
    checked_shapes,
    either_mask,
    in_order,
    merged_sides,
    presence,
    without_missing,
)

# What a score is where a branch is missing: its share is 0 in float32, and stays finite where all are.
_NO_SHARE = -1e9


@keras.saving.register_keras_serializable(package="kmtl")
class FeatureFusion(keras.layers.Layer):
    r"""Makes one tensor of features of several branches, as of an image and a text, or of several tasks' trunks.

    With `units` each branch `x_i` is first projected, `p_i = act(W_i x_i + b_i)`, so that the branches have one width
    and one space; without, `p_i = x_i`, and only `"concat"` takes unlike widths. The modes:

        concat      [p_1; ...; p_K]
        sum, mean, max    of the p_i, element by element
        gated       sum_i g_i * p_i,   (g_1, ..., g_K) = softmax over i of V [p_1; ...; p_K] + c, a gate an element
        attention   sum_i a_i p_i,     (a_1, ..., a_K) = softmax over i of u' tanh(A p_i + d), a number a branch
        bilinear    p_1 * ... * p_K, element by element, projected without a bias: each element is a form x' M y of
                    rank one, so that it tells of pairs of features

    An input may be missing in a row: with `present` its branch takes no part there, and gets no gradient. `"concat"`
    has zeros for it, `"mean"` divides by what is there, gates and attention share 1 among what is there, `"bilinear"`
    leaves out a factor. Where all are missing, all is 0.

    On maps and sequences the branches are fused at each place, by the same weights; they must have the same sides.

    Source: gates, for two branches, Arevalo et al., "Gated Multimodal Units for Information Fusion", ICLR Workshop
    2017; attention Bahdanau et al., "Neural Machine Translation by Jointly Learning to Align and Translate", ICLR
    2015, with a learned query as in Yang et al., "Hierarchical Attention Networks for Document Classification", NAACL
    2016; bilinear Kim et al., "Hadamard Product for Low-Rank Bilinear Pooling", ICLR 2017, whose last projection is
    the next layer here.

    Shapes: a list of `(batch, ..., width_i)`, or a dict of them, which counts in the order of its names;
    `(batch, ..., units)` out, of `"concat"` the widths side by side.

    Args:
        mode: One of the above.
        units: Width that each branch is projected to; None leaves the branches as they are. `"bilinear"` needs it.
        activation: Of the projections.
        **kwargs: Keras layer options.

    Raises:
        ValueError: If an option or the shape of a branch breaks a rule.

    >>> from kmtl.sharing import present_rows
    >>> image, text = keras.Input((16,)), keras.Input((8,))
    >>> there = [present_rows(image), present_rows(text)]
    >>> features = FeatureFusion("gated", units=4)([image, text], present=there)
    >>> features.shape
    (None, 4)
    >>> FeatureFusion("mean")([ops.array([[1.0]]), ops.array([[9.0]])], present=[ops.array([1]), ops.array([0])])
    <tf.Tensor: shape=(1, 1), dtype=float32, numpy=array([[1.]], dtype=float32)>
    """

    def __init__(
        self, mode: str = "concat", units: int | None = None, *, activation: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        known = isinstance(mode, str) and mode in _MODES
        require(known, "FeatureFusion", "mode", "must be a way to fuse", mode, near(str(mode), _MODES))
        self.mode = mode
        self.units = None if units is None else whole("FeatureFusion", "units", units, 1)
        needs = mode != "bilinear" or units is not None
        require(needs, "FeatureFusion", "units", "must be a width with mode 'bilinear'", units)
        self.activation = keras.activations.get(activation)
        alone = activation is None or units is not None
        fix = "Without a projection nothing has an activation: give `units`."
        require(alone, "FeatureFusion", "activation", "must stand beside `units`", activation, fix)

    def build(self, input_shape: Any) -> None:
        """Makes the projections, and the scores of gates or attention."""
        free = self.mode == "concat" or self.units is not None
        fix = "" if free else f"Give `units`, the width to project to: FeatureFusion({self.mode!r}, units=64)."
        shapes = checked_shapes("FeatureFusion", input_shape, one_width=fix)
        self.projections = []
        if self.units is not None:
            for name, shape in zip(branch_names(input_shape), shapes, strict=True):
                dense = self._dense(self.units, f"projection_{name}", self.activation, self.mode != "bilinear")
                dense.build(shape)
                self.projections.append(dense)
            shapes = [(*shape[:-1], self.units) for shape in shapes]
        width = shapes[0][-1] or 0
        if self.mode == "gated":
            self.gate = self._dense(len(shapes) * width, "gate")
            self.gate.build((*shapes[0][:-1], len(shapes) * width))
        elif self.mode == "attention":
            self.hidden, self.query = self._dense(width, "hidden", "tanh"), self._dense(1, "query", use_bias=False)
            for layer in (self.hidden, self.query):
                layer.build(shapes[0])

    def _dense(self, units: int, name: str, activation: Any = None, use_bias: bool = True) -> Any:
        """Makes a dense layer of this layer's precision."""
        return keras.layers.Dense(units, activation, use_bias, dtype=self.dtype_policy, name=name)

    def call(self, inputs: Any, present: Any = None) -> Any:
        """Fuses the branches.

        Args:
            inputs: A list or a dict of tensors.
            present: Bools `(batch,)` for each, in the same form: which rows of its input are there, as
                `kmtl.sharing.present_rows` tells; None if all are.
        """
        there = presence("FeatureFusion", inputs, present)
        branches = in_order(inputs)
        if self.projections:
            branches = [dense(one) for dense, one in zip(self.projections, branches, strict=True)]
        return _MODES[self.mode](self, without_missing(branches, there), there)

    def gates(self, branches: Sequence[Any]) -> list[Any]:
        """A score an element of each branch, from all of them."""
        return ops.split(self.gate(ops.concatenate(branches, axis=-1)), len(branches), axis=-1)

    def attention(self, branches: Sequence[Any]) -> list[Any]:
        """A score a branch, `(batch, ..., 1)`, from that branch alone."""
        return [self.query(self.hidden(one)) for one in branches]

    def compute_mask(self, inputs: Any, previous_mask: Any) -> Any:
        """The mask of padding, where every branch has one."""
        del inputs
        return either_mask(previous_mask)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The sides of the branches, and the width of the mode."""
        shapes = [tuple(shape) for shape in in_order(input_shape)]
        widths = [self.units or shape[-1] or 0 for shape in shapes]
        return (*merged_sides(shapes), sum(widths) if self.mode == "concat" else widths[0])

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        activation = None if self.units is None else keras.activations.serialize(self.activation)
        return {**super().get_config(), "mode": self.mode, "units": self.units, "activation": activation}


def _concat(layer: Any, branches: list[Any], there: Any) -> Any:
    """Side by side, zeros where one is missing."""
    del layer, there
    return ops.concatenate(branches, axis=-1)


def _sum(layer: Any, branches: list[Any], there: Any) -> Any:
    """The sum of those that are there."""
    del layer, there
    total = branches[0]
    for one in branches[1:]:
        total = total + one
    return total


def _mean(layer: Any, branches: list[Any], there: Any) -> Any:
    """The mean of those that are there."""
    total = _sum(layer, branches, there)
    if there is None:
        return total / len(branches)
    count = _sum(layer, [ops.cast(mask, total.dtype) for mask in there], None)
    return total / ops.maximum(count, 1)


def _max(layer: Any, branches: list[Any], there: Any) -> Any:
    """The largest of those that are there."""
    del layer
    if there is None:
        return ops.max(ops.stack(branches, axis=0), axis=0)
    least = [ops.where(mask, one, float("-inf")) for mask, one in zip(there, branches, strict=True)]
    found = ops.max(ops.stack(least, axis=0), axis=0)
    return ops.where(any_of(there), found, ops.zeros_like(found))


def _bilinear(layer: Any, branches: list[Any], there: Any) -> Any:
    """The product of those that are there."""
    del layer
    factors = branches
    if there is not None:
        factors = [ops.where(mask, one, ops.ones_like(one)) for mask, one in zip(there, branches, strict=True)]
    product = factors[0]
    for one in factors[1:]:
        product = product * one
    return product if there is None else ops.where(any_of(there), product, ops.zeros_like(product))


def _gated(layer: Any, branches: list[Any], there: Any) -> Any:
    """The sum, each element by its gate."""
    return _shared_out(layer.gates(branches), branches, there)


def _attention(layer: Any, branches: list[Any], there: Any) -> Any:
    """The sum, each branch by its share."""
    return _shared_out(layer.attention(branches), branches, there)


def _shared_out(scores: list[Any], branches: list[Any], there: Any) -> Any:
    """The sum of branches, each times its share of 1, which is 0 where it is missing."""
    logits = [ops.cast(score, "float32") for score in scores]
    if there is not None:
        logits = [ops.where(mask, score, _NO_SHARE) for mask, score in zip(there, logits, strict=True)]
    shares = ops.unstack(ops.softmax(ops.stack(logits, axis=-1), axis=-1), axis=-1)
    # Where all are missing the shares are alike, and the branches zeros.
    return _sum(None, [ops.cast(share, one.dtype) * one for share, one in zip(shares, branches, strict=True)], None)


_MODES: dict[str, Callable[[Any, list[Any], Any], Any]] = {
    "concat": _concat,
    "sum": _sum,
    "mean": _mean,
    "max": _max,
    "gated": _gated,
    "attention": _attention,
    "bilinear": _bilinear,
}
