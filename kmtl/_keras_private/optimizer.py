"""Optimizers that take gradients which are summed over replicas already.

Keras's optimizers sum the gradients over the replicas inside of `apply`. That is too late for clipping, which
Keras so does to each replica's part, and too deep for a condition: "merge_call called while defining
a new graph" (keras-team/keras#20582). Here gradients come as sums, and conditions stand outside of the replicas.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import keras
import tensorflow as tf

from kmtl._checks import Refusals, words
from kmtl._replicas import branch, is_replicated, replicas


def apply_summed(optimizer: Any, gradients: Sequence[Any], variables: Sequence[Any], sound: Any) -> Any:
    """Lets an optimizer take gradients that are summed over replicas already.

    Args:
        optimizer: A Keras optimizer.
        gradients: One a variable, the same on every replica.
        variables: Keras variables.
        sound: Whether the step is taken, a boolean scalar; None leaves it to the optimizer.

    Returns:
        0 if it was taken, 1 if it was skipped: a float32 scalar.
    """

    def take(given: Sequence[Any] = gradients) -> Any:
        optimizer.apply(given, variables)
        return tf.constant(0.0)

    def skip() -> Any:
        return tf.constant(1.0)

    context = tf.distribute.get_replica_context()
    if context is None or replicas() == 1:
        return take() if sound is None else tf.cond(sound, take, skip)

    def across(strategy: Any, predicate: Any, given: Sequence[Any]) -> Any:
        def everywhere() -> Any:
            return strategy.extended.call_for_each_replica(take, args=(given,))

        with _summed(optimizer):
            if predicate is None:
                return everywhere()
            flag = strategy.experimental_local_results(predicate)[0]
            return tf.cond(flag, everywhere, lambda: strategy.extended.call_for_each_replica(skip))

    return context.merge_call(across, args=(sound, list(gradients)))


def check_strategy(strategy: Any, optimizer: Any, jit_compile: Any) -> None:
    """Refuses what cannot run under the strategy that a model was made in; `compile` asks.

    Raises:
        ValueError: With all offenders.
    """
    with Refusals("compile") as refusals:
        if isinstance(strategy, tf.distribute.experimental.ParameterServerStrategy):
            fix = "Use kmtl.distribution.strategy('multi_worker')."
            refusals.add("strategy", "must keep replicas in sync", words("a ParameterServerStrategy"), fix)
        parts = parts_of(optimizer) if isinstance(optimizer, keras.optimizers.Optimizer) else []
        if any(part._distribution_strategy is not strategy for part in parts):
            fix = "Make model and optimizer inside of one `with strategy.scope():`, or give the optimizer's name."
            refusals.add("optimizer", "must be made in the model's strategy", words("one of another"), fix)
        if jit_compile is True and is_replicated(strategy):
            fix = "Leave it out: Keras compiles the steps of all replicas as one (keras-team/keras#19005)."
            refusals.add("jit_compile", "must be 'auto' or False under a strategy of replicas", jit_compile, fix)


def built_variables(optimizer: Any) -> list[Any]:
    """Variables that an optimizer was built for, in its order."""
    return list(optimizer._trainable_variables)


def extend_optimizer(optimizer: Any, variables: Sequence[Any], prepare: Callable[[Any], None]) -> Any:
    """An optimizer that knows these variables, with all of its state.

    Keras's optimizers know the variables that they were built with and no others, so a weight that is unfrozen later
    needs another one.

    Args:
        optimizer: A built Keras optimizer.
        variables: All that it is to move.
        prepare: Called with a new optimizer before it is built.

    Returns:
        The optimizer itself if it knows them; else a new one of the same settings and state, which knows them too.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    known = {id(variable) for variable in inner._trainable_variables}
    new = [variable for variable in variables if id(variable) not in known]
    if not new:
        return optimizer
    wider = type(optimizer).from_config(optimizer.get_config())
    prepare(wider)
    wider.build([*inner._trainable_variables, *new])
    # Names may repeat; those that do come in the same order, the new ones last.
    old: dict[str, list[Any]] = {}
    for variable in optimizer.variables:
        old.setdefault(variable.path, []).append(variable)
    for variable in wider.variables:
        if old.get(variable.path):
            variable.assign(old[variable.path].pop(0))
    return wider


def parts_of(optimizer: Any) -> list[Any]:
    """The Keras optimizers that an optimizer is made of: itself, or what it wraps."""
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return list(getattr(inner, "parts", {"": inner}).values())


@contextmanager
def _summed(optimizer: Any) -> Iterator[None]:
    """Takes the sum over replicas, and conditions around it, out of an optimizer."""
    with ExitStack() as stack:
        for part in parts_of(optimizer):
            stack.enter_context(_summed_part(part))
        yield


@contextmanager
def _summed_part(inner: Any) -> Iterator[None]:
    """The same for one Keras optimizer."""
    steps, frequency = inner.gradient_accumulation_steps, inner.ema_overwrite_frequency
    own = type(inner)._backend_apply_gradients

    def take(gradients: Sequence[Any], variables: Sequence[Any]) -> None:
        if steps:
            _accumulate(inner, own, list(gradients), list(variables), steps)
        else:
            own(inner, gradients, variables)
        if inner.use_ema and frequency:
            due = tf.equal((inner._iterations.value + 1) % frequency, 0)
            branch(due, lambda: _overwrite(inner), lambda: tf.constant(0.0))

    kind = type(inner)
    # Attributes of the object hide those of its class; without steps and frequency no condition is left within.
    hidden = {"_all_reduce_sum_gradients": list, "_backend_apply_gradients": take}
    inner.__dict__.update(hidden, gradient_accumulation_steps=None, ema_overwrite_frequency=None)
    if steps:
        object.__setattr__(inner, "__class__", _counting_updates(kind, steps))
    try:
        yield
    finally:
        object.__setattr__(inner, "__class__", kind)
        for name in hidden:
            del inner.__dict__[name]
        inner.__dict__.update(gradient_accumulation_steps=steps, ema_overwrite_frequency=frequency)


def _counting_updates(kind: type, steps: int) -> type:
    """The class of an optimizer that is told of no accumulation, and counts updates all the same."""
    count = property(lambda self: tf.math.floordiv(tf.convert_to_tensor(self._iterations.value), steps))
    return type(kind.__name__, (kind,), {"iterations": count})


def _accumulate(inner: Any, own: Any, gradients: list[Any], variables: list[Any], steps: int) -> None:
    """Adds gradients up, and takes their mean every so many steps."""
    held = [inner._accumulated_gradients[inner._get_variable_index(variable)] for variable in variables]

    def update() -> Any:
        means = [(gradient + kept.value) / steps for gradient, kept in zip(gradients, held, strict=True)]
        own(inner, means, variables)
        write_copies(held, [tf.zeros_like(gradient) for gradient in gradients])
        return tf.constant(0.0)

    def keep() -> Any:
        write_copies(held, [gradient + kept.value for gradient, kept in zip(gradients, held, strict=True)])
        if inner.use_ema:
            inner._update_model_variables_moving_average(inner._trainable_variables)
        return tf.constant(0.0)

    branch(tf.equal((inner._iterations.value + 1) % steps, 0), update, keep)


def _overwrite(inner: Any) -> Any:
    """Replaces the weights by their moving averages."""
    averages = inner._model_variables_moving_average
    write_copies(inner._trainable_variables, [average.value for average in averages])
    return tf.constant(0.0)


def write_copies(variables: Sequence[Any], values: Sequence[Any]) -> None:
    """Assigns Keras variables from within a replica, whatever their aggregation; each replica's copy its own value."""

    def across(strategy: Any, given: Sequence[Any]) -> None:
        for variable, value in zip(variables, given, strict=True):
            strategy.extended.update(variable.value, lambda copy, new: copy.assign(new), args=(value,), group=False)

    tf.distribute.get_replica_context().merge_call(across, args=(list(values),))
