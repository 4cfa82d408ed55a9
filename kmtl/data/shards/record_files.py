"""The files of shards as datasets of records, in an order that is a function of the seed and the pass's number."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kmtl import _extras
from kmtl.data.shards.exit_guard import settling
from kmtl.data.shards.manifests import Manifest
from kmtl.feeding.order import Order, key_of, permute, shuffle_by_key

# Files open at a time while shuffling.
_OPEN = 16
# Records taken from each in turn, and what those of all open files may take together.
_TURN, _TURNS = 16, 16 * 2**20
# Files that are read ahead at a time.
_THREADS = 64
# All read buffers together.
_READ = 4 * 2**20
# What a shuffle buffer of no stated size may take.
_KEPT = 256 * 2**20
_FILES = 1
# Each read takes the record and no more: what lies behind it will hardly be asked for next.
_RANDOM_ACCESS = "readahead_buffer_size:0,max_parallelism:0"


@dataclass(frozen=True)
class TFRecords:
    """TFRecord files: the shards in a new order, several at a time, through a shuffle buffer.

    Args:
        paths: The shards.
        buffer: Examples that the shuffle holds in memory; 0 keeps the order in which they were written.
        seed: Seed of the order.
        size: Mean bytes of a record.
    """

    paths: tuple[str, ...]
    buffer: int
    seed: int
    size: int

    def one(self, index: Any, skipped: Any, batch_size: int | None) -> Any:
        """Records of the pass numbered `index`, without its first `skipped` batches, or examples."""
        records = self._in_order()
        if self.buffer:
            records = shuffle_by_key(self._shuffle_shards(index), self.buffer, key_of(self.seed, 0, index))
        records = records.skip(skipped * (batch_size or 1))
        return records if batch_size is None else records.batch(batch_size)

    def read(self, records: Any) -> Any:
        """Batches of records, which they are already."""
        return records

    def _in_order(self) -> Any:
        """All records in the order in which they were dealt to the shards."""
        return self._interleave(tf.constant(self.paths), len(self.paths), 1)

    def _shuffle_shards(self, index: Any) -> Any:
        """All records, the shards in an order of the pass's own."""
        count = len(self.paths)
        order = permute(tf.range(count, dtype=tf.int64), count, key_of(self.seed, _FILES, index))
        opened = min(count, _OPEN)
        turn = max(1, min(_TURN, _TURNS // (opened * self.size)))
        return self._interleave(tf.gather(tf.constant(self.paths), order), opened, turn)

    def _interleave(self, paths: Any, opened: int, turn: int) -> Any:
        """Records of files in turn, each file read ahead by a thread of its own unless they are too many.

        Parallel calls of the interleave would do the same, but take memory for the shuffle's buffer from another
        arena of the allocator every pass, and none gives it back: 50 MiB more a pass were measured.
        """
        ahead = 2 * turn if opened <= _THREADS else 0
        files = tf.data.Dataset.from_tensor_slices(paths)
        return files.interleave(
            lambda path: _ahead(tf.data.TFRecordDataset(path, buffer_size=max(2**14, _READ // opened)), ahead),
            cycle_length=opened,
            block_length=turn,
        )


def _ahead(records: Any, count: int) -> Any:
    """Records with so many of them read before they are asked for."""
    return records.prefetch(count) if count else records


class ArrayRecords:
    """ArrayRecord files: every record is read on its own, so that an order needs no buffer.

    Args:
        paths: The shards, to which examples were dealt in turn.
        examples: Number of examples.
        shuffle: Whether every pass has an order of its own.
        seed: Seed of the order.
        owner: Who reads, for the message if the package is absent.
    """

    def __init__(self, paths: Sequence[str], examples: int, shuffle: bool, seed: int, owner: str) -> None:
        self.order = Order(examples, shuffle, seed)
        self.readers = [array_reader(path, owner) for path in paths]
        self.paths = tuple(paths)

    def one(self, index: Any, skipped: Any, batch_size: int | None) -> Any:
        """Numbers of the examples of the pass numbered `index`, without its first `skipped` batches, or examples."""
        return self.order.one(index, skipped, batch_size)

    def read(self, numbers: Any) -> Any:
        """Batches of records out of batches of numbers."""

        def records(batch: Any) -> Any:
            return tf.ensure_shape(tf.numpy_function(self._records, [batch], tf.string, stateful=False), (None,))

        return numbers.map(records, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)

    def _records(self, numbers: Any) -> Any:
        """The records of some examples, each shard being asked once."""
        places, positions = numbers % len(self.readers), numbers // len(self.readers)
        found = np.empty(len(numbers), object)
        with settling.call():
            for place in np.unique(places):
                where = np.flatnonzero(places == place)
                found[where] = self._of_shard(int(place), positions[where].tolist())
        return found

    def _of_shard(self, place: int, positions: list[int]) -> list[bytes]:
        """Some records of one shard."""
        try:
            return list(self.readers[place].read(positions))
        except RuntimeError as error:
            raise OSError(f"{self.paths[place]}: one of the records {positions} is corrupt: {error}") from error


def array_reader(path: str, owner: str) -> Any:
    """Opens one ArrayRecord file."""
    return _extras.load("array_record.python.array_record_module", owner).ArrayRecordReader(path, _RANDOM_ACCESS)


def record_files(directory: Path, manifest: Manifest, shuffle: bool | int, seed: int, owner: str) -> Any:
    """The files of a folder.

    Args:
        directory: The folder.
        manifest: What it holds.
        shuffle: As in `from_shards`.
        seed: Seed of the order.
        owner: Who reads.
    """
    paths = tuple(str(directory / shard.file) for shard in manifest.shards)
    if manifest.format == "array_record":
        return ArrayRecords(paths, manifest.examples, bool(shuffle), seed, owner)
    size = max(1, manifest.bytes // manifest.examples)
    room = max(1, _KEPT // size) if shuffle is True else int(shuffle)
    return TFRecords(paths, min(room, manifest.examples), seed, size)
