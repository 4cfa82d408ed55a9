"""Runs a script without graphs, `python -m eagerly SCRIPT ...`: of a few steps a trace takes longer than the steps."""

import runpy
import sys

import tensorflow as tf

if __name__ == "__main__":
    tf.config.run_functions_eagerly(True)
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
