"""The blocks of docs/keras.md run and leave what they say."""

import numpy as np
import pages
import pytest

pytestmark = pytest.mark.long
APPLICATION = "keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(32, 32, 3), alpha=0.35)"
SMALL = "keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Conv2D(4, 3, strides=4)])"


# KerasTuner 1.4.8 uses names that Python deprecates.
@pytest.mark.filterwarnings("ignore:(currentThread|getName):DeprecationWarning")
def test_the_blocks_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pages.eagerly():
        page = pages.run("keras.md", [(APPLICATION, SMALL)])
    model, simple = page["model"], page["simple"]
    assert page["encoder"].trainable
    assert float(model.optimizer.learning_rate) == pytest.approx(1e-5)
    assert {"age_loss", "age_rmse", "age_mae", "animal_accuracy"} <= set(page["history"])
    assert simple.loss_weights["animal"] == 1.0
    assert 0.1 <= page["best"] <= 10.0
    # The weights of a model that gave a list are those of the one that gives a dict.
    outputs = page["listed"].predict(page["images"], verbose=0)
    np.testing.assert_array_equal(outputs[1], page["adopted"].predict(page["images"], verbose=0)["age"])
