"""From features to named outputs: which heads are fused, and under which names."""

import keras
import numpy as np
import pytest

from kmtl.tasks import BinaryClassification, Classification, FusedHeads, MultiLabel, Regression, build_heads


def fused_groups(tasks, **options):
    """Names of the heads of each fused layer."""
    features = keras.Input((3,))
    model = keras.Model(features, build_heads(features, tasks, **options))
    assert list(model.output) == [task.name for task in tasks]
    return [layer.names for layer in model.layers if isinstance(layer, FusedHeads)]


def binaries(*names, **options):
    return [BinaryClassification(name, **options) for name in names]


def test_four_alike_heads_are_fused_and_three_are_not():
    assert fused_groups(binaries("zebra", "ant", "mole", "bee")) == [["zebra", "ant", "mole", "bee"]]
    assert fused_groups(binaries("zebra", "ant", "mole")) == []
    assert fused_groups(binaries("zebra", "ant"), fuse=True) == [["zebra", "ant"]]
    assert fused_groups(binaries("zebra"), fuse=True) == []
    assert fused_groups(binaries("zebra", "ant", "mole", "bee"), fuse=False) == []


def test_only_heads_of_one_form_are_fused():
    tasks = [
        Classification("zebra", 3),
        Regression("yak"),
        Classification("wasp", 4),
        Regression("vole", standardize=False),
        Classification("urchin", 3),
        MultiLabel("toad", 4),
        Regression("snail", l2=0.1),
        Regression("rat"),
        Regression("quail", hidden=4),
    ]
    assert sorted(fused_groups(tasks, fuse=True)) == [["yak", "rat"], ["zebra", "urchin"]]


def test_dropout_on_the_features_keeps_heads_apart():
    assert fused_groups(binaries("zebra", "ant", dropout=0.5), fuse=True) == []
    assert fused_groups(binaries("zebra", "ant", dropout=0.5, hidden=4), fuse=True) == [["zebra", "ant"]]


class Doubled(Regression):
    """A kind of the user's own with a head of its own."""

    def output(self, features):
        return keras.layers.Rescaling(2.0, name=self.name)(self.dense(f"{self.name}_half")(features))


class Plain(Regression):
    """A kind of the user's own whose head is the regression's."""


def test_a_head_of_the_users_own_is_never_replaced():
    features = keras.Input((3,))
    model = keras.Model(features, build_heads(features, [Doubled(name) for name in ("zebra", "ant", "mole", "bee")]))
    assert not [layer for layer in model.layers if isinstance(layer, FusedHeads)]
    assert all(isinstance(model.get_layer(name), keras.layers.Rescaling) for name in model.output)
    assert fused_groups([Plain(name) for name in ("zebra", "ant", "mole", "bee")]) == [["zebra", "ant", "mole", "bee"]]


def test_outputs_keep_the_order_of_the_tasks_across_groups():
    tasks = [*binaries("zebra", "yak"), Regression("mole"), *binaries("bee", "ant")]
    features = keras.Input((3,))
    model = keras.Model(features, build_heads(features, tasks))
    assert list(model.output) == ["zebra", "yak", "mole", "bee", "ant"]
    outputs = model(np.ones((2, 3), "float32"))
    assert {name: tuple(output.shape) for name, output in outputs.items()} == dict.fromkeys(model.output, (2, 1))


@pytest.mark.parametrize("shape", [(4, 4, 3), (), (None,)])
def test_features_that_are_no_vectors_are_refused(shape):
    with pytest.raises(
        ValueError, match=r"^build_heads: `features` must be a KerasTensor of shape \(batch, width\), got"
    ):
        build_heads(keras.Input(shape), binaries("zebra"))


def test_features_of_other_tasks_are_left_alone():
    """A build function that gives each task features of its own makes a model of one of them, too."""
    own = {name: keras.Input((3,), name=f"of_{name}") for name in ("zebra", "ant")}
    (output,) = build_heads(own, binaries("ant")).values()
    assert keras.Model(own["ant"], output).count_params() == 4


def test_features_that_are_no_tensor_are_refused():
    with pytest.raises(ValueError, match=r"^build_heads: `features` must be a KerasTensor"):
        build_heads("features", binaries("zebra"))
