"""What a model takes, and what it is given."""

import pickle

import keras
import numpy as np
import pytest
import tensorflow as tf

from kmtl._checks import Refusals
from kmtl.feeding import InputForm

IMAGE = keras.Input((8, 8, 1), name="image")
ROW = keras.Input((3,), name="row")
TEXT = keras.Input((), dtype="string", name="text")
BOTH = {"row": np.ones((4, 3)), "image": np.ones((4, 8, 8, 1))}


def messages(inputs, given):
    refusals = Refusals("fit")
    InputForm.of(inputs).check(refusals, given)
    return refusals.messages


@pytest.mark.parametrize(
    ("inputs", "given"),
    [
        (IMAGE, np.ones((4, 8, 8, 1))),
        (IMAGE, np.ones((4, 8, 8))),
        (ROW, np.ones((4, 3, 1), "uint8")),
        (IMAGE, {"image": np.ones((4, 8, 8, 1)), "unused": np.ones(1)}),
        ([IMAGE, ROW], (BOTH["image"], BOTH["row"])),
        ([IMAGE, ROW], BOTH),
        ({"row": ROW, "image": IMAGE}, BOTH),
        (keras.Input((None, None, 3), name="any"), np.ones((2, 5, 7, 3))),
        (TEXT, np.array(["a", "b"])),
        (TEXT, np.array(["a", "é".encode()], dtype=object)),
        (TEXT, tf.TensorSpec((None,), "string")),
        (ROW, tf.TensorSpec((None, 3))),
        (ROW, tf.TensorSpec((None, None))),
        (ROW, tf.TensorSpec(None)),
    ],
)
def test_what_keras_takes_passes(inputs, given):
    assert messages(inputs, given) == []


@pytest.mark.parametrize(
    ("inputs", "given", "says"),
    [
        (ROW, np.ones((4, 2)), "fit: `x` must have shape (batch, 3), got (4, 2)."),
        (ROW, np.ones(3), "fit: `x` must have shape (batch, 3), got (3,)."),
        (ROW, np.float32(1), "fit: `x` must have shape (batch, 3), got ()."),
        (IMAGE, np.ones((4, 1, 8, 8)), "fit: `x` must have shape (batch, 8, 8, 1), got (4, 1, 8, 8)."),
        (ROW, {"rwo": BOTH["row"]}, "fit: `x` must hold every input by name, got ['rwo']. Name it 'row'."),
        ([IMAGE, ROW], [BOTH["image"]], "fit: `x` must hold one array an input: ['image', 'row'], got one array."),
        (
            [IMAGE, ROW],
            {**BOTH, "row": BOTH["row"][:2]},
            "fit: `x` must hold as many examples in every input, got {'image': 4, 'row': 2}.",
        ),
        (
            {"row": ROW, "image": IMAGE},
            {**BOTH, "imag": BOTH["image"]},
            "fit: `x` must hold the model's inputs only, got 'imag'. Did you mean 'image'?",
        ),
        (
            [IMAGE, ROW],
            BOTH | {"row": np.array([["a"] * 3] * 4)},
            "fit: `x['row']` must be numbers, got dtype <U1. Cast it",
        ),
        (ROW, tf.TensorSpec((None, 3), "string"), "fit: `x` must be numbers"),
        (ROW, np.array([None]), "fit: `x` must be numbers"),
        (TEXT, np.arange(3), "fit: `x` must be text, got dtype int64."),
        (TEXT, tf.TensorSpec((None,), "int32"), "fit: `x` must be text, got dtype"),
        (
            TEXT,
            np.array(["a", None, np.nan], object),
            "fit: `x` must be text in UTF-8, got None as value 1, and 1 more.",
        ),
        (
            TEXT,
            np.array([b"a", b"\xff"]),
            r"fit: `x` must be text in UTF-8, got b'\xff' as value 1. A text that is missing",
        ),
    ],
)
def test_what_keras_would_stumble_over_is_told(inputs, given, says):
    assert messages(inputs, given)[0].startswith(says)


def test_inputs_that_may_be_left_out_are_left_to_keras():
    assert InputForm.of([ROW, keras.Input((2,), name="perhaps", optional=True)]) is None


def test_the_form_travels_to_worker_processes():
    form = InputForm.of({"row": ROW, "image": IMAGE})
    assert pickle.loads(pickle.dumps(form)) == form
