"""`"balanced"` weighs the classes that occur; one that never does counts for nothing."""

import numpy as np
from sklearn.utils.class_weight import compute_class_weight
from toys import assert_same_weights, compiled, examples

import kmtl

X, Y = examples(20)
#: Of five classes two never occur, one of them in the middle.
LABELS = {"species": np.array([0, 0, 0, 0, 1, 1, 1, 3, 3, -1] * 2, "int32")}


def trained(**options):
    model = compiled([kmtl.Classification("species", classes=5)], run_eagerly=True)
    model.fit(X, LABELS, batch_size=20, verbose=0, **options)
    return model


def test_the_mean_weight_of_a_labelled_example_is_one_whatever_classes_are_absent():
    found = LABELS["species"][LABELS["species"] >= 0]
    weights = compute_class_weight("balanced", classes=np.unique(found), y=found)
    by_hand = np.zeros(20)
    for label, weight in zip(np.unique(found), weights, strict=True):
        by_hand[LABELS["species"] == label] = weight
    balanced = trained(class_weight={"species": "balanced"})
    assert_same_weights(trained(sample_weight={"species": by_hand}), balanced, rtol=1e-6, atol=1e-8)
