"""A task's own way through a joint model: its layers, with low-rank changes beside those that tasks share."""

from typing import Any

import keras
import numpy as np

from kmtl import _keras_private
from kmtl._checks import refusal, words
from kmtl.model.graph import every_layer
from kmtl.model.model import MultiTaskModel
from kmtl.sharing.low_rank import LowRankChange, form_beside


class Adapted:
    """One task's output with a `LowRankChange` beside each dense and convolutional layer that tasks share.

    Args:
        owner: Who asks, for the message.
        origin: The joint model, whose layers it shares.
        task: Name of the task.
        rank: Of the changes.

    Attributes:
        head: The task's own layers.
        output: The Keras tensor, on the inputs of `origin`.
        model: A `MultiTaskModel` of this task alone.

    Raises:
        ValueError: If there is no layer that it could stand beside.
    """

    def __init__(self, owner: str, origin: Any, task: str, rank: int) -> None:
        self.origin, self.task, self.rank = origin, task, rank
        self.head = origin.task_layers(task)
        self.changes: dict[str, Any] = {}
        self._shared = {id(variable) for variable in origin.shared_variables}
        with origin.distribute_strategy.scope():
            self.output = _keras_private.replay(origin, self._call)[task]
            if not self.changes:
                fix = "Put a Dense or convolutional layer without activation into the trunk, as kmtl.trunks does."
                rule = "must make a trunk with a place for adapters"
                raise ValueError(refusal(owner, "build", rule, words("none"), fix))
            alone = origin.tasks[task].alone()
            self.model = MultiTaskModel(origin.input, {task: self.output}, tasks=[alone])

    def _call(self, layer: Any, *args: Any, **kwargs: Any) -> Any:
        """Calls a layer, and adds the change of one that tasks share."""
        found = layer(*args, **kwargs)
        form = form_beside(layer) if id(getattr(layer, "kernel", None)) in self._shared else None
        if form is None:
            return found
        if layer.name not in self.changes:
            name = f"{self.task}_{layer.name}_change"
            self.changes[layer.name] = LowRankChange(**form, rank=self.rank, name=name)
        return keras.layers.Add()([found, self.changes[layer.name](args[0])])

    def folded(self) -> Any:
        """A copy of the joint model for this task, with the changes in its kernels."""
        copy = self.origin.without(*(name for name in self.origin.tasks if name != self.task))
        twins = {layer.name: layer for layer in every_layer(copy)}
        for name, change in self.changes.items():
            kernel = twins[name].kernel
            kernel.assign(np.asarray(kernel, "float64") + change.change())
        return copy
