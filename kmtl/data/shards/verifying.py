"""Reads every record of shards, and says which ones are bad."""

import re
from collections.abc import Callable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import tensorflow as tf

from kmtl._checks import Refusals
from kmtl.data.shards.manifests import Manifest, add_faults, read_manifest, shard_faults
from kmtl.data.shards.record_files import array_reader
from kmtl.data.shards.records import parser

_BLOCK = 256
# What reading or parsing a record may raise: TensorFlow's errors, also those with bytes of the record in them, and
# those of ArrayRecord.
_ERRORS = (tf.errors.OpError, UnicodeDecodeError, RuntimeError)
# What TensorFlow says around the reason.
_PLACE = re.compile(r"\{\{.*?\}\}|\[Op:.*", re.DOTALL)
# Which errors of a training may come from the files. An error inside a Python reader comes as unknown.
_OF_FILES = (
    tf.errors.DataLossError,
    tf.errors.NotFoundError,
    tf.errors.PermissionDeniedError,
    tf.errors.UnknownError,
    UnicodeDecodeError,
)


def check_shards(directory: str | PathLike[str]) -> int:
    """Reads all shards of a folder from end to end, without training.

    About 3 µs an example on one core, or as fast as the disk is.

    Args:
        directory: What `write_shards` wrote.

    Returns:
        The number of examples, if every file and every record is whole.

    Raises:
        ValueError: If the manifest is absent, damaged or newer.
        OSError: With every shard that is absent, of another size, or holds a corrupt record: its file, the number of
            the first such record, from 0, and the reason.

    >>> import tempfile
    >>> from kmtl.data.shards.writing import write_shards
    >>> rows = tf.data.Dataset.from_tensor_slices(([[0.0], [1.0], [2.0]], {"digit": [7, -1, 3]}))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     check_shards(write_shards(rows, f"{folder}/digits"))
    3
    """
    owner, folder = "check_shards", Path(directory)
    manifest = read_manifest(owner, folder)
    with Refusals(owner, OSError) as refusals:
        add_faults(refusals, dict(_faults(owner, folder, manifest)))
    return manifest.examples


def explanation(directory: Path, error: BaseException) -> OSError | None:
    """Finds the file and the record behind an error of a training on shards; stops at the first bad file.

    Args:
        directory: The folder of the shards.
        error: What was raised.

    Returns:
        The error to raise in its place; None if it does not come from files, or they are whole.
    """
    if not isinstance(error, _OF_FILES):
        return None
    owner = "from_shards"
    refusals = Refusals(owner, OSError)
    fault = next(_faults(owner, directory, read_manifest(owner, directory)), None)
    if fault is None:
        return None
    add_faults(refusals, dict([fault]))
    return OSError("\n".join(refusals.messages))


def _faults(owner: str, directory: Path, manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Names of bad files with what is wrong, those that need no reading first."""
    known = shard_faults(directory, manifest)
    yield from known.items()
    parse = tf.function(parser(manifest, list(manifest.labels)), input_signature=[tf.TensorSpec((None,), tf.string)])
    for shard in manifest.shards:
        if shard.file not in known:
            read = _reader(owner, manifest.format, str(directory / shard.file), shard.examples)
            fault = _first_bad(read, parse, shard.examples)
            if fault is not None:
                yield shard.file, fault


def _reader(owner: str, format_: str, path: str, examples: int) -> Callable[[int, int], Iterator[Any]]:
    """A function from a record's number to the blocks of so many records from it on."""
    if format_ == "tfrecord":
        return lambda start, size: tf.data.TFRecordDataset(path).skip(start).batch(size).as_numpy_iterator()
    reader = array_reader(path, owner)
    return lambda start, size: (
        reader.read(list(range(first, min(first + size, examples)))) for first in range(start, examples, size)
    )


def _first_bad(read: Callable[[int, int], Iterator[Any]], parse: Callable[[Any], Any], examples: int) -> str | None:
    """Reads a file in blocks, and the block that fails record by record; says which record is bad, or None."""
    number = 0
    for size in (_BLOCK, 1):
        try:
            for records in read(number, size):
                parse(tf.constant(records, tf.string))
                number += len(records)
        except _ERRORS as error:
            if size == 1:
                return f"record {number} corrupt: {_reason(error)}"
        else:
            return None if number == examples else f"{number} records where {examples} were written"
    return None


def _reason(error: BaseException) -> str:
    """Why a record cannot be read, in one line."""
    if isinstance(error, UnicodeDecodeError):
        return "it is no tf.train.Example"
    return " ".join(_PLACE.sub("", getattr(error, "message", None) or str(error)).split()).rstrip(".")
