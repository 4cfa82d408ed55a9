"""A figure of samples, with what is known and what was predicted of each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kmtl import _figures
from kmtl.tasks import Task, TaskSpace

_SHOWN_VALUES, _SHOWN_LETTERS = 6, 60
_WRONG = "#b00020"


def sample_figure(model: Any, batches: Iterable[Any], count: int) -> Any:
    """Draws the first samples with their labels and the model's predictions.

    The first input that is an image, `(height, width, 1, 3 or 4)`, is drawn: values in 0..1, or whole ones in 0..255.
    Text and numbers are written. A sample of which a decision is wrong has a red title, and a cross in it.

    Args:
        model: A `MultiTaskModel`.
        batches: Batches `(x, {task: label})`.
        count: Number of samples.

    Returns:
        A matplotlib figure.
    """
    names = [tensor.name for tensor in keras.tree.flatten(model.inputs)]
    return draw_samples(list(_samples(model, batches, names, count)), model.tasks, columns=6)


def draw_samples(samples: Sequence[tuple[Any, Any, Any]], tasks: Mapping[str, Task], *, columns: int) -> Any:
    """Draws samples, each over a line a task of its label and what was predicted.

    Args:
        samples: Inputs by name, labels and outputs by task, of each.
        tasks: Those that are told and drawn.
        columns: How many stand side by side.

    Returns:
        A matplotlib figure.
    """
    figure, axes = _figures.panels(len(samples), columns=columns, width=2.3, height=2.2 + 0.24 * len(tasks))
    for axis, (inputs, labels, outputs) in zip(axes, samples, strict=False):
        _draw_inputs(axis, inputs)
        lines = []
        for name, task in tasks.items():
            task.draw(axis, labels.get(name), outputs[name])
            lines.append(task.describe(labels.get(name), outputs[name]))
        wrong = any(line.endswith("✗") for line in lines)
        axis.set_title("\n".join(lines), fontsize=8, loc="left", color=_WRONG if wrong else "black")
    figure.suptitle("label → prediction", fontsize=11)
    return figure


def _samples(model: Any, batches: Any, names: Sequence[str], count: int) -> Iterator[tuple[Any, Any, Any]]:
    """Inputs by name, labels and outputs by task, of the first samples."""
    left, space = count, TaskSpace(model.tasks.values())
    for x, labels, *_ in batches:
        given = keras.tree.map_structure(lambda tensor, left=left: tensor[:left], x)
        outputs = {name: np.asarray(value) for name, value in model(given, training=False).items()}
        named = given if isinstance(given, Mapping) else dict(zip(names, keras.tree.flatten(given), strict=True))
        inputs = {name: np.asarray(value) for name, value in named.items()}
        known = space.mask({name: np.asarray(value) for name, value in labels.items()})
        found = len(next(iter(outputs.values())))
        for place in range(found):
            parts = ({name: np.asarray(one[place]) for name, one in part.items()} for part in (inputs, known, outputs))
            row, label, output = parts
            yield row, label, output
        left -= found
        if left <= 0:
            return


def _draw_inputs(axis: Any, inputs: Mapping[str, Any]) -> None:
    """Draws the first image, and writes the other inputs below it or, without an image, in its place."""
    axis.set_xticks([])
    axis.set_yticks([])
    image = next((name for name, value in inputs.items() if _is_image(value)), None)
    written = "\n".join(f"{name}: {_written(value)}" for name, value in inputs.items() if name != image)
    if image is None:
        axis.text(0.04, 0.96, written, fontsize=7, va="top", wrap=True, transform=axis.transAxes)
        return
    picture = inputs[image]
    top = 255 if picture.dtype.kind in "iu" else 1
    axis.imshow(picture[..., 0] if picture.shape[-1] == 1 else picture, cmap="gray", vmin=0, vmax=top)
    axis.set_xlabel(written, fontsize=7)


def _is_image(value: Any) -> bool:
    """Whether an input is drawn."""
    return value.ndim == 3 and value.shape[-1] in (1, 3, 4) and value.dtype.kind in "iuf"


def _written(value: Any) -> str:
    """An input in words, cut short."""
    texts = [
        one.decode("utf-8", "replace") if isinstance(one, bytes) else one if isinstance(one, str) else f"{one:.3g}"
        for one in np.ravel(value)[:_SHOWN_VALUES].tolist()
    ]
    more = " ..." if value.size > _SHOWN_VALUES else ""
    text = ", ".join(texts)
    return (text if len(text) <= _SHOWN_LETTERS else f"{text[:_SHOWN_LETTERS]} ...") + more
