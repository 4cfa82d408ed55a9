"""Fused labels: the likelihood of those that are there, the outputs of each task, one kernel for all."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from recipe_rows import TASKS, build, rows

import kmtl
from kmtl import training
from kmtl.tasks.combinations import Combination
from kmtl.training.label_fusion import concatenated, with_combinations

PAIR = [kmtl.BinaryClassification("left"), kmtl.BinaryClassification("right")]


def test_a_powerset_learns_that_labels_depend_on_each_other_where_some_are_missing():
    # Nothing of the input tells the labels, but they are alike: p(left) = 1/2, p(right | left) = left.
    random = np.random.default_rng(0)
    left = random.integers(0, 2, 64).astype("int32")
    y = {"left": left.copy(), "right": left.copy()}
    y["left"][:8], y["right"][8:16] = -1, -1

    def plain(tasks):
        row = keras.Input((1,), name="row")
        features = keras.layers.Dense(2)(row)
        model = kmtl.MultiTaskModel.from_features(row, features, tasks)
        model.compile(keras.optimizers.Adam(0.3))
        return model

    found = training.LabelFusion().train(plain, PAIR, (np.ones((64, 1)), y), epochs=12, batch_size=64, verbose=0)
    joint = keras.Model(found.model.input, found.model.get_layer("left_and_right_combined").output)
    table = joint.predict(np.ones((1, 1)), verbose=0)[0].reshape(2, 2)
    assert table[0, 1] + table[1, 0] < 0.05
    outputs = found.model.predict(np.ones((1, 1)), verbose=0)
    assert {name: output.shape for name, output in outputs.items()} == {"left": (1, 1), "right": (1, 1)}
    assert outputs["left"][0, 0] == pytest.approx(table[1].sum(), rel=1e-5)
    assert outputs["right"][0, 0] == pytest.approx(table[:, 1].sum(), rel=1e-5)
    # The last loss is that of the shares: all rows but those with one label tell both.
    assert found.history["loss"][-1] == pytest.approx(np.log(2), abs=0.08)


def test_a_row_without_any_of_the_labels_does_not_count_and_weights_are_the_mean_of_those_that_do():
    y = {"left": np.array([1, -1, -1]), "right": np.array([0, 1, -1]), "age": np.array([1.0, 2.0, 3.0])}
    weights = {"left": np.array([4.0, np.nan, 1.0]), "right": np.array([2.0, 5.0, 1.0]), "age": np.ones(3)}
    data = tf.data.Dataset.from_tensors((np.zeros((3, 1)), y, weights))
    _, labels, weight = next(iter(with_combinations(data, Combination("both", [2, 2]), ["left", "right"])))
    assert labels["both"].numpy().tolist() == [7, 2, -1]
    assert weight["both"].numpy().tolist() == [3.0, 5.0, 0.0]
    assert set(labels) == set(weight) == {"both", "age"}


def test_one_kernel_gives_what_the_heads_give_that_have_its_columns():
    model, (x, y) = build(TASKS), rows()
    made = concatenated(model)
    made.adapt(x, y)
    model.adapt(x, y)
    kernel = np.concatenate([model.get_layer(name).kernel.numpy() for name in ("kind", "speed_standardized")], axis=1)
    made.get_layer("concatenated").kernel.assign(kernel)
    for name, values in model.predict(x, verbose=0).items():
        np.testing.assert_allclose(made.predict(x, verbose=0)[name], values, rtol=1e-5)
    one, other = (part.evaluate(x, y, verbose=0, return_dict=True) for part in (model, made))
    assert other == pytest.approx(one, rel=1e-5)


def refused(match, tasks, y, **options):
    with pytest.raises(ValueError, match=match):
        training.LabelFusion(**options).train(build, tasks, (rows()[0], y), epochs=1, verbose=0)


def test_what_cannot_be_fused_is_refused_before_training():
    y = {name: rows()[1]["kind"] for name in "abc"}
    tasks = [kmtl.Classification(name, 10) for name in "abc"]
    rule = r"`limit` must be at least the 1000 combinations, got 256 for 10 \* 10 \* 10\. Fuse fewer tasks"
    refused(rule, tasks, y)
    rule = "must leave loss, class weights and products out where they are fused"
    refused(rule, [kmtl.Classification("a", 3, class_weight="balanced")], {"a": y["a"]})
    speed = {"speed": rows()[1]["speed"]}
    refused("must hold one whose label is one of exclusive classes", [kmtl.Regression("speed")], speed)
    refused("must have heads of one linear layer", [kmtl.Regression("speed", hidden=3)], speed, form="concat")
