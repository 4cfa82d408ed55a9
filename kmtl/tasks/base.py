"""The contract that every kind of task keeps."""

import copy
import inspect
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ClassVar

import keras
from keras import ops

from kmtl._checks import constructor_keywords, non_negative, refusal, refuse_keywords, require, sizes, task_name
from kmtl.tasks.keras_losses import (
    is_of_keras,
    is_stackable,
    loss_identity,
    loss_name,
    loss_values,
    serialized_loss,
    summed,
)
from kmtl.tasks.measures import ignored_class, one_hot, takes_one_hot
from kmtl.tasks.metric_directions import better_end, metric_name
from kmtl.tasks.reductions import mean_of_present, trailing
from kmtl.tasks.several_losses import SeveralLosses
from kmtl.tasks.shapes import elements_of
from kmtl.tasks.task_space import Condition, checked_where
from kmtl.tasks.told_intervals import IntervalOutput


class Task(IntervalOutput):
    """One named output of a model: how it is labelled, trained, measured and read.

    A task owns all that is particular to its kind, and every other part of kmtl asks it. `docs/tasks.md` shows a
    kind of one's own. A task holds settings only; weights live in the model. Every kind shares the options below.

    Args:
        name: Key of the task in outputs, labels, weights and logs.
        loss: A Keras loss (name, object or function) in place of the kind's own.
            kmtl takes one value an example and averages over the labelled ones; an object
            whose `reduction` asks for a sum is refused.
        losses: `{name: loss}` in place of `loss`: several losses, whose sum is the task's. Each is logged as
            `<task>_<name>_loss` and weighs 1, or what `compile(loss_weights={task: {name: weight}})` says. A label
            counts where every one of them can be taken of it.
        metrics: Keras metrics (names or objects) in place of the kind's own.
        hidden: Units of the head's hidden layers.
        dropout: Share of the head's hidden units that is dropped, in `[0, 1)`;
            without hidden layers, of the features.
        l1: Factor of the L1 penalty on the head's kernels.
        l2: Factor of the L2 penalty on the head's kernels.
        where: `{other task: value or values}`: the task counts on the examples whose other labels have these values,
            a class by its number or name, and several conditions all hold; elsewhere, and where such a label is
            missing, its own label counts as missing. See `docs/task_space.md`.
        **unknown: None: what is given here is refused with its near match.

    Raises:
        ValueError: If an option is out of range; the message names it.
    """

    default_metrics: ClassVar[tuple[str, ...]] = ()
    # Losses that are a plain mean over the last axis, so that one missing element can leave it alone.
    elementwise_losses: ClassVar[frozenset[str]] = frozenset()
    # Functions whose mean over the labels is a metric, by its names.
    mean_metrics: ClassVar[Mapping[str, Callable[[Any, Any], Any]]] = {}
    # What multiplies exp(-s) where a balancer learns a variance: 1/2 for a Gaussian's squared error.
    uncertainty_factor: ClassVar[float] = 1.0
    # Whether the output means what it says under the kind's own loss alone.
    keeps_loss: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        *,
        loss: Any = None,
        losses: Mapping[str, Any] | None = None,
        metrics: Sequence[Any] | None = None,
        hidden: int | Sequence[int] = (),
        dropout: float = 0.0,
        l1: float = 0.0,
        l2: float = 0.0,
        where: Mapping[str, Any] | None = None,
        **unknown: Any,
    ) -> None:
        owner = type(self).__name__
        refuse_keywords(owner, unknown, constructor_keywords(type(self)))
        self.name = task_name(owner, name)
        self.owner = f"{owner}({name!r})"
        self.loss = self._checked_loss(loss)
        self.losses = self.checked_losses(losses)
        own = not self.keeps_loss or (loss is None and losses is None)
        require(own, self.owner, "loss", "must be left out: the kind has one of its own", losses or loss)
        alone = losses is None or loss is None
        require(alone, self.owner, "loss", "must be left out beside `losses`", loss, "Name it in `losses`.")
        self.metrics = self._checked_metrics(metrics)
        self.hidden = sizes(self.owner, "hidden", hidden)
        self.dropout = non_negative(self.owner, "dropout", dropout)
        require(self.dropout < 1, self.owner, "dropout", "must be below 1", dropout)
        self.l1 = non_negative(self.owner, "l1", l1)
        self.l2 = non_negative(self.owner, "l2", l2)
        self.where: Condition = checked_where(self.owner, name, where)

    def checked_losses(self, losses: Any) -> dict[str, Any] | None:
        """Returns several losses by name, or refuses what is no dict of them; None where there is one loss."""
        if losses is None:
            return None
        named = isinstance(losses, Mapping) and losses and None not in losses.values()
        require(bool(named), self.owner, "losses", "must be a dict {name: loss} of one or more", losses)
        return {task_name(self.owner, name): self._checked_loss(loss) for name, loss in losses.items()}

    def _checked_loss(self, loss: Any) -> Any:
        """Returns the loss, or refuses one that Keras does not know."""
        if isinstance(loss, Mapping) and "class_name" in loss:
            loss = keras.losses.deserialize(dict(loss))
        if inspect.isclass(loss):
            loss = loss()
        if isinstance(loss, str):
            try:
                keras.losses.get(loss)
            except ValueError as error:
                raise ValueError(refusal(self.owner, "loss", "must be a Keras loss", loss)) from error
        elif loss is not None and not callable(loss):
            raise ValueError(refusal(self.owner, "loss", "must be a name, a keras.losses.Loss or a function", loss))
        if wrong := summed(loss):
            raise ValueError(refusal(self.owner, "loss", *wrong))
        return loss

    def _checked_metrics(self, metrics: Any) -> list[Any]:
        """Returns the metrics as a list, or refuses what is neither a list nor one metric, and a name twice."""
        if metrics is None:
            return list(self.default_metrics)
        listed = list(metrics) if isinstance(metrics, list | tuple) else [metrics]
        known = all(isinstance(item, str | Mapping) or callable(item) for item in listed)
        if isinstance(metrics, Mapping) or not known:
            raise ValueError(refusal(self.owner, "metrics", "must be a list of metrics", metrics))
        listed = [keras.metrics.deserialize(item) if isinstance(item, Mapping) else item for item in listed]
        listed = [item() if inspect.isclass(item) else item for item in listed]
        names = [metric_name(item) for item in listed]
        require(len(names) == len(set(names)), self.owner, "metrics", "must have different names", names)
        return listed

    @property
    def default_loss(self) -> Any:
        """The kind's own loss."""
        raise NotImplementedError

    def resolved_loss(self) -> Any:
        """The loss to train with: a Keras loss object or function, or `SeveralLosses`."""
        if self.losses is not None:
            return SeveralLosses(self.losses)
        return keras.losses.get(self.default_loss if self.loss is None else self.loss)

    def is_elementwise(self, loss: Any) -> bool:
        """Whether a loss is taken of each element of a label alone, so that single ones may be missing."""
        known = is_of_keras(loss) and loss_name(loss) in self.elementwise_losses
        return known and elements_of(self.loss_shape) > 1 and self.output_shape == self.loss_shape

    def loss_form(self, loss: Any) -> Hashable | None:
        """What two tasks must share to be computed by one call of a loss; None for a task that stays alone.

        A loss of the user's own may reduce any axis but the first, and so may a kind's own way to take it.
        """
        own = type(self).label_losses is not Task.label_losses or type(self).stand_in is not Task.stand_in
        if own or self.dense_axes or len(self.output_shape) != 1 or not is_stackable(loss):
            return None
        return (type(self), self.loss_shape, self.output_shape, loss_identity(loss))

    def label_losses(self, loss: Any, labels: Any, predictions: Any, present: Any) -> tuple[Any, Any]:
        """Computes one loss a label.

        A label is an example; of a task on a map or a sequence, a pixel or a token. Of a label of several elements the
        loss is the mean over those that are there if it is taken of elements, else all have to be there.

        Args:
            loss: Keras loss object or function, without its reduction.
            labels: `(batch, [group,] *loss_shape)`, harmless where missing.
            predictions: `(batch, [group,] *output_shape)`, float32.
            present: Which elements of the labels are there.

        Returns:
            Losses, and which of them count, `(batch, [group,] places...)` each.
        """
        axes = len(self.loss_shape) - self.dense_axes
        if self.is_elementwise(loss):
            values = loss_values(loss, ops.expand_dims(labels, -1), ops.expand_dims(predictions, -1))
            return mean_of_present(values, present, axes)
        ignored = ignored_class(loss)
        if ignored is not None:
            present = present & (labels != ignored)
        values = loss_values(loss, self.labels_for(loss, labels), predictions)
        counted = ops.all(present, axis=trailing(axes)) if axes else present
        if len(values.shape) != len(counted.shape):
            places = ("height", "width") if self.dense_axes == 2 else ("tokens",) * self.dense_axes
            rule = f"must return values of shape ({', '.join(['batch', *places])}{'' if places else ','})"
            fix = "Return one value a place: keep its axes and reduce the others."
            if not places:
                fix = "Return one value an example: keep the batch axis and reduce the others."
            raise ValueError(refusal(self.owner, "loss", rule, tuple(values.shape), fix))
        return values, counted

    def labels_for(self, measure: Any, labels: Any) -> Any:
        """Labels as a loss or metric takes them: one-hot for those of Keras's that want it, else as they are.

        Args:
            measure: Keras loss or metric, object or function.
            labels: `(..., *loss_shape)`, harmless where missing.
        """
        return one_hot(labels, self.classes) if self.scores_classes and takes_one_hot(measure) else labels

    def stand_in(self, labels: Any, predictions: Any) -> Any:
        """Labels at which a loss and its slope are finite: class 0, or a number near the prediction.

        A relative error is infinite at 0, a distance has no slope at the prediction itself.

        Args:
            labels: `(batch, [group,] *loss_shape)`.
            predictions: `(batch, [group,] *output_shape)`.
        """
        if self.label_dtype == "int32":
            return ops.zeros_like(labels)
        same = self.loss_shape == self.output_shape
        return ops.stop_gradient(predictions) + 1.0 if same else ops.ones_like(labels)

    def own_metric(self, name: str) -> Any:
        """Makes a metric that the kind has under a name of its own; None leaves the name to Keras.

        Args:
            name: As in `metrics`.
        """
        mean = self.mean_metrics.get(name)
        return None if mean is None else keras.metrics.MeanMetricWrapper(mean, name=name)

    def metric_names(self) -> list[str]:
        """Names of the metrics, as they stand in the logs behind the task's name."""
        return [metric_name(item) for item in self.metrics]

    def direction(self, name: str) -> str:
        """Tells whether more of a metric is better.

        Args:
            name: A metric of this task (`"accuracy"`) or its log key (`"val_digit_accuracy"`).

        Returns:
            `"max"` or `"min"`.

        Raises:
            ValueError: If the name tells nothing, as with a metric of the user's own.
        """
        end = better_end(name.removeprefix("val_").removeprefix(f"{self.name}_").removeprefix("weighted_"))
        if end is None:
            fix = "Give the callback `mode='min'` or `mode='max'`."
            raise ValueError(refusal(self.owner, "direction", "needs a metric whose better end is known", name, fix))
        return end

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        several = {name: _loss_config(loss) for name, loss in (self.losses or {}).items()}
        metrics = [item if isinstance(item, str) else keras.metrics.serialize(item) for item in self.metrics]
        config = {
            "name": self.name,
            "loss": _loss_config(self.loss),
            **({"losses": several} if several else {}),
            "metrics": metrics,
            "hidden": list(self.hidden),
            "dropout": self.dropout,
            "l1": self.l1,
            "l2": self.l2,
        }
        # Only where it is set: a kind whose constructor lists its options by name need not know of it.
        where = {name: list(values) for name, values in self.where.items()}
        return {**config, "where": where} if where else config

    def alone(self) -> "Task":
        """The same task for a model without others: it counts wherever its label is there, and has a head of its own.

        Its condition, if it has one, goes into the data: `kmtl.data.in_task_space`.
        """
        twin = copy.copy(self)
        twin.where, twin.product_of = {}, ()
        return twin

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Task":
        """Makes the task again."""
        return cls(**config)

    def __repr__(self) -> str:
        return self.owner

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.get_config() == other.get_config()

    def __hash__(self) -> int:
        return hash(self.owner)


def _loss_config(loss: Any) -> Any:
    """A loss as a config holds it."""
    return loss if loss is None or isinstance(loss, str) else serialized_loss(loss)
