"""The blocks of docs/keras.md run and leave what they say."""

import keras
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
    assert simple.loss_weights == {"animal": 1.0, "age": 0.5}
    assert 0.1 <= page["best"] <= 10.0
    assert list((tmp_path / "logs").rglob("events*"))
    # The weights of a model that gave a list are those of the one that gives a dict.
    outputs = page["listed"].predict(page["images"], verbose=0)
    np.testing.assert_array_equal(outputs[1], page["adopted"].predict(page["images"], verbose=0)["age"])


def test_the_picture_turns_as_the_angle_does(tmp_path, monkeypatch):
    """A bar that points to an angle points to the new one after the page's function."""
    monkeypatch.chdir(tmp_path)
    names = {"keras": keras, "np": np, "tf": __import__("tensorflow")}
    code = next(block for block in pages.blocks("keras.md") if "def turned" in block)
    function = code[code.index("def turned") : code.index("compass =")]
    exec(compile(function, "docs/keras.md", "exec"), names)
    angles = np.array([0.0, 40.0, -75.0, np.nan], "float32")
    down, right = np.mgrid[0:32, 0:32] - 15.5
    bars = []
    for angle in np.nan_to_num(np.radians(angles)):
        # Counter-clockwise on the screen, where rows go down.
        along, across = right * np.cos(angle) - down * np.sin(angle), right * np.sin(angle) + down * np.cos(angle)
        bars.append((along > 0) & (along < 11) & (abs(across) < 1.5))
    batch = np.array(bars, "float32")[..., None]
    keras.utils.set_random_seed(2)
    moved, labels = names["turned"](batch, {"angle": angles})
    mass = keras.ops.convert_to_numpy(moved)[..., 0]
    seen = np.degrees(np.arctan2(-(mass * down).sum((1, 2)), (mass * right).sum((1, 2))))
    told = keras.ops.convert_to_numpy(labels["angle"])
    assert np.isnan(told[3])
    assert np.abs(told[:3] - angles[:3]).max() > 5
    np.testing.assert_allclose(seen[:3], told[:3], atol=2.0)
