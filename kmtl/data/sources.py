"""Datasets out of what people have: arrays, pandas frames, folders of images."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from kmtl._checks import Refusals, known_keywords, words
from kmtl.data.columns import checked_inputs, checked_labels, checked_weights
from kmtl.data.folders import broken_images, check_image, image_paths, image_reader, label_table
from kmtl.data.frames import check_frame, feature_arrays, feature_columns, labels_and_weights
from kmtl.data.label_images import is_image, label_image_reader
from kmtl.data.pipelines import check_batches, gather_rows, parts, read_examples
from kmtl.data.task_names import task_list
from kmtl.feeding.errors import register_explanation
from kmtl.feeding.order import Order
from kmtl.tasks import Task
from kmtl.trunks import Columns


@known_keywords
def from_arrays(
    x: Any,
    labels: Any,
    tasks: Iterable[Task],
    *,
    batch_size: int | None = 64,
    shuffle: bool = False,
    seed: int = 0,
    sample_weight: Any = None,
) -> Any:
    """Makes a dataset out of arrays in memory.

    Labels are cast to each task's dtype. A task without labels is filled as
    missing, so that a part of the data can have a part of the tasks. `(n, 1)` and `(n,)`
    are the same labels. Inputs in float64 become float32.

    tf.data's own state orders the passes of plain iteration. The stream that resumed training
    reads (`kmtl.feeding.resume.stream_from`) orders pass `p` by `(seed, p)` alone.

    Args:
        x: One array or a dict of arrays by input name, examples first; numbers, finite, or text.
        labels: A dict of arrays by task, or a frame with a column a task. -1 is a missing integer
            label, NaN a missing float one, pandas' NA either.
        tasks: The tasks.
        batch_size: Examples a batch; the last one may be shorter. None gives single examples.
        shuffle: Whether every pass has an order of its own, over the whole set.
        seed: Seed of the order; as in tf.data, TensorFlow's global seed counts too.
        sample_weight: One weight an example, or a dict of those by task; at least 0.

    Returns:
        A `tf.data.Dataset` of `(x, {every task: label})`; of `(x, {...}, {every task: weight})` with weights.

    Raises:
        ValueError: If lengths, keys, dtypes, shapes or label values do not fit. All offenders at once.

    >>> from kmtl.tasks import Classification, Regression
    >>> tasks = [Classification("digit", classes=10), Regression("angle")]
    >>> dataset = from_arrays([[0.0], [1.0]], {"digit": [7, -1]}, tasks, batch_size=2)
    >>> x, labels = next(iter(dataset))
    >>> labels["digit"].numpy().tolist(), labels["angle"].numpy().tolist()
    ([7, -1], [nan, nan])
    """
    with Refusals("from_arrays") as refusals:
        listed = task_list(refusals, tasks)
        check_batches(refusals, batch_size, seed, shuffle)
        inputs, rows = checked_inputs(refusals, x)
        arrays = checked_labels(refusals, labels, listed, rows)
        weights = checked_weights(refusals, sample_weight, listed, rows)
    return gather_rows(Order(rows, shuffle, seed), parts(inputs, arrays, weights), batch_size)


@known_keywords
def from_frame(
    frame: Any,
    tasks: Iterable[Task],
    *,
    features: Sequence[str] | Mapping[str, str | Sequence[str]] | Columns,
    columns: Mapping[str, Any] | None = None,
    batch_size: int | None = 64,
    shuffle: bool = False,
    seed: int = 0,
    sample_weight: Any = None,
) -> Any:
    """Makes a dataset out of a pandas frame.

    A missing cell (None, NaN, NA) is a missing label; so a classification's column may be
    float where pandas made it so. Text labels are numbered by the task's `label_names`.

    Args:
        frame: One row an example.
        tasks: The tasks. A label stands in the column of the task's name, those of a
            `MultiLabel` also in the columns of its label names.
        features: Numeric columns, as one float32 input of shape `(columns,)`; or a mapping of input name to columns, of
            which a single one by its name may hold text: an input of shape `()`. Or `kmtl.trunks.Columns`: an input a
            column, of numbers and categories, which may be missing.
        columns: Other label columns by task: a name; for a vector, a list; None for a task without labels here.
        batch_size: Examples a batch; the last one may be shorter. None gives single examples.
        shuffle: Whether every pass has an order of its own, over the whole set.
        seed: Seed of the order; as in tf.data, TensorFlow's global seed counts too.
        sample_weight: A column, an array, or a dict of those by task.

    Returns:
        A `tf.data.Dataset` as `from_arrays` gives it.

    Raises:
        ValueError: If columns are absent, not numeric or not finite, labels are unknown, or a label is also a feature.

    >>> import pandas as pd
    >>> from kmtl.tasks import Classification, Regression
    >>> frame = pd.DataFrame({"length": [4.1, 3.9], "sex": ["f", None], "age": [None, 7.0]})
    >>> tasks = [Classification("sex", classes=2, label_names=["f", "m"]), Regression("age")]
    >>> x, labels = next(iter(from_frame(frame, tasks, features=["length"])))
    >>> x.shape.as_list(), labels["sex"].numpy().tolist(), labels["age"].numpy().tolist()
    ([2, 1], [0, -1], [nan, 7.0])
    """
    with Refusals("from_frame") as refusals:
        listed = task_list(refusals, tasks)
        check_batches(refusals, batch_size, seed, shuffle)
        check_frame(refusals, "frame", frame)
        for task in filter(is_image, listed):
            got, fix = (
                words(f"images of {task.name!r}"),
                "Pass arrays to from_arrays, or names of files to from_folder.",
            )
            refusals.add("tasks", "must have labels that fit into columns", got, fix)
        refusals.check()
        inputs = feature_arrays(refusals, frame, features)
        others = feature_columns(features)
        labels, weights = labels_and_weights(refusals, frame, listed, columns, sample_weight, others)
    return gather_rows(Order(len(frame), shuffle, seed), parts(inputs, labels, weights), batch_size)


@known_keywords
def from_folder(
    directory: str | PathLike[str],
    labels: Any,
    tasks: Iterable[Task],
    *,
    image_size: int | tuple[int, int],
    channels: int = 3,
    file_column: str = "file",
    columns: Mapping[str, Any] | None = None,
    batch_size: int | None = 64,
    shuffle: bool = False,
    seed: int = 0,
    sample_weight: Any = None,
) -> Any:
    r"""Makes a dataset out of a folder of PNG or JPEG images and a table of labels.

    Images are read in parallel, in the order of the table, and never all in memory. Each is
    resized to `image_size` whatever its form (bilinear, antialiased), as float32 in 0..1. A label that is an image, as
    a segmentation's, stands in a grey PNG file of the label's size, a pixel a number, whose name the column holds; a
    row without one has no label. It is not resized.

    Args:
        directory: Folder that the file names start from.
        labels: Path of a CSV file, or a pandas frame; one row an example. Cells as in `from_frame`.
        tasks: The tasks; label columns as in `from_frame`.
        image_size: Height and width in pixels, or one number for both.
        channels: 1 for grey, 3 for colour, 4 with alpha.
        file_column: Column with the file's path below `directory`.
        columns: Other label columns by task, as in `from_frame`.
        batch_size: Examples a batch; the last one may be shorter. None gives single examples.
        shuffle: Whether every pass has an order of its own, over the whole set.
        seed: Seed of the order; as in tf.data, TensorFlow's global seed counts too.
        sample_weight: A column, an array, or a dict of those by task.

    Returns:
        A `tf.data.Dataset` as `from_arrays` gives it; `x` has shape `(height, width, channels)`.

    Raises:
        ValueError: If files are absent or of another kind, or labels do not fit. All offenders at once.

    >>> import tempfile
    >>> import tensorflow as tf
    >>> from kmtl.tasks import Regression
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     picture = tf.io.encode_png(tf.fill((6, 4, 3), tf.constant(255, tf.uint8)))
    ...     tf.io.write_file(f"{folder}/cat.png", picture)
    ...     _ = Path(folder, "labels.csv").write_text("file,weight\ncat.png,4.5\n")
    ...     dataset = from_folder(folder, f"{folder}/labels.csv", [Regression("weight")], image_size=8)
    ...     x, y = next(iter(dataset))
    >>> x.shape.as_list(), float(tf.reduce_min(x)), y["weight"].numpy().tolist()
    ([1, 8, 8, 3], 1.0, [4.5])
    """
    with Refusals("from_folder") as refusals:
        listed = task_list(refusals, tasks)
        check_batches(refusals, batch_size, seed, shuffle)
        size = check_image(refusals, image_size, channels)
        table = label_table(refusals, labels)
        paths = image_paths(refusals, Path(directory), table, file_column)
        arrays, weights = labels_and_weights(refusals, table, listed, columns, sample_weight, [file_column])
        readers: dict[str, Callable[[Any], Any]] = {}
        for task in listed:
            if is_image(task) and task.name in arrays:
                reader = label_image_reader(refusals, Path(directory), task, arrays[task.name])
                arrays[task.name], readers[task.name] = reader
    image = image_reader(paths, size, channels)

    def example(index: Any, labels: Mapping[str, Any], *given: Any) -> tuple[Any, ...]:
        read = {name: readers[name](label) if name in readers else label for name, label in labels.items()}
        return (image(index), read, *given)

    dataset = read_examples(Order(len(table), shuffle, seed), example, parts(arrays, weights), batch_size)
    return register_explanation(dataset, broken_images(paths))
