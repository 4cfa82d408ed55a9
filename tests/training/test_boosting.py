"""Boosting: the joined model, and what its members were trained on."""

import keras
import numpy as np
import pytest
from recipe_rows import TASKS, build, rows, train

import kmtl
from kmtl import training
from kmtl.training.boosting_rounds import Residuals


@pytest.fixture(scope="module")
def boosted():
    return train(training.Boosting(members=2), epochs=1, batch_size=12, validation=None)


def members(model, x):
    return [
        model.get_layer(name).predict(x, verbose=0)
        for name in ("member_1", "member_2")
        if name in {layer.name for layer in model.layers}
    ]


def test_the_output_of_values_is_the_sum_and_its_loss_is_on_the_scale_of_the_labels(boosted):
    x, y = rows()
    outputs = boosted.model.predict(x, verbose=0)["speed"]
    parts = [part["speed"] for part in members(boosted.model, x) if "speed" in part]
    known = ~np.isnan(y["speed"])
    start = y["speed"][known].mean()
    assert len(parts) == 2
    np.testing.assert_allclose(outputs, start + 0.5 * sum(parts), rtol=1e-4)
    logs = boosted.model.evaluate(x, y, verbose=0, return_dict=True)
    wanted = np.mean((outputs[known, 0] - y["speed"][known]) ** 2) / y["speed"][known].var()
    assert logs["speed_loss"] == pytest.approx(wanted, rel=1e-3)


def test_each_member_was_trained_on_what_the_others_left(boosted):
    # The way back to the unit has learned mean and scale of the labels that the member was trained on.
    x, y = rows()
    first, second = (boosted.model.get_layer(f"member_{place}").get_layer("speed") for place in (1, 2))
    residuals = Residuals(TASKS[1], y["speed"], None, np.nanmean(y["speed"]), 0.5)
    assert float(first.mean[0]) == pytest.approx(np.nanmean(residuals.target()), abs=1e-4)
    residuals.add(0, members(boosted.model, x)[0]["speed"])
    assert float(second.mean[0]) == pytest.approx(np.nanmean(residuals.target()), abs=1e-4)
    assert float(second.scale[0]) == pytest.approx(np.nanstd(residuals.target()), rel=1e-3)


def test_the_output_of_classes_is_the_share_of_the_votes(boosted):
    x = rows(seed=1)[0]
    alphas = boosted.notes["votes"]["kind"]
    decided = [np.eye(3)[part["kind"].argmax(1)] for part in members(boosted.model, x) if "kind" in part]
    wanted = sum(alpha * vote for alpha, vote in zip(alphas, decided, strict=False)) / sum(alphas)
    np.testing.assert_allclose(boosted.model.predict(x, verbose=0)["kind"], wanted, rtol=1e-5, atol=1e-7)
    assert not boosted.model.trainable_variables


@pytest.mark.long
def test_a_task_that_ends_is_left_out_of_the_next_members():
    def fixed(tasks):
        """Says the first class of any row."""
        image = keras.Input((4, 4, 1), name="image")
        model = kmtl.MultiTaskModel.from_features(image, keras.layers.Flatten()(image), tasks)
        for name in {task.name for task in tasks} & {"kind"}:
            model.get_layer(name).set_weights([np.zeros((16, 3)), np.eye(3)[0]])
        model.compile(keras.optimizers.SGD(1e-9), run_eagerly=True)
        return model

    x, y = rows()
    y["kind"] = np.where(y["kind"] >= 0, np.arange(24) % 3, -1).astype("int32")
    y["kind"][:8] = [1, 2, 1, 2, 1, 2, 1, 2]
    found = train(training.Boosting(members=2), build=fixed, train=(x, y), epochs=1, batch_size=24, validation=None)
    assert list(found.notes["ended"]) == ["kind"]
    assert "no better than chance" in found.notes["ended"]["kind"]
    assert [list(found.model.get_layer(f"member_{place}").output) for place in (1, 2)] == [["kind", "speed"], ["speed"]]
    assert np.unique(found.model.predict(x, verbose=0)["kind"], axis=0).tolist() == [[1.0, 0.0, 0.0]]


def test_what_cannot_be_boosted_is_refused_before_training():
    tags = {"tags": np.ones((24, 2), "int32")}
    with pytest.raises(ValueError, match=r"MultiLabel\('tags'\)\. Bagging takes tasks of any kind"):
        training.Boosting().train(build, [kmtl.MultiLabel("tags", 2)], (rows()[0], tags), epochs=1, verbose=0)
    with pytest.raises(ValueError, match="`shrinkage` must be above 0 and at most 1"):
        training.Boosting(shrinkage=2.0)
