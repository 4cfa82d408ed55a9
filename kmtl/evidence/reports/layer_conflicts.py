"""Conflict by layer: how the tasks' gradients lie to each other in each layer that they share."""

from collections.abc import Mapping
from itertools import combinations
from typing import Any

import numpy as np

from kmtl import _figures, gradients
from kmtl._figures import Picture
from kmtl.feeding import unpacked

_MOST_PAIRS, _MOST_NUMBERS = 15, 12
_BATCHES, _BATCH_SIZE = 4, 32


def layer_gramians(model: Any, data: Any, y: Any = None, *, batches: int = _BATCHES) -> dict[str, gradients.Gramians]:
    """Measures the Gramian of the tasks' gradients in each layer that they share, on the first batches.

    No weight moves. The cosine over all layers may hide that the first ones agree and the last do not.

    Args:
        model: A compiled `MultiTaskModel` that shares weights.
        data: As `x` of `fit`, or `(x, y)`.
        y: As `y` of `fit`.
        batches: How many batches.

    Returns:
        `{layer: Gramians}`, from the inputs on, as the model lists its weights.
    """
    x, y, weights = unpacked(data, y)
    given = model.inspection.prepare("report", x, y, weights, batches)
    found = gradients.first_batches(given.x, given.y, given.sample_weight, _BATCH_SIZE, batches)
    layers: dict[str, list[Any]] = {}
    for variable in model.setup.shared or model.shared_variables:
        layers.setdefault(variable.path.rpartition("/")[0], []).append(variable)
    return gradients.measure_parts(model.step.losses, model.step.cut, layers, list(model.tasks), found)


def layer_cosines(found: Mapping[str, gradients.Gramians]) -> dict[tuple[str, str], list[float]]:
    """Mean cosine of each pair of tasks, one a layer; NaN where no batch has one. The most opposed pair comes first."""
    names = next(iter(found.values())).names
    cosines = [one.cosines for one in found.values()]
    pairs = {
        (names[one], names[other]): [gradients.over_batches(np.mean, layer[:, one, other]) for layer in cosines]
        for one, other in combinations(range(len(names)), 2)
    }
    return dict(sorted(pairs.items(), key=lambda pair: (_lowest(pair[1]), pair[0])))


def _lowest(values: list[float]) -> float:
    """The lowest that is known; above all of them where none is."""
    return min((value for value in values if np.isfinite(value)), default=2.0)


def layer_picture(found: Mapping[str, gradients.Gramians]) -> Picture | None:
    """Draws the cosines, a row a pair and a column a layer; None where no cosine is known."""
    pairs, layers = layer_cosines(found), list(found)
    shown = dict(list(pairs.items())[:_MOST_PAIRS])
    values = np.array(list(shown.values()))
    if not np.isfinite(values).any():
        return None
    width, height = max(4.0, 1.8 + 0.6 * len(layers)), 1.8 + 0.4 * len(shown)
    figure, (axis,) = _figures.panels(1, columns=1, width=width, height=height)
    image = axis.imshow(values, cmap="PuOr", vmin=-1, vmax=1, aspect="auto")
    if len(layers) <= _MOST_NUMBERS:
        for row, column in np.argwhere(np.isfinite(values)).tolist():
            colour = _figures.ink(image.to_rgba(values[row, column]))
            axis.text(column, row, f"{values[row, column]:.2f}", ha="center", va="center", fontsize=8, color=colour)
    axis.set_xticks(range(len(layers)), layers, rotation=90, fontsize=8)
    axis.set_yticks(range(len(shown)), [" and ".join(pair) for pair in shown], fontsize=8)
    axis.set_xlabel("layer, from the input on")
    figure.colorbar(image, ax=axis, label="cosine of the gradients")
    (pair, worst), *_ = shown.items()
    place = int(np.nanargmin(worst))
    left = f" {len(pairs) - len(shown)} more pairs are not drawn." if len(pairs) > len(shown) else ""
    where = f"{pair[0]} and {pair[1]} in layer {layers[place]!r}"
    text = f"Lowest cosine: {worst[place]:.2f}, of {where}. Below 0 two tasks pull apart."
    return Picture("Conflict by layer", figure, text + left)
