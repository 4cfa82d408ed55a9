"""The sum of several members' linear outputs."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from recipe_rows import TASKS, build, rows

import kmtl
from kmtl import training
from kmtl.training.output_sum import linear_outputs, output_sum


def members(tasks=TASKS, make=build):
    found = []
    for seed in range(2):
        keras.utils.set_random_seed(seed)
        model = make(tasks)
        model.adapt(*rows())
        found.append(model)
    return found


def test_logits_of_the_members_add_up():
    one, other = members()
    x = rows()[0]
    before = [model.predict(x, verbose=0) for model in (one, other)]
    made = output_sum([one, other], [1.0, 0.5])
    made.adapt(*rows())
    found, (mean, scale) = made.predict(x, verbose=0), (made.scalers["speed"].mean, made.scalers["speed"].scale)
    # A softmax gives its logits back up to a constant of the row.
    logits = np.log(before[0]["kind"]) + 0.5 * np.log(before[1]["kind"])
    np.testing.assert_allclose(found["kind"], tf.nn.softmax(logits), rtol=1e-4)
    standardized = [(part["speed"] - mean) / scale for part in before]
    np.testing.assert_allclose(found["speed"], (standardized[0] + 0.5 * standardized[1]) * scale + mean, rtol=1e-4)


def test_each_member_has_the_gradient_of_the_sum_times_its_factor():
    made = output_sum(members(), [1.0, 0.5])
    x, y = rows()
    made.adapt(x, y)
    total, scaled = made.get_layer("kind_sum"), made.get_layer("kind_part_2")
    looking = keras.Model(made.input, [total.input[0], scaled.input, total.output, made.output["kind"]])
    with tf.GradientTape() as tape:
        *parts, output = looking(x)
        loss = tf.reduce_sum(keras.losses.sparse_categorical_crossentropy(np.maximum(y["kind"], 0), output))
    first, second, whole = tape.gradient(loss, parts)
    assert np.abs(whole).max() > 0.01
    np.testing.assert_allclose(first, whole)
    np.testing.assert_allclose(second, 0.5 * whole)


def test_members_differ_and_one_step_moves_all_of_them():
    made = output_sum(members(), [1.0, 1.0])
    kernels = [variable for variable in made.trainable_variables if "kernel" in variable.path]
    assert len(kernels) == 6
    before = [kernel.numpy() for kernel in kernels]
    assert not any(np.array_equal(one, other) for one, other in zip(before[:3], before[3:], strict=True))
    made.fit(*rows(), batch_size=24, epochs=1, verbose=0)
    assert all(np.abs(kernel.numpy() - old).max() > 1e-4 for kernel, old in zip(kernels, before, strict=True))


def test_balancers_see_both_trunks_as_what_the_tasks_share():
    def balanced(tasks):
        model = build(tasks)
        model.compile("sgd", balancer=kmtl.balancers.PCGrad(), run_eagerly=True)
        return model

    made = output_sum(members(make=balanced), [1.0, 1.0])
    assert type(made.setup.balancer).__name__ == "PCGrad"
    # A kernel and a bias of the dense layer and two of the normalisation, of each member.
    assert len(made.shared_variables) == 8
    made.fit(*rows(), batch_size=24, epochs=1, verbose=0)


def test_fused_heads_of_regressions_and_heads_without_activation_add_up():
    tasks = [kmtl.Regression(f"r{place}", standardize=place > 0) for place in range(6)]
    tasks += [kmtl.BinaryClassification(f"b{place}") for place in range(4)]
    x = np.random.default_rng(0).random((5, 4, 4, 1)).astype("float32")
    found = [build(tasks) for _ in range(2)]
    before = [model.predict(x, verbose=0) for model in found]
    after = output_sum(found, [1.0, 1.0]).predict(x, verbose=0)
    for place in range(6):
        np.testing.assert_allclose(
            after[f"r{place}"], before[0][f"r{place}"] + before[1][f"r{place}"], rtol=1e-4, atol=1e-6
        )
    odds = [part["b2"] / (1 - part["b2"]) for part in (*before, after)]
    np.testing.assert_allclose(odds[2], odds[0] * odds[1], rtol=1e-4)


def test_a_head_without_a_linear_output_is_refused_before_any_training():
    row = keras.Input((3,))
    outputs = {name: keras.layers.Dense(1, "sigmoid", name=name)(row) for name in ("click", "like")}
    outputs["buy"] = keras.layers.Lambda(lambda one: one, name="buy")(outputs["like"])
    model = kmtl.MultiTaskModel(row, outputs, tasks=[kmtl.BinaryClassification(name) for name in outputs])
    with pytest.raises(ValueError, match="OutputSum: `build` must make a head of 'buy' that ends in a linear layer"):
        linear_outputs(model)
    with pytest.raises(ValueError, match="`factors` must hold 2 finite numbers other than 0, one a member"):
        training.OutputSum(factors=[1.0])
