"""What balancers read from the logs of an epoch."""

from collections.abc import Sequence
from typing import Any

from keras import ops

from kmtl._checks import refusal, words
from kmtl._types import Logs, Tensor


def check_tasks(owner: str, tasks: Sequence[Any]) -> None:
    """Refuses the end of an epoch before `compile`: nobody would know whose logs are whose."""
    if not tasks:
        fix = "Call `prepare(tasks)` first, as `compile` does."
        raise ValueError(refusal(owner, "tasks", "must be known to read logs", words("none"), fix))


def epoch_losses(owner: str, tasks: Sequence[Any], logs: Logs) -> Tensor:
    """Mean training loss of each task over the epoch, `(K,)`; NaN for a task without a label.

    >>> from kmtl.tasks import Regression
    >>> logs = {"loss": 9.0, "age_loss": 2.0}
    >>> epoch_losses("DWA", [Regression("size"), Regression("age")], logs).numpy().tolist()
    [nan, 2.0]
    """
    check_tasks(owner, tasks)
    return ops.array([float(logs.get(f"{task.name}_loss", float("nan"))) for task in tasks], "float32")
