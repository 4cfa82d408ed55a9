"""Balancers that let the user prefer some tasks."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from kmtl._types import ByTask, Tensor
from kmtl.balancers.by_task import check_amounts, preference_shares
from kmtl.balancers.gramian import GramianBalancer
from kmtl.balancers.signals import Signals


class PreferringBalancer(GramianBalancer):
    """A Gramian method whose formula has a place for the share of each task.

    Args:
        preference: None for equal shares, `{task: number}` (a task left out counts
            1) or one number a task; divided by their sum over the tasks present.
        **options: As for `GramianBalancer`.
    """

    def __init__(self, *, preference: ByTask[float] | Sequence[float] | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.preference = check_amounts(type(self).__name__, "preference", preference)

    def prepare(self, tasks: Sequence[Any], size: int | None = None) -> None:
        """Makes the state for these tasks; refuses a preference for others."""
        preference_shares(type(self).__name__, self.preference, tasks, len(tasks))
        super().prepare(tasks, size)

    def shares(self, signals: Signals) -> Tensor:
        """Shares of the tasks present, which sum to 1, `(K,)`; 0 for the others."""
        count = signals.present.shape[0]
        chosen = ops.array(preference_shares(type(self).__name__, self.preference, self.tasks, count), dtype="float32")
        chosen = ops.where(signals.present, chosen, 0.0)
        total = ops.sum(chosen)
        return chosen / ops.where(total > 0, total, 1.0)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "preference": self.preference}
