"""Whether a row's one part goes with another row's other part, over all pairs of a batch."""

from typing import Any, ClassVar

import keras
from keras import ops

from kmtl._checks import near, require, whole
from kmtl.tasks.base import Task

TARGETS = ("both", "equal")


def relation_logits(first: Any, second: Any) -> Any:
    """Logits of all pairs, by one product of matrices: `l_ij = u_i' v_j + b_j`.

    Args:
        first: Outputs of a `Relation` of the rows whose first parts are meant, `(n, 2 width + 1)`: u, v and b.
        second: Outputs of those whose second parts are.

    Returns:
        `(n, m)`.

    >>> relation_logits(ops.array([[2.0, 0.0, 0.0]]), ops.array([[0.0, 3.0, 0.5], [0.0, -1.0, 0.0]])).numpy().tolist()
    [[6.5, -2.0]]
    """
    width = (first.shape[-1] - 1) // 2
    product = ops.matmul(first[:, :width], ops.transpose(second[:, width : 2 * width]))
    return product + ops.transpose(second[:, 2 * width :])


@keras.saving.register_keras_serializable(package="kmtl")
class RelationLoss(keras.losses.Loss):
    """Mean binary cross-entropy over all pairs of a batch's rows, i of the first part and j of the second.

        L_i = mean_j [softplus(l_ij) - z_ij l_ij],   z_ij = y_1(i) y_2(j)   or   1[y_1(i) = y_2(j)]

    over the j whose label is there; bounded below by 0, and convex in the logits.

    Args:
        target: `"both"` or `"equal"`.
        name: Of the loss.
        **kwargs: As for `keras.losses.Loss`.

    >>> outputs = ops.array([[2.0, 0.0, 0.0], [0.0, 3.0, 0.0]])
    >>> values = RelationLoss("both").call(ops.array([[1.0, -1.0], [-1.0, 1.0]]), outputs)
    >>> round(float(values[0]), 5)  # one pair, of logit 6, that is related: log(1 + exp(-6))
    0.00248
    """

    def __init__(self, target: str = "both", name: str = "relation", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.target = checked_target("RelationLoss", target)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns one loss a row, `(batch,)`; 0 of a row whose first label is missing.

        Args:
            y_true: Labels of both parts, negative where missing, `(batch, 2)`.
            y_pred: Outputs of a `Relation`, `(batch, 2 width + 1)`.
        """
        first, second = y_true[:, :1], ops.transpose(y_true[:, 1:])
        both = self.target == "both"
        related = first * second if both else ops.cast(ops.equal(first, second), y_pred.dtype)
        counted = ops.cast((first >= 0) & (second >= 0), y_pred.dtype)
        logits = relation_logits(y_pred, y_pred)
        losses = counted * (ops.softplus(logits) - ops.where(counted > 0, related, 0.0) * logits)
        return ops.sum(losses, axis=1) / ops.maximum(ops.sum(counted, axis=1), 1.0)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "target": self.target}


@keras.saving.register_keras_serializable(package="kmtl")
class Relation(Task):
    """Whether a row's first part goes with a row's second part; the output is what scores any pair of rows.

        pi_ij = sigmoid(u_i' v_j + b_j)

    A row's output holds u of its first part, v and b of its second, so that n first parts and m second ones are scored
    by one product of matrices: `relation_logits`, or `kmtl.sharing.PairRelation`, which builds it on features of each.
    Its loss is the mean binary cross-entropy over all pairs of the batch, of n rows n^2.

    The label of a row is that of both parts, `(y_1, y_2)`. A pair is related if both are yes (`target="both"`), or have
    one class (`"equal"`). Either may be missing (-1): a pair with a missing label counts in no loss, and a row whose
    first label is missing has none. So the loss depends on the batch: in `evaluate` too, `batch_size` matters. On
    several replicas pairs are those within a replica, and N replicas do not give the weights of one. A sample weight is
    the first part's.

    Args:
        name: Key of the task in outputs, labels, weights and logs.
        width: Numbers in u and in v.
        target: `"both"` or `"equal"`.
        classes: Number of classes that a label may be; 2 for `"both"`.
        **options: `hidden`, `dropout`, `l1`, `l2`, `where`: see `Task`; its loss is its own, and it has no metrics.

    >>> task = Relation("goes_with", width=16)
    >>> task.label_shape, task.output_shape
    ((2,), (33,))
    """

    kind: ClassVar[str] = "relation"
    meaning: ClassVar[str] = "of the first part a vector, of the second a vector and a bias"
    label_dtype: ClassVar[str] = "int32"

    def __init__(self, name: str, width: int, *, target: str = "both", classes: int = 2, **options: Any) -> None:
        super().__init__(name, **options)
        self.width = whole(self.owner, "width", width, 1)
        self.target = checked_target(self.owner, target)
        self.classes = whole(self.owner, "classes", classes, 2)
        rule, fix = "must be 2 where a pair is related if both labels are yes", "Take target='equal' for classes."
        require(target == "equal" or self.classes == 2, self.owner, "classes", rule, classes, fix)
        own = (self.loss is None or isinstance(self.loss, RelationLoss)) and self.losses is None
        rule = "must be left out: it is taken over pairs of rows"
        require(own, self.owner, "loss", rule, self.loss or self.losses)
        require(not self.metrics, self.owner, "metrics", "must be left out: they compare row by row", self.metrics)

    @property
    def measurement_level(self) -> str:
        """None: a row's two labels belong to two things."""
        return ""

    @property
    def label_shape(self) -> tuple[int | None, ...]:
        """The labels of both parts."""
        return (2,)

    @property
    def units(self) -> int:
        """Width of the output: two vectors and a bias."""
        return 2 * self.width + 1

    @property
    def default_loss(self) -> Any:
        """Mean binary cross-entropy over the pairs of the batch."""
        return RelationLoss(self.target)

    def label_losses(self, loss: Any, labels: Any, predictions: Any, present: Any) -> tuple[Any, Any]:
        """One loss a row that has a first label, if some row has a second."""
        known = ops.where(present, ops.cast(labels, "float32"), -1.0)
        values = ops.cast(loss.call(known, predictions), "float32")
        return values, present[:, 0] & ops.any(present[:, 1])

    def describe(self, label: Any, output: Any) -> str:
        """The labels of both parts; an output says nothing by itself."""
        del output
        shown = "?" if label is None else ", ".join("?" if one < 0 else str(int(one)) for one in label)
        return f"{self.name} {shown}"

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "width": self.width, "target": self.target, "classes": self.classes}


def checked_target(owner: str, target: Any) -> str:
    """Returns when a pair is related, or refuses what is unknown."""
    require(target in TARGETS, owner, "target", "must say when a pair is related", target, near(str(target), TARGETS))
    return str(target)
