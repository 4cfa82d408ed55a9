"""Text to words inside the graph, so that whatever holds the model takes text."""

import string
from typing import Any

import keras
import tensorflow as tf

from kmtl._checks import near, require, whole

# Python's own white space, of which TensorFlow's split knows the ASCII part.
_SPACES = r"[\t-\r\x1c-\x1f \x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}]"
_PUNCTUATION = "[" + "".join("\\" + sign for sign in string.punctuation) + "]"
# Kinds of letters, by which words that were never seen resemble others: `Mp3-12` is `Aa9-9`.
_SHAPES = ((r"\p{Nd}+", "9"), (r"\p{Lu}+", "A"), (r"[\p{Ll}\p{Lm}\p{Lo}\p{Lt}]+", "a"))
# Marks around a word, so that its first three letters are there even if it has but one.
_BEGIN, _END = "\x02", "\x03"
_LONGEST = 3

STANDARDIZATIONS = ("lower", "strip_punctuation", "lower_and_strip_punctuation")


def split(texts: Any) -> Any:
    """Splits texts at white space, as Python's `str.split()` does; bytes that are no UTF-8 become U+FFFD.

    Args:
        texts: Strings `(batch,)`.

    Returns:
        A ragged tensor of strings `(batch, words)`.
    """
    texts = tf.strings.unicode_transcode(texts, "UTF-8", "UTF-8", errors="replace")
    return tf.strings.split(tf.strings.regex_replace(texts, _SPACES, " "))


def standardized(words: Any, standardize: str | None) -> Any:
    """Returns words as they are looked up. One that is nothing but punctuation stays, or the next would take its place.

    Args:
        words: Strings of any shape.
        standardize: One of `STANDARDIZATIONS`, which mean what they mean to `keras.layers.TextVectorization`, but that
            letters beyond ASCII have a lower case too; or None.
    """
    words = tf.convert_to_tensor(words, tf.string)
    if standardize is None:
        return words
    if "lower" in standardize:
        words = tf.strings.lower(words, encoding="utf-8")
    if "strip" not in standardize:
        return words
    stripped = tf.strings.regex_replace(words, _PUNCTUATION, "")
    return tf.where(stripped == "", words, stripped)


def affixes(words: Any) -> Any:
    """Returns first and last letters and the shape of each word, marked by which they are, `(..., 7)` strings."""
    marked = tf.strings.join([_BEGIN * _LONGEST, words, _END * _LONGEST])
    lengths = range(1, _LONGEST + 1)
    parts = [tf.strings.substr(marked, _LONGEST, length, unit="UTF8_CHAR") for length in lengths]
    parts += [tf.strings.substr(marked, -_LONGEST - length, length, unit="UTF8_CHAR") for length in lengths]
    shape = words
    for letters, sign in _SHAPES:
        shape = tf.strings.regex_replace(shape, letters, sign)
    return tf.stack([tf.strings.join([str(kind), part]) for kind, part in enumerate([*parts, shape])], axis=-1)


class TextLayer(keras.layers.Layer):
    """A layer of strings: nothing that XLA compiles."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.supports_jit = False


@keras.saving.register_keras_serializable(package="kmtl")
class SplitWords(TextLayer):
    """The words of a text, split at white space, so that place i is word i; "" behind the last one.

    Shapes: strings `(batch,)` in, strings `(batch, tokens)` out.

    Args:
        tokens: Most words of a text; further ones are cut off.
        **kwargs: Keras layer options.

    >>> SplitWords(3)(tf.constant(["red  fox", "a b c d"])).numpy().tolist()
    [[b'red', b'fox', b''], [b'a', b'b', b'c']]
    """

    def __init__(self, tokens: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.tokens = whole("SplitWords", "tokens", tokens, 1)

    def call(self, inputs: Any) -> Any:
        """Returns the words."""
        return split(inputs).to_tensor("", shape=(None, self.tokens))

    def compute_output_spec(self, inputs: Any) -> Any:
        """Strings, as many for each text."""
        return keras.KerasTensor((inputs.shape[0], self.tokens), dtype="string")

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "tokens": self.tokens}


@keras.saving.register_keras_serializable(package="kmtl")
class StandardizeWords(TextLayer):
    """Words as a vocabulary has them: in lower case, without punctuation, or both.

    Shapes: strings in, as many strings out.

    Args:
        standardize: `"lower"`, `"strip_punctuation"` or `"lower_and_strip_punctuation"`.
        **kwargs: Keras layer options.

    >>> StandardizeWords("lower_and_strip_punctuation")(tf.constant([["Fox,", "--"]])).numpy().tolist()
    [[b'fox', b'--']]
    """

    def __init__(self, standardize: str = "lower", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        fix = near(str(standardize), STANDARDIZATIONS)
        require(standardize in STANDARDIZATIONS, "StandardizeWords", "standardize", "must be known", standardize, fix)
        self.standardize = standardize

    def call(self, inputs: Any) -> Any:
        """Returns the words to look up."""
        return standardized(inputs, self.standardize)

    def compute_output_spec(self, inputs: Any) -> Any:
        """Strings, as they came."""
        return keras.KerasTensor(inputs.shape, dtype="string")

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "standardize": self.standardize}


@keras.saving.register_keras_serializable(package="kmtl")
class AffixEmbedding(TextLayer):
    """What the letters of a word tell, for words that no vocabulary holds: a sum of learned vectors.

    One each of its first one, two and three letters, of its last ones, and of its shape (runs of capitals, other
    letters and digits); they are hashed into one table, so that nothing is unknown.

    Source: hashed affix and shape embeddings are those of spaCy (Honnibal and Montani, 2017); words as sums over parts:
    Bojanowski et al., Enriching Word Vectors with Subword Information, TACL 2017.

    Shapes: strings `(batch, tokens)` in, `(batch, tokens, width)` out; a place with "" is masked.

    Args:
        width: Of the vectors.
        buckets: Rows of the table.
        **kwargs: Keras layer options.

    >>> AffixEmbedding(8)(tf.constant([["fox", ""]])).shape
    TensorShape([1, 2, 8])
    """

    def __init__(self, width: int, buckets: int = 8192, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = whole("AffixEmbedding", "width", width, 1)
        self.buckets = whole("AffixEmbedding", "buckets", buckets, 1)
        self.supports_masking = True
        self.table = keras.layers.Embedding(self.buckets, self.width, name="table", dtype=self.dtype_policy)

    def build(self, input_shape: Any) -> None:
        """Makes the table."""
        self.table.build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Returns the sums."""
        places = tf.strings.to_hash_bucket_fast(affixes(inputs), self.buckets)
        return keras.ops.sum(self.table(places), axis=-2)

    def compute_mask(self, inputs: Any, _mask: Any = None) -> Any:
        """There is a word where there are letters."""
        return keras.ops.not_equal(inputs, "")

    def compute_output_spec(self, inputs: Any) -> Any:
        """A vector a word."""
        return keras.KerasTensor((*inputs.shape, self.width), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "width": self.width, "buckets": self.buckets}
