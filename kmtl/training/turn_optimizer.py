"""An optimizer a task, each with moments of its own of the trunk that all of them move in turn."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from kmtl.model.optimizers import SHARED, OptimizerByTask


@keras.saving.register_keras_serializable(package="kmtl")
class OptimizerByTurn(OptimizerByTask):
    """One optimizer a task, of the trunk and of its head.

    Outside of a turn, as in a plain step, each head is moved by its own optimizer, and what is shared by the first.

    Args:
        parts: An optimizer by name of a task; under `"shared"` one that moves nothing and holds the learning rate.
        name: Keras name.
    """

    _turn: str | None = None

    @contextmanager
    def turn_of(self, task: str) -> Iterator[None]:
        """Within it `apply` is of this task; steps are traced inside."""
        self._turn = task
        try:
            yield
        finally:
            self._turn = None

    def build(self, variables: Sequence[Any]) -> None:
        """Makes the state of every part."""
        for key, part in self.parts.items():
            own = [] if key == SHARED else [item for item in variables if self._owners.get(id(item), key) == key]
            part.build(own)
        keras.optimizers.Optimizer.build(self, list(variables))

    def owner(self, variable: Any) -> str:
        """The key of the part that moves a variable."""
        return self._turn or self._owners.get(id(variable), next(key for key in self.parts if key != SHARED))
