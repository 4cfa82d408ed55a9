"""The functions that run steps on many replicas; on one they are Keras's own."""

import itertools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import keras
import tensorflow as tf

from kmtl._interrupts import held
from kmtl.gradients import is_replicated
from kmtl.model.setup import CompiledModel


class ReplicatedModel(CompiledModel):
    """A model whose steps run on all replicas of a strategy; `MultiTaskModel` is the one to use.

    Keras's own functions fail on two replicas with `steps_per_execution` above 1 (keras-team/keras#19246) and on
    many machines always (keras-team/keras#20585), and log the mean of what each replica counted.
    """

    train_function: Any
    test_function: Any

    def make_train_function(self, force: bool = False) -> Any:
        """Makes the function that `fit` calls with an iterator, for one execution."""
        if self.train_function is not None and not force:
            return self.train_function
        if is_replicated(self.distribute_strategy):
            run = Execution(self, lambda data: self.train_step(data))
        else:
            super().make_train_function(force=True)
            run = self.train_function

        # The first call traces; what is around the step is traced there, too.
        first = [] if self.run_eagerly else [held]

        def function(iterator: Any) -> dict[str, Any]:
            most, progress = self.steps_per_execution, self._progress
            number = most if progress is None else progress.next(most)
            if progress is not None and not number:
                # These batches were taken before the training was interrupted; the iterator stands behind them.
                progress.logs = progress.logs or self.get_metrics_result()
                return progress.logs
            with first.pop()() if first else nullcontext():
                return run(iterator if number == most else itertools.islice(iterator, number))

        self.train_function = function
        return function

    def make_test_function(self, force: bool = False) -> Any:
        """Makes the function that `evaluate` calls with an iterator, for one execution."""
        if not is_replicated(self.distribute_strategy):
            return super().make_test_function(force)
        if self.test_function is None or force:
            self.test_function = Execution(self, lambda data: self.test_step(data))
        return self.test_function

    def predict_step(self, data: Any) -> Any:
        """Predictions of a batch; a replica that no example is left for gives none."""
        if not is_replicated(self.distribute_strategy):
            return super().predict_step(data)
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        size = tf.shape(tf.nest.flatten(x)[0])[0]
        x = tf.cond(size > 0, lambda: x, lambda: tf.nest.map_structure(_zeros, x))
        return tf.nest.map_structure(lambda output: output[:size], self(x, training=False))

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Reads no batch ahead, as Keras does to build what is not built: `compile` builds everything."""

    def _filled(self, data: Any) -> Any:
        """A replica that no example of a short batch is left for gets one of zeros, without labels."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
        first = tf.nest.flatten(x)[0]
        if first.shape.rank == 0 or first.shape[0] is not None:
            return data
        blank = [tf.nest.map_structure(_zeros, x), {name: self._unlabelled(name, label) for name, label in y.items()}]
        blank += [] if sample_weight is None else [tf.nest.map_structure(_zeros, sample_weight)]
        return tf.cond(tf.shape(first)[0] > 0, lambda: tuple(data), lambda: tuple(blank))

    def _unlabelled(self, name: str, label: Any) -> Any:
        """One missing label of a task."""
        return tf.fill([1, *tf.unstack(tf.shape(label))[1:]], tf.constant(self.tasks[name].missing, label.dtype))

    def _logs_of_all(self) -> dict[str, Any]:
        """The logs over all replicas, from within one: what the metrics hold crosses them once."""
        held = [variable for metric in self.metrics for variable in metric.variables]
        parts = [variable for variable in held if variable.aggregation == "sum"]
        context = tf.distribute.get_replica_context()
        sums = context.all_reduce(tf.distribute.ReduceOp.SUM, [tf.identity(variable.value) for variable in parts])
        with keras.StatelessScope(state_mapping=list(zip(parts, sums, strict=True))):
            return self.get_metrics_result()


class Execution:
    """Runs `steps_per_execution` steps on all replicas, or what is left of them.

    Args:
        model: Whose steps they are.
        step: One step, from within a replica.
    """

    def __init__(self, model: ReplicatedModel, step: Callable[[Any], Any]) -> None:
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
            self.step(self.model._filled(_without_optionals(given)))

        self.strategy.run(on_each, args=(data,))

    def _logs(self) -> dict[str, Any]:
        """The logs, the same on all replicas."""
        found = self.strategy.run(self.model._logs_of_all)
        return {name: self.strategy.experimental_local_results(value)[0] for name, value in found.items()}


def _without_optionals(data: Any) -> Any:
    """Keras hands on what is absent in a generator's batches as an empty optional."""
    return keras.tree.map_structure(lambda item: None if isinstance(item, tf.experimental.Optional) else item, data)


def _zeros(tensor: Any) -> Any:
    """One example of zeros."""
    return tf.zeros([1, *tf.unstack(tf.shape(tensor))[1:]], tensor.dtype)
