"""The blocks of docs/text.md run and learn."""

import keras
import numpy as np
import pages
import pytest

import kmtl


@pytest.mark.long
def test_text_page():
    names = pages.run("text.md")
    model = names["model"]
    logs = model.evaluate(names["texts"], names["labels"], verbose=0, return_dict=True)
    assert logs["mood_accuracy"] == logs["things_span_f1"] == 1.0
    assert logs["stars_mae"] < 0.5
    assert (kmtl.trunks.word_counts(names["texts"]) <= 8).all()
    assert np.isfinite(names["found"]["stars"]).all()
    assert float(keras.ops.convert_to_numpy(model.optimizer.learning_rate)) == pytest.approx(0.0, abs=1e-6)
