"""What a step asks of all joint losses and metrics of a model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from keras import ops

from kmtl.joint_terms.joint_loss import JointLoss
from kmtl.joint_terms.joint_metric import JointMetric
from kmtl.tasks import Task


class JointSums:
    """Adds up the joint losses and metrics of a model over the rows of a batch.

    Args:
        tasks: The model's tasks by name.
        losses: Its joint losses, those that are balanced first.
        metrics: Its joint metrics.

    Attributes:
        balanced: The joint losses that are balanced.
        asks_for_rows: Whether one of them counts rows without labels.
    """

    def __init__(self, tasks: Mapping[str, Task], losses: Sequence[JointLoss], metrics: Sequence[JointMetric]) -> None:
        self.tasks = tasks
        self.losses = list(losses)
        self.metrics = list(metrics)
        self.balanced = [loss for loss in self.losses if loss.balanced]
        self.asks_for_rows = any(not term.needs_labels for term in [*self.losses, *self.metrics])

    @property
    def by_key(self) -> dict[str, Any]:
        """The losses and metrics by log key."""
        metrics = {metric.name: metric for metric in self.metrics}
        return {**{f"{loss.name}_loss": loss for loss in self.losses}, **metrics}

    def loss_sums(
        self,
        labels: Mapping[str, Any],
        outputs: Mapping[str, Any],
        weights: Mapping[str, Any] | None,
        gates: Sequence[Callable[[Any], Any]] = (),
    ) -> tuple[Any, Any]:
        """Summed losses and numbers of rows that count, `(J,)` each.

        Args:
            labels: `{task: label}` of a batch.
            outputs: `{task: output}`.
            weights: `{task: sample weight}`.
            gates: What each loss sees the outputs through, one a loss; none for the outputs themselves.
        """
        found = []
        for place, loss in enumerate(self.losses):
            given = {name: gates[place](outputs[name]) for name in loss.tasks} if gates else outputs
            found.append(loss.sums(self.tasks, labels, given, weights))
        return _stacked(found)

    def metric_sums(self, labels: Mapping[str, Any], outputs: Mapping[str, Any]) -> tuple[Any, Any]:
        """Summed values of the metrics and numbers of rows that count, `(M,)` each."""
        return _stacked([metric.sums(self.tasks, labels, outputs) for metric in self.metrics])


def _stacked(found: Sequence[tuple[Any, Any]]) -> tuple[Any, Any]:
    """Sums and counts side by side."""
    sums, counts = zip(*found, strict=True)
    return ops.stack(sums), ops.stack(counts)
