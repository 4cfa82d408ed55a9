"""One model of every head over pairs and joint labels, and its data; run as a program it trains on two devices."""

import json
import sys

import keras
import numpy as np

import kmtl
from kmtl.sharing import Contrastive, PairRelation, SiamesePair, TwoLabelHead, shared_and_own_heads
from kmtl.tasks import Relation, TwoLabels

ROWS = 16


def tasks():
    return [
        kmtl.BinaryClassification("same"),
        kmtl.BinaryClassification("alike", loss=Contrastive(0.5)),
        kmtl.Classification("left_kind", 3),
        TwoLabels("order"),
        kmtl.BinaryClassification("clicked"),
        kmtl.BinaryClassification("bought"),
        kmtl.BinaryClassification("bundle"),
        kmtl.BinaryClassification("personal"),
        Relation("goes", 3),
    ]


def examples():
    """Inputs, and labels of which a third is missing, unevenly over the halves of the batch."""
    random = np.random.default_rng(1)
    x = {side: random.normal(size=(ROWS, 5)).astype("float32") for side in ("left", "right")}
    y = {task.name: random.integers(0, 2, (ROWS, *task.label_shape)).astype("int32") for task in tasks()}
    for place, labels in enumerate(y.values()):
        labels[random.random(labels.shape) < 0.3] = -1
        labels[: place % 4] = -1
    return x, y


def build(optimizer=None, **options):
    keras.utils.set_random_seed(2)
    left, right = keras.Input((5,), name="left"), keras.Input((5,), name="right")
    given = tasks()
    pair = SiamesePair(lambda x: keras.layers.Dense(4, activation="tanh")(x))
    outputs = pair.outputs(left, right, given[:3], {"left_kind": "first"})
    outputs |= TwoLabelHead()(left, right, given[3:6])
    outputs |= shared_and_own_heads({"bundle": left, "personal": right}, given[6:8], shared_l2=0.01, own_l2=0.1)
    outputs["goes"] = PairRelation.of(given[8])([left, right])
    model = kmtl.MultiTaskModel({"left": left, "right": right}, outputs, tasks=given)
    model.compile(optimizer or keras.optimizers.SGD(0.1), loss_weights={"clicked": 0.0, "bought": 0.0}, **options)
    return model


def main():
    """Trains with one device and with two; prints by how much their weights differ, and the relation's loss on two."""
    kmtl.distribution.logical_devices(2)
    x, y = examples()
    one = build(run_eagerly=True)
    with kmtl.distribution.strategy("mirrored").scope():
        two = build()
    for model in (one, two):
        logs = model.fit(x, y, batch_size=ROWS, epochs=2, shuffle=False, verbose=0).history
    pairs = zip(one.trainable_weights, two.trainable_weights, strict=True)
    # Nothing else is behind the weights of the relation, whose pairs are those within a replica.
    gaps = [float(np.abs(a.numpy() - b.numpy()).max()) for a, b in pairs if not a.path.startswith("goes/")]
    print(json.dumps({"gap": max(gaps), "goes_loss": logs["goes_loss"][0]}))


if __name__ == "__main__":
    sys.exit(main())
