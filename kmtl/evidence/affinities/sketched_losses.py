"""Losses of single rows of a model, with sketches of their gradients."""

from typing import Any

import numpy as np

from kmtl import gradients
from kmtl._checks import require, words

# Numbers in a sketch of a gradient.
WIDTH = 128


def sketched_losses(model: Any, data: Any, rows: int) -> tuple[Any, Any]:
    """Looks at single rows of a model, as it is served: batch normalisation by its statistics, no dropout.

    Args:
        model: A compiled `MultiTaskModel`; nothing of it moves.
        data: A dataset whose first rows are taken.
        rows: How many.

    Returns:
        Losses `(rows, K)`, NaN where a label is missing, and sketches of their gradients by the shared weights,
        `(rows, K, width)`. A loss that may be below 0, as a likelihood's, is counted from its least value on.
    """
    shared, number = model.shared_variables, len(model.tasks)

    def forward(*batch: Any) -> tuple[Any, Any]:
        seen = model.step.forward(batch, training=False)
        return seen.sums[:number], seen.counts[:number]

    given = model.inspection.prepare("affinity", data.unbatch().batch(1), None, None, rows)
    look = gradients.sketch_function(forward, shared, WIDTH, 0)
    pairs = [look(part) for part in gradients.first_batches(given.x, given.y, given.sample_weight, 1, rows)]
    require(bool(pairs), "affinity", "data", "must hold at least one batch", words("none"))
    losses, sketches = (np.stack([part.numpy() for part in parts]) for parts in zip(*pairs, strict=True))
    least = np.minimum(np.where(np.isfinite(losses), losses, 0.0).min(axis=0), 0.0)
    return losses - least, np.asarray(sketches, "float64")


def require_shared(model: Any) -> None:
    """Refuses a model of which nothing trainable is shared."""
    rule = "must have trainable weights that tasks share"
    require(bool(model.shared_variables), "affinity", "source", rule, words("none"))
