"""A pre-trained encoder of text as a trunk: KerasHub's, with words where it has pieces of words."""

from typing import Any, Unpack

import keras

from kmtl._checks import Refusals, is_whole, refusal, words
from kmtl.trunks.features import end_of_trunk
from kmtl.trunks.options import TrunkOptions, attempt, options_of, shows_options, size
from kmtl.trunks.subwords import FirstPieces, Subwords, marks_of
from kmtl.trunks.text import check_texts

_OWNER = "pretrained_text"
_INPUTS = ("padding_mask", "segment_ids", "token_ids")
_SEQUENCE = "sequence_output"


@shows_options(units=None, normalization=None)
def pretrained_text(
    texts: Any,
    model: keras.Model,
    tokenizer: Any,
    *,
    tokens: int = 32,
    pieces: int = 64,
    trainable: bool = True,
    **options: Unpack[TrunkOptions],
) -> Any:
    """Reads text by a pre-trained encoder: text in, one vector a word, or their mean, out.

    Words are split at white space and each into its pieces; what the encoder makes of a word's first piece is the
    word's. So token i is word i, as in `kmtl.trunks.text`, and labels of words need no alignment. The tokenizer is in
    the saved model; what serves it needs the operations of `tensorflow_text`.

        bert = keras_hub.models.Backbone.from_preset("./bert_small_en_uncased")
        tokenizer = keras_hub.models.Tokenizer.from_preset("./bert_small_en_uncased")

    loads both from a folder, without the network. The model is used, not copied; `trainable=False` freezes it.
    `kmtl.trunks.backbone(bert, preprocessor(texts), output="pooled_output")` gives the vector of the whole text.

    Args:
        texts: Strings `(batch,)`: `keras.Input((), dtype="string")`.
        model: An encoder of KerasHub: `token_ids`, and with them `padding_mask` and `segment_ids` where it takes those,
            to a sequence.
        tokenizer: Its tokenizer.
        tokens: Most words of a text.
        pieces: Most pieces that the encoder reads, begin and end included. Words that find no place are cut off.
        trainable: Whether the encoder learns.
        **options: Of every trunk; see `kmtl.trunks.Options`. Here `units` and `normalization` are None where left out.

    Returns:
        Features `(batch, width)`; with `pooling=None` the sequence `(batch, tokens, width)`, masked where no word is.

    Raises:
        TypeError: If `texts` is not a `keras.KerasTensor`, `model` not a `keras.Model`, or an option is unknown.
        ValueError: If the model is no such encoder, or an argument breaks its rule; all offenders at once.
    """
    chosen = options_of(pretrained_text, options)
    if not isinstance(model, keras.Model):
        raise TypeError(refusal(_OWNER, "model", "must be a keras.Model", words(type(model).__name__)))
    with Refusals(_OWNER) as refusals:
        check_texts(refusals, texts)
        attempt(refusals, lambda owner, _, value: marks_of(owner, value), "tokenizer", tokenizer)
        _check_model(refusals, model)
        attempt(refusals, size, "tokens", tokens)
        if not is_whole(pieces) or pieces < 3:
            refusals.add("pieces", "must be a whole number of at least 3", pieces)
        if chosen.pooling == "grid":
            refusals.add("pooling", "must not be 'grid' for text", "grid", "Use 'auto', 'average' or 'max'.")
        chosen.check(refusals)
    numbers, first = Subwords(tokenizer, int(tokens), int(pieces), name=chosen.part("pieces"))(texts)
    sequence = _sequence_part(model)(_given(model, numbers, marks_of(_OWNER, tokenizer)[-1]))
    if not trainable:
        model.trainable = False
    return end_of_trunk(FirstPieces(name=chosen.part("words"))([sequence, first]), chosen)


def _check_model(refusals: Refusals, model: Any) -> None:
    """Records a model that is no encoder of KerasHub's form."""
    inputs = getattr(model, "input", None)
    names = sorted(inputs) if isinstance(inputs, dict) else []
    if "token_ids" not in names or not set(names) <= set(_INPUTS):
        got = words(f"one of {names}" if names else type(model).__name__)
        refusals.add("model", f"must read 'token_ids', and of {list(_INPUTS)} alone", got)
    elif isinstance(model.output, dict) and _SEQUENCE not in model.output:
        refusals.add("model", f"must give {_SEQUENCE!r}", words(f"{list(model.output)}"))


def _sequence_part(model: Any) -> Any:
    """The part of an encoder that makes its sequence; what makes a vector of it would learn nothing."""
    outputs = model.output
    return keras.Model(model.input, outputs[_SEQUENCE], name=model.name) if isinstance(outputs, dict) else model


def _given(model: Any, numbers: Any, filler: int) -> dict[str, Any]:
    """What the encoder reads beside the numbers of pieces."""
    there = keras.ops.cast(keras.ops.not_equal(numbers, filler), "int32")
    known = {"token_ids": numbers, "padding_mask": there, "segment_ids": keras.ops.zeros_like(numbers)}
    return {name: known[name] for name in model.input}
