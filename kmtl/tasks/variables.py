"""What a label or an output is to a statistician: numbers or classes, of which an association is defined."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from kmtl.tasks.moved_labels import MovedLabel


class Variables(NamedTuple):
    """Labels or outputs as variables.

    Attributes:
        values: `(rows, places, elements)`, float64, NaN where missing; places are 1 where an example has one label.
        is_nominal: Whether values are numbers of classes without an order; else they are quantities.
    """

    values: Any
    is_nominal: bool


class VariableLabel(MovedLabel):
    """The label's side of a task, with what of it can be associated with other labels; a kind says what differs."""

    @property
    def measurement_level(self) -> str:
        """What a label's elements measure: `"nominal"` for one of several classes, `"numeric"` for a quantity.

        Yes or no is a quantity of 0 or 1. Empty for a kind whose label has no defined association with others, such
        as a list of boxes.
        """
        return "nominal" if self.weighs_classes and self.classes > 2 else "numeric"

    def label_variables(self, labels: Any) -> Variables:
        """Labels as variables.

        Args:
            labels: `(rows, *label_shape)`, missing ones among them.

        >>> from kmtl.tasks import Classification
        >>> Classification("digit", 3).label_variables(np.array([2, -1]))
        Variables(values=array([[[ 2.]], [[nan]]]), is_nominal=True)
        """
        given = np.asarray(labels)
        known = np.where(np.asarray(self.present(given)), given.astype("float64"), np.nan)
        return Variables(_by_place(known, self.dense_axes), self.measurement_level == "nominal")


def output_variables(task: Any, outputs: Any) -> Variables:
    """Outputs of a task as variables, all numeric: values, the probability of yes, or one probability a class.

    Args:
        task: The task.
        outputs: `(rows, *output_shape)`.

    >>> from kmtl.tasks import BinaryClassification
    >>> output_variables(BinaryClassification("kids"), np.array([[0.25], [1.0]])).values.ravel().tolist()
    [0.25, 1.0]
    """
    given = ops.convert_to_tensor(outputs)
    chances = task.class_probabilities(given)
    if chances is not None:
        chances = chances[..., 1] if task.classes == 2 else chances
    found = task.metric_outputs(given) if chances is None else chances
    return Variables(_by_place(np.asarray(ops.convert_to_numpy(found), "float64"), task.dense_axes), is_nominal=False)


def _by_place(values: Any, dense_axes: int) -> Any:
    """The same values, `(rows, places, elements)`."""
    rows, *sides = values.shape
    return values.reshape(rows, int(np.prod(sides[:dense_axes])), int(np.prod(sides[dense_axes:])))
