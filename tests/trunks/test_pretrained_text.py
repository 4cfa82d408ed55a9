"""KerasHub's encoders as trunks of words, on small random ones; nothing comes from the network."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmtl import trunks
from kmtl.trunks.subwords import FirstPieces, Subwords, marks_of

TEXTS = ["the foxes running red", "red", "", "a fox, running the foxes foxes foxes"]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "fox", "##es", "red", "a", "run", "##ning", ","]


class Letters(keras.layers.Layer):
    """A tokenizer whose pieces are the letters, as KerasHub's are called: ragged in a graph, lists outside of it."""

    cls_token_id, sep_token_id, pad_token_id = 1, 2, 0

    def call(self, words):
        numbers = tf.strings.unicode_decode(words, "UTF-8")
        return numbers.to_list() if tf.executing_eagerly() else numbers


def test_first_pieces_of_words():
    """A word of three letters after one of two begins at piece 1 + 2; its blank is a piece of its own here."""
    numbers, first = Subwords(Letters(), tokens=3, pieces=8)(tf.constant(["ab cde f", "", "a b c d"]))
    a, blank = ord("a"), ord(" ")
    np.testing.assert_array_equal(
        numbers,
        [
            [1, a, a + 1, blank, a + 2, a + 3, a + 4, 2],
            [1, 2, 0, 0, 0, 0, 0, 0],
            [1, a, blank, a + 1, blank, a + 2, 2, 0],
        ],
    )
    # The third word of the first text finds no place.
    np.testing.assert_array_equal(first, [[1, 3, -1], [-1, -1, -1], [1, 2, 4]])
    sequence = tf.reshape(tf.range(48.0), (3, 8, 2))
    words = FirstPieces()([sequence, first])
    np.testing.assert_array_equal(words[0], [[2, 3], [6, 7], [0, 0]])
    np.testing.assert_array_equal(words[1], np.zeros((3, 2)))


def test_what_is_no_encoder_is_refused():
    text, row = keras.Input((), dtype="string"), keras.Input((4,), name="row")
    wrong = keras.Model({"row": row}, keras.layers.Dense(2)(row))
    with pytest.raises(
        ValueError, match=r"(?s)`tokenizer` must be a KerasHub tokenizer.*`model` must read 'token_ids', "
    ):
        trunks.pretrained_text(text, wrong, keras.layers.Dense(1), pieces=2)
    with pytest.raises(TypeError, match=r"pretrained_text: `model` must be a keras.Model, got str"):
        trunks.pretrained_text(text, "bert", Letters())
    assert marks_of("test", Letters()) == (1, 2, 0)


def test_backbone_leaves_padding_out_of_what_is_pooled():
    tokens, mask = (keras.Input((3,), dtype="int32", name=name) for name in ("token_ids", "padding_mask"))
    encoder = keras.Model({"token_ids": tokens, "padding_mask": mask}, keras.layers.Embedding(9, 4)(tokens))
    given = {"token_ids": np.array([[3, 5, 7]]), "padding_mask": np.array([[1, 1, 0]])}
    vectors = keras.ops.convert_to_numpy(encoder(given))[0]
    model = keras.Model(encoder.input, trunks.backbone(encoder, pooling="average"))
    np.testing.assert_allclose(model(given)[0], vectors[:2].mean(axis=0), rtol=1e-6)


@pytest.mark.long
def test_bert_from_a_folder_reads_words(tmp_path):
    """Vectors of words are those that BERT gives at their first pieces of the whole text; saved and served too."""
    hub = pytest.importorskip("keras_hub")
    bert = hub.models.BertBackbone(len(PIECES), 2, 2, 8, 16, max_sequence_length=16)
    hub.models.BertTokenizer(PIECES, lowercase=True).save_to_preset(tmp_path / "bert")
    bert.save_to_preset(tmp_path / "bert")
    tokenizer = hub.models.Tokenizer.from_preset(str(tmp_path / "bert"))
    text = keras.Input((), dtype="string", name="text")
    loaded = hub.models.Backbone.from_preset(str(tmp_path / "bert"))
    sequence = trunks.pretrained_text(text, loaded, tokenizer, tokens=8, pieces=14, pooling=None, trainable=False)
    model = keras.Model(text, [sequence, trunks.pool(sequence, units=None)])
    whole = hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=14)(TEXTS)
    np.testing.assert_array_equal(model.get_layer("trunk_pieces")(tf.constant(TEXTS))[0], whole["token_ids"])
    expected = keras.ops.convert_to_numpy(bert(whole)["sequence_output"])
    words, vector = (keras.ops.convert_to_numpy(part) for part in model(tf.constant(TEXTS)))
    for row, places in enumerate([[1, 2, 4, 6], [1], [], [1, 2, 4, 6, 7, 9, 11]]):
        np.testing.assert_allclose(words[row, : len(places)], expected[row, places], atol=1e-5)
        np.testing.assert_allclose(vector[row], expected[row, places].mean(axis=0) if places else 0, atol=1e-5)
    assert model.trainable_variables == []
    rates = trunks.layer_wise(sequence, decay=0.5)
    assert (rates["token_embedding"], rates["transformer_layer_0"], rates["transformer_layer_1"]) == (0.25, 0.5, 1.0)
    model.save(tmp_path / "words.keras")
    again = keras.saving.load_model(tmp_path / "words.keras")
    np.testing.assert_array_equal(again(tf.constant(TEXTS))[0], words)
    model.export(tmp_path / "saved", verbose=False)
    served = tf.saved_model.load(tmp_path / "saved")
    np.testing.assert_allclose(served.serve(tf.constant(TEXTS))[0], words, atol=1e-5)
