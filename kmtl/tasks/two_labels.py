"""Two yes-or-no labels that are not taken for independent."""

from collections.abc import Hashable, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from kmtl._checks import require
from kmtl.tasks.classification import MultiLabel
from kmtl.tasks.two_label_states import TwoLabelLikelihood, TwoLabelStates, marginal_logits, marginals


@keras.saving.register_keras_serializable(package="kmtl")
class TwoLabels(MultiLabel):
    """Two yes-or-no labels and how they go together; the output is a probability for each of the four pairs of answers.

        p(y_1, y_2) = exp(a_1 y_1 + a_2 y_2 + c y_1 y_2) / Z

    with a_1, a_2 and the coupling c linear in the features. Unlike a `MultiLabel` of two it knows that, say, who
    bought also clicked; with c = 0 it is that. Either element of the label may be missing (-1) and is summed out of the
    likelihood; an example with neither is not labelled. Decisions, thresholds and metrics are those of the two
    marginals, `p(y_1 = 1)` and `p(y_2 = 1)`.

    `kmtl.sharing.TwoLabelHead` builds it on features of its own for each label.

    Args:
        name: Key of the task in outputs, labels, weights and logs.
        label_names: A name for each of the two.
        threshold: Probability above which `decide` says yes, one for both or one each.
        **options: `metrics`, `hidden`, `dropout`, `l1`, `l2`, `where`: see `Task`; its loss is the exact likelihood.

    >>> task = TwoLabels("order", label_names=["clicked", "bought"])
    >>> task.label_shape, task.output_shape
    ((2,), (4,))
    >>> task.decide(np.array([[0.1, 0.2, 0.3, 0.4]])).numpy().tolist()  # p(clicked) = 0.7, p(bought) = 0.6
    [[1, 1]]
    """

    kind: ClassVar[str] = "two_labels"
    meaning: ClassVar[str] = "the probabilities of (no, no), (no, yes), (yes, no), (yes, yes)"
    activation: ClassVar[str | None] = None

    def __init__(
        self,
        name: str,
        *,
        label_names: Sequence[str] | None = None,
        threshold: float | Sequence[float] = 0.5,
        **options: Any,
    ) -> None:
        super().__init__(name, 2, label_names=label_names, threshold=threshold, **options)
        own = isinstance(self.loss, TwoLabelLikelihood | None) and self.losses is None
        fix = "Take kmtl.MultiLabel for another loss."
        require(own, self.owner, "loss", "must be left out: it is the exact likelihood", self.loss or self.losses, fix)

    @property
    def units(self) -> int:
        """Width of the output: one probability a pair of answers."""
        return 4

    @property
    def default_loss(self) -> Any:
        """The exact negative log-likelihood."""
        return TwoLabelLikelihood()

    def label_losses(self, loss: Any, labels: Any, predictions: Any, present: Any) -> tuple[Any, Any]:
        """One loss an example that has some label; what it has not is summed out."""
        known = ops.where(present, ops.cast(labels, "float32"), -1.0)
        return ops.cast(loss.call(known, predictions), "float32"), ops.any(present, axis=-1)

    @property
    def head_form(self) -> Hashable | None:
        """None: its head is never computed with others."""
        return None

    def output(self, features: Any) -> Any:
        """Builds the three parameters and turns them into probabilities of the four states."""
        kernel = keras.layers.Dense(
            3, kernel_regularizer=self.regularizer(), dtype="float32", name=f"{self.name}_parameters"
        )
        return TwoLabelStates(name=self.name)(kernel(features))

    def metric_outputs(self, outputs: Any) -> Any:
        """The two marginals, `(batch, 2)`."""
        return marginals(outputs)

    def explained(self, outputs: Any, classes: Any) -> Any:
        """The log-odds of each label, `(batch, 2)`, of logits of the states."""
        del classes
        return marginal_logits(outputs)

    def constant_outputs(self, labels: Any) -> list[Any]:
        """How often each pair of answers occurs, among the examples that have both."""
        values = np.asarray(labels)
        whole = values[(values >= 0).all(axis=-1)]
        counts = np.bincount(2 * whole[:, 0] + whole[:, 1], minlength=4)
        return [counts / max(counts.sum(), 1)]

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        config = super().get_config()
        del config["labels"]
        return config
