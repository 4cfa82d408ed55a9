"""A further forward pass inside a step, which leaves no trace in the model."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import keras


def side_pass(model: Any, x: Any, *, values: Sequence[tuple[Any, Any]] = (), training: bool = True) -> tuple[Any, Any]:
    """Calls a model beside the pass that a step is about.

    Gradients go through it as through any other. Forks do not balance them, and neither moving statistics nor random
    generators of the model move.

    Args:
        model: A `MultiTaskModel`, or a Keras model.
        x: Inputs of a batch.
        values: Pairs of a variable and the value that it has in this pass.
        training: As of a layer's call.

    Returns:
        The outputs, and the `keras.StatelessScope` in which what the pass would have assigned can be read.

    >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
    >>> doubled = [(model.weights[0], keras.ops.array([[2.0]]))]
    >>> float(side_pass(model, keras.ops.array([[3.0]]), values=doubled)[0][0, 0])
    6.0
    """
    scope = keras.StatelessScope(state_mapping=list(values))
    forks = [*getattr(model, "forks", ()), *getattr(model, "borrowed_forks", ())]
    with at_rest(forks), scope:
        return model(x, training=training), scope


@contextlib.contextmanager
def at_rest(forks: Sequence[Any]) -> Iterator[None]:
    """Lets the calls inside pass by forks.

    Args:
        forks: They hand on the very tensor, as in a prediction.
    """
    with contextlib.ExitStack() as entered:
        for fork in forks:
            entered.enter_context(fork.at_rest())
        yield
