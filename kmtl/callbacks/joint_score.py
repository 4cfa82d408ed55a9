"""The joint score of every epoch."""

from collections.abc import Mapping
from typing import Any

import keras

from kmtl._checks import Refusals
from kmtl.metrics import check_baselines, delta_m


class DeltaM(keras.callbacks.Callback):
    """Adds `val_delta_m` to the logs: the change against single-task models in percent, negative is better.

    Without validation data it is `delta_m`, of the training metrics. `fit`
    lets it run before callbacks that monitor it, in whatever order they are given.

    Args:
        baselines: `{task: {metric: value}}` of the single-task models, as
            `kmtl.evidence.compare` returns them.

    Raises:
        ValueError: Before the first step, if a task or metric is unknown or a baseline is 0.

    >>> DeltaM({"digit": {"accuracy": 0.9}}).adds_logs
    True
    """

    adds_logs = True

    def __init__(self, baselines: Mapping[str, Mapping[str, float]]) -> None:
        super().__init__()
        self.baselines = baselines

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Checks the baselines against the model."""
        del logs
        check_baselines(self.baselines, self.model.tasks, "DeltaM")
        known = self.model.metrics_names
        with Refusals("DeltaM") as refusals:
            for name, metrics in self.baselines.items():
                for metric in metrics:
                    if f"{name}_{metric}" not in known:
                        fix = f"Compile it, or choose of {known}."
                        refusals.add("baselines", f"of {name!r} must name compiled metrics", metric, fix)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Adds the score."""
        del epoch
        if logs is None:
            return
        prefix = "val_" if "val_loss" in logs else ""
        values = {
            name: {metric: logs[f"{prefix}{name}_{metric}"] for metric in metrics}
            for name, metrics in self.baselines.items()
        }
        logs[f"{prefix}delta_m"] = delta_m(values, self.baselines, list(self.model.tasks.values()))
