"""What an output says about the place of its label besides one value."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from kmtl.tasks.outputs import Output
from kmtl.tasks.shapes import elements_of
from kmtl.tasks.tempering import tempered


class IntervalOutput(Output):
    """An output that may tell how uncertain it is; every kind of task is one, and says below only what differs."""

    # Whether the numbers of an output hang together, so that a layer of the kind makes it and no dense one may.
    own_output_layer: ClassVar[bool] = False

    @property
    def lowest_loss(self) -> float:
        """What the kind's own loss cannot go below: 0, unless it is the likelihood of a density."""
        return 0.0

    def metric_of_outputs(self, name: str) -> Callable[[Any, Any], Any] | None:
        """A function whose mean over the labels is a metric by this name, where it needs more than `metric_outputs`.

        Args:
            name: As in `metrics`.

        Returns:
            A function of labels `(..., *loss_shape)` and outputs `(..., *output_shape)` that gives one value a label or
            an element of it; None where the kind has none by this name.
        """
        del name
        return None

    def tempered(self, probabilities: Any, temperature: float) -> Any:
        """What probabilities of classes become when the logits that they are made of are divided by a temperature.

        Args:
            probabilities: Array `(rows, classes)`.
            temperature: Above 0; 1 changes nothing, more is less sure.
        """
        return tempered(probabilities, temperature)

    def band(self, outputs: Any) -> tuple[Any, Any, Any] | None:
        """Where an output places its label, and the unit in which a miss is counted, for intervals.

        Args:
            outputs: Array `(n, *output_shape)`.

        Returns:
            Lower end, upper end and unit, `(n, elements)` each, NumPy: both ends are the value where an output is one.
            None where it is none, or has an element a place.
        """
        values = not self.decides and self.label_dtype == "float32" and not self.dense_axes
        if not values or None in self.label_shape or self.units != max(elements_of(self.label_shape), 1):
            return None
        flat = np.asarray(outputs, "float64").reshape(len(outputs), -1)
        return flat, flat, np.ones_like(flat)

    def compared_values(self, labels: Any, outputs: Any) -> tuple[Any, Any] | None:
        """Labels and what outputs say of them side by side, of a task whose labels are numbers, for residuals.

        Args:
            labels: Array `(n, *label_shape)`, missing elements as `missing` says.
            outputs: Array `(n, *output_shape)`.

        Returns:
            Labels and values, `(rows, elements)` each, float64 in the label's unit: a row an example, or a place of
            one. A missing label is NaN. None for a task of classes, and where outputs are of other elements.
        """
        elements = self.label_shape[self.dense_axes :]
        if self.decides or self.classes or None in elements:
            return None
        values, given = np.asarray(labels), np.asarray(self.metric_outputs(np.asarray(outputs)), "float64")
        if values.size != given.size:
            return None
        truth = np.where(np.asarray(self.present(values)), values, np.nan).astype("float64")
        return truth.reshape(-1, elements_of(elements)), given.reshape(-1, elements_of(elements))

    def output_description(self) -> dict[str, Any]:
        """What a reader of an exported output must know besides its shape, as JSON holds it."""
        return {
            "kind": self.kind or None,
            "meaning": self.meaning,
            "label_names": None if self.label_names is None else list(self.label_names),
            "unit": self.unit,
            "threshold": list(self.threshold) if isinstance(self.threshold, tuple) else self.threshold,
        }

    def example_errors(self, labels: Any, outputs: Any) -> Any:
        """How far each example's output is from its label, to find the best and the worst ones.

        Of a task that gives probabilities of classes `-log p` of the label, in nats; of one of values the distance in
        the label's unit; the mean over elements and places.

        Args:
            labels: Array `(n, *label_shape)`, missing elements as `missing` says.
            outputs: Array `(n, *output_shape)`.

        Returns:
            `(n,)`, NaN of an example without a label; None of a kind that has neither.
        """
        probabilities = self.class_probabilities(np.asarray(outputs, "float64"))
        if probabilities is not None:
            truth = np.asarray(labels).reshape(probabilities.shape[:-1])
            there = np.asarray(self.present(truth))
            own = np.take_along_axis(np.asarray(probabilities), np.where(there, truth, 0)[..., None], axis=-1)[..., 0]
            values = np.where(there, -np.log(np.maximum(own, np.finfo("float32").tiny)), np.nan)
        else:
            pair = self.compared_values(labels, outputs)
            if pair is None:
                return None
            values = np.abs(pair[1] - pair[0])
        rows = values.reshape(len(labels), -1)
        known = np.isfinite(rows)
        counts = known.sum(axis=1)
        return np.where(counts > 0, np.where(known, rows, 0.0).sum(axis=1) / np.maximum(counts, 1), np.nan)

    def intervals(self, outputs: Any) -> dict[float, tuple[Any, Any]]:
        """The intervals that an output tells, by the share of labels that each is to hold; none unless a kind has some.

        Args:
            outputs: Array `(n, *output_shape)`.

        Returns:
            Lower and upper ends, `(n, elements)` each, NumPy; the one that counts first, where one is to stand for all.
        """
        del outputs
        return {}

    def spread_factor(self, labels: Any, outputs: Any) -> float | None:
        """What the uncertainty that outputs tell is to be multiplied by, so that it is what the labels show.

        Args:
            labels: Array `(n, *label_shape)`, missing elements as NaN.
            outputs: Array `(n, *output_shape)`.

        Returns:
            A number above 0; None for a kind that tells no uncertainty by a layer of its own.
        """
        del labels, outputs
        return None

    def with_spread(self, outputs: Any, factor: float) -> Any:
        """Outputs that tell so many times as much uncertainty about the same values.

        Args:
            outputs: Array `(n, *output_shape)`.
            factor: Above 0.

        Returns:
            Array of the same shape, float64.
        """
        del factor
        return np.asarray(outputs, "float64")
