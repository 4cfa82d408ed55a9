"""Writes examples into shards: files that are read in parallel, in any order, and never all in memory."""

import contextlib
import tempfile
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import tensorflow as tf

from kmtl import _extras
from kmtl._checks import Refusals, is_whole, known_keywords, near, refusal, words
from kmtl._shown_path import ShownPath
from kmtl.data.shards import scratch_folders
from kmtl.data.shards.blocks import blocks
from kmtl.data.shards.manifests import FORMATS, Manifest, Shard
from kmtl.data.shards.records import Block, serialize, specs_of

_OWNER = "write_shards"
_MOST_SHARDS = 4096
# One record a group: the only form in which a single record is read without its neighbours.
_ARRAY_RECORD = "group_size:1,uncompressed"


@known_keywords
def write_shards(
    dataset: Any,
    directory: str | PathLike[str],
    *,
    shards: int = 16,
    format: str = "tfrecord",
    batched: bool | None = None,
) -> Path:
    """Writes examples into shards that `from_shards` streams with bounded memory.

    Examples are dealt to the shards in turn, so that every shard is a sample of the whole. A record is a
    `tf.train.Example`: inputs as raw bytes under `x` or `x/<name>`, labels and weights as numbers under
    `label/<task>` and `weight/<task>`. Text, and the bytes of PNG or JPEG files, are written as they are. A
    `manifest.json` says what the shards hold.

    All is written into a hidden folder beside `directory` and renamed when complete: a failed write leaves nothing,
    and a killed one the hidden folder at most, which the next write to the same place removes.

    Args:
        dataset: A finite `tf.data.Dataset`, or an iterable, of `(x, {task: label})` or
            `(x, {task: label}, {task: weight})`; `x` is one tensor or a dict of them by name. All examples have one
            shape. float64 becomes float32.
        directory: Folder to make, on a disk of this machine or one that is mounted; nothing may be there.
        shards: Number of files, 1 to 4096; fewer if there are fewer examples. Several for each machine or core that
            reads them.
        format: `"tfrecord"`, or `"array_record"`, which is read in any order without a shuffle buffer and begun in
            the middle at once, but costs about three times the time to read, and 30 bytes of memory an example
            (package `array_record`, which TensorFlow Datasets brings on Linux).
        batched: Whether elements are batches. Left out, a dataset's are if every part has a first axis of unknown
            size, and an iterable's are not.

    Returns:
        The folder.

    Raises:
        ValueError: If an argument or an example does not fit.
        FileExistsError: If something is at `directory` already.
        OSError: If the files cannot be written: no space, no permission.

    >>> import tempfile
    >>> rows = tf.data.Dataset.from_tensor_slices(([[0.0], [1.0], [2.0]], {"digit": [7, -1, 3]}))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     written = write_shards(rows, f"{folder}/digits", shards=2)
    ...     sorted(path.name for path in written.iterdir())
    ['manifest.json', 'shard-00000.tfrecord', 'shard-00001.tfrecord']
    """
    target = Path(directory)
    _check(dataset, shards, format, batched)
    _refuse_existing(target)
    with _beside(target) as folder:
        _fill(_Writers(folder, shards, format), blocks(dataset, batched), target)
        _refuse_existing(target)
        with _write_errors(target):
            folder.rename(target)
    return ShownPath(target)


def _check(dataset: Any, shards: Any, format_: Any, batched: Any) -> None:
    """Refuses arguments that no writing can come of, all at once."""
    with Refusals(_OWNER) as refusals:
        if not is_whole(shards) or not 1 <= shards <= _MOST_SHARDS:
            refusals.add("shards", f"must be a whole number in 1..{_MOST_SHARDS}", shards)
        if format_ not in FORMATS:
            refusals.add("format", f"must be one of {list(FORMATS)}", format_, near(str(format_), FORMATS))
        if batched not in (None, True, False):
            refusals.add("batched", "must be True, False or None", batched)
        is_dataset = isinstance(dataset, tf.data.Dataset)
        if not is_dataset and not isinstance(dataset, Iterable):
            got = words(type(dataset).__name__)
            refusals.add("dataset", "must be a tf.data.Dataset or an iterable of examples", got)
        if is_dataset and dataset.cardinality() == tf.data.INFINITE_CARDINALITY:
            refusals.add("dataset", "must have an end", words("one without"), "Cut it with dataset.take(n).")
    if format_ == "array_record":
        _extras.load("array_record.python.array_record_module", _OWNER)


def _refuse_existing(target: Path) -> None:
    """Keeps what is there."""
    with _write_errors(target):
        there = target.exists() or target.is_symlink()
    if there:
        fix = "Choose another place, or remove it first."
        raise FileExistsError(refusal(_OWNER, "directory", "must not exist yet", str(target), fix))


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A hidden folder beside the final one, on the same disk, which is gone afterwards whatever happens."""
    with _write_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".writing-{target.name}-"
        scratch_folders.sweep(target.parent, prefix)
        scratch = tempfile.TemporaryDirectory(prefix=prefix, dir=target.parent)
    with scratch as name, scratch_folders.in_use(Path(name)):
        folder = Path(name, "shards")
        folder.mkdir()
        yield folder


@contextlib.contextmanager
def _write_errors(target: Path) -> Iterator[None]:
    """Turns what the file system says, by whatever writer, into one clear error."""
    try:
        yield
    except (OSError, RuntimeError, tf.errors.OpError) as error:
        got = words(getattr(error, "message", "") or str(error) or type(error).__name__)
        fix = "Nothing is left there. Free some space, or choose another place."
        raise OSError(refusal(_OWNER, "directory", f"must take what is written to {target}", got, fix)) from error


class _Writers:
    """The files of a folder while they grow; each is opened when its first record comes."""

    def __init__(self, folder: Path, shards: int, format_: str) -> None:
        self.folder = folder
        self.shards = shards
        self.format = format_
        self.examples = 0
        self.files: list[Any] = []

    def add(self, records: Iterable[bytes]) -> None:
        """Deals records to the shards in turn."""
        for record in records:
            place = self.examples % self.shards
            if place == len(self.files):
                self.files.append(self._open(str(self.path(place))))
            self.files[place].write(record)
            self.examples += 1

    def path(self, place: int) -> Path:
        """Where a shard lies."""
        return self.folder / f"shard-{place:05d}.{self.format}"

    def _open(self, path: str) -> Any:
        """A writer of one file."""
        if self.format == "tfrecord":
            return tf.io.TFRecordWriter(path)
        module = _extras.load("array_record.python.array_record_module", _OWNER)
        return module.ArrayRecordWriter(path, _ARRAY_RECORD)

    def close(self) -> None:
        """Ends every file."""
        for file in self.files:
            file.close()

    def entries(self) -> tuple[Shard, ...]:
        """The closed files as the manifest names them."""
        count = len(self.files)
        paths = [self.path(place) for place in range(count)]
        return tuple(
            Shard(path.name, len(range(place, self.examples, count)), path.stat().st_size)
            for place, path in enumerate(paths)
        )


def _fill(writers: _Writers, source: Iterator[Block], target: Path) -> None:
    """Writes all examples and the manifest."""
    first = None
    try:
        for block in source:
            first = first or block
            with _write_errors(target):
                writers.add(serialize(block))
    except BaseException:
        with contextlib.suppress(RuntimeError, tf.errors.OpError):
            writers.close()
        raise
    if first is None:
        raise ValueError(refusal(_OWNER, "dataset", "must hold at least one example", 0))
    with _write_errors(target):
        writers.close()
        specs = (specs_of(first.inputs), specs_of(first.labels), tuple(first.weights))
        Manifest(writers.format, *specs, writers.entries()).write(writers.folder)
