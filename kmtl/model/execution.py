"""The functions that run steps, on one replica or many; what differs from Keras's own stands here."""

import itertools
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import keras
import tensorflow as tf

from kmtl._interrupts import hold_interrupts, release_interrupts
from kmtl.feeding.plan import Progress
from kmtl.joint_terms import REAL
from kmtl.tasks import Task


def train_function(model: Any, run: Callable[[Any], Any], progress: Callable[[], Progress | None]) -> Any:
    """Makes the function that `fit` calls with an iterator, for one execution.

    Args:
        model: The model whose steps it runs.
        run: Runs one execution on an iterator: Keras's own function, or an `Execution`.
        progress: How far the training in progress has read its stream; None where Keras alone counts.
    """
    # The first call traces; what is around the step is traced there, too.
    first = [] if model.run_eagerly else [hold_interrupts]

    def function(iterator: Any) -> dict[str, Any]:
        release_interrupts()
        most, now = model.steps_per_execution, progress()
        number = most if now is None else now.next(most)
        if now is not None and not number:
            # These batches were taken before the training was interrupted; the iterator stands behind them.
            now.logs = now.logs or model.get_metrics_result()
            return now.logs
        with first.pop()() if first else nullcontext():
            logs = run(iterator if number == most else itertools.islice(iterator, number))
        release_interrupts()
        return logs

    return function


def test_function(run: Callable[[Any], Any]) -> Any:
    """Makes the function that `evaluate` calls with an iterator; a Ctrl-C in `fit` takes effect before an execution."""

    def function(iterator: Any) -> dict[str, Any]:
        release_interrupts()
        return run(iterator)

    return function


def predictions(model: Any, x: Any) -> Any:
    """Predictions of a batch on a replica; one that no example is left for gives none."""
    size = tf.shape(tf.nest.flatten(x)[0])[0]
    x = tf.cond(size > 0, lambda: x, lambda: tf.nest.map_structure(_zeros, x))
    return tf.nest.map_structure(lambda output: output[:size], model(x, training=False))


class Execution:
    """Runs `steps_per_execution` steps on all replicas, or what is left of them.

    Keras's own functions fail on two replicas with `steps_per_execution` above 1 (keras-team/keras#19246) and on
    many machines always (keras-team/keras#20585), and log the mean of what each replica counted.

    Args:
        model: Whose steps they are.
        step: One step, from within a replica.
    """

    def __init__(self, model: Any, step: Callable[[Any], Any]) -> None:
        self.model = model
        self.step = step
        self.number = model.steps_per_execution
        self.strategy = model.distribute_strategy
        self.one, self.many = self._one, self._many
        if not model.run_eagerly:
            self.one = tf.function(self._one, autograph=False, reduce_retracing=True)
            self.many = tf.function(self._many, autograph=False, reduce_retracing=True)

    def __call__(self, iterator: Any) -> dict[str, Any]:
        """Takes what it needs from an iterator, and returns the logs."""
        if isinstance(iterator, tf.data.Iterator | tf.distribute.DistributedIterator):
            taken, logs = self.many(iterator)
            if not taken:
                raise StopIteration
            return logs
        for _, data in zip(range(self.number), iterator, strict=False):
            logs = self.one(data)
        return logs

    def _one(self, data: Any) -> dict[str, Any]:
        """One step on a batch."""
        self._run(data)
        return self._logs()

    def _many(self, iterator: Any) -> tuple[Any, dict[str, Any]]:
        """The steps, and how many there were."""
        if self.number == 1:
            self._run(iterator.get_next())
            return tf.constant(1), self._logs()
        return self._loop(iterator), self._logs()

    def _loop(self, iterator: Any) -> Any:
        """Steps while there is data."""

        def body(taken: Any, more: Any) -> tuple[Any, Any]:
            del more
            data = iterator.get_next_as_optional()

            def take() -> Any:
                self._run(data.get_value())
                return tf.constant(True)

            more = tf.cond(data.has_value(), take, lambda: tf.constant(False))
            return taken + tf.cast(more, tf.int32), more

        start = (tf.constant(0), tf.constant(True))
        return tf.while_loop(lambda taken, more: more & (taken < self.number), body, start)[0]

    def _run(self, data: Any) -> None:
        """One step on all replicas; its own logs know one of them, and are dropped."""

        def on_each(given: Any) -> None:
            asked = self.model.setup is not None and self.model.setup.joint.asks_for_rows
            self.step(_with_an_example(_without_optionals(given), self.model.tasks, marked=asked))

        self.strategy.run(on_each, args=(data,))

    def _logs(self) -> dict[str, Any]:
        """The logs, the same on all replicas."""
        found = self.strategy.run(lambda: _logs_over_replicas(self.model))
        return {name: self.strategy.experimental_local_results(value)[0] for name, value in found.items()}


def _without_optionals(data: Any) -> Any:
    """Keras hands on what is absent in a generator's batches as an empty optional."""
    return keras.tree.map_structure(lambda item: None if isinstance(item, tf.experimental.Optional) else item, data)


def _with_an_example(data: Any, tasks: Mapping[str, Task], *, marked: bool) -> Any:
    """A replica that no example of a short batch is left for gets one of zeros, without labels.

    Args:
        data: The replica's part of a batch.
        tasks: The tasks by name.
        marked: Whether the labels tell under `REAL` which rows are examples.
    """
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    first = tf.nest.flatten(x)[0]
    if first.shape.rank == 0 or first.shape[0] is not None:
        return data
    if marked:
        y = {**y, REAL: tf.ones(tf.shape(first)[:1], "bool")}
        data = (x, y, sample_weight)[: len(data)]
    blank = [tf.nest.map_structure(_zeros, x), {name: _unlabelled(tasks.get(name), label) for name, label in y.items()}]
    blank += [] if sample_weight is None else [tf.nest.map_structure(_zeros, sample_weight)]
    return tf.cond(tf.shape(first)[0] > 0, lambda: tuple(data), lambda: tuple(blank))


def _unlabelled(task: Task | None, label: Any) -> Any:
    """One missing label of a task; of none the mark of a row that is no example."""
    if task is None:
        return tf.zeros([1], "bool")
    return tf.fill([1, *tf.unstack(tf.shape(label))[1:]], tf.constant(task.missing, label.dtype))


def _logs_over_replicas(model: Any) -> dict[str, Any]:
    """The logs over all replicas, from within one: what the metrics hold crosses them once."""
    variables = [variable for metric in model.metrics for variable in metric.variables]
    parts = [variable for variable in variables if variable.aggregation == "sum"]
    context = tf.distribute.get_replica_context()
    sums = context.all_reduce(tf.distribute.ReduceOp.SUM, [tf.identity(variable.value) for variable in parts])
    with keras.StatelessScope(state_mapping=list(zip(parts, sums, strict=True))):
        return model.get_metrics_result()


def _zeros(tensor: Any) -> Any:
    """One example of zeros."""
    return tf.zeros([1, *tf.unstack(tf.shape(tensor))[1:]], tensor.dtype)
