"""The blocks of docs/text.md run and learn."""

import contextlib

import keras
import numpy as np
import pages
import pytest

import kmtl


@pytest.mark.long
def test_text_page():
    names = {}
    for code in pages.blocks("text.md"):
        # The second training is of a few steps.
        with pages.eagerly() if "epochs, batch_size = 3, 16" in code else contextlib.nullcontext():
            few = code.replace("epochs, batch_size = 3, 16", "epochs, batch_size = 2, 80")
            exec(compile(few, "docs/text.md", "exec"), names)
    model = names["model"]
    logs = model.evaluate(names["texts"], names["labels"], verbose=0, return_dict=True)
    assert logs["mood_accuracy"] == logs["things_span_f1"] == 1.0
    assert logs["stars_mae"] < 0.5
    assert (kmtl.trunks.word_counts(names["texts"]) <= 8).all()
    assert np.isfinite(names["found"]["stars"]).all()
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(0.0, abs=1e-6)
