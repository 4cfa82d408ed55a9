"""Losses over the outputs of several tasks."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras

from kmtl._checks import is_weight, require
from kmtl.joint_terms.joint_term import JointTerm


@keras.saving.register_keras_serializable(package="kmtl")
class JointLoss(JointTerm):
    """A loss over the outputs of several tasks: a law between two quantities, a box that must lie in its mask.

        loss = ... + w mean_n fn(labels_n, outputs_n)

    over the rows of the global batch that count. Its gradient reaches the heads that it takes outputs of, and
    what is behind them. `compile(joint_losses=[...])` takes it; it is logged as `<name>_loss` and, in training,
    `<name>_weight`; its name is a key of `loss_weights` and of `set_loss_weights`.

    Args:
        name: Its name; no task may have it.
        fn: As for `JointTerm`: `fn(labels, outputs)` returns one loss an example, `(batch,)`. To be saved with the
            model it must be registered: `@keras.saving.register_keras_serializable()`.
        tasks: Names of the tasks whose outputs it takes.
        weight: What multiplies it, unless `compile(loss_weights={name: weight})` says.
        balanced: True makes it one more loss of the balancer, beside those of the tasks; False adds it as it is.
        needs_labels: The tasks of which a row must have the label to count: True for all of `tasks`, False for none
            (a consistency of outputs alone), or a list of names.
        partial: As for `JointTerm`.

    Raises:
        ValueError: If an argument is not fit.

    >>> @keras.saving.register_keras_serializable("physics")
    ... def energy_gap(labels, outputs):
    ...     kinetic = 0.5 * outputs["mass"] * ops.square(outputs["speed"])
    ...     return ops.square(kinetic - outputs["energy"])[:, 0]
    >>> loss = JointLoss("energy_gap", energy_gap, ["mass", "speed", "energy"], weight=0.1, needs_labels=False)
    >>> loss.needs_labels, loss.weight
    ([], 0.1)
    """

    #: What multiplies exp(-s) where a balancer learns a variance.
    uncertainty_factor: ClassVar[float] = 1.0
    #: What it cannot go below, as balancers take it that need a logarithm.
    lowest_loss: ClassVar[float] = 0.0

    def __init__(
        self,
        name: str,
        fn: Callable[..., Any],
        tasks: Sequence[str],
        *,
        weight: float = 1.0,
        balanced: bool = False,
        needs_labels: bool | Sequence[str] = True,
        partial: bool = False,
    ) -> None:
        super().__init__(name, fn, tasks, needs_labels=needs_labels, partial=partial)
        rule = "must be a number of at least 0 that is finite in float32"
        require(is_weight(weight), self.owner, "weight", rule, weight)
        self.weight = float(weight)
        require(isinstance(balanced, bool), self.owner, "balanced", "must be True or False", balanced)
        self.balanced = balanced

    def metric_names(self) -> list[str]:
        """None: a balancer that looks at metrics takes its loss."""
        return []

    def direction(self, key: str) -> str:
        """Less is better."""
        del key
        return "min"

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "weight": self.weight, "balanced": self.balanced}
