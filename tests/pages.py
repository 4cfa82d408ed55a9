"""Runs the Python blocks of a page of the docs, one after another, as a reader would."""

import contextlib
import re
import warnings
from pathlib import Path

import tensorflow as tf

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page):
    """The Python blocks of a page, by the name of its file."""
    return re.findall(r"^```python\n(.*?)^```$", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


@contextlib.contextmanager
def eagerly():
    """Without graphs: of a few steps a trace takes longer than the steps."""
    tf.config.run_functions_eagerly(True)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Even though the `tf.config.experimental_run_functions_eagerly`")
            yield
    finally:
        tf.config.run_functions_eagerly(False)


def run(page, replace=()):
    """Runs a page's blocks in one namespace, in the current folder; what they define.

    Args:
        page: Name of the file in `docs/`.
        replace: Pairs of text and what stands for it, so that a test needs less time; each must be there.
    """
    names = {}
    code = "\0".join(blocks(page))
    for old, new in replace:
        assert old in code, old
        code = code.replace(old, new)
    for number, block in enumerate(code.split("\0")):
        exec(compile(block, f"docs/{page}, block {number}", "exec"), names)
    return names
