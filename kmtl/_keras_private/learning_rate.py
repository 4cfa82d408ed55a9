"""A learning rate of its own for single variables of one Keras optimizer."""

from collections.abc import Mapping, Sequence
from typing import Any

from kmtl._keras_private.optimizer import parts_of


def scale_rates(optimizer: Any, factors: Mapping[int, float]) -> None:
    """Lets an optimizer move single variables at a learning rate that is a multiple of its own.

    The rate is scaled where Keras hands it to the update of one variable, so clipping, moments, schedules,
    accumulation and moving averages stay what they are, and weight decay follows the rate. A variable of factor 0 is
    passed over, and so is what the optimizer holds of it.

    Args:
        optimizer: A Keras optimizer; all that it wraps are told.
        factors: By id of a variable; of one that is not named it is 1. Empty undoes it.
    """
    for inner in parts_of(optimizer):
        for name in ("update_step", "_apply_weight_decay"):
            inner.__dict__.pop(name, None)
        if any(factor != 1.0 for factor in factors.values()):
            inner.__dict__.update(update_step=_update(inner, factors), _apply_weight_decay=_decay(inner, factors))


def _factor(inner: Any, factors: Mapping[int, float], variable: Any) -> float:
    """The factor of a variable, be it a replica's copy of one of Keras's."""
    return factors.get(id(inner._trainable_variables[inner._get_variable_index(variable)]), 1.0)


def _update(inner: Any, factors: Mapping[int, float]) -> Any:
    """The update of one variable."""
    own = type(inner).update_step

    def update_step(gradient: Any, variable: Any, learning_rate: Any) -> None:
        factor = _factor(inner, factors, variable)
        if factor:
            own(inner, gradient, variable, learning_rate if factor == 1.0 else learning_rate * factor)

    return update_step


def _decay(inner: Any, factors: Mapping[int, float]) -> Any:
    """The decay of variables: those of one factor at a time, at its rate."""
    own, rate = type(inner)._apply_weight_decay, type(inner)._get_current_learning_rate

    def decay(variables: Sequence[Any]) -> None:
        groups: dict[float, list[Any]] = {}
        for variable in variables:
            groups.setdefault(_factor(inner, factors, variable), []).append(variable)
        for factor, group in groups.items():
            if not factor:
                continue
            inner.__dict__["_get_current_learning_rate"] = lambda factor=factor: rate(inner) * factor
            try:
                own(inner, group)
            finally:
                # Replicas trace one after the other, each to the same point.
                inner.__dict__.pop("_get_current_learning_rate", None)

    return decay
