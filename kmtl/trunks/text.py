"""Text as an input: its words, their vectors, and a small encoder over them."""

from collections.abc import Sequence
from typing import Any, Unpack

import keras

from kmtl._checks import Refusals, is_whole
from kmtl.trunks.features import end_of_trunk
from kmtl.trunks.options import (
    Options,
    TrunkOptions,
    attempt,
    check_narrowest,
    check_symbolic,
    one_of,
    options_of,
    shows_options,
    size,
)
from kmtl.trunks.text_encoders import ENCODERS, convolution_encoder, transformer_encoder
from kmtl.trunks.tokenization import AffixEmbedding, SplitWords, StandardizeWords
from kmtl.trunks.vocabulary import Vocabulary, checked_vocabulary


@shows_options(normalization="layer")
def text(
    texts: Any,
    vocabulary: Sequence[str] | keras.layers.TextVectorization,
    *,
    tokens: int = 32,
    width: int = 128,
    encoder: str = "convolution",
    depth: int = 2,
    kernel_size: int = 3,
    heads: int = 4,
    affixes: bool = False,
    standardize: str | None = "auto",
    **options: Unpack[TrunkOptions],
) -> Any:
    """Reads text: splits it into words, looks them up, and encodes them with their neighbours.

    Text is split at white space as Python's `str.split()` does, so that token i is word i, and a label for every word
    is an array `(batch, tokens)`. A word that the vocabulary lacks has the vector of the unknown. What a text has
    beyond `tokens` words is cut off; `kmtl.trunks.word_counts` tells how many that are. Padding is masked, by Keras's
    masks: it reaches no word, and `kmtl.trunks.pool` counts real words only; an empty text is a vector of zeros
    before the dense layer. Bytes that are no UTF-8 are unknown words, in serving as in training.

    All of it is in the saved model, the vocabulary included: text in, by TensorFlow alone. LiteRT and ONNX split no
    text: build the model anew on numbers of words, without affixes, and give it the weights, which are the same.

    Args:
        texts: Strings `(batch,)`: `keras.Input((), dtype="string")`. Or numbers of words `(batch, tokens)`, as
            `kmtl.trunks.word_numbers` makes them: `keras.Input((tokens,), dtype="int32")`.
        vocabulary: Words, as `kmtl.trunks.vocabulary(texts)` returns them; or an adapted
            `keras.layers.TextVectorization`, whose words and standardisation are taken.
        tokens: Most words of a text.
        width: Of the words' vectors and of the sequence.
        encoder: `"convolution"`, blocks that see the neighbours; or `"transformer"`, blocks that see the whole text.
        depth: Blocks of the encoder.
        kernel_size: Of the convolution, in words.
        heads: Of the transformer's attention; they divide the width.
        affixes: Whether the first and last letters of a word and its shape count beside the word itself, which helps
            with words that training did not show.
        standardize: How words are looked up, as for `kmtl.trunks.vocabulary`. `"auto"` is what the layer says, and
            lower case for a list of words.
        **options: Of every trunk; see `kmtl.trunks.Options`. Here `normalization` is `"layer"` where left out, or None:
            the others would count padding. `dropout` is also that of the words' vectors and within each block.

    Returns:
        Features `(batch, units)`; with `pooling=None` the sequence `(batch, tokens, width)`, of which
        `kmtl.trunks.pool` makes the vector.

    Raises:
        TypeError: If `texts` is not a `keras.KerasTensor`, or an option is unknown.
        ValueError: If any other argument breaks its rule; all offenders are named at once.

    >>> review = keras.Input((), dtype="string", name="review")
    >>> text(review, ["good", "bad", "film"], tokens=8, width=16, pooling=None).shape
    (None, 8, 16)
    """
    chosen = options_of(text, options)
    sizes = {"tokens": tokens, "width": width, "depth": depth, "kernel_size": kernel_size, "heads": heads}
    known = _checked(texts, vocabulary, standardize, encoder, affixes, sizes, chosen)
    tensor = _word_vectors(texts, known, int(tokens), int(width), affixes, chosen)
    if encoder == "transformer":
        sequence = transformer_encoder(tensor, chosen, int(depth), int(heads))
    else:
        sequence = convolution_encoder(tensor, chosen, int(depth), int(kernel_size))
    return end_of_trunk(sequence, chosen)


def _checked(
    texts: Any, words: Any, standardize: Any, encoder: Any, affixes: Any, sizes: dict[str, Any], options: Options
) -> Vocabulary:
    """Returns the vocabulary, or refuses all that is wrong."""
    with Refusals("text") as refusals:
        _check_input(refusals, texts, sizes["tokens"], affixes)
        known = checked_vocabulary(refusals, words, standardize)
        for argument, value in sizes.items():
            attempt(refusals, size, argument, value)
        one_of(refusals, "encoder", encoder, ENCODERS)
        if not isinstance(affixes, bool):
            refusals.add("affixes", "must be True or False", affixes)
        _check_division(refusals, encoder, sizes["width"], sizes["heads"])
        _check_options(refusals, sizes["width"], options)
    return known


def _check_input(refusals: Refusals, texts: Any, tokens: Any, affixes: Any) -> None:
    """Records an input that is neither text nor numbers of words, and numbers of which letters are wanted."""
    if not isinstance(texts, keras.KerasTensor) or not keras.backend.is_int_dtype(texts.dtype):
        check_texts(refusals, texts)
        return
    if tuple(texts.shape[1:]) != (tokens,):
        refusals.add("texts", f"must have shape (batch, {tokens}) where they are numbers of words", tuple(texts.shape))
    if affixes is True:
        refusals.add("affixes", "must be False: numbers of words have no letters", affixes)


def check_texts(refusals: Refusals, texts: Any) -> None:
    """Records an input that is no text, or not one text an example."""
    example = 'keras.Input((), dtype="string")'
    check_symbolic(refusals.owner, texts, argument="texts", example=example)
    if texts.dtype != "string":
        refusals.add("texts", "must hold text", texts.dtype, f"Pass {example}.")
    elif len(texts.shape) != 1:
        refusals.add("texts", "must have shape (batch,)", tuple(texts.shape), f"Pass {example}.")


def _check_division(refusals: Refusals, encoder: Any, width: Any, heads: Any) -> None:
    """Records heads of attention that do not divide the width."""
    if encoder == "transformer" and is_whole(width) and is_whole(heads) and heads > 0 and width % heads:
        refusals.add("heads", f"must divide the width {width}", heads)


def _check_options(refusals: Refusals, width: Any, options: Options) -> None:
    """Records options that no trunk can follow, and those that a text cannot."""
    found = len(refusals.messages)
    options.check(refusals)
    if len(refusals.messages) > found:
        return
    if options.normalization not in (None, "layer"):
        fix = "The statistics of others would count padding."
        refusals.add("normalization", "must be 'layer' or None for text", options.normalization, fix)
    if options.pooling == "grid":
        refusals.add("pooling", "must not be 'grid' for text", "grid", "Use 'auto', 'average' or 'max'.")
    check_narrowest(refusals, "width", width, width if is_whole(width) else 2, options)


def _word_vectors(texts: Any, known: Vocabulary, tokens: int, width: int, affixes: bool, options: Options) -> Any:
    """Looks the words up; their vectors carry the mask of where a word is."""
    words, numbers = (None, texts) if texts.dtype != "string" else _looked_up(texts, known, tokens, options)
    layer = keras.layers.Embedding(len(known.words) + 2, width, mask_zero=True, name=options.part("vectors"))
    tensor = layer(numbers)
    if affixes:
        letters = AffixEmbedding(width, name=options.part("affixes"))(words)
        tensor = keras.layers.Add(name=options.part("vectors_add"))([tensor, letters])
    if options.dropout:
        tensor = keras.layers.Dropout(float(options.dropout), name=options.part("vectors_dropout"))(tensor)
    return tensor


def _looked_up(texts: Any, known: Vocabulary, tokens: int, options: Options) -> tuple[Any, Any]:
    """The words of texts, and their numbers."""
    words = SplitWords(tokens, name=options.part("split"))(texts)
    looked_up = words
    if known.standardize is not None:
        looked_up = StandardizeWords(known.standardize, name=options.part("standardize"))(words)
    # No word can be the mark of the unknown, which has a blank.
    lookup = keras.layers.StringLookup(
        vocabulary=known.words, mask_token="", oov_token="not known", name=options.part("lookup")
    )
    return words, lookup(looked_up)
