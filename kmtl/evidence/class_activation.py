"""Where in a picture the evidence for each task's answer lies."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from kmtl import _figures
from kmtl._checks import Refusals, is_whole, near, refusal, words
from kmtl._keras_private import tensors_needed
from kmtl._table import Result, Table
from kmtl.evidence.labelled_outputs import chosen_tasks
from kmtl.gradients import activation_gradients
from kmtl.tasks.logits import activations_left_out

_OWNER = "grad_cam"


@dataclasses.dataclass(frozen=True, repr=False)
class GradCAM(Result):
    """What `grad_cam` found: `plot()` it, or take its `maps`.

    Attributes:
        layer: Name of the layer whose map was looked at.
        maps: `{row: (n, height, width)}` at the layer's resolution; a row is a task, or an element of it as
            `position[0]`. Of a task of classes what speaks for the answer, at least 0; of values what raises them where
            positive and lowers them where negative, in the label's unit.
        answers: `{row: text a picture}`: what is explained.
        signed: `{row: whether the map has a sign}`.
        images: The pictures.
    """

    layer: str
    maps: Mapping[str, Any]
    answers: Mapping[str, Sequence[str]]
    signed: Mapping[str, bool]
    images: Any

    def parts(self) -> list[str | Table]:
        """A row a map of a picture: what is explained, and where the evidence is strongest, in shares of the sides."""
        rows = []
        for name, maps in self.maps.items():
            for place, one in enumerate(maps):
                row, column = np.unravel_index(np.abs(one).argmax(), one.shape)
                at = (f"{(row + 0.5) / one.shape[0]:.2f} down", f"{(column + 0.5) / one.shape[1]:.2f} right")
                where = ", ".join(at) if one.any() else None
                rows.append({"picture": place, "task": name, "explained": self.answers[name][place], "peak": where})
        return [f"Grad-CAM on the map of layer {self.layer!r}:", Table(rows)]

    def plot(self, path: Any = None) -> Any:
        """Lays every map over its picture: a row a picture, a column a task.

        Red speaks for the answer or raises the value, blue lowers it; each map has its own scale.

        Args:
            path: Where the picture goes; None writes none.

        Returns:
            The path, or without one the figure.
        """
        count, names = len(self.images), list(self.maps)
        figure, axes = _figures.panels(count * len(names), columns=len(names), width=2.4, height=2.7)
        for place, axis in enumerate(axes):
            picture, name = self.images[place // len(names)], names[place % len(names)]
            height, width = picture.shape[:2]
            shown = picture[..., 0] if picture.shape[-1] == 1 else picture[..., :3]
            shown = (shown - shown.min()) / (np.ptp(shown) or 1)
            axis.imshow(shown, cmap="gray", extent=(0, width, height, 0))
            one = self.maps[name][place // len(names)]
            most = np.abs(one).max() or 1.0
            colours = {"cmap": "bwr", "vmin": -most, "vmax": most} if self.signed[name] else {"cmap": "Reds", "vmin": 0}
            axis.imshow(one, extent=(0, width, height, 0), interpolation="bilinear", alpha=0.5, **colours)
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_title(f"{name}: {self.answers[name][place // len(names)]}", fontsize=9)
        return _figures.save(figure, path)


def grad_cam(
    model: Any,
    images: Any,
    *,
    tasks: str | Sequence[str] | None = None,
    layer: str | None = None,
    classes: Mapping[str, int] | None = None,
) -> GradCAM:
    """Shows where in pictures the evidence for each task's answer lies, for one task or all side by side.

        a_c = mean over places of d score / d A_c,     map = relu(sum_c a_c A_c)

    with A the map of a layer and the score the logit of the answer: the decided class, or yes. Of a task of values the
    score is the value in the label's unit, of each element one, and the map keeps its sign: what raises the value, and
    what lowers it.

    Where the map is flattened, or read at single places, the mean over places loses what the head knows of them:
    Grad-CAM is exact for a head behind average pooling. It shows where a network looks, not whether it is right to.

    Args:
        model: A `MultiTaskModel` with a picture among its inputs.
        images: Inputs, as of `predict`: few, as one batch.
        tasks: Names, one or several; None takes all but those on maps, whose outputs are pictures already.
        layer: Name of a layer of the model that gives one map; None takes the last map that all of these tasks need,
            of more than one place.
        classes: `{task: class}` to explain instead of the decided one.

    Returns:
        A `GradCAM`.

    Raises:
        ValueError: If a task, layer or class is unknown, or no map is there.

    Source: Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-Based Localization",
    ICCV 2017; without the ReLU for values, where less is as much of an answer as more.

    >>> import keras, kmtl
    >>> image = keras.Input((2, 2, 1), name="image")
    >>> map = keras.layers.Identity(name="map")(image)
    >>> sum = keras.layers.Dense(1, kernel_initializer="ones", name="sum")(keras.layers.GlobalAveragePooling2D()(map))
    >>> model = kmtl.MultiTaskModel(image, {"sum": sum}, tasks=[kmtl.Regression("sum", unit="g")])
    >>> grad_cam(model, np.array([[[[4.0], [-8.0]], [[0.0], [0.0]]]])).maps["sum"].tolist()
    [[[1.0, -2.0], [0.0, 0.0]]]
    """
    names = _checked(model, tasks, classes)
    found_layer, tensor = _map(model, names, layer)
    outputs = model.predict(images, verbose=0)
    maps: dict[str, Any] = {}
    answers: dict[str, list[str]] = {}
    for name in names:
        task = model.tasks[name]
        wanted = _wanted(task, outputs[name], (classes or {}).get(name))
        with activations_left_out(model.output[name]) as output:
            scores = functools.partial(task.explained, classes=wanted)
            seen, gradients = activation_gradients(model, tensor, output, images, scores)
        for place, gradient in enumerate(gradients):
            row = name if len(gradients) == 1 else f"{name}[{place}]"
            weighted = (gradient.mean(axis=(1, 2), keepdims=True) * seen).sum(axis=-1)
            maps[row] = np.maximum(weighted, 0.0) if task.decides else weighted
            answers[row] = _answers(task, outputs[name], wanted, place)
    signed = {row: not model.tasks[row.partition("[")[0]].decides for row in maps}
    return GradCAM(found_layer.name, maps, answers, signed, _pictures(images))


def _checked(model: Any, tasks: Any, classes: Any) -> list[str]:
    """The tasks to explain, or a refusal."""
    with Refusals(_OWNER) as refusals:
        names = chosen_tasks(refusals, model, tasks)
        able = [name for name in names if not model.tasks[name].dense_axes]
        for name in names:
            if tasks is not None and name not in able:
                refusals.add("tasks", "must have one answer a picture", name, "Its output is a map already: draw it.")
        if names and not able and tasks is None:
            refusals.add("model", "must have a task with one answer a picture", words(str(names)))
        for name, number in (classes or {}).items():
            if name not in names:
                refusals.add("classes", "must use names of these tasks as keys", name, near(str(name), names))
                continue
            task = model.tasks[name]
            known = task.classes if task.chooses else 0
            if not is_whole(number) or not 0 <= number < known:
                rule = f"of {name!r} must lie in 0..{known - 1}" if known else f"of {name!r} must be left out"
                refusals.add("classes", rule, number, "" if known else "There is nothing to choose from.")
    return able


def _map(model: Any, names: Sequence[str], layer: str | None) -> tuple[Any, Any]:
    """The layer and its map."""
    needed = tensors_needed(model, names)
    maps = [(one, tensor) for one, tensor in needed if len(tensor.shape) == 4 and (layer or _is_wide(tensor))]
    if layer is not None:
        known = [one.name for one, _ in maps]
        maps = [(one, tensor) for one, tensor in maps if one.name == layer]
        if not maps:
            rule = "must name a layer with one map that all of these tasks need"
            raise ValueError(refusal(_OWNER, "layer", rule, layer, near(str(layer), known)))
    if not maps:
        fix = "Build the trunk with pooling=None and pool its map, so that the map is a layer of the model."
        got = words("none of (batch, height, width, channels)")
        raise ValueError(refusal(_OWNER, "model", "must have a map that all of these tasks need", got, fix))
    return maps[-1]


def _is_wide(tensor: Any) -> bool:
    """Whether a map has more than one place, as far as its shape is known."""
    return tensor.shape[1] != 1 or tensor.shape[2] != 1


def _wanted(task: Any, outputs: Any, given: int | None) -> Any:
    """The class in question of every picture; None for a task of values."""
    if not task.decides:
        return None
    decided = keras.ops.convert_to_numpy(task.decide(outputs))
    return decided if given is None else np.full_like(decided, given)


def _answers(task: Any, outputs: Any, wanted: Any, place: int) -> list[str]:
    """What is explained, in words, a picture."""
    if not task.decides:
        values = np.asarray(task.explained(outputs, None)).reshape(len(outputs), -1)[:, place]
        return [f"{value:.4g} {task.unit}".rstrip() for value in values]
    if task.chooses:
        return [task.class_name(int(number)) for number in wanted]
    name = task.class_name(place if task.label_shape else 1)
    return [f"for {name}" if task.label_names else "for yes"] * len(outputs)


def _pictures(images: Any) -> Any:
    """The first picture among the inputs."""
    return next(one for one in map(np.asarray, keras.tree.flatten(images)) if one.ndim == 4)
