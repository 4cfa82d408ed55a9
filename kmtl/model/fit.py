"""What `fit` does before and around Keras's own: looks at the data, goes on from backups, tells errors clearly."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras

from kmtl._interrupts import hold_interrupts
from kmtl._replicas import is_many_machines, of_first
from kmtl.callbacks.backup import BackupAndRestore
from kmtl.callbacks.balancer_events import BalancerListener
from kmtl.callbacks.monitors import refuse_unmonitored
from kmtl.feeding import Feed, class_tables, explain_error
from kmtl.feeding.datasets import is_dataset
from kmtl.feeding.plan import Plan, Start, current_seed, plan_stream, remaining_callbacks, steps_of
from kmtl.model import onednn
from kmtl.model.loop_arguments import check_loop


def train(model: Any, *args: Any, **options: Any) -> Any:
    """Trains a model by Keras's `fit`, after one look at the data; in a graph Ctrl-C waits for the end of a step.

    Args:
        model: A compiled `MultiTaskModel`.
        *args: Keras's `fit` of this model, and the data.
        **options: As in `fit`.

    Returns:
        A `keras.callbacks.History`.
    """
    with contextlib.nullcontext() if model.run_eagerly else hold_interrupts():
        return _train(model, *args, **options)


def _train(
    model: Any,
    keras_fit: Callable[..., Any],
    data: tuple[Any, Any, Any],
    *,
    batch_size: int | None,
    epochs: int,
    callbacks: Any,
    shuffle: bool,
    validation_split: float,
    validation_data: Any,
    class_weight: Any,
    initial_epoch: int,
    steps_per_epoch: int | None,
    check: bool | int,
    **options: Any,
) -> Any:
    """Looks at the data, plans the training, and runs it."""
    inspection, held_out = model.inspection, None
    loop = {"batch_size": batch_size, "epochs": epochs, "initial_epoch": initial_epoch, "callbacks": callbacks}
    check_loop("fit", {**options, **loop, "shuffle": shuffle, "steps_per_epoch": steps_per_epoch})
    given = inspection.training_feed(*data, check)
    if validation_split and validation_data is None:
        given, validation_data = given.split(validation_split)
    if validation_data is not None:
        held_out = inspection.validation_feed(validation_data, options["validation_steps"], check)
        options["validation_data"] = held_out.as_keras_takes_it
    feeds = [feed for feed in (given, held_out) if feed is not None]
    with _explained(model, feeds):
        statistics = inspection.look(given, steps_per_epoch, check)
    given = given.with_class_weights(class_tables(class_weight, model.tasks, statistics, "fit"))
    callbacks = in_order(callbacks, model.direction)
    refuse_unmonitored(callbacks, validated=validation_data is not None)
    feeds[0] = given
    with _explained(model, feeds):
        # From here on machines wait for each other.
        if statistics is not None:
            inspection.learn_scales(statistics, inspection.unlearned())
        if held_out is not None:
            inspection.require_scales("fit(validation_data)", held_out)
        onednn.tell_once(options["verbose"])
        plan = Plan(given, batch_size, shuffle, steps_per_epoch, initial_epoch)
        batches = statistics.batches if statistics is not None and statistics.complete else None
        plan = _planned(model, plan, callbacks, batches, epochs)
        callbacks = remaining_callbacks(callbacks, plan, options["verbose"], epochs, model)
        return _run(model, keras_fit, plan, epochs=epochs, callbacks=callbacks, **options)


@contextlib.contextmanager
def _explained(model: Any, feeds: Sequence[Feed]) -> Iterator[None]:
    """Raises a clearer error for one that the data or the strategy can explain."""
    try:
        yield
    except Exception as error:
        clearer: BaseException = error
        for feed in feeds:
            clearer = feed.explain(clearer)
        clearer = explain_error(clearer, model.distribute_strategy)
        if clearer is error:
            raise
        raise clearer from error


def _run(model: Any, keras_fit: Callable[..., Any], plan: Plan, **options: Any) -> Any:
    """Calls Keras's `fit` on a plan; the model knows meanwhile how far it is."""
    given = plan.feed
    model.progress = plan.progress
    try:
        return keras_fit(
            given.x,
            given.y,
            sample_weight=given.sample_weight,
            batch_size=plan.batch_size,
            shuffle=plan.shuffle and given.is_shuffled_by_keras,
            initial_epoch=plan.initial_epoch,
            steps_per_epoch=plan.steps_per_epoch,
            **options,
        )
    finally:
        model.progress = None


def _planned(model: Any, plan: Plan, callbacks: Sequence[Any], batches: int | None, epochs: int) -> Plan:
    """The plan itself, or one over an endless stream where the order of the data must be known.

    A backup needs it to go on; many machines need it to see every example once, in one order; and an endless set needs
    it where executions of several steps do not fill an epoch.
    """
    strategy = model.distribute_strategy
    backup = next((callback for callback in callbacks if isinstance(callback, BackupAndRestore)), None)
    many = is_many_machines(strategy)
    # Keras takes whole executions: of three steps an epoch, two an execution, it would take four.
    uneven = bool(plan.steps_per_epoch and plan.steps_per_epoch % model.steps_per_execution)
    counted = uneven and is_dataset(plan.feed.x) and plan.feed.size == math.inf
    if backup is None and not counted and not (many and plan.shuffle and plan.feed.is_shuffled_by_keras):
        return plan
    steps = steps_of(plan, batches)
    start = Start(plan.initial_epoch, 0, int(of_first(strategy, current_seed())))
    if backup is not None:
        backup.attend(callbacks)
        start = backup.restore(model, fingerprint(model, steps), start)
    return plan_stream(plan, start._replace(epoch=epochs) if start.stopped else start, steps)


def fingerprint(model: Any, steps: int) -> dict[str, Any]:
    """What must be the same for a training to go on from a backup."""
    return {
        "tasks": list(model.tasks),
        "variables": [f"{item.name} {item.dtype} {tuple(item.shape)}" for item in model.variables],
        # Keras numbers the names of the others anew in each process.
        "state": [f"{item.dtype} {tuple(item.shape)}" for item in model.training_state],
        "optimizer": type(model.optimizer).__name__,
        "balancer": type(model.balancer).__name__,
        "steps_per_epoch": steps,
    }


def in_order(callbacks: Any, direction: Callable[[str], str]) -> list[Any]:
    """Lists the callbacks of a training: those that add to the logs first, a backup last, to hold what the others did.

    Args:
        callbacks: As `fit` was given them.
        direction: Tells whether more of a log value is better; monitors without a mode ask it.
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):
        # Keras makes another list of them.
        callbacks = callbacks.callbacks
    given = list(callbacks) if isinstance(callbacks, list | tuple) else [callbacks]
    listed = [BalancerListener(), *(callback for callback in given if callback is not None)]
    for callback in listed:
        if getattr(callback, "mode", None) == "auto" and isinstance(getattr(callback, "monitor", None), str):
            callback.mode = direction(callback.monitor)
    keeps = any(isinstance(callback, BackupAndRestore) for callback in listed)
    if keeps and not any(isinstance(callback, keras.callbacks.History) for callback in listed):
        # Keras would put it behind the backup.
        listed.append(keras.callbacks.History())
    return sorted(listed, key=_turn)


def _turn(callback: Any) -> int:
    """The turn of a callback: 0 is first."""
    return 2 if isinstance(callback, BackupAndRestore) else 0 if getattr(callback, "adds_logs", False) else 1
