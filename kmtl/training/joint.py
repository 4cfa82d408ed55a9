"""The two ends of every table: all tasks jointly, and each one alone."""

from collections.abc import Callable
from typing import Any

from kmtl._checks import require
from kmtl.training.combined import combined
from kmtl.training.recipe import Recipe, share
from kmtl.training.work import Work


class Joint(Recipe):
    """One model of all tasks, trained by one plain `fit`.

    Source: Caruana, "Multitask Learning", Machine Learning, 1997. Rows S1-02 to S1-05 of the articles.

    Args:
        epochs: As a multiple of the given epochs: joint training for the same epochs costs one K-th of K single models,
            so `epochs=3.0` is the fair row of three tasks.
        build: A build function of its own in place of the given one: a wider trunk, another balancer.
        callbacks: Makes callbacks of its own, as for early stopping, beside those of `train`.

    >>> Joint(epochs=3.0)
    Joint(epochs=3.0)
    """

    source = "Caruana, Multitask Learning, Machine Learning, 1997"

    def __init__(
        self,
        epochs: float = 1.0,
        *,
        build: Callable[..., Any] | None = None,
        callbacks: Callable[[], list[Any]] | None = None,
    ) -> None:
        self.epochs = share("Joint", "epochs", epochs)
        for argument, value in (("build", build), ("callbacks", callbacks)):
            require(value is None or callable(value), "Joint", argument, "must be a function or None", value)
        self.build, self.callbacks = build, callbacks

    def build_function(self, build: Callable[..., Any]) -> Callable[..., Any]:
        """Its own build function, or the given one."""
        return self.build or build

    def run(self, work: Work) -> Any:
        """Trains the joint model."""
        model = work.model()
        own = self.callbacks() if self.callbacks is not None else []
        work.fit("joint", model, epochs=self.epochs, callbacks=own)
        return model


class Separate(Recipe):
    """One model a task, each trained alone: what every form of joint training has to beat.

    The result is one model of all outputs, so that it is evaluated, saved and exported as any other.

    Data may be `{task: data}`, of which each model sees its own; an epoch is then a pass over that set.

    Rows S1-13 and S2-09 of the articles.

    Args:
        epochs: As a multiple of the given epochs, for each model.

    >>> Separate()
    Separate()
    """

    takes_sets_by_task = True
    source = "Maninis, Radosavovic and Kokkinos, Attentive Single-Tasking of Multiple Tasks, CVPR 2019"

    def __init__(self, epochs: float = 1.0) -> None:
        self.epochs = share("Separate", "epochs", epochs)

    def run(self, work: Work) -> Any:
        """Trains a model a task."""
        return combined(alone(work, epochs=self.epochs))


def alone(work: Work, *, epochs: float = 1.0) -> dict[str, Any]:
    """Trains a model a task, each a stage of its own; returns them by task name."""
    models = {}
    for task in work.tasks:
        models[task.name] = work.alone(task)
        work.fit(f"{task.name} alone", models[task.name], work.data_of([task.name]), epochs=epochs)
    return models
