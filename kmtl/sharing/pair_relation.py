"""Relations between all rows of one batch of features and all of another."""

from typing import Any

import keras
from keras import ops

from kmtl._checks import non_negative, refusal, whole, words
from kmtl.tasks import Task, relation_logits


@keras.saving.register_keras_serializable(package="kmtl")
class PairRelation(keras.layers.Layer):
    """What scores every pair of two batches of features: which of these goes with which of those.

        pi_ij = sigmoid(a(h_R,i)' B c(h_P,j) + b_j)

    a and c are dense layers of `width` units with tanh, B a matrix, b_j linear in c. A row's output holds `B'a` of its
    own R part and `c` and `b` of its own P part; all pairs then take one product of matrices: `probabilities`. It is
    the output of a `kmtl.tasks.Relation`, whose loss is the mean cross-entropy over the pairs of a batch, and which is
    trained, balanced, saved and exported with any other tasks. In serving, outputs of P are kept, and those of R are
    compared with them.

    Pairs are those of one batch: larger batches have more, and on several replicas they are those within a replica.

    Shapes: `[(batch, width_R), (batch, width_P)]` in, `(batch, 2 width + 1)` out, float32.

    Args:
        width: Units of a and c.
        l2: Factor of the squared kernels.
        **kwargs: Keras layer options.

    >>> import kmtl
    >>> user, item = keras.Input((3,), name="user"), keras.Input((5,), name="item")
    >>> task = kmtl.tasks.Relation("goes_with", width=8)
    >>> outputs = {"goes_with": PairRelation.of(task)([user, item])}
    >>> model = kmtl.MultiTaskModel({"user": user, "item": item}, outputs, tasks=[task])
    >>> found = model.predict({"user": ops.ones((2, 3)), "item": ops.ones((2, 5))}, verbose=0)["goes_with"]
    >>> PairRelation.probabilities(found, found).shape  # every user with every item
    (2, 2)
    """

    def __init__(self, width: int, l2: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})
        self.width = whole("PairRelation", "width", width, 1)
        self.l2 = non_negative("PairRelation", "l2", l2)
        penalty = keras.regularizers.L2(l2) if l2 else None
        options = {"kernel_regularizer": penalty, "dtype": "float32"}
        self.first = keras.layers.Dense(width, activation="tanh", name="first", **options)
        self.second = keras.layers.Dense(width, activation="tanh", name="second", **options)
        self.relation = keras.layers.Dense(width, use_bias=False, name="relation", **options)
        self.bias = keras.layers.Dense(1, name="bias", **options)

    @classmethod
    def of(cls, task: Task) -> "PairRelation":
        """The layer for a `kmtl.tasks.Relation`, under its name, with its width and its `l2`."""
        width = getattr(task, "width", None)
        if width is None or task.units != 2 * width + 1:
            raise ValueError(refusal("PairRelation", "task", "must be a kmtl.tasks.Relation", words(repr(task))))
        return cls(width, task.l2, name=task.name)

    @staticmethod
    def probabilities(first: Any, second: Any) -> Any:
        """How likely each of n R parts goes with each of m P parts.

        Args:
            first: Outputs of the rows of the R parts, `(n, 2 width + 1)`, as an array or a tensor.
            second: Outputs of the rows of the P parts, `(m, 2 width + 1)`.

        Returns:
            NumPy array `(n, m)`.
        """
        return ops.convert_to_numpy(ops.sigmoid(relation_logits(*map(ops.convert_to_tensor, (first, second)))))

    def build(self, input_shape: Any) -> None:
        """Makes the layers."""
        first, second = input_shape
        self.first.build(first)
        self.second.build(second)
        self.relation.build((first[0], self.width))
        self.bias.build((second[0], self.width))

    def call(self, inputs: Any) -> Any:
        """Returns what scores the rows."""
        first, second = inputs
        other = self.second(second)
        return ops.concatenate([self.relation(self.first(first)), other, self.bias(other)], axis=-1)

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """Two vectors and a bias."""
        return (input_shape[0][0], 2 * self.width + 1)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "width": self.width, "l2": self.l2}
