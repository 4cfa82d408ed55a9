"""The private steps of TensorFlow's converter are there and are called where kmtl expects them to be."""

import inspect

import tensorflow as tf
from tensorflow.lite.python import convert, lite


def test_a_calibrated_file_is_quantized_by_the_step_that_can_leave_operations_out():
    assert "denylisted_nodes" in inspect.signature(convert.mlir_quantize).parameters
    converter = tf.lite.TFLiteConverter.from_concrete_functions([tf.function(tf.identity).get_concrete_function(1.0)])
    assert converter._experimental_calibrate_only is False
    assert "if self._experimental_calibrate_only:" in inspect.getsource(lite.TFLiteConverterBase._quantize)
