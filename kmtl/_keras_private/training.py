"""How Keras's `fit` and `evaluate` treat a model and its callbacks."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

#: Methods of Keras's models that kmtl's override.
OVERRIDDEN = ("_maybe_symbolic_build",)
#: Under what names a callback holds its model.
MODEL_OF_CALLBACK = ("model", "_model")


def in_scope(method: Callable[..., Any]) -> Callable[..., Any]:
    """Lets a model's method make its variables in the strategy that the model was made in."""

    @functools.wraps(method)
    def entered(model: Any, *args: Any, **kwargs: Any) -> Any:
        with model.distribute_strategy.scope():
            return method(model, *args, **kwargs)

    return entered


def loss_tracker(model: Any) -> Any:
    """The metric in which a compiled model keeps the mean of its total loss."""
    return model._loss_tracker


def has_prepared_data(options: Mapping[str, Any]) -> bool:
    """Whether `fit` calls `evaluate` with these options, on validation data that it has prepared before."""
    return bool(options.get("_use_cached_eval_dataset"))


def accept_trainable(model: Any) -> None:
    """Lets Keras know that weights were frozen or unfrozen on purpose; it would warn of it in `fit`."""
    model._compiled_trainable_state = {layer: layer.trainable for layer in model._flatten_layers()}
