"""Words and the pieces that a pre-trained encoder reads in their place."""

from typing import Any

import keras
import tensorflow as tf
from keras import ops

from kmtl._checks import refusal, whole, words
from kmtl.trunks.tokenization import TextLayer, split

_MARKS = (("cls_token_id", "sep_token_id"), ("start_token_id", "end_token_id"))


def marks_of(owner: str, tokenizer: Any) -> tuple[int, int, int]:
    """Returns the numbers that begin, end and fill up what an encoder reads, by KerasHub's names.

    Raises:
        ValueError: If the tokenizer has none.
    """
    for pair in _MARKS:
        begin, end = (getattr(tokenizer, name, None) for name in pair)
        if begin is not None and end is not None:
            return int(begin), int(end), int(getattr(tokenizer, "pad_token_id", None) or 0)
    fix = "Take that of an encoder, as keras_hub.models.BertTokenizer."
    rule = "must be a KerasHub tokenizer with a begin and an end of a text"
    raise ValueError(refusal(owner, "tokenizer", rule, words(type(tokenizer).__name__), fix))


@keras.saving.register_keras_serializable(package="kmtl")
class Subwords(TextLayer):
    """The pieces of each word of a text, as a pre-trained encoder numbers them, and where each word begins.

    Each word goes through the tokenizer by itself, with a blank before all but the first, so that it is known which
    piece is whose. The tokenizer travels with the saved model.

    Shapes: strings `(batch,)` in; out `(batch, pieces)` numbers, and `(batch, tokens)` places of first pieces, -1
    where there is no word or `pieces` leave it no place.

    Args:
        tokenizer: Of KerasHub: a layer from strings to numbers.
        tokens: Most words of a text.
        pieces: Most pieces, the marks of begin and end included.
        **kwargs: Keras layer options.
    """

    def __init__(self, tokenizer: Any, tokens: int, pieces: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tokenizer = tokenizer
        self.tokens = whole("Subwords", "tokens", tokens, 1)
        self.pieces = whole("Subwords", "pieces", pieces, 3)

    def build(self, input_shape: Any) -> None:
        """Nothing: the tokenizer is ready, or is loaded."""

    def call(self, inputs: Any) -> Any:
        """Returns numbers and places."""
        # A tokenizer that is being loaded knows its words only after its layer was made.
        begin, end, filler = marks_of("Subwords", self.tokenizer)
        found = split(inputs)[:, : self.tokens]
        by_word = found.with_flat_values(tf.strings.join([_blanks(found), found.flat_values]))
        numbers = by_word.with_values(_numbered(self.tokenizer, by_word.values))
        room = self.pieces - 2
        read = numbers.merge_dims(1, 2)[:, :room]
        edge = tf.ones((tf.shape(inputs)[0], 1), tf.int32)
        whole_text = tf.concat([begin * edge, read, end * edge], axis=1)
        lengths = numbers.row_lengths(axis=2).to_tensor(0, shape=(None, self.tokens))
        places = tf.cast(tf.cumsum(lengths, axis=1, exclusive=True), tf.int32)
        there = (lengths > 0) & (places < room)
        return whole_text.to_tensor(filler, shape=(None, self.pieces)), tf.where(there, places + 1, -1)

    def compute_output_spec(self, inputs: Any) -> Any:
        """Numbers and places."""
        return tuple(keras.KerasTensor((inputs.shape[0], size), dtype="int32") for size in (self.pieces, self.tokens))

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        tokenizer = keras.saving.serialize_keras_object(self.tokenizer)
        return {**super().get_config(), "tokenizer": tokenizer, "tokens": self.tokens, "pieces": self.pieces}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Subwords":
        """Makes the layer and its tokenizer."""
        tokenizer = keras.saving.deserialize_keras_object(config["tokenizer"])
        return cls(**{**config, "tokenizer": tokenizer})


def _blanks(found: Any) -> Any:
    """A blank for each word but the first of its text: tokenizers of byte pairs count it as a part of the word."""
    place = tf.range(tf.shape(found.flat_values)[0]) - tf.cast(
        tf.gather(found.row_starts(), found.value_rowids()), tf.int32
    )
    return tf.where(place > 0, " ", "")


def _numbered(tokenizer: Any, found: Any) -> Any:
    """The pieces of each word; run eagerly, a tokenizer gives lists."""
    pieces = tokenizer(found)
    if isinstance(pieces, list):
        pieces = tf.ragged.constant(pieces, dtype="int32", ragged_rank=1)
    return tf.cast(pieces, tf.int32)


@keras.saving.register_keras_serializable(package="kmtl")
class FirstPieces(keras.layers.Layer):
    """What an encoder made of the first piece of each word, so that place i is word i; others are masked.

    Source: the first piece stands for its word as in Devlin et al., BERT, NAACL 2019.

    Shapes: `[(batch, pieces, width), (batch, tokens)]` in, `(batch, tokens, width)` out.

    >>> sequence = ops.reshape(ops.arange(6.0), (1, 3, 2))
    >>> FirstPieces()([sequence, ops.array([[1, -1]])]).numpy().tolist()
    [[[2.0, 3.0], [0.0, 0.0]]]
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_masking = True

    def call(self, inputs: Any) -> Any:
        """Returns a vector a word."""
        sequence, first = inputs
        places = ops.expand_dims(ops.maximum(first, 0), -1)
        return ops.where(ops.expand_dims(first >= 0, -1), ops.take_along_axis(sequence, places, axis=1), 0)

    def compute_mask(self, inputs: Any, _mask: Any = None) -> Any:
        """Where a word is."""
        return inputs[1] >= 0

    def compute_output_shape(self, input_shape: Any) -> tuple[int | None, ...]:
        """A vector a word."""
        sequence, first = input_shape
        return (*first, sequence[-1])
