"""Heads of one kernel and their mean, for every kind of probability."""

import keras
import numpy as np
import pytest

import kmtl
from kmtl.sharing import AveragedHeads

GENERATOR = np.random.default_rng(2)
ONE, TWO = (GENERATOR.normal(size=(5, 4)).astype("float32") for _ in range(2))
KINDS = {
    "binary": lambda name: kmtl.BinaryClassification(name),
    "multilabel": lambda name: kmtl.MultiLabel(name, labels=3),
    "classification": lambda name: kmtl.Classification(name, classes=3),
    "regression": lambda name: kmtl.Regression(name, shape=(3,), standardize=False),
}


def heads(kind):
    """The layer for three tasks of a kind, and its outputs, biases unlike."""
    layer = AveragedHeads.from_tasks([KINDS[kind](name) for name in ("read", "wanted", "bought")], mean="wanted")
    layer({"read": ONE, "bought": TWO})
    for bias in layer.biases:
        bias.assign(GENERATOR.normal(size=bias.shape))
    return layer, layer({"bought": TWO, "read": ONE})


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_a_dense_layer_of_the_one_kernel_and_the_mean_is_theirs(kind):
    layer, outputs = heads(kind)
    assert list(outputs) == ["read", "bought", "wanted"]
    for name, x, bias in zip(("read", "bought"), (ONE, TWO), layer.biases, strict=True):
        dense = keras.layers.Dense(layer.units, KINDS[kind]("a").final_activation)
        dense.build(x.shape)
        dense.set_weights([layer.kernel, bias])
        np.testing.assert_allclose(outputs[name], dense(x), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(outputs["wanted"], (outputs["read"] + outputs["bought"]) / 2, rtol=1e-6)
    for loss in (keras.losses.binary_crossentropy,) if kind == "multilabel" else ():
        one, two, mean = (np.mean(loss(np.ones((5, 3)), outputs[name])) for name in ("read", "bought", "wanted"))
        assert mean < (one + two) / 2
    if kind == "classification":
        np.testing.assert_allclose(np.sum(outputs["wanted"], axis=1), 1, rtol=1e-6)


def test_alike_branches_with_alike_biases_say_what_their_mean_says():
    layer, _ = heads("multilabel")
    layer.biases[1].assign(layer.biases[0])
    outputs = layer({"read": ONE, "bought": ONE})
    np.testing.assert_array_equal(outputs["wanted"], outputs["read"])
    np.testing.assert_array_equal(outputs["wanted"], outputs["bought"])


def test_what_makes_no_three_outputs_is_refused():
    make = KINDS["multilabel"]
    tasks = [make("read"), make("bought"), make("wanted")]
    with pytest.raises(ValueError, match=r"`mean` must be one of the tasks, got 'want'. Did you mean 'wanted'"):
        AveragedHeads.from_tasks(tasks, mean="want")
    with pytest.raises(ValueError, match=r"`tasks` must be a list of tasks, got \['read'\]"):
        AveragedHeads.from_tasks(["read"], mean="read")
    others = [kmtl.BinaryClassification("bought", hidden=3), kmtl.MultiLabel("wanted", labels=4)]
    with pytest.raises(ValueError, match=r"(?s)must want the output of 'read'.*'bought'.*no head.*'hidden'.*'wanted'"):
        AveragedHeads.from_tasks([tasks[0], *others], mean="wanted")
    with pytest.raises(ValueError, match=r"`names` must be two or more, all different"):
        AveragedHeads(["a", "b"], "a", 3)
    layer = AveragedHeads(["a", "b"], "c", 3)
    with pytest.raises(ValueError, match=r"`inputs` must be a dict of tensors by the names \['a', 'b'\]"):
        layer({"a": keras.Input((4,)), "c": keras.Input((4,))})
    with pytest.raises(ValueError, match=r"`inputs` must have one width"):
        layer({"a": keras.Input((4,)), "b": keras.Input((5,))})
