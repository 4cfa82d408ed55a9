"""A head for two labels that go together, on features of each."""

import copy
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from kmtl._checks import Refusals, near, require, words
from kmtl._keras_private import logits_behind, put_logits_behind
from kmtl.tasks import Task, TwoLabelLikelihood, TwoLabelStates, marginal_logits

COUPLINGS = ("features", "constant")


@keras.saving.register_keras_serializable(package="kmtl")
class Marginals(keras.layers.Layer):
    """The probability of yes of each of two labels, with its logits behind it.

    Shapes: the states' probabilities `(batch, 4)` in, two tensors `(batch, 1)` out, float32.

    Args:
        **kwargs: Keras layer options.

    >>> [float(one[0, 0]) for one in Marginals()(ops.array([[0.125, 0.125, 0.25, 0.5]]))]
    [0.75, 0.625]
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"dtype": "float32", **kwargs})

    def call(self, inputs: Any) -> tuple[Any, Any]:
        """Returns the two marginals."""
        logits = logits_behind(inputs)
        logits = ops.log(ops.maximum(inputs, 1e-37)) if logits is None else logits
        odds = marginal_logits(logits)
        both = (odds[:, :1], odds[:, 1:])
        found = tuple(ops.sigmoid(one) for one in both)
        for probability, behind in zip(found, both, strict=True):
            put_logits_behind(probability, behind)
        return found

    def compute_output_shape(self, input_shape: Any) -> tuple[Any, Any]:
        """One number each."""
        one = (input_shape[0], 1)
        return one, one


class TwoLabelHead:
    """The exact two-label model on features of each label: a `kmtl.tasks.TwoLabels` and, if wanted, its two marginals.

        p(y_R, y_P) = exp(a_R y_R + a_P y_P + c y_R y_P) / Z,   a_R = w_R'h_R + b_R,   a_P = w_P'h_P + b_P

    The task of two labels is trained by the exact likelihood; a label that is missing is summed out. The marginals are
    outputs of two `kmtl.BinaryClassification`, for metrics, thresholds and signatures of their own; give them a loss
    weight of 0, or the likelihood is counted twice: `loss_weights={"clicked": 0.0, "bought": 0.0}`.

    Args:
        coupling: What c is: `"features"`, linear in both features, or `"constant"`, one number learned.

    Raises:
        ValueError: If the coupling is unknown.

    Source: a Boltzmann machine of two units given the input, as the autologistic model of Besag, "Spatial Interaction
    and the Statistical Analysis of Lattice Systems", JRSS B 36, 1974.

    >>> import kmtl
    >>> user, item = keras.Input((3,), name="user"), keras.Input((5,), name="item")
    >>> tasks = [kmtl.tasks.TwoLabels("order", label_names=["clicked", "bought"])]
    >>> tasks += [kmtl.BinaryClassification("clicked"), kmtl.BinaryClassification("bought")]
    >>> outputs = TwoLabelHead()(user, item, tasks)
    >>> model = kmtl.MultiTaskModel({"user": user, "item": item}, outputs, tasks=tasks)
    >>> model.compile("adam", loss_weights={"clicked": 0.0, "bought": 0.0})
    >>> {name: output.shape for name, output in model.output.items()}
    {'order': (None, 4), 'clicked': (None, 1), 'bought': (None, 1)}
    """

    def __init__(self, coupling: str = "features") -> None:
        fix = near(str(coupling), COUPLINGS)
        require(coupling in COUPLINGS, "TwoLabelHead", "coupling", "must be a kind of coupling", coupling, fix)
        self.coupling = coupling

    def __call__(self, first: Any, second: Any, tasks: Sequence[Task]) -> dict[str, Any]:
        """Builds the outputs.

        Args:
            first: Features of the first label, `(batch, width)`.
            second: Features of the second; the same tensor where they share them.
            tasks: The task of two labels, alone or with one a marginal, the first label's before the second's.

        Returns:
            `{task: output}`.

        Raises:
            ValueError: If the tasks are others, or the features no vectors.
        """
        tasks = list(tasks)
        both, apart = _sorted(tasks)
        features = _hidden(both, first, second)
        linear = [self._linear(both, f"{both.name}_{place}")(one) for place, one in enumerate(features, start=1)]
        if self.coupling == "features":
            joined = features[0] if features[0] is features[1] else keras.layers.Concatenate()(features)
            linear.append(self._linear(both, f"{both.name}_coupling")(joined))
        found = {both.name: TwoLabelStates(name=both.name)(keras.layers.Concatenate(dtype="float32")(linear))}
        if apart:
            shown = Marginals(name=f"{both.name}_marginals")(found[both.name])
            found |= {task.name: one for task, one in zip(apart, shown, strict=True)}
        return {task.name: found[task.name] for task in tasks}

    @staticmethod
    def _linear(task: Task, name: str) -> Any:
        """One parameter, linear in features."""
        return keras.layers.Dense(1, kernel_regularizer=task.regularizer(), dtype="float32", name=name)


def _hidden(task: Task, first: Any, second: Any) -> list[Any]:
    """The features of each label behind the task's hidden layers; those of one tensor are one."""
    if first is second:
        return [task.hidden_layers(first)] * 2
    found = []
    for place, features in enumerate((first, second), start=1):
        twin = copy.copy(task)
        twin.name = f"{task.name}_{place}"
        found.append(twin.hidden_layers(features))
    return found


def _sorted(tasks: Sequence[Task]) -> tuple[Task, list[Task]]:
    """The task of two labels and those of its marginals, or refuses others."""
    both = [task for task in tasks if isinstance(task.resolved_loss(), TwoLabelLikelihood)]
    apart = [task for task in tasks if task not in both]
    good = len(both) == 1 and len(apart) in (0, 2) and all(task.output_shape == (1,) for task in apart)
    with Refusals("TwoLabelHead") as refusals:
        if not good:
            rule = "must be one kmtl.tasks.TwoLabels, alone or with two kmtl.BinaryClassification"
            refusals.add("tasks", rule, words(", ".join(task.owner for task in tasks) or "none"))
    return both[0], apart
