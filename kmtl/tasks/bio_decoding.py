"""The likeliest sequence of tags that keeps the rule of BIO."""

from collections.abc import Callable
from typing import Any

import numpy as np
from keras import ops

from kmtl.tasks.bio import BioTags

# Of the logarithm of a probability: float32 still holds it, and no path of a few thousand tokens outweighs the other.
_LEAST, _FORBIDDEN = 1e-30, -1e9
# Longer sequences are read in a loop of the graph, which neither LiteRT nor ONNX takes.
_UNROLLED = 64


def likeliest_bio(tags: BioTags, probabilities: Any) -> Any:
    """Finds the sequence of the highest product of probabilities among those in which I-x follows B-x or I-x.

    Viterbi's algorithm. All tags but I-x may follow any, so that a step takes the best of two scores or of all, and no
    table of transitions: its cost is `tokens * classes`.

    Args:
        tags: Of the task.
        probabilities: `(batch, tokens, classes)`, array or tensor.

    Returns:
        Numbers of tags, int64 `(batch, tokens)`.

    Source: Forney, "The Viterbi Algorithm", Proceedings of the IEEE, 1973.

    >>> from kmtl.tasks.bio import bio_tags
    >>> artist = bio_tags(["O", "B-artist", "I-artist"])
    >>> likeliest_bio(artist, np.array([[[0.5, 0.4, 0.1], [0.1, 0.2, 0.7]]])).numpy().tolist()
    [[1, 2]]
    """
    inside, begin = np.asarray(tags.inside), np.asarray(tags.begin, "int32")
    places = np.arange(len(begin), dtype="int32")
    values = ops.log(ops.maximum(ops.cast(probabilities, "float32"), _LEAST))
    by_token = ops.transpose(values, (1, 0, 2))

    def forward(scores: Any, token: Any) -> Any:
        best = ops.max(scores, axis=-1, keepdims=True)
        entered = ops.where(inside, ops.maximum(scores, ops.take(scores, begin, axis=-1)), best)
        return entered - best + token

    def backward(chosen: Any, choices: Any) -> Any:
        return ops.sum(ops.where(places == chosen[:, None], choices, 0), axis=-1)

    scores = _recurrence(forward, by_token[0] + np.where(inside, _FORBIDDEN, 0.0).astype("float32"), by_token[1:])
    # What stands best before each tag.
    own = ops.where(ops.take(scores, begin, axis=-1) > scores, begin, places)
    best = ops.min(ops.where(scores == ops.max(scores, axis=-1, keepdims=True), places, len(places) - 1), axis=-1)
    before = ops.where(inside, own, best[..., None])
    path = _recurrence(backward, best[-1], before[:-1], reverse=True)
    return ops.cast(ops.transpose(path, (1, 0)), "int64")


def _recurrence(step: Callable[[Any, Any], Any], first: Any, rows: Any, *, reverse: bool = False) -> Any:
    """The first value, and what a step makes of each value and the next row; reversed, the last row comes first.

    Returns:
        `(1 + rows, ...)`; reversed, the first value stands last.
    """
    count = rows.shape[0]
    if count is None or count > _UNROLLED:
        _, found = ops.scan(lambda value, row: (step(value, row),) * 2, first, rows, reverse=reverse)
        return ops.concatenate([found, first[None]] if reverse else [first[None], found], axis=0)
    values = [first]
    for place in reversed(range(count)) if reverse else range(count):
        values.append(step(values[-1], rows[place]))
    return ops.stack(values[::-1] if reverse else values, axis=0)
