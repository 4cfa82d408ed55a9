"""One class out of several that have an order."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from kmtl._checks import near_match, require, whole
from kmtl.tasks.base import Task
from kmtl.tasks.class_names import named_classes
from kmtl.tasks.class_options import checked_class_weight, checked_names
from kmtl.tasks.ordinal_links import ConditionalLink, CumulativeLink, tempered_conditional, tempered_cumulative

_LINKS = {"corn": tempered_conditional, "cumulative": tempered_cumulative}


def median_rank(probabilities: Any) -> Any:
    """The rank that as much probability lies above as below, int64: the number of ranks k with `P(y > k) > 1/2`.

    >>> median_rank(ops.array([[0.3, 0.1, 0.2, 0.4], [0.5, 0.5, 0.0, 0.0]])).numpy().tolist()
    [2, 0]
    """
    return ops.sum(ops.cast(ops.cumsum(probabilities, axis=-1)[..., :-1] < 0.5, "int64"), axis=-1)


def rank_accuracy(labels: Any, probabilities: Any) -> Any:
    """1 where the median rank is the label, else 0."""
    return ops.cast(median_rank(probabilities) == ops.cast(labels, "int64"), "float32")


def rank_error(labels: Any, probabilities: Any) -> Any:
    """By how many ranks the median rank misses the label."""
    return ops.abs(ops.cast(median_rank(probabilities), "float32") - ops.cast(labels, "float32"))


@keras.saving.register_keras_serializable(package="kmtl")
class OrdinalRegression(Task):
    """One class out of several in an order, as a grade; the output is a probability a class.

    The label is an integer in `0 .. classes - 1`, or -1 where missing. With `link="corn"` the head asks K - 1
    questions, each of those examples alone that the question before let through: "is the rank above k, if it is not
    below?". Their answers f give probabilities that no order can contradict:

        P(y > k) = f_0 f_1 ... f_k,    p_j = P(y > j - 1) - P(y > j)

    The loss of an example is the sum of the binary cross-entropies of the questions that it is asked, which is
    `-log p_y`. With `link="cumulative"` it has one score, which passes ordered thresholds: P(y > k) is the sigmoid of
    score less threshold ("proportional odds"). That is fewer weights, and one direction in the features from the
    lowest class to the highest; the loss is `-log p_y`, too. The decided class is the median, which errs by the fewest
    ranks; metrics: mean absolute error in ranks, and accuracy.

    Args:
        name: Key of the task in outputs, labels, weights and logs.
        classes: Number of classes, at least 2.
        label_names: A name for each class, in order.
        class_weight: Weight of each class's examples in training: a dict or `"balanced"`.
        link: `"corn"` or `"cumulative"`.
        **options: `loss`, `losses`, `metrics`, `hidden`, `dropout`, `l1`, `l2`: see `Task`.

    Source: Shi, Cao and Raschka, "Deep Neural Networks for Rank-Consistent Ordinal Regression Based On Conditional
    Probabilities" (CORN), 2021. Departures: the mean is taken over examples, not over questions; the questions start
    from equal classes. "cumulative": McCullagh, "Regression Models for Ordinal Data", JRSS B 42, 1980.

    >>> task = OrdinalRegression("grade", classes=5)
    >>> task.units, task.metric_names(), task.direction("mae")
    (5, ['mae', 'accuracy'], 'min')
    """

    kind: ClassVar[str] = "ordinal"
    meaning: ClassVar[str] = "a probability for each class, in order"
    label_dtype: ClassVar[str] = "int32"
    decides: ClassVar[bool] = True
    chooses: ClassVar[bool] = True
    default_metrics: ClassVar[tuple[str, ...]] = ("mae", "accuracy")
    mean_metrics: ClassVar[Mapping[str, Callable[[Any, Any], Any]]] = {
        **dict.fromkeys(("mae", "mean_absolute_error"), rank_error),
        **dict.fromkeys(("accuracy", "acc"), rank_accuracy),
    }

    def __init__(
        self,
        name: str,
        classes: int,
        *,
        label_names: Sequence[str] | None = None,
        class_weight: Mapping[int, float] | str | None = None,
        link: str = "corn",
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        require(link in _LINKS, self.owner, "link", f"must be one of {list(_LINKS)}", link, near_match(link, _LINKS))
        self.link = link
        self.classes = whole(self.owner, "classes", classes, 2)
        self.label_names = checked_names(self, label_names, self.classes)
        self.class_weight = checked_class_weight(self, class_weight, self.classes)

    @property
    def units(self) -> int:
        """Width of the output: one probability a class."""
        return self.classes

    @property
    def loss_shape(self) -> tuple[int | None, ...]:
        """The loss takes the class's index, `(batch,)`."""
        return ()

    @property
    def final_activation(self) -> str:
        """An output is a probability a class, whatever the head has in front."""
        return "softmax"

    @property
    def default_loss(self) -> str:
        """Sparse categorical cross-entropy of the class probabilities: the sum over the questions."""
        return "sparse_categorical_crossentropy"

    def output(self, features: Any) -> Any:
        """Builds the questions, or the score, and turns them into class probabilities."""
        options = {"kernel_regularizer": self.regularizer(), "dtype": "float32"}
        if self.link == "cumulative":
            # A bias would move all thresholds.
            score = keras.layers.Dense(1, use_bias=False, name=f"{self.name}_score", **options)(features)
            logs = CumulativeLink(self.classes, name=f"{self.name}_thresholds")(score)
        else:
            # Of n equal classes that are left, all but the first are above it.
            equal = keras.initializers.Constant(np.log(np.arange(self.classes - 1, 0, -1)).tolist())
            questions = keras.layers.Dense(
                self.classes - 1, bias_initializer=equal, name=f"{self.name}_questions", **options
            )
            logs = ConditionalLink(name=f"{self.name}_ranks")(questions(features))
        # Keras finds the logarithms behind the softmax.
        return keras.layers.Softmax(dtype="float32", name=self.name)(logs)

    def tempered(self, probabilities: Any, temperature: float) -> Any:
        """What becomes of probabilities when the logits of the questions, or score and thresholds, are divided."""
        return _LINKS[self.link](probabilities, temperature)

    @property
    def measurement_level(self) -> str:
        """Numeric: classes in order count by their numbers."""
        return "numeric"

    def class_probabilities(self, outputs: Any) -> Any:
        """The outputs, `(batch, classes)`."""
        return outputs

    def explained(self, outputs: Any, classes: Any) -> Any:
        """The logit of the class in question, `(batch, 1)`."""
        return ops.take_along_axis(outputs, classes[:, None], axis=-1)

    def decide(self, outputs: Any) -> Any:
        """The median class, `(batch,)`."""
        return median_rank(outputs)

    def read(self, outputs: Any) -> dict[str, Any]:
        """The median class, by its name if classes have names, and its probability, `(batch,)` each."""
        best = self.decide(outputs)
        probability = ops.take_along_axis(outputs, ops.expand_dims(best, -1), axis=-1)
        return {"label": named_classes(self.label_names, best), "probability": ops.squeeze(probability, -1)}

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        own = {"classes": self.classes, "label_names": self.label_names, "class_weight": self.class_weight}
        own["link"] = self.link
        return {**super().get_config(), **own}
