"""How far two feature vectors are apart, and what a joint head reads of a pair."""

from collections.abc import Callable, Mapping
from typing import Any

import keras
from keras import ops

from kmtl._checks import is_number, near, require


def _l2(first: Any, second: Any) -> Any:
    """Euclidean distance; where it is 0 its gradient is 0 too, and not NaN as that of a root."""
    squares = ops.sum(ops.square(first - second), axis=-1, keepdims=True)
    apart = squares > 0
    return ops.where(apart, ops.sqrt(ops.where(apart, squares, 1.0)), 0.0)


def _l1(first: Any, second: Any) -> Any:
    """Sum of absolute differences."""
    return ops.sum(ops.abs(first - second), axis=-1, keepdims=True)


def _cosine(first: Any, second: Any) -> Any:
    """1 less the cosine, as half the squared distance of the directions: exactly 0 for equal ones."""
    one, other = ops.normalize(first, axis=-1, epsilon=1e-12), ops.normalize(second, axis=-1, epsilon=1e-12)
    return 0.5 * ops.sum(ops.square(one - other), axis=-1, keepdims=True)


MEASURES: Mapping[str, Callable[[Any, Any], Any]] = {"l2": _l2, "l1": _l1, "cosine": _cosine}


def pair_distance(first: Any, second: Any, measure: str = "l2") -> Any:
    """How far two vectors are apart, row by row; 0 for equal ones, and the same with the two swapped.

        l2: |a - b|_2        l1: |a - b|_1        cosine: 1 - a'b / (|a| |b|)

    Args:
        first: `(batch, width)`.
        second: `(batch, width)`.
        measure: `"l2"`, `"l1"` or `"cosine"`.

    Returns:
        `(batch, 1)`, at least 0; of the cosine at most 2.

    >>> a, b = ops.array([[3.0, 4.0]]), ops.array([[0.0, 0.0]])
    >>> [float(pair_distance(a, b, measure)[0, 0]) for measure in ("l2", "l1")]
    [5.0, 7.0]
    >>> float(pair_distance(a, -a, "cosine")[0, 0])
    2.0
    """
    return MEASURES[checked_measure("pair_distance", measure)](first, second)


def checked_measure(owner: str, measure: Any) -> str:
    """Returns the name of a measure, or refuses."""
    require(measure in MEASURES, owner, "measure", "must be a measure", measure, near(str(measure), MEASURES))
    return str(measure)


def checked_margin(owner: str, margin: Any) -> float:
    """Returns a margin as a float, or refuses."""
    require(is_number(margin) and margin > 0, owner, "margin", "must be a finite number above 0", margin)
    return float(margin)


class _PairLayer(keras.layers.Layer):
    """A layer without weights over two vectors, in float32: differences of like numbers need its digits."""

    def __init__(self, measure: str = "l2", **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.measure = checked_measure(type(self).__name__, measure)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "measure": self.measure}


@keras.saving.register_keras_serializable(package="kmtl")
class PairFeatures(_PairLayer):
    """What a joint model reads of a pair: `[s, |a - b|, a * b]`, unchanged when the two are swapped.

    `s` is a distance for `"l2"` and `"l1"`, a similarity for `"cosine"`: the cosine itself.

    Shapes: `[(batch, width), (batch, width)]` in, `(batch, 1 + 2 width)` out, float32.

    Args:
        measure: `"l2"`, `"l1"` or `"cosine"`.
        **kwargs: Keras layer options.

    >>> PairFeatures()([ops.array([[3.0, 4.0]]), ops.array([[3.0, 2.0]])]).numpy().tolist()
    [[2.0, 0.0, 2.0, 9.0, 8.0]]
    """

    def call(self, inputs: Any) -> Any:
        """Returns the features of each pair."""
        first, second = inputs
        apart = pair_distance(first, second, self.measure)
        score = 1.0 - apart if self.measure == "cosine" else apart
        return ops.concatenate([score, ops.abs(first - second), first * second], axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """One number, and two a feature."""
        first, _ = input_shape
        return (*first[:-1], 1 + 2 * first[-1])


@keras.saving.register_keras_serializable(package="kmtl")
class PairSimilarity(_PairLayer):
    """A distance as a number that a threshold may cut: `1 / (1 + 2 d / margin)`, 1 at distance 0, 1/2 at `margin / 2`.

    More is more alike whatever the measure, so *same* is always what lies above the threshold.

    Shapes: `[(batch, width), (batch, width)]` in, `(batch, 1)` out, float32.

    Args:
        measure: `"l2"`, `"l1"` or `"cosine"`.
        margin: Distance, above 0.
        **kwargs: Keras layer options.

    >>> PairSimilarity(margin=4.0)([ops.array([[3.0, 4.0]]), ops.array([[3.0, 2.0]])]).numpy().tolist()
    [[0.5]]
    """

    def __init__(self, measure: str = "l2", margin: float = 1.0, **kwargs: Any) -> None:
        super().__init__(measure, **kwargs)
        self.margin = checked_margin("PairSimilarity", margin)

    def call(self, inputs: Any) -> Any:
        """Returns how alike the two of each pair are."""
        first, second = inputs
        return 1.0 / (1.0 + 2.0 / self.margin * pair_distance(first, second, self.measure))

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """One number a pair."""
        first, _ = input_shape
        return (*first[:-1], 1)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "margin": self.margin}
