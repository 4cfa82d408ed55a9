"""The likeliest sequence of tags that keeps the rule of BIO."""

from typing import Any

import numpy as np
from keras import ops

from kmtl.tasks.bio import BioTags

# Of the logarithm of a probability: float32 still holds it, and no path of a few thousand tokens outweighs the other.
_LEAST, _FORBIDDEN = 1e-30, -1e9


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
    values = ops.log(ops.maximum(ops.cast(probabilities, "float32"), _LEAST))
    by_token = ops.transpose(values, (1, 0, 2))

    def forward(scores: Any, token: Any) -> tuple[Any, Any]:
        best = ops.max(scores, axis=-1, keepdims=True)
        entered = ops.where(inside, ops.maximum(scores, ops.take(scores, begin, axis=-1)), best)
        scores = entered - best + token
        return scores, scores

    first = by_token[0] + np.where(inside, _FORBIDDEN, 0.0).astype("float32")
    _, later = ops.scan(forward, first, by_token[1:])
    scores = ops.concatenate([first[None], later], axis=0)
    # What stands best before each tag.
    own = ops.where(ops.take(scores, begin, axis=-1) > scores, begin, np.arange(len(begin), dtype="int32"))
    before = ops.where(inside, own, ops.argmax(scores, axis=-1, keepdims=True))

    def backward(chosen: Any, choices: Any) -> tuple[Any, Any]:
        chosen = ops.take_along_axis(choices, chosen[:, None], axis=-1)[:, 0]
        return chosen, chosen

    last = ops.cast(ops.argmax(scores[-1], axis=-1), "int32")
    _, earlier = ops.scan(backward, last, ops.cast(before, "int32")[:-1], reverse=True)
    path = ops.concatenate([earlier, last[None]], axis=0)
    return ops.cast(ops.transpose(path, (1, 0)), "int64")
