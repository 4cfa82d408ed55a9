"""Loss weights that move during training."""

from collections.abc import Callable, Mapping
from typing import Any

import keras

from kmtl._checks import refusal


class LossWeightScheduler(keras.callbacks.Callback):
    """Moves the loss weights during training, without recompiling.

    The weights are part of the saved model, so a run that resumes at
    `initial_epoch` goes on with the schedule where it stood.

    Args:
        schedule: A function of `(epoch, weights)` that returns `{task: weight}`
            for the tasks it changes, or a dict of such by task: each a function
            of the epoch or a `keras.optimizers.schedules.LearningRateSchedule`.

    Raises:
        ValueError: Before the first step, if a name is unknown or the first weights are not valid.

    >>> halve = LossWeightScheduler({"angle": lambda epoch: 0.5**epoch})
    >>> halve.weights_at(2, {"digit": 1.0, "angle": 1.0})
    {'angle': 0.25}
    """

    def __init__(self, schedule: Callable[[int, dict[str, float]], Mapping[str, float]] | Mapping[str, Any]) -> None:
        super().__init__()
        if not callable(schedule) and not isinstance(schedule, Mapping):
            rule = "must be a function of (epoch, weights) or a dict of functions by task"
            raise TypeError(refusal("LossWeightScheduler", "schedule", rule, schedule))
        for name, function in schedule.items() if isinstance(schedule, Mapping) else ():
            if not callable(function):
                fix = "Give a constant weight to compile(loss_weights=...)."
                raise TypeError(
                    refusal("LossWeightScheduler", f"schedule[{name!r}]", "must be a function", function, fix)
                )
        self.schedule = schedule

    def weights_at(self, epoch: int, weights: dict[str, float]) -> dict[str, float]:
        """The weights that the schedule sets at an epoch, given those before it."""
        if isinstance(self.schedule, Mapping):
            found: Any = {name: function(epoch) for name, function in self.schedule.items()}
        else:
            found = self.schedule(epoch, weights)
        if not isinstance(found, Mapping):
            fix = "Return {} to change nothing."
            raise TypeError(refusal("LossWeightScheduler", "schedule", "must return {task: weight}", found, fix))
        return {name: _number(name, weight) for name, weight in found.items()}

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Sets the weights of the epoch."""
        del logs
        self.model.set_loss_weights(self.weights_at(epoch, self.model.loss_weights))


def _number(name: str, weight: Any) -> float:
    """A weight that a schedule returned, or a refusal."""
    try:
        return float(weight)
    except (TypeError, ValueError) as error:
        rule = "must return a number"
        raise TypeError(refusal("LossWeightScheduler", f"schedule[{name!r}]", rule, weight)) from error
