"""How `fit` hands its data to Keras: as it is, or as a stream that begins anywhere."""

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

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
        ahead: Batches of the first epoch that were done already.
    """

    feed: Feed
    batch_size: int | None
    shuffle: bool
    steps_per_epoch: int | None
    initial_epoch: int
    ahead: int = 0


def streamed(plan: Plan, start: Start, steps: int) -> Plan:
    """The plan of a training from where it begins, its data an endless stream from there."""
    first = start.epoch * steps + start.step
    shuffle = plan.shuffle and plan.feed.is_shuffled_by_keras
    feed = plan.feed.positioned(first, batch_size=plan.batch_size, shuffle=shuffle, seed=start.seed)
    return Plan(feed, None, False, steps, start.epoch, start.step)


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


def present_seed() -> int:
    """A number that follows from the state of NumPy's generator, which is left as it is.

    `keras.utils.set_random_seed` so makes it the same in every run.
    """
    state: Mapping[str, Any] = np.random.get_state(legacy=False)  # noqa: NPY002 - Keras seeds this one
    return zlib.crc32(state["state"]["key"].tobytes())
