"""A build function whose learning rate falls over a longer training."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from kmtl._checks import Refusals, is_number
from kmtl.model.optimizers import OptimizerByTask
from kmtl.training.builds import Build, refuse_build


@keras.saving.register_keras_serializable(package="kmtl")
class StretchedSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule of the learning rate that takes longer: `rate(step) = schedule(step / factor)`.

    Args:
        schedule: Any of Keras's schedules, or its configuration.
        factor: How many times as long it takes, above 0.

    >>> decay = keras.optimizers.schedules.PolynomialDecay(1.0, 10, 0.0)
    >>> [round(float(StretchedSchedule(decay, 2.0)(step)), 2) for step in (0, 10, 20)]
    [1.0, 0.5, 0.0]
    """

    def __init__(self, schedule: Any, factor: float) -> None:
        super().__init__()
        self.schedule = keras.saving.deserialize_keras_object(schedule) if isinstance(schedule, dict) else schedule
        self.factor = float(factor)

    def __call__(self, step: Any) -> Any:
        """The rate of a step, counted from 0."""
        return self.schedule(ops.cast(step, "float32") / self.factor)

    def get_config(self) -> dict[str, Any]:
        """Returns what it is made of."""
        return {"schedule": keras.saving.serialize_keras_object(self.schedule), "factor": self.factor}


class Stretched:
    """What `stretched` returns: a build function."""

    def __init__(self, build: Callable[..., Any], factor: float) -> None:
        self.build, self.factor = build, factor
        self._build = Build(build, "stretched")

    def __call__(self, tasks: Sequence[Any]) -> Any:
        """Makes the model of some tasks, its learning rate stretched."""
        model = self._build(tasks)
        for optimizer in optimizers_in(getattr(model, "optimizer", None)):
            rate = optimizer.get_config()["learning_rate"]
            if isinstance(rate, dict):
                optimizer.learning_rate = StretchedSchedule(rate, self.factor)
        return model

    def get_config(self) -> dict[str, Any]:
        """What it is made of, for `repr` and for finished runs that are found again."""
        return {"build": self.build, "factor": self.factor}

    def __repr__(self) -> str:
        return f"stretched({getattr(self.build, '__name__', repr(self.build))}, {self.factor})"


def stretched(build: Callable[..., Any], factor: float) -> Stretched:
    """Makes a build function whose models have a learning rate that falls `factor` times as slowly.

    A schedule such as `CosineDecay(rate, steps)` ends with the training that it was written for; a longer one would
    stand still afterwards. A rate that is one number stays.

    Args:
        build: `build(tasks)`, which makes a compiled `MultiTaskModel`.
        factor: How many times as long the training is, above 0.

    Returns:
        A build function.

    Raises:
        ValueError: If `build` is no such function, or the factor not above 0.

    >>> from kmtl.training import Joint
    >>> def build(tasks): ...
    >>> recipe = Joint(epochs=3.0, build=stretched(build, 3.0))
    """
    with Refusals("stretched") as refusals:
        refuse_build(refusals, build)
        if not is_number(factor) or factor <= 0:
            refusals.add("factor", "must be a finite number above 0", factor)
    return Stretched(build, float(factor))


def optimizers_in(optimizer: Any) -> list[Any]:
    """The optimizers that move something: those of the parts, without what scales losses."""
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    if isinstance(optimizer, OptimizerByTask):
        return [inner for part in optimizer.parts.values() for inner in optimizers_in(part)]
    return [] if optimizer is None else [optimizer]
