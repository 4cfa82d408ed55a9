"""Labels that are images: files with a number a pixel, named in a column."""

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kmtl._checks import Refusals, words
from kmtl.tasks import Task

_PNG, _GREY, _DEPTHS = b"\x89PNG\r\n\x1a\n", 0, (8, 16)
# Signature, length and name of the first chunk; width, height, bits, colour type.
_HEADER = struct.Struct(">8s8xIIBB")
_SHOWN = 3


def is_image(task: Task) -> bool:
    """Whether a label of a task has a height and a width."""
    return len(task.label_shape) > 1


def is_below(directory: Path, path: Path) -> bool:
    """Whether a path stays within a folder, links followed.

    >>> is_below(Path("photos"), Path("photos/a.png")), is_below(Path("photos"), Path("photos/../a.png"))
    (True, False)
    """
    return path.resolve().is_relative_to(directory.resolve())


def file_names(refusals: Refusals, task: Task, frame: Any, columns: Sequence[Any]) -> Any:
    """Returns the name of the label's file in every row, empty where there is none."""
    if not columns:
        return np.full(len(frame), "", dtype=object)
    if len(columns) != 1:
        refusals.add(f"columns[{task.name!r}]", "must name one column, of files", list(columns))
    return np.array([str(cell) if isinstance(cell, str) else "" for cell in frame[columns[0]]], dtype=object)


def label_image_reader(refusals: Refusals, directory: Path, task: Task, names: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Looks at the files of a task's labels, and records those that are none.

    Args:
        refusals: Where to record.
        directory: Folder that the names start from.
        task: A task whose label is an image.
        names: Of the files, empty where there is none.

    Returns:
        The path of every row's file, empty where there is none, and a function from a path to the label.
    """
    paths = np.array([str(directory / name) if name else "" for name in names], dtype=object)
    outside = [path for path in sorted(set(paths)) if path and not is_below(directory, Path(path))]
    _add_files(refusals, task, f"must name files below {directory}", outside, "Copy them there.")
    headers = {path: _header(Path(path)) for path in sorted(set(paths)) if path}
    sizes = {path: header[2:0:-1] for path, header in headers.items() if header}
    first = next(iter(sizes.values()), (1, 1))
    shape = tuple(own if size is None else size for size, own in zip(task.label_shape, first, strict=False))
    fix = "Save the numbers as grey values, 8 or 16 bits each, and not as places in a palette."
    bad = [path for path in headers if path not in sizes]
    _add_files(refusals, task, "must name grey PNG files, a pixel a number", bad, fix)
    other = [path for path, size in sizes.items() if size != shape]
    _add_files(refusals, task, f"must name images of {shape[0]} x {shape[1]} pixels", other, "Resize with `nearest`.")

    def absent() -> Any:
        return tf.broadcast_to(task.absent_label_tensor(1)[0], shape)

    def read(path: Any) -> Any:
        label = tf.cond(path == "", absent, lambda: _decode(task, tf.io.read_file(path)))
        return tf.ensure_shape(label, shape)

    return paths, read


def _header(path: Path) -> tuple[Any, ...] | None:
    """Returns the header of a grey PNG file, or None for any other."""
    try:
        with path.open("rb") as file:
            header = _HEADER.unpack(file.read(_HEADER.size))
    except (OSError, struct.error):
        return None
    return header if header[0] == _PNG and header[3] in _DEPTHS and header[4] == _GREY else None


def _decode(task: Task, content: Any) -> Any:
    """The pixels of a file as a label."""
    depth = tf.io.decode_raw(tf.strings.substr(content, _HEADER.size - 2, 1), tf.uint8)[0]
    pixels = tf.cond(
        depth == _DEPTHS[1],
        lambda: tf.cast(tf.io.decode_png(content, 1, tf.uint16), tf.int32),
        lambda: tf.cast(tf.io.decode_png(content, 1), tf.int32),
    )
    return task.cast_label_tensor(pixels[..., 0])


def _add_files(refusals: Refusals, task: Task, rule: str, paths: list[str], fix: str) -> None:
    """Records files by their number and the first few names."""
    if paths:
        first = ", ".join(repr(Path(path).name) for path in paths[:_SHOWN])
        refusals.add(f"labels[{task.name!r}]", rule, words(f"{len(paths)} that are not, first {first}"), fix)
