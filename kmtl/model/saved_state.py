"""State of the training that is saved with the model but is no weight of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras


class LossWeights(keras.layers.Layer):
    """Holds the static weight of each task's loss.

    A step reads the variable, so a callback that assigns it takes effect in
    the next step, compiled or not.

    Args:
        weights: `{task: weight}` in task order.

    >>> held = LossWeights({"digit": 1.0, "angle": 0.5})
    >>> held.assign({"angle": 2.0})
    >>> held.as_dict()
    {'digit': 1.0, 'angle': 2.0}
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        super().__init__(name="loss_weights", dtype="float32", trainable=False)
        self.names = list(weights)
        self.value = self.add_weight(
            shape=(len(self.names),),
            initializer="ones",
            trainable=False,
            name="value",
            aggregation="only_first_replica",
        )
        self.value.assign(list(weights.values()))
        self.built = True

    def as_dict(self) -> dict[str, float]:
        """The weights now, by task name."""
        return dict(zip(self.names, self.value.numpy().tolist(), strict=True))

    def assign(self, weights: Mapping[str, float]) -> None:
        """Changes the weights of the tasks that are named."""
        self.value.assign([float(weights.get(name, old)) for name, old in self.as_dict().items()])

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Restores the weights; a file of plain Keras weights holds none, and leaves them as they are."""
        if store.keys():
            super().load_own_variables(store)


class RandomState(keras.layers.Layer):
    """Saves and restores the state of a model's random number generators.

    Keras leaves it out of its files, so a reloaded model would drop other
    units than the one that was saved.

    Args:
        owners: The model, and what else draws random numbers in its step.

    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5)])
    >>> len(RandomState([model]).states)
    1
    """

    def __init__(self, owners: Sequence[Any]) -> None:
        super().__init__(name="random_state", dtype="float32", trainable=False)
        found = [item for owner in owners for item in owner.variables if item.name == "seed_generator_state"]
        # A plain attribute: a layer would take the variables for its own.
        object.__setattr__(self, "states", found)
        self.built = True

    def save_own_variables(self, store: Any) -> None:
        """Writes one entry a generator."""
        for place, state in enumerate(self.states):
            store[str(place)] = state

    def load_own_variables(self, store: Mapping[str, Any]) -> None:
        """Restores the generators; a file that holds none of them, or of another model, leaves them as they are."""
        if len(store.keys()) == len(self.states):
            for place, state in enumerate(self.states):
                state.assign(store[str(place)])
