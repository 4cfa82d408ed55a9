"""One compiled model for many trainings: its traced steps stay, its state is set back."""

from collections.abc import Sequence
from typing import Any


class Reusable:
    """A compiled model that can be set back to how it is now.

    Tracing a training step takes seconds; a second training of the same model on batches of the same form needs none.
    The state is everything that a training changes: weights, statistics, what the optimizer, the balancer and the
    generators of random numbers hold, loss weights, metrics.

    Args:
        model: A compiled `MultiTaskModel`.

    >>> import keras
    >>> from kmtl.model import MultiTaskModel
    >>> from kmtl.tasks import Regression
    >>> row = keras.Input((2,), name="row")
    >>> model = MultiTaskModel.from_features(row, keras.layers.Dense(3)(row), [Regression("width"), Regression("age")])
    >>> model.compile("adam")
    >>> reusable = Reusable(model)
    >>> model.set_loss_weights({"age": 5.0})
    >>> reusable.restore(reusable.fresh)
    >>> model.loss_weights
    {'width': 1.0, 'age': 1.0}
    """

    def __init__(self, model: Any) -> None:
        model.optimizer.build(model.trainable_variables)
        self.model = model
        self.fresh = self.state()

    def state(self) -> list[Any]:
        """Returns a copy of the state, one array a variable."""
        return [variable.numpy().copy() for variable in self.model.training_state]

    def restore(self, state: Sequence[Any]) -> None:
        """Sets the model back to a state that `state` returned."""
        for variable, value in zip(self.model.training_state, state, strict=True):
            variable.assign(value)
