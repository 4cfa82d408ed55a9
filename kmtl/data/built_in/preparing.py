"""Puts a dataset on disk once, whole or not at all."""

import contextlib
import importlib
import io
import os
import random
import sys
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

SHIPPED = ("digit_poses", "multi_digits", "digit_scenes")


def register() -> None:
    """Makes the sets that kmtl ships known to `tfds.load`.

    `kmtl.data.load` needs no registration.

    >>> register()
    >>> import tensorflow_datasets as tfds
    >>> tfds.builder_cls("digit_poses").VERSION
    Version('1.0.0')
    """
    for name in SHIPPED:
        _builder_class(name)


def prepare(name: str, data_dir: str | os.PathLike[str] | None = None) -> None:
    """Prepares a set unless it is there already.

    TFDS writes into a directory of a random name beside the final one and renames
    it when it is complete, so that an interrupted run leaves no half set. Two
    things are mended here. The random name comes from Python's `random`, so that
    two processes that call `keras.utils.set_random_seed(0)` would write into one
    directory. And of two processes that prepare at once the later one fails to
    rename, although the set is there.

    Args:
        name: A set that kmtl ships, or one of the TFDS catalogue.
        data_dir: Where prepared sets live; None is TFDS's own place.
    """
    builder = _builder(name, data_dir)
    if builder.data_path.exists():
        return
    quiet = _one_line(f"kmtl.data: preparing {name} in {builder.data_dir}") if name in SHIPPED else _tfds_bars()
    with quiet, _own_randomness():
        try:
            builder.download_and_prepare()
        except (OSError, tf.errors.OpError):
            if not builder.data_path.exists():
                raise


def _builder_class(name: str) -> Any:
    """Imports the builder of a shipped set, which registers it."""
    return importlib.import_module(f"kmtl.data.{name}.{name}_dataset_builder").Builder


def _builder(name: str, data_dir: str | os.PathLike[str] | None) -> Any:
    """Makes the builder of a set."""
    if name in SHIPPED:
        return _builder_class(name)(data_dir=data_dir)
    import tensorflow_datasets as tfds

    return tfds.builder(name, data_dir=data_dir)


@contextlib.contextmanager
def _own_randomness() -> Iterator[None]:
    """Seeds Python's `random` from the system, and gives the caller's numbers back."""
    state = random.getstate()
    random.seed()
    try:
        yield
    finally:
        random.setstate(state)


@contextlib.contextmanager
def _one_line(text: str) -> Iterator[None]:
    """Says one line in place of TFDS's bars and messages, which are longer than the few seconds of work."""
    sys.stderr.write(text + "\n")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        yield


def _tfds_bars() -> contextlib.nullcontext[None]:
    """Leaves TFDS its bars: a download takes minutes."""
    return contextlib.nullcontext()
