"""How `fit` hands its data to Keras: as it is, or as a stream that begins anywhere."""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from kmtl._checks import refusal
from kmtl.feeding import Feed


class Start(NamedTuple):
    """Where a training begins.

    Attributes:
        epoch: Number of the epoch.
        step: Batches of it that were done already.
        seed: Of the order of the data.
        stopped: Whether a callback had ended the training.
    """

    epoch: int
    step: int
    seed: int
    stopped: bool = False


class Plan(NamedTuple):
    """The data and the steps of one `fit`.

    Attributes:
        feed: The data.
        batch_size: Of arrays.
        shuffle: Whether Keras shuffles.
        steps_per_epoch: As in Keras.
        initial_epoch: As in Keras.
        progress: How far an endless stream is read; None where Keras alone counts.
    """

    feed: Feed
    batch_size: int | None
    shuffle: bool
    steps_per_epoch: int | None
    initial_epoch: int
    progress: "Progress | None" = None


class Progress:
    """How far the epochs of an endless stream are done.

    Keras takes whole executions: of five batches an epoch, two an execution would take six.

    Args:
        steps: Batches an epoch.
        ahead: Batches of the first epoch that were done before the training was interrupted.

    Attributes:
        logs: What is told of the batches that were done, once somebody has asked for it.

    >>> progress = Progress(5, ahead=2)
    >>> [progress.next(2) for _ in range(4)]
    [0, 2, 1, 2]
    """

    def __init__(self, steps: int, ahead: int = 0) -> None:
        self.steps = steps
        self.ahead = ahead
        self.logs: dict[str, Any] | None = None
        self._seen = 0

    def next(self, most: int) -> int:
        """How many batches the next execution takes, at most `most`: none where all were done before."""
        number = min(most, self.steps - self._seen % self.steps)
        self._seen += number
        return min(number, max(self._seen - self.ahead, 0))


class RemainingCallbacks(keras.callbacks.CallbackList):
    """The callbacks of a training that goes on inside an epoch: they do not hear again of batches that were done.

    Args:
        callbacks: The callbacks.
        ahead: Batches of the first epoch that were done.
        **params: As of Keras's list.
    """

    def __init__(self, callbacks: Sequence[Any], ahead: int, **params: Any) -> None:
        super().__init__(list(callbacks), add_history=True, **params)
        self._ahead = ahead

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Passes it on once the training is where it was."""
        if batch >= self._ahead:
            super().on_train_batch_begin(batch, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Passes it on once the training is where it was."""
        if min(batch + 1, self.params["steps"]) > self._ahead:
            super().on_train_batch_end(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """All epochs but the first are new from their beginning."""
        self._ahead = 0
        super().on_epoch_end(epoch, logs)


def remaining_callbacks(callbacks: Any, plan: Plan, verbose: Any, epochs: int, model: Any) -> Any:
    """The callbacks of `fit`, in the middle of an epoch such as hear only of what is new."""
    ahead = plan.progress.ahead if plan.progress else 0
    if not ahead:
        return callbacks
    told = {"verbose": verbose, "epochs": epochs, "steps": plan.steps_per_epoch, "model": model}
    return RemainingCallbacks(callbacks, ahead, add_progbar=verbose != 0, **told)


def plan_stream(plan: Plan, start: Start, steps: int) -> Plan:
    """The plan of a training from where it begins, its data an endless stream from there."""
    first = start.epoch * steps + start.step
    shuffle = plan.shuffle and plan.feed.is_shuffled_by_keras
    feed = plan.feed.stream_from(first, batch_size=plan.batch_size, shuffle=shuffle, seed=start.seed)
    return Plan(feed, None, False, steps, start.epoch, Progress(steps, start.step))


def steps_of(plan: Plan, seen: int | None) -> int:
    """Batches of an epoch.

    Args:
        plan: As `fit` was called.
        seen: Batches of the whole of the data, if they were counted.

    Raises:
        ValueError: If nobody knows.
    """
    steps = plan.steps_per_epoch or plan.feed.steps(plan.batch_size) or seen
    if not steps:
        fix = "Pass it: backups and many machines need to know where an epoch ends."
        raise ValueError(refusal("fit", "steps_per_epoch", "must be given for data of unknown length", None, fix))
    return steps


def current_seed() -> int:
    """A number that follows from the state of NumPy's generator, which is left as it is.

    `keras.utils.set_random_seed` so makes it the same in every run.
    """
    state: Mapping[str, Any] = np.random.get_state(legacy=False)  # noqa: NPY002 - Keras seeds this one
    return zlib.crc32(state["state"]["key"].tobytes())
