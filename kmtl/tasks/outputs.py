"""What an output is: its head, its shape, and how it is read and drawn."""

import copy
from collections.abc import Hashable, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from kmtl._checks import refusal
from kmtl.tasks.class_names import named_classes
from kmtl.tasks.feature_forms import check_form
from kmtl.tasks.shapes import known_shape
from kmtl.tasks.short_numbers import decimals, short_numbers
from kmtl.tasks.thresholds import checked_threshold
from kmtl.tasks.variables import VariableLabel

# The methods that build a dense head.
_PARTS = ("head", "hidden_layers", "output", "dense", "regularizer", "fused_output")


class Output(VariableLabel):
    """The output's side of a task; every kind of task has one, and says below only what differs."""

    activation: ClassVar[str | None] = None
    # Whether an output is read as a decision; otherwise it is a value.
    decides: ClassVar[bool] = False
    # Whether an output holds one number a class, of which one is true.
    chooses: ClassVar[bool] = False
    # What the numbers are, for a reader of an exported file.
    meaning: ClassVar[str] = "values"
    unit: str = ""
    # Tasks whose outputs this one's is the product of; it takes no features then.
    product_of: tuple[str, ...] = ()
    # Probability above which the answer is yes, one or one a label; None where nothing is answered so.
    threshold: float | tuple[float, ...] | None = None
    hidden: tuple[int, ...] = ()
    dropout: float = 0.0
    l1: float = 0.0
    l2: float = 0.0

    @property
    def units(self) -> int:
        """Size of the output's last axis."""
        return 1

    @property
    def output_shape(self) -> tuple[int | None, ...]:
        """Shape of one example's output; None is a side that varies."""
        return (*self.label_shape[: self.dense_axes], self.units)

    # The head.

    @property
    def final_activation(self) -> str | None:
        """The activation that an output ends in to be what the kind says; None where any number may be one."""
        return self.activation

    def check_features(self, features: Any, owner: str) -> None:
        """Refuses features that the head cannot take.

        Args:
            features: KerasTensor, or a list of maps that `chosen_map` gave.
            owner: For the message.
        """
        check_form(self.name, self.features, features, owner)

    def chosen_map(self, maps: Sequence[Any]) -> Any:
        """Chooses what the head takes of a trunk's maps.

        Args:
            maps: KerasTensors `(batch, height, width, channels)`, from fine to coarse.

        Returns:
            One map, or a list of them from fine to coarse; here the coarsest, as `pooling=None` gives it.
        """
        return maps[-1]

    def head(self, features: Any) -> Any:
        """Builds the head on the features and returns the named output.

        Args:
            features: KerasTensor, as `features` says: `(batch, width)` for a vector; or what `chosen_map` gave.

        Returns:
            KerasTensor of shape `(batch, *output_shape)`, float32.
        """
        return self.output(self.hidden_layers(features))

    def product(self, factors: Sequence[Any]) -> Any:
        """Multiplies the outputs of the tasks that `product_of` names.

        Args:
            factors: One output each.

        Returns:
            KerasTensor of shape `(batch, *output_shape)`, float32.
        """
        return keras.layers.Multiply(dtype="float32", name=self.name)(list(factors))

    def hidden_layers(self, features: Any) -> Any:
        """Builds what stands between the features and the output layer."""
        for index, width in enumerate(self.hidden, start=1):
            layer = keras.layers.Dense(
                width, activation="relu", kernel_regularizer=self.regularizer(), name=f"{self.name}_hidden_{index}"
            )
            features = layer(features)
        if self.dropout:
            features = keras.layers.Dropout(self.dropout, name=f"{self.name}_dropout")(features)
        return features

    def output(self, features: Any) -> Any:
        """Builds the output layer, which bears the task's name."""
        return self.dense(self.name)(features)

    def dense(self, name: str) -> Any:
        """Makes the output's dense layer; float32, so that mixed precision keeps probabilities and units exact."""
        return keras.layers.Dense(
            self.units,
            activation=self.activation,
            kernel_regularizer=self.regularizer(),
            dtype="float32",
            name=name,
        )

    def regularizer(self) -> Any:
        """The penalty on the head's kernels, or None."""
        return keras.regularizers.L1L2(self.l1, self.l2) if self.l1 or self.l2 else None

    @property
    def head_form(self) -> Hashable | None:
        """What two heads must share to be computed as one kernel; None for a head that never is."""
        return self.dense_form(Output)

    def dense_form(self, kind: type["Output"]) -> tuple[Hashable, ...] | None:
        """The form of a dense head as a class builds it; None where a subclass builds another, or on a map.

        Dropout on the features differs a head, so those heads stay separate.
        """
        own = any(getattr(type(self), part) is not getattr(kind, part) for part in _PARTS)
        if own or self.features != "vector" or (self.dropout and not self.hidden):
            return None
        return (self.units, self.hidden, self.activation, self.dropout, self.l1, self.l2)

    def fused_output(self, output: Any) -> Any:
        """Ends a head that was computed with others: what `output` builds behind its dense layer."""
        return output

    # Reading.

    def class_probabilities(self, outputs: Any) -> Any:
        """A probability for each class that an element of a label may be; None for a task that has none.

        Args:
            outputs: Array or tensor `(batch, *output_shape)`.

        Returns:
            The like, `(batch, *label_shape, classes)`.
        """
        del outputs
        return

    def outputs_of(self, probabilities: Any) -> Any:
        """Outputs `(batch, *output_shape)` of probabilities, or None: the way back of `class_probabilities`."""
        return probabilities if self.scores_classes else None

    def explained(self, outputs: Any, classes: Any) -> Any:
        """What an explanation of outputs explains, a number each: of values the values themselves.

        Args:
            outputs: Tensor `(batch, units)`; of a task of classes logits.
            classes: The class in question, `(batch,)`; None for a task of values.

        Returns:
            Tensor `(batch, elements)`.
        """
        del classes
        return self.metric_outputs(outputs)

    def with_threshold(self, threshold: Any) -> Any:
        """The same task with another threshold.

        Args:
            threshold: One probability or, of a label of several elements, one for each.

        Raises:
            ValueError: If it is none, or the task has no threshold.
        """
        if self.threshold is None:
            rule = "must belong to a task that answers yes or no"
            raise ValueError(refusal(f"{type(self).__name__}({self.name!r})", "threshold", rule, threshold))
        made = copy.copy(self)
        made.threshold = checked_threshold(self, threshold)
        return made

    def decide(self, outputs: Any) -> Any:
        """The decided classes of outputs, int64, in the shape of labels; None for a task of values.

        Args:
            outputs: Array or tensor `(batch, *output_shape)`.
        """
        del outputs
        return

    def read(self, outputs: Any) -> dict[str, Any]:
        """What a reader wants to see of outputs, by name: `label` of task `digit` is shown as `digit_label`.

        Args:
            outputs: Array or tensor `(batch, *output_shape)`.

        Returns:
            Tensors `(batch, ...)`; of a task that decides, what it decides under `"label"`, by the names of its
            classes; of a task of values the values themselves under `""`, shaped as its labels.
        """
        if self.decides:
            return {"label": named_classes(self.label_names, self.decide(outputs))}
        same = len(self.label_shape) == self.dense_axes and self.units == 1
        return {"": ops.squeeze(outputs, axis=-1) if same else outputs}

    @property
    def scores_classes(self) -> bool:
        """Whether the label is the number of a class, and the output one number a class."""
        return self.weighs_classes and self.units == self.classes and len(self.loss_shape) == self.dense_axes

    def read_keys(self) -> list[str]:
        """Full names of what `read` gives."""
        unnamed = copy.copy(self)
        unnamed.label_names = None
        found = unnamed.read(ops.zeros((1, *known_shape(self.output_shape))))
        return ["_".join(filter(None, (self.name, end))) for end in found]

    def metric_outputs(self, outputs: Any) -> Any:
        """The part of outputs that metrics compare with labels; all of it, unless a head gives more."""
        return outputs

    def constant_outputs(self, labels: Any) -> list[Any]:
        """What a model that sees no input would best give, for the level of guessing; none where the kind cannot tell.

        How often each class occurs, where an output is a probability a class; mean and median of each element, where
        outputs are compared with labels element by element.

        Args:
            labels: Labels of many examples, NumPy.

        Returns:
            Outputs of one label, `(units,)` each; the one of the least loss counts.
        """
        values = np.asarray(labels)
        there = np.asarray(self.present(values))
        if self.weighs_classes and self.units == self.classes:
            counts = np.bincount(values[there].ravel(), minlength=self.classes)[: self.classes]
            return [counts / max(counts.sum(), 1)]
        if (self.label_shape[self.dense_axes :] or (1,)) != (self.units,):
            return []
        rows = np.where(there, values, np.nan).reshape(-1, self.units)
        columns = [column[~np.isnan(column)] for column in rows.T]
        return [
            np.array([reduce(column) if column.size else 0.0 for column in columns]) for reduce in (np.mean, np.median)
        ]

    def describe(self, label: Any, output: Any) -> str:
        """One line of one example, as a picture's title shows it: `angle 10.0 → 12.5 deg`, `digit 3 → 5 ✗`.

        Args:
            label: The label; None where there is none.
            output: The output, `output_shape`.

        Returns:
            Text; a wrong decision ends in ` ✗`.
        """
        if self.decides and not self.label_shape:
            return self._decision(label, output)
        given = self.metric_outputs(output)
        digits = decimals(label, given)
        return f"{self.name} {short_numbers(label, digits)} → {short_numbers(given, digits)} {self.unit}".rstrip()

    def _decision(self, label: Any, output: Any) -> str:
        """The label's class and the decided one, by their names."""
        decided = int(ops.convert_to_numpy(self.decide(np.asarray(output)[None])).ravel()[0])
        known = label is not None and bool(np.all(self.present(np.asarray(label))))
        truth = int(np.ravel(label)[0]) if known else None
        shown = "?" if truth is None else self.class_name(truth)
        return f"{self.name} {shown} → {self.class_name(decided)}{' ✗' if known and truth != decided else ''}"

    def draw(self, axis: Any, label: Any, output: Any) -> None:
        """Draws the label and the output of one example over its picture; nothing, unless a kind knows better.

        Args:
            axis: A matplotlib axis that shows the picture.
            label: The label; None where there is none.
            output: The output, `output_shape`.
        """

    def class_name(self, number: int) -> str:
        """A class by its name, or its number."""
        return self.label_names[number] if self.label_names else str(number)
