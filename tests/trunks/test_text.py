"""Text trunks: what a word is, that padding never counts, and that text goes in wherever the model goes."""

import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kmtl import trunks
from kmtl.trunks.tokenization import SplitWords, affixes

TEXTS = ["a red fox", "A blue fox , ok", "red", "", "très BIEN\u00a0ça va", "fox " * 5]
WORDS = ["a", "red", "fox", "très", "ça"]
# Each white space of Python's, and signs that look like some.
SIGNS = "abÄ \t\n\x0b\x0c\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u2029\u202f\u205f\u3000\u200b\ufeff\0"


def build(tokens, encoder, vocabulary=WORDS, **options):
    """A model from text to its sequence, its mean and its maximum."""
    text = keras.Input((), dtype="string", name="text")
    sequence = trunks.text(text, vocabulary, tokens=tokens, width=8, encoder=encoder, heads=2, pooling=None, **options)
    pooled = [trunks.pool(sequence, units=None, pooling=kind, name=kind) for kind in ("average", "max")]
    return keras.Model(text, [sequence, *pooled], name=encoder)


def run(model, texts=TEXTS, **options):
    return [keras.ops.convert_to_numpy(part) for part in model(tf.constant(texts), **options)]


def part(model, name):
    """From text to what a layer of the trunk returns."""
    return keras.Model(model.input, model.get_layer(f"trunk_{name}").output)


@pytest.fixture(scope="module", params=["convolution", "transformer"])
def model(request):
    """One small trunk an encoder, the first with affixes."""
    keras.utils.set_random_seed(3)
    return build(6, request.param, affixes=request.param == "convolution", dropout=0.3, l2=0.1)


@settings(max_examples=60, deadline=None)
@given(st.text(st.sampled_from(SIGNS)))
@example("\ufeffa\u200b b")
def test_words_are_those_of_python(text):
    words = [word.decode() for word in SplitWords(40)(tf.constant([text])).numpy()[0]]
    assert words == (text.split() + [""] * 40)[:40]
    assert trunks.word_counts([text]).tolist() == [len(text.split())]


def test_padding_changes_nothing(model):
    """Twice the room gives the same numbers, at each word and pooled; so does a text of other white space."""
    wide = build(12, model.name, affixes=model.name == "convolution")
    twice = [np.tile(value, (2, 1)) if value.shape == (6, 8) else value for value in model.get_weights()]
    wide.set_weights(twice)
    found, wider = run(model), run(wide)
    for row, text in enumerate(TEXTS):
        count = len(text.split())
        np.testing.assert_allclose(wider[0][row, :count], found[0][row, :count], atol=1e-6)
    for pooled in (1, 2):
        np.testing.assert_allclose(wider[pooled], found[pooled], atol=1e-6)
    for one, other in zip(run(model, ["  a\tred fox\n"]), run(model, TEXTS[:1]), strict=True):
        np.testing.assert_array_equal(one, other)


def test_vectors_count_words_alone(model):
    sequence, average, highest = run(model)
    for row, text in enumerate(TEXTS):
        words = sequence[row, : len(text.split())]
        np.testing.assert_allclose(average[row], words.mean(axis=0) if len(words) else 0, atol=1e-6)
        np.testing.assert_array_equal(highest[row], words.max(axis=0) if len(words) else 0)


def test_padding_has_no_gradient_and_an_empty_text_a_finite_one(model):
    table = model.get_layer("trunk_vectors").embeddings.value
    with tf.GradientTape() as tape:
        tape.watch(table)
        _, average, highest = model(tf.constant(TEXTS))
        total = tf.reduce_sum(average**2 + highest**2)
    gradient = tf.convert_to_tensor(tape.gradient(total, table)).numpy()
    assert np.isfinite(gradient).all()
    assert not gradient[0].any()
    assert gradient[1:4].any(axis=1).all()


def test_order_counts(model):
    one, other = run(model, ["a red fox", "fox red a"])[1]
    assert not np.allclose(one, other, atol=1e-3)


def test_letters_of_words():
    """The first one, two and three, the last ones, and the shape, each under a mark of its own."""
    found = affixes(tf.constant(["FOx12-é", "b"])).numpy().tolist()
    assert [part.decode() for part in found[0]] == ["0F", "1FO", "2FOx", "3é", "4-é", "52-é", "6Aa9-a"]
    assert [part.decode() for part in found[1]] == ["0b", "1b\3", "2b\3\3", "3b", "4\2b", "5\2\2b", "6a"]


def test_words_are_looked_up_in_lower_case_and_the_unknown_is_one(model):
    numbers = keras.ops.convert_to_numpy(part(model, "lookup")(tf.constant(["A TRÈS red", "what ever"])))
    np.testing.assert_array_equal(numbers, [[2, 5, 3, 0, 0, 0], [1, 1, 0, 0, 0, 0]])
    first, second, _ = run(model, ["Blue", "green", "blue"])[1]
    assert np.allclose(first, second) == (model.name == "transformer"), "letters tell unknown words apart"


def test_penalties_are_those_of_the_kernels(model):
    kernels = [value for value in model.trainable_variables if value.name == "kernel"]
    assert len(kernels) == (2 if model.name == "convolution" else 12)
    assert float(sum(model.losses)) == pytest.approx(
        sum(0.1 * (value.numpy() ** 2).sum() for value in kernels), rel=1e-5
    )


def test_dropout_is_for_training(model):
    first, second = (run(model, TEXTS[:2], training=True)[0] for _ in range(2))
    assert not np.allclose(first, second)
    np.testing.assert_array_equal(run(model)[0], run(model)[0])


def test_saved_and_loaded_it_is_the_same(model, tmp_path):
    model.save(tmp_path / "text.keras")
    for one, other in zip(run(keras.saving.load_model(tmp_path / "text.keras")), run(model), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.long
@pytest.mark.parametrize("model", ["convolution"], indirect=True)
def test_it_takes_text_in_a_process_of_tensorflow_alone(model, tmp_path):
    """Bytes that are no UTF-8 are unknown words."""
    texts = [text.encode() for text in TEXTS] + [b"a \xff\xfe fox"]
    model.export(tmp_path / "saved", verbose=False)
    np.savez(tmp_path / "expected.npz", average=run(model, texts)[1])
    code = (
        "import numpy as np, sys, tensorflow as tf\n"
        "saved = tf.saved_model.load('saved')\n"
        f"found = saved.serve(tf.constant({texts}))[1]\n"
        "np.testing.assert_allclose(found, np.load('expected.npz')['average'], atol=1e-5)\n"
        "assert 'kmtl' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_numbers_of_words_are_those_of_the_graph(model):
    """The same weights then give the same numbers where no text is read."""
    found = trunks.word_numbers([*TEXTS, "A zzz FOX"], WORDS, tokens=6)
    np.testing.assert_array_equal(found, part(model, "lookup")(tf.constant([*TEXTS, "A zzz FOX"])))
    if model.name == "convolution":
        return
    numbers = keras.Input((6,), dtype="int32", name="words")
    sequence = trunks.text(numbers, WORDS, tokens=6, width=8, encoder=model.name, heads=2, pooling=None)
    again = keras.Model(numbers, trunks.pool(sequence, units=None))
    again.set_weights(model.get_weights())
    np.testing.assert_allclose(again(found[:-1]), run(model)[1], atol=1e-6)
    with pytest.raises(ValueError, match=r"(?s)`texts` must have shape \(batch, 5\).*`affixes` must be False: numbers"):
        trunks.text(numbers, WORDS, tokens=5, affixes=True)


def test_half_precision_is_near_full(model):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        half = build(6, model.name, affixes=model.name == "convolution")
    finally:
        keras.config.set_dtype_policy("float32")
    half.set_weights(model.get_weights())
    for one, other in zip(run(half), run(model), strict=True):
        words = np.array([[place < len(text.split()) for place in range(6)] for text in TEXTS])
        assert one.dtype == "float16"
        where = words if one.ndim == 3 else slice(None)
        np.testing.assert_allclose(one[where].astype("float32"), other[where], atol=0.02)


@pytest.mark.parametrize("standardize", ["lower", "lower_and_strip_punctuation", None])
def test_an_adapted_layer_gives_its_words(standardize):
    """The numbers are those of Keras's layer, where no word is punctuation alone."""
    texts = ["Red fox, red den.", "a blue den", "A red (fox)"]
    layer = keras.layers.TextVectorization(standardize=standardize, output_sequence_length=6)
    layer.adapt(texts)
    model = build(6, "convolution", layer)
    texts = tf.constant([*texts, "no Red a-fox", ""])
    np.testing.assert_array_equal(part(model, "lookup")(texts), layer(texts))
    np.testing.assert_array_equal(part(model, "lookup")(tf.constant(["den -- den"]))[0, :3] > 1, [True, False, True])


def test_a_vocabulary_is_learned():
    texts = ["b a B", "c a", "É é d"]
    assert trunks.vocabulary(texts) == ["a", "b", "é"]
    assert trunks.vocabulary(texts, least=1) == ["a", "b", "é", "c", "d"]
    assert trunks.vocabulary(texts, most=1) == ["a"]
    assert trunks.vocabulary(np.array(texts), standardize=None, least=2) == ["a"]
    batches = tf.data.Dataset.from_tensor_slices(texts).batch(2)
    assert trunks.vocabulary(batches) == trunks.vocabulary([text.encode() for text in texts]) == ["a", "b", "é"]
    with pytest.raises(ValueError, match=r"^vocabulary: `texts` must be text in UTF-8, got nan in row 1, and 1 m"):
        trunks.vocabulary(["a", np.nan, b"\xff"])
    with pytest.raises(
        ValueError, match=r"must have a word that is frequent enough, got 2 words, the most frequent 1 "
    ):
        trunks.vocabulary(["a b"])


def adapted(**options):
    layer = keras.layers.TextVectorization(**options)
    layer.adapt(["a b"])
    return layer


REFUSED = [
    ([], {}, "`vocabulary` must be a list of words, or an adapted TextVectorization, got list. Learn it: kmtl.trunks."),
    ("words.txt", {}, "`vocabulary` must be a list of words"),
    (["a", 3], {}, "`vocabulary` must be a list of words, or an adapted TextVectorization, got ['a', 3]."),
    (["a", "b", "a"], {}, "`vocabulary` must have each word once, got 'a'."),
    (
        ["a", "B", "c d", ""],
        {},
        "`vocabulary` must have words without white space, in the form that standardize='lower' gives them, got '',",
    ),
    (keras.layers.TextVectorization(), {}, "`vocabulary` must be adapted, got a TextVectorization without words."),
    (adapted(split="character"), {}, "`vocabulary` must have words split at white space, so that token i is word i"),
    (adapted(), {"standardize": "lower"}, "`standardize` must be left out: the TextVectorization has its own"),
    (WORDS, {"standardize": "lowr"}, "`standardize` must be None or a known name, got 'lowr'. Did you mean 'lower'?"),
    (WORDS, {"encoder": "transformers"}, "`encoder` must be a known name, got 'transformers'. Did you mean"),
    (WORDS, {"encoder": "transformer", "heads": 3}, "`heads` must divide the width 128, got 3."),
    (WORDS, {"tokens": 0}, "`tokens` must be a positive whole number, got 0."),
    (WORDS, {"normalization": "batch"}, "`normalization` must be 'layer' or None for text, got 'batch'."),
    (WORDS, {"pooling": "grid"}, "`pooling` must not be 'grid' for text, got 'grid'."),
    (WORDS, {"affixes": "all"}, "`affixes` must be True or False, got 'all'."),
    (WORDS, {"width": 1}, "`width` must leave every layer normalization two channels or more, got 1."),
]


@pytest.mark.parametrize(("vocabulary", "options", "message"), REFUSED)
def test_what_cannot_be_read_is_refused(vocabulary, options, message):
    with pytest.raises(ValueError, match=re.escape(f"text: {message}")):
        trunks.text(keras.Input((), dtype="string"), vocabulary, **options)


def test_all_offenders_are_told_at_once():
    with pytest.raises(ValueError, match=r"(?s)`texts` must hold text, got 'float32'.*`depth`.*`dropout`"):
        trunks.text(keras.Input(()), WORDS, depth=0, dropout=1)
    with pytest.raises(ValueError, match=r"`texts` must have shape \(batch,\), got \(None, 1\)"):
        trunks.text(keras.Input((1,), dtype="string"), WORDS)
