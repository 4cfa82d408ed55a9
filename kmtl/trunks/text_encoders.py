"""From vectors of words to a sequence in which each word knows its neighbours."""

from typing import Any

import keras

from kmtl.trunks.convolution import apply_activation
from kmtl.trunks.normalization import normalize
from kmtl.trunks.options import Options
from kmtl.trunks.sequence_layers import MaskedConv1D, PositionEmbedding

ENCODERS = ("convolution", "transformer")


def convolution_encoder(tensor: Any, options: Options, depth: int, kernel_size: int) -> Any:
    """Adds to the words, block by block, a convolution over their neighbours.

    Args:
        tensor: `(batch, tokens, width)` with its mask.
        options: What the trunk's layers share.
        depth: Number of blocks.
        kernel_size: Words that a block sees at once.

    Returns:
        `(batch, tokens, width)`, each word of which has seen `1 + depth * (kernel_size - 1)` words.
    """
    for block in range(1, depth + 1):
        layer = MaskedConv1D(
            tensor.shape[-1],
            kernel_size,
            padding="same",
            kernel_initializer="he_normal",
            kernel_regularizer=options.regularizer(),
            name=options.part(f"conv{block}"),
        )
        branch = apply_activation(layer(_normalized(tensor, options, f"conv{block}")), options, f"conv{block}")
        tensor = _added(tensor, branch, options, f"conv{block}")
    return _normalized(tensor, options, "words")


def transformer_encoder(tensor: Any, options: Options, depth: int, heads: int) -> Any:
    """Adds to the words, block by block, attention to all words of the text and a dense layer on each.

    Each branch normalises what it reads (Xiong et al., On Layer Normalization in the Transformer Architecture, ICML
    2020), which trains without a warm-up at rates where the first form needs one.

    Args:
        tensor: `(batch, tokens, width)` with its mask.
        options: What the trunk's layers share.
        depth: Number of blocks.
        heads: Of attention; they divide the width.

    Returns:
        `(batch, tokens, width)`.
    """
    tensor = PositionEmbedding(name=options.part("positions"))(tensor)
    for block in range(1, depth + 1):
        attention, dense = f"attention{block}", f"dense{block}"
        layer = keras.layers.MultiHeadAttention(
            heads,
            tensor.shape[-1] // heads,
            dropout=float(options.dropout),
            kernel_regularizer=options.regularizer(),
            name=options.part(attention),
        )
        read = _normalized(tensor, options, attention)
        tensor = _added(tensor, layer(read, read), options, attention)
        wide = _dense(_normalized(tensor, options, dense), 4 * tensor.shape[-1], options, f"{dense}_wide")
        branch = _dense(apply_activation(wide, options, dense), tensor.shape[-1], options, dense)
        tensor = _added(tensor, branch, options, dense)
    return _normalized(tensor, options, "words")


def _normalized(tensor: Any, options: Options, part: str) -> Any:
    """Normalises each word by itself."""
    return normalize(tensor, options.normalization, name=options.part(f"{part}_norm"), synchronized=False)


def _added(tensor: Any, branch: Any, options: Options, part: str) -> Any:
    """Adds a branch, parts of which are dropped in training."""
    if options.dropout:
        branch = keras.layers.Dropout(float(options.dropout), name=options.part(f"{part}_dropout"))(branch)
    return keras.layers.Add(name=options.part(f"{part}_add"))([tensor, branch])


def _dense(tensor: Any, width: int, options: Options, part: str) -> Any:
    """One dense layer, the same for every word."""
    layer = keras.layers.Dense(width, kernel_regularizer=options.regularizer(), name=options.part(part))
    return layer(tensor)
