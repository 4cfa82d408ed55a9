"""Image files and the table that labels them."""

from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import tensorflow as tf

from kmtl._checks import Refusals, near, words
from kmtl.data.frames import check_frame
from kmtl.data.label_images import is_below
from kmtl.data.mixing.proportions import is_whole

_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
# How PNG and JPEG end; nothing within them looks like that, but others may have written behind it.
_ENDS = (b"IEND\xaeB`\x82", b"\xff\xd9")
_TAIL = 1024
_SHOWN = 3


def label_table(refusals: Refusals, labels: Any) -> Any:
    """Returns the frame, or reads it from a CSV file; refuses, at once, what is neither."""
    if isinstance(labels, str | PathLike):
        import pandas as pd

        if not Path(labels).is_file():
            refusals.add("labels", "must be a CSV file or a pandas DataFrame", str(labels), "No file is there.")
            refusals.check()
        try:
            labels = pd.read_csv(labels)
        except ValueError as error:  # of pandas and of Unicode: empty, binary, ragged
            got = words(f"{str(labels)!r}: {str(error).strip()}")
            refusals.add("labels", "must be a CSV file in UTF-8 with a line of column names", got)
            refusals.check()
    check_frame(refusals, "labels", labels)
    return labels


def check_image(refusals: Refusals, image_size: Any, channels: Any) -> tuple[int, int]:
    """Returns height and width, or records what is neither a number nor two."""
    pair = (image_size, image_size) if is_whole(image_size, 1) else image_size
    if channels not in (1, 3, 4):
        refusals.add("channels", "must be 1, 3 or 4", channels)
    if isinstance(pair, tuple | list) and len(pair) == 2 and all(is_whole(item, 1) for item in pair):
        return int(pair[0]), int(pair[1])
    refusals.add("image_size", "must be (height, width) in pixels, or one number for both", image_size)
    return 1, 1


def image_paths(refusals: Refusals, directory: Path, table: Any, column: str) -> list[str]:
    """Returns the path of every row's file; records files that are absent or of another kind."""
    if not directory.is_dir():
        refusals.add("directory", "must be a folder", str(directory))
        return []
    if column not in table.columns:
        fix = near(str(column), map(str, table.columns))
        refusals.add("file_column", "must name a column of the labels", column, fix)
        return []
    names = table[column]
    unnamed = int(names.isna().sum())
    if unnamed:
        refusals.add("file_column", "must hold a file name in every row", words(f"{unnamed} rows without"))
    paths = [directory / str(name) for name in names.dropna()]
    there = [path for path in paths if is_below(directory, path) and path.is_file()]
    images = [path for path in there if _is_image(path)]
    _add_files(refusals, f"must name files below {directory}", _others(paths, there))
    _add_files(refusals, "must name PNG or JPEG files", _others(there, images))
    _add_files(refusals, "must name whole images", [path for path in images if _is_broken(path)])
    return [str(path) for path in paths]


def _others(paths: list[Path], kept: list[Path]) -> list[Path]:
    """The paths that are not among those kept."""
    known = set(kept)
    return [path for path in paths if path not in known]


def _is_image(path: Path) -> bool:
    """Tells by its first bytes whether a file is a PNG or a JPEG."""
    with path.open("rb") as file:
        return file.read(8).startswith(_SIGNATURES)


def _is_broken(path: Path) -> bool:
    """Whether a file lacks the mark of an image's end, and cannot be decoded without."""
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - _TAIL, 0))
        tail = file.read()
    return not any(mark in tail for mark in _ENDS) and not _can_be_decoded(path)


def _can_be_decoded(path: Path) -> bool:
    """Whether a whole image stands in a file."""
    try:
        tf.io.decode_image(path.read_bytes(), expand_animations=False)
    except (OSError, tf.errors.InvalidArgumentError):
        return False
    return True


def broken_images(paths: Sequence[str]) -> Callable[[BaseException], BaseException | None]:
    """A function that names the files at fault for an error met while they were read; it reads all of them again."""

    def explain(error: BaseException) -> BaseException | None:
        if not isinstance(error, tf.errors.InvalidArgumentError | tf.errors.NotFoundError):
            return None
        refusals = Refusals("from_folder")
        _add_files(refusals, "must name whole images", [Path(one) for one in paths if not _can_be_decoded(Path(one))])
        return ValueError("\n".join(refusals.messages)) if refusals.messages else None

    return explain


def _add_files(refusals: Refusals, rule: str, paths: list[Path]) -> None:
    """Records files by their number and the first few names."""
    if paths:
        first = ", ".join(repr(path.name) for path in paths[:_SHOWN])
        refusals.add("file_column", rule, words(f"{len(paths)} that are not, first {first}"))


def image_reader(paths: list[str], size: tuple[int, int], channels: int) -> Callable[[Any], Any]:
    """A function from a row number to its image, float32 in 0..1, of shape `(height, width, channels)`."""
    with tf.device("CPU"):
        files = tf.constant(paths)

    return lambda index: decode_image(tf.io.read_file(files[index]), size, channels)


def decode_image(picture: Any, size: tuple[int, int], channels: int) -> Any:
    """The bytes of a PNG or JPEG file as an image, float32 in 0..1, of shape `(height, width, channels)`."""
    pixels = tf.io.decode_image(picture, channels, tf.float32, expand_animations=False)
    resized = tf.image.resize(pixels, size, antialias=True)
    # The antialias kernel's weights sum to 1 only up to rounding.
    return tf.ensure_shape(tf.clip_by_value(resized, 0.0, 1.0), (*size, channels))
