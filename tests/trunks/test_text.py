"""Text trunks: what a word is, that padding never counts, and that text goes in wherever the model goes."""

import re
import string
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import example, given, settings
from hypothesis import strategies as st

import kmtl
from kmtl import trunks
from kmtl.trunks.tokenization import SplitWords

TEXTS = ["a red fox", "A blue fox , ok", "red", "", "très BIEN\u00a0ça va", "fox " * 9]
WORDS = ["a", "red", "fox", "très", "ça"]
ENCODERS = [("convolution", True), ("transformer", False)]


def build(tokens, encoder="convolution", **options):
    """A model from text to its sequence, its mean and its maximum."""
    text = keras.Input((), dtype="string", name="text")
    sequence = trunks.text(text, WORDS, tokens=tokens, width=8, encoder=encoder, heads=2, pooling=None, **options)
    pooled = [trunks.pool(sequence, units=None, pooling=kind, name=kind) for kind in ("average", "max")]
    return keras.Model(text, [sequence, *pooled])


def run(model, texts):
    return [keras.ops.convert_to_numpy(part) for part in model(tf.constant(texts))]


@settings(max_examples=60, deadline=None)
@given(
    st.text(st.sampled_from("ab \t\n\x0b\x0c\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u202f\u205f\u3000\u200bÄ\0"))
)
@example("\ufeffa\u200b b")
def test_words_are_those_of_python(text):
    words = [word.decode() for word in SplitWords(40)(tf.constant([text])).numpy()[0]]
    assert words == (text.split() + [""] * 40)[:40]
    assert trunks.word_counts([text]).tolist() == [len(text.split())]
