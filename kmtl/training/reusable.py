"""One compiled model for many trainings: its traced steps stay, its state is set back."""

import json
import re
import warnings
from collections.abc import Sequence
from typing import Any

# Keras counts its names on from model to model.
_COUNT = re.compile(r'_\d+"')


class Reusable:
    """A compiled model that can be set back to how it is now.

    Tracing a training step takes seconds; a second training of the same model on batches of the same form needs none.
    The state is everything that a training changes: weights, statistics, what the optimizer, the balancer and the
    generators of random numbers hold, loss weights, metrics.

    Args:
        model: A compiled `MultiTaskModel`.
        *given: What it was built from, beside what its configuration tells: a loss that is a closure over a drawn
            number is told by its name alone.

    Attributes:
        model: The same.
        fresh: Its state when this was made.

    >>> import keras
    >>> from kmtl.model.model import MultiTaskModel
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

    def __init__(self, model: Any, *given: Any) -> None:
        model.optimizer.build(model.trainable_variables)
        self.model = model
        self.given = given
        self.form = form_of(model)
        self.fresh = self.state()

    def state(self) -> list[Any]:
        """Returns a copy of the state, one array a variable."""
        return [variable.numpy().copy() for variable in self.model.training_state]

    def restore(self, state: Sequence[Any]) -> None:
        """Sets the model back to a state that `state` returned, of this model or of another of the same form."""
        for variable, value in zip(self.model.training_state, state, strict=True):
            variable.assign(value)

    def restart_as(self, other: "Reusable") -> bool:
        """Lets this model start as another one, whose place it takes; False, and nothing done, if it has another form.

        Args:
            other: What a trial has just built.
        """
        if self.form is None or (self.form, self.given) != (other.form, other.given):
            return False
        self.restore(other.fresh)
        return True


class LastModel:
    """Keeps the model of the last training, for the next one."""

    def __init__(self) -> None:
        self._last: Reusable | None = None

    def reuse(self, model: Any, *given: Any) -> Any:
        """Returns the last model set back to the start of this one, if both have one form; else this one.

        Args:
            model: A compiled `MultiTaskModel`, just built.
            *given: As of `Reusable`.
        """
        built = Reusable(model, *given)
        if self._last is None or not self._last.restart_as(built):
            self._last = built
        return self._last.model


def form_of(model: Any) -> str | None:
    """Returns what two models that train alike have in common: layers, connections, settings, what `compile` was given.

    Args:
        model: A compiled `MultiTaskModel`.

    Returns:
        Text without the numbers that Keras adds to names; None if something cannot tell its settings.
    """
    try:
        # Keras warns of functions that a file could not hold; nothing is written here.
        with warnings.catch_warnings(action="ignore"):
            parts = [model.get_config(), model.get_compile_config()]
    except (NotImplementedError, TypeError, ValueError):
        return None
    # Objects without a form of their own show their address, which no other has.
    told = json.dumps(parts, default=repr, sort_keys=True)
    return _COUNT.sub('"', told)
