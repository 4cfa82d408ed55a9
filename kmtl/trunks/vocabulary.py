"""The words that a text trunk knows."""

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import keras
import numpy as np

from kmtl._checks import Refusals, near, refusal, some, whole, words
from kmtl.trunks.options import attempt
from kmtl.trunks.tokenization import STANDARDIZATIONS, split, standardized


class Vocabulary(NamedTuple):
    """Words, and how those of a text are brought into their form.

    Attributes:
        words: Different words, most frequent first.
        standardize: One of `STANDARDIZATIONS`, or None.
    """

    words: list[str]
    standardize: str | None


def vocabulary(
    texts: Iterable[Any], most: int = 20_000, *, least: int = 2, standardize: str | None = "lower"
) -> list[str]:
    """Learns the words of some texts, for `kmtl.trunks.text`.

    Learn it from training texts alone. A word that is rarer than `least` is left out, so that training shows the trunk
    unknown words as they will come: with `least=1` the vector of the unknown is never trained.

    Args:
        texts: Texts, as an array, a list, a column of a frame; or batches of them, as a `tf.data.Dataset` of text.
        most: Most words to keep.
        least: How often a word must stand in the texts.
        standardize: How words are looked up: `"lower"` in lower case; `"strip_punctuation"` without the signs around
            and within them, `"lower_and_strip_punctuation"`, or None as they stand. Give the trunk the same.

    Returns:
        Words, most frequent first, equally frequent ones by alphabet.

    Raises:
        ValueError: If a text is no text, or another argument breaks its rule; all offenders at once.

    >>> vocabulary(["a red fox", "A blue fox", "red"])
    ['a', 'fox', 'red']
    """
    with Refusals("vocabulary") as refusals:
        found = _checked_texts(refusals, texts)
        attempt(refusals, _at_least_one, "most", most)
        attempt(refusals, _at_least_one, "least", least)
        check_standardize(refusals, standardize)
    counts = Counter(keras.ops.convert_to_numpy(standardized(split(found).flat_values, standardize)).tolist())
    known = sorted((-count, word.decode()) for word, count in counts.items() if count >= least)
    if not known:
        got = words(f"{len(counts)} words, the most frequent {max(counts.values(), default=0)} times")
        raise ValueError(
            refusal("vocabulary", "texts", "must have a word that is frequent enough", got, "Lower `least`.")
        )
    return [word for _, word in known[:most]]


def word_counts(texts: Iterable[Any]) -> Any:
    """Counts the words of each text, as `kmtl.trunks.text` splits them: what is beyond its `tokens` is cut off.

    Args:
        texts: As for `vocabulary`.

    Returns:
        NumPy array of whole numbers.

    Raises:
        ValueError: If a text is no text.

    >>> counts = word_counts(["a red fox", "fox", ""])
    >>> counts.tolist(), float((counts > 2).mean())  # with tokens=2 a third of the texts would be cut
    ([3, 1, 0], 0.3333333333333333)
    """
    with Refusals("word_counts") as refusals:
        found = _checked_texts(refusals, texts)
    return keras.ops.convert_to_numpy(split(found).row_lengths())


def word_numbers(texts: Iterable[Any], vocabulary: Any, tokens: int = 32, *, standardize: str | None = "auto") -> Any:
    """Numbers the words of texts as `kmtl.trunks.text` does, for a model that reads numbers where no text is split.

    Args:
        texts: As for `vocabulary`.
        vocabulary: As for `kmtl.trunks.text`.
        tokens: Most words of a text.
        standardize: As for `kmtl.trunks.text`.

    Returns:
        NumPy array `(texts, tokens)` of int32: 0 behind the end, 1 for what is not known, and i + 2 for word i of
        the vocabulary.

    Raises:
        ValueError: If an argument breaks its rule; all offenders at once.

    >>> word_numbers(["a Red fox", ""], ["fox", "red"], tokens=4).tolist()
    [[1, 3, 2, 0], [0, 0, 0, 0]]
    """
    with Refusals("word_numbers") as refusals:
        found = _checked_texts(refusals, texts)
        known = checked_vocabulary(refusals, vocabulary, standardize)
        attempt(refusals, _at_least_one, "tokens", tokens)
    numbers = {word.encode(): number for number, word in enumerate(known.words, start=2)} | {b"": 0}
    looked_up = standardized(split(found).to_tensor("", shape=(None, tokens)), known.standardize)
    listed = [[numbers.get(word, 1) for word in row] for row in keras.ops.convert_to_numpy(looked_up).tolist()]
    return np.array(listed, "int32")


def checked_vocabulary(refusals: Refusals, given: Any, standardize: Any) -> Vocabulary:
    """Returns the words of a list or of a layer, and records what is wrong with them.

    Args:
        refusals: Where to record.
        given: Words, or an adapted `keras.layers.TextVectorization`.
        standardize: As for `vocabulary`; `"auto"` is the layer's, and `"lower"` for a list.
    """
    if isinstance(given, keras.layers.TextVectorization):
        return _of_layer(refusals, given, standardize)
    form = "lower" if standardize == "auto" else standardize
    check_standardize(refusals, form)
    listed = [] if isinstance(given, str | bytes) or not isinstance(given, Iterable) else list(given)
    if not listed or not all(isinstance(word, str) for word in listed):
        fix = "Learn it: kmtl.trunks.vocabulary(texts)."
        got = words(type(given).__name__) if not listed or not isinstance(given, list) else given[:5]
        refusals.add("vocabulary", "must be a list of words, or an adapted TextVectorization", got, fix)
    elif not refusals.messages:
        _check_words(refusals, listed, form)
    return Vocabulary(listed, form)


def check_standardize(refusals: Refusals, standardize: Any) -> None:
    """Records a way to standardise that there is not."""
    if standardize is not None and standardize not in STANDARDIZATIONS:
        fix = near(str(standardize), STANDARDIZATIONS)
        refusals.add("standardize", "must be None or a known name", standardize, fix)


def _check_words(refusals: Refusals, listed: list[str], standardize: str | None) -> None:
    """Records words that stand twice, and those that no text has once it is split and standardised."""
    twice = [word for word, count in Counter(listed).items() if count > 1]
    if twice:
        refusals.add("vocabulary", "must have each word once", some(twice))
    looked_up = [word.decode() for word in keras.ops.convert_to_numpy(standardized(listed, standardize)).tolist()]
    never = [word for word, form in zip(listed, looked_up, strict=True) if [word] != word.split() or word != form]
    if never:
        rule = f"must have words without white space, in the form that standardize={standardize!r} gives them"
        refusals.add("vocabulary", rule, some(never))


def _of_layer(refusals: Refusals, layer: Any, standardize: Any) -> Vocabulary:
    """Returns the words of a `TextVectorization`; those that are one word to this trunk stand once."""
    config, listed = layer.get_config(), layer.get_vocabulary(include_special_tokens=False)
    form = config["standardize"]
    if standardize not in ("auto", form):
        refusals.add("standardize", "must be left out: the TextVectorization has its own", standardize)
    if form is not None and form not in STANDARDIZATIONS:
        refusals.add("vocabulary", "must standardize by a name that Keras knows", words("a function"))
    elif config["split"] != "whitespace" or config["ngrams"] is not None:
        got = words(f"split={config['split']!r}, ngrams={config['ngrams']!r}")
        refusals.add("vocabulary", "must have words split at white space, so that token i is word i", got)
    elif not listed:
        refusals.add(
            "vocabulary", "must be adapted", words("a TextVectorization without words"), "Call its adapt(texts)."
        )
    else:
        looked_up = keras.ops.convert_to_numpy(standardized([str(word) for word in listed], form)).tolist()
        listed = list(dict.fromkeys(word.decode() for word in looked_up))
    return Vocabulary(listed, form)


def _at_least_one(owner: str, argument: str, value: Any) -> int:
    """Returns a whole number of at least one, or refuses."""
    return whole(owner, argument, value, 1)


def _checked_texts(refusals: Refusals, texts: Any) -> list[str]:
    """Returns all texts as a list, and records what is none."""
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        refusals.add("texts", "must be a list of texts, or batches of them", words(type(texts).__name__))
        return []
    found = [text for part in texts for text in np.ravel(np.asarray(part, dtype=object)).tolist()]
    decoded = [_decoded(text) for text in found]
    wrong = [(row, text) for row, text in enumerate(found) if decoded[row] is None]
    if wrong:
        row, text = wrong[0]
        got = words(f"{text!r} in row {row}" + (f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""))
        refusals.add("texts", "must be text in UTF-8", got, 'Leave missing texts out; in training "" stands for them.')
    elif not found:
        refusals.add("texts", "must hold a text", words("none"))
    return [text or "" for text in decoded]


def _decoded(text: Any) -> str | None:
    """Returns a text that came as text or as UTF-8; None for anything else."""
    if isinstance(text, bytes):
        try:
            return text.decode()
        except UnicodeDecodeError:
            return None
    return text if isinstance(text, str) else None
