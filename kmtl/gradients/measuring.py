"""What the tasks' gradients are like, measured on some batches."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kmtl._interrupts import hold_interrupts
from kmtl._table import Result, Table
from kmtl.gradients.backward import Backward, Cut
from kmtl.gradients.vectors import gramian


@dataclasses.dataclass(frozen=True, repr=False)
class Gramians(Result):
    """What some batches told of the tasks.

    Attributes:
        names: The tasks, in order.
        losses: Loss of each task in each batch, under its static weight, `(N, K)`.
        present: Whether the batch had a label of the task, `(N, K)`.
        grams: Inner products of the gradients of the shared weights, `(N, K, K)`.

    >>> print(Gramians(["digit", "angle"], np.ones((1, 2)), np.ones((1, 2), bool), np.array([[[4.0, -1], [-1, 1]]])))
    Looked at 1 batch. Medians of losses and of gradient norms, means of cosines.
     task batches loss gradient_norm cosine_digit cosine_angle
    digit       1    1             2            1         -0.5
    angle       1    1             1         -0.5            1
    """

    names: list[str]
    losses: Any
    present: Any
    grams: Any

    @property
    def norms(self) -> Any:
        """Length of each task's gradient in each batch, `(N, K)`; NaN where the batch had no label of it."""
        lengths = np.sqrt(np.maximum(np.diagonal(self.grams, axis1=1, axis2=2), 0.0))
        return np.where(self.present, lengths, np.nan)

    @property
    def cosines(self) -> Any:
        """Cosine of each pair in each batch, `(N, K, K)`; NaN where a gradient is not there or 0."""
        norms = self.norms
        sizes = norms[:, :, None] * norms[:, None, :]
        known = np.isfinite(sizes) & (sizes > 0)
        return np.where(known, self.grams / np.where(known, sizes, 1.0), np.nan)

    def condition(self, places: Sequence[int]) -> float:
        """Median of the largest singular value of some tasks' gradients over the smallest, at most 1e6.

        Over the batches in which all of them are present; NaN without one. 1 is best.

        Args:
            places: Of the tasks; leave out those without a gradient.
        """
        chosen = list(places)
        grams = self.grams[:, chosen][:, :, chosen]
        known = grams[self.present[:, chosen].all(axis=1) & np.isfinite(grams).all(axis=(1, 2))]
        if not known.size:
            return float("nan")
        values = np.linalg.eigvalsh(known.astype("float64"))
        return float(np.median(np.sqrt(values[:, -1] / np.maximum(values[:, 0], 1e-12 * values[:, -1]))))

    def parts(self) -> list[str | Table]:
        """A row a task."""
        norms, cosines = self.norms, self.cosines
        rows = [
            {
                "task": name,
                "batches": int(self.present[:, place].sum()),
                "loss": over_batches(np.median, np.where(self.present, self.losses, np.nan)[:, place]),
                "gradient_norm": over_batches(np.median, norms[:, place]),
                **{
                    f"cosine_{other}": over_batches(np.mean, cosines[:, place, at])
                    for at, other in enumerate(self.names)
                },
            }
            for place, name in enumerate(self.names)
        ]
        batches = f"{len(self.losses)} batch{'es' * (len(self.losses) != 1)}"
        return [f"Looked at {batches}. Medians of losses and of gradient norms, means of cosines.", Table(rows)]


def over_batches(reduce: Callable[[Any], Any], values: Any) -> float:
    """A mean or median of the numbers that are finite; NaN if none is.

    >>> over_batches(np.median, np.array([1.0, float("nan"), 3.0])), over_batches(np.mean, np.array([float("nan")]))
    (2.0, nan)
    """
    known = values[np.isfinite(values)]
    return float(reduce(known)) if known.size else float("nan")


def measure_gramians(
    forward: Callable[..., Any],
    cut: Callable[[], Cut | None],
    shared: Sequence[Any],
    names: Sequence[str],
    batches: Iterable[Any],
) -> Gramians:
    """Takes losses and Gramians, one batch at a time, and leaves the model as it is.

    Args:
        forward: Of `(x, y, sample_weight)`: the losses and which tasks are present, `(K,)` each.
        cut: Where the last forward pass cut the model, if it did.
        shared: The variables that tasks share.
        names: The tasks.
        batches: `(x, y, sample_weight)` each.
    """
    return measure_parts(forward, cut, {"": shared}, names, batches)[""]


def measure_parts(
    forward: Callable[..., Any],
    cut: Callable[[], Cut | None],
    parts: Mapping[str, Sequence[Any]],
    names: Sequence[str],
    batches: Iterable[Any],
) -> dict[str, Gramians]:
    """Takes losses and a Gramian of each part of the shared variables, such as a layer, from the same backward passes.

    The Gramians of parts that have no variable in common add up to that of all of them.

    Args:
        forward: As of `measure_gramians`.
        cut: The same.
        parts: `{name: variables}`.
        names: The same.
        batches: The same.
    """
    look = _parts_function(forward, cut, parts)
    found = [tuple(value.numpy() for value in look(batch)) for batch in batches]
    losses, present, grams = (np.stack(values) for values in zip(*found, strict=True))
    return {part: Gramians(list(names), losses, present, grams[:, place]) for place, part in enumerate(parts)}


def gramian_function(forward: Callable[..., Any], cut: Callable[[], Cut | None], shared: Sequence[Any]) -> Any:
    """Makes a function of a batch that gives its losses, which tasks are present, and the Gramian; traced once.

    Args:
        forward: Of `(x, y, sample_weight)`: the losses and which tasks are present, `(K,)` each.
        cut: Where the last forward pass cut the model, if it did.
        shared: The variables that tasks share.
    """
    look = _parts_function(forward, cut, {"": shared})

    def of(batch: Any) -> tuple[Any, Any, Any]:
        losses, present, grams = look(batch)
        return losses, present, grams[0]

    return of


def gramians_of(look: Callable[[Any], Any], names: Sequence[str], batches: Iterable[Any]) -> Gramians:
    """As `measure_gramians`, by what `gramian_function` made: a second look at the same model traces nothing."""
    found = [tuple(value.numpy() for value in look(batch)) for batch in batches]
    losses, present, grams = (np.stack(values) for values in zip(*found, strict=True))
    return Gramians(list(names), losses, present, grams)


def _parts_function(forward: Any, cut: Any, parts: Mapping[str, Sequence[Any]]) -> Any:
    """The function of a batch behind both: losses, presence, and a Gramian a part, `(parts, K, K)`."""
    shared = [variable for variables in parts.values() for variable in variables]

    @tf.function(reduce_retracing=True)
    def look(batch: Any) -> tuple[Any, Any, Any]:
        with hold_interrupts():
            with tf.GradientTape(persistent=True) as tape, keras.StatelessScope():
                losses, present = forward(*batch)
                each = tf.unstack(losses)
            rows = iter(zip(*Backward(tape, each, None, shared, shared, cut()).rows(), strict=True))
            columns = [list(islice(rows, len(variables))) for variables in parts.values()]
            return losses, present, tf.stack([gramian(list(zip(*column, strict=True))) for column in columns])

    return look


def first_batches(x: Any, y: Any, sample_weight: Any, size: int, number: int) -> Iterator[Any]:
    """The first batches of arrays or of a stream, each `(x, y, sample_weight)`; weights may be an empty dict."""
    if y is not None:
        x = tf.data.Dataset.from_tensor_slices((x, y, sample_weight or {})).batch(size)
    stream = (x[place] for place in range(len(x))) if isinstance(x, keras.utils.PyDataset) else iter(x)
    for batch in islice(stream, number):
        parts = keras.utils.unpack_x_y_sample_weight(batch)
        yield tuple({} if part is None else tf.nest.map_structure(tf.convert_to_tensor, part) for part in parts)
