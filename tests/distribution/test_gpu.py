"""The same features on the GPUs of this machine, if it has any."""

import numpy as np
import pytest
import tensorflow as tf
from distribution import features
from distribution.test_features import REFUSED, numbers
from toys import build

GPUS = tf.config.list_physical_devices("GPU")
pytestmark = pytest.mark.skipif(not GPUS, reason="no GPU at hand")
#: GPUs multiply in TensorFloat-32 where they can, of ten bits; and overflow elsewhere in float16.
TOLERANCE, ROUGH = 5e-3, {"mixed_float16", "mixed_float16 with gradient accumulation", "`jit_compile=True`"}
__all__ = ["numbers"]


@pytest.mark.parametrize("text", features.FEATURES)
def test_gpus_give_the_numbers_of_a_cpu(numbers, text):
    one, many = numbers("one")[text], numbers("gpu")[text]
    assert "error" not in many, many["error"]
    if text in REFUSED and len(GPUS) > 1:
        assert REFUSED[text] in many["refused"]
        return
    for key, values in one.items():
        scale = max(np.abs(np.nan_to_num(values)).max(), 0.1)
        tolerance = (5 if text in ROUGH else 1) * TOLERANCE * scale
        np.testing.assert_allclose(many[key], values, rtol=0, atol=tolerance, err_msg=key)


def test_xla_is_on_by_default():
    model = build()
    model.compile("sgd")
    assert model.jit_compile is (len(GPUS) == 1)
