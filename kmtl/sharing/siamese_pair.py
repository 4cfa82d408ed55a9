"""Two inputs, one extractor or two, and a head that tells whether they belong together."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
from keras import ops

from kmtl._checks import Refusals, near, refusal, require, words
from kmtl.sharing.pair_features import PairFeatures, PairSimilarity, checked_margin, checked_measure
from kmtl.tasks import Task, build_heads

_SIDES = ("first", "second")


@keras.saving.register_keras_serializable(package="kmtl")
class Contrastive(keras.losses.Loss):
    """The contrastive loss of a pair: the same are drawn together, others pushed apart up to a margin.

        L = y d^2 + (1 - y) max(0, margin - d)^2

    As a task's loss it tells `SiamesePair` to make the task's output `p = 1 / (1 + 2 d / margin)` of the distance d
    alone; the loss turns p back into d.

    Source: Hadsell, Chopra and LeCun, "Dimensionality Reduction by Learning an Invariant Mapping", CVPR 2006.

    Args:
        margin: Distance from which on others are far enough, above 0.
        name: Of the loss.
        **kwargs: As for `keras.losses.Loss`.

    >>> loss = Contrastive(margin=2.0)
    >>> loss.distance(0.5), loss.similarity(3.0)  # of the threshold 0.5, and back from a distance
    (1.0, 0.25)
    >>> loss.call(ops.array([[1.0], [0.0], [0.0]]), ops.array([[0.5], [0.5], [0.25]])).numpy().tolist()
    [1.0, 1.0, 0.0]
    """

    def __init__(self, margin: float = 1.0, name: str = "contrastive", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.margin = checked_margin("Contrastive", margin)

    def distance(self, similarity: Any) -> Any:
        """The distance of which the output is made: below it lies what a threshold calls the same."""
        return 0.5 * self.margin * (1.0 / similarity - 1.0)

    def similarity(self, distance: Any) -> Any:
        """The output for a distance."""
        return 1.0 / (1.0 + 2.0 / self.margin * distance)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns one loss a pair, `(batch,)`."""
        apart = self.distance(y_pred)
        others = ops.square(ops.maximum(self.margin - apart, 0.0))
        return ops.mean(y_true * ops.square(apart) + (1.0 - y_true) * others, axis=-1)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "margin": self.margin}


class SiamesePair:
    """Two inputs, features of each, and heads that read the pair: are they the same?

        h_A = f_A(x_A), h_B = f_B(x_B);   p = C([s(h_A, h_B), |h_A - h_B|, h_A * h_B])

    Inputs of one sort share one extractor, f_A = f_B, and swapping them changes nothing. Of different sorts (a photo
    and a sketch) each has its own; a pair is then the same by a label map that both sorts share.

    A task of the pair is a `kmtl.BinaryClassification` as any: the head C is its own, with its `hidden` layers, and its
    loss is the cross-entropy. With `loss=kmtl.sharing.Contrastive(margin)` there is no C: its output is
    `1 / (1 + 2 d / margin)` of the distance alone, which the loss shapes. Other tasks read one of the two inputs; all
    are trained together.

    The output is in any case large for the same, so *above* the task's `threshold` means the same: for a distance this
    is below `Contrastive.distance(threshold)`. `kmtl.evidence.calibrate(model, validation, thresholds="f1")` (or
    `"youden"`) chooses it; the model keeps it, its files and decoded exports too. `kmtl.data.pairs` makes pairs of a
    labelled set.

    Source: Bromley et al., "Signature Verification Using a Siamese Time Delay Neural Network", NeurIPS 1993.

    Args:
        first: The extractor: a functional Keras model from an input to features `(batch, width)`, or a function from an
            input to features, which is called anew for every model.
        second: That of the second input; None shares the first.
        measure: `"l2"`, `"l1"` (distances) or `"cosine"` (a similarity).

    Raises:
        ValueError: If an extractor cannot be called, or the measure is unknown.

    >>> import kmtl
    >>> left, right = keras.Input((8, 8, 1), name="left"), keras.Input((8, 8, 1), name="right")
    >>> pair = SiamesePair(lambda image: kmtl.trunks.convnet(image, widths=(4,), units=16))
    >>> tasks = [kmtl.BinaryClassification("same"), kmtl.Classification("digit", 10)]
    >>> outputs = pair.outputs(left, right, tasks, sides={"digit": "first"})
    >>> model = kmtl.MultiTaskModel({"left": left, "right": right}, outputs, tasks=tasks)
    >>> {name: output.shape for name, output in model.output.items()}
    {'same': (None, 1), 'digit': (None, 10)}
    """

    def __init__(
        self, first: Callable[[Any], Any], second: Callable[[Any], Any] | None = None, *, measure: str = "l2"
    ) -> None:
        for argument, given in (("first", first), ("second", second)):
            good = callable(given) or (argument == "second" and given is None)
            require(good, "SiamesePair", argument, "must be a Keras model or a function of an input", given)
        self.first = first
        self.second = second
        self.measure = checked_measure("SiamesePair", measure)

    def features(self, first: Any, second: Any) -> tuple[Any, Any]:
        """Features of both inputs.

        Args:
            first: A Keras input.
            second: Another.

        Returns:
            Two KerasTensors `(batch, width)`.

        Raises:
            ValueError: If they are no vectors of one width.
        """
        extractor = _extractor(self.first, first, "pair_extractor" if self.second is None else "first_extractor")
        other = extractor if self.second is None else _extractor(self.second, second, "second_extractor")
        found = (extractor(first), other(second))
        shapes = [tuple(getattr(one, "shape", ())) for one in found]
        good = all(len(shape) == 2 and shape[-1] is not None for shape in shapes) and shapes[0][1] == shapes[1][1]
        fix = "End both in a pooled or dense layer of one width."
        require(good, "SiamesePair", "first, second", "must give vectors (batch, width) of one width", shapes, fix)
        return found

    def outputs(
        self, first: Any, second: Any, tasks: Sequence[Task], sides: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Builds one output a task, for `kmtl.MultiTaskModel(inputs, outputs, tasks=tasks)`.

        Args:
            first: A Keras input.
            second: Another; of the same shape where they share an extractor.
            tasks: The tasks, in order.
            sides: `{task: "first" or "second"}` of those that read one input; every other reads the pair. It may name
                more tasks than there are, as where a build function makes a model of one of them.

        Returns:
            `{task: output}`.

        Raises:
            ValueError: If a side is unknown, or a contrastive task is given one.
        """
        tasks, chosen = list(tasks), dict(sides or {})
        contrastive = {task.name: task.loss for task in tasks if isinstance(task.loss, Contrastive)}
        with Refusals("SiamesePair") as refusals:
            for name, side in chosen.items():
                if side not in _SIDES:
                    refusals.add("sides", f"of {name!r} must be a side", side, near(str(side), _SIDES))
                if name in contrastive:
                    fix = "Leave it out of `sides`, or take another loss."
                    refusals.add("sides", "must not name a task of the pair", words(f"{name!r}, contrastive"), fix)
        by_side = dict(zip(_SIDES, self.features(first, second), strict=True))
        both = list(by_side.values())
        pair = PairFeatures(self.measure, name="pair_features")(both)
        read = {task.name: by_side.get(chosen.get(task.name, ""), pair) for task in tasks}
        made = build_heads(read, [task for task in tasks if task.name not in contrastive])
        made |= {name: PairSimilarity(self.measure, loss.margin, name=name)(both) for name, loss in contrastive.items()}
        return {task.name: made[task.name] for task in tasks}


def _extractor(given: Any, like: Any, name: str) -> Any:
    """A model as it is; a function as a model of inputs like the one given."""
    if isinstance(given, keras.Model):
        return given
    own = keras.Input(like.shape[1:], dtype=like.dtype)
    features = given(own)
    if not isinstance(features, keras.KerasTensor):
        got = words(type(features).__name__)
        raise ValueError(refusal("SiamesePair", "first, second", "must give features, a KerasTensor", got))
    return keras.Model(own, features, name=name)
