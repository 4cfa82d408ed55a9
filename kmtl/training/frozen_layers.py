"""Layers that stand still for a while."""

from collections.abc import Iterable
from typing import Any

import keras

from kmtl.model.graph import every_layer


class FrozenLayers:
    """Freezes models, so that neither a weight nor a moving statistic of theirs changes.

    Args:
        models: Models or layers; what is inside of them is frozen with them.

    >>> trunk = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])
    >>> frozen = FrozenLayers([trunk])
    >>> len(trunk.trainable_variables)
    0
    >>> frozen.release()
    >>> [variable.name for variable in trunk.trainable_variables]
    ['kernel', 'bias']
    """

    def __init__(self, models: Iterable[Any]) -> None:
        found = [layer for model in models for layer in (model, *every_layer(model))]
        self._before = [(layer, layer.trainable) for layer in found]
        for layer in found:
            layer.trainable = False

    def release(self) -> None:
        """Lets them move as before, all but batch normalisation.

        That keeps its statistics: a small rate for few steps moves weights little, and the statistics of new batches a
        lot. Frozen, it runs in inference mode, as Keras's guide to fine-tuning has it.
        """
        for layer, before in self._before:
            layer.trainable = before and not isinstance(layer, keras.layers.BatchNormalization)
