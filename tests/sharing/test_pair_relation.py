"""Relations over all pairs of a batch: the loss on arrays, and one small model."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmtl
from kmtl.losses import group_tasks
from kmtl.sharing import PairRelation
from kmtl.tasks import Relation, RelationLoss, relation_logits

RANDOM = np.random.default_rng(6)
ROWS, WIDTH = 8, 3
OUTPUTS = RANDOM.normal(size=(ROWS, 2 * WIDTH + 1)).astype("float32")
LABELS = {"both": RANDOM.integers(0, 2, (ROWS, 2)), "equal": RANDOM.integers(0, 3, (ROWS, 2))}
GONE = [(0, 0), (2, 1), (4, 0), (4, 1), (5, 1)]


def task_of(target):
    return Relation("goes", WIDTH, target=target, classes=2 if target == "both" else 3)


def with_gaps(labels):
    labels = labels.astype("int32").copy()
    for place in GONE:
        labels[place] = -1
    return labels


def by_loops(labels, outputs, target):
    """Mean cross-entropy over the pairs whose labels are there, pair by pair in float64."""
    found = []
    for i, (first, _) in enumerate(labels):
        for j, (_, second) in enumerate(labels):
            if first >= 0 and second >= 0:
                logit = outputs[i, :WIDTH] @ outputs[j, WIDTH : 2 * WIDTH] + outputs[j, 2 * WIDTH]
                chance = 1 / (1 + np.exp(-np.float64(logit)))
                related = first * second if target == "both" else first == second
                found.append(-np.log(chance if related else 1 - chance))
    return np.mean(found)


def mean_loss(labels, outputs, task):
    (group,) = group_tasks([task], {"goes": task.resolved_loss()}, {})
    sums, counts = group.sums(group.examples({"goes": labels}, {"goes": outputs}))
    return sums[0] / counts[0]


@pytest.mark.parametrize("target", LABELS)
def test_the_loss_is_the_mean_over_all_pairs_whose_labels_are_there(target):
    task = task_of(target)
    for labels in (LABELS[target].astype("int32"), with_gaps(LABELS[target])):
        assert float(mean_loss(labels, OUTPUTS, task)) == pytest.approx(by_loops(labels, OUTPUTS, target), rel=1e-5)


@pytest.mark.parametrize("target", LABELS)
def test_a_part_whose_label_is_missing_gets_no_gradient(target):
    outputs = tf.Variable(OUTPUTS)
    with tf.GradientTape() as tape:
        loss = mean_loss(with_gaps(LABELS[target]), outputs, task_of(target))
    slopes = tape.gradient(loss, outputs).numpy()
    first, second = np.abs(slopes[:, :WIDTH]).max(axis=1) > 0, np.abs(slopes[:, WIDTH:]).max(axis=1) > 0
    gone = [{row for row, side in GONE if side == place} for place in (0, 1)]
    assert [set(np.flatnonzero(~one)) for one in (first, second)] == gone


def test_a_batch_without_one_pair_counts_nothing_and_the_loss_is_bounded():
    task = task_of("both")
    (group,) = group_tasks([task], {"goes": task.resolved_loss()}, {})
    labels = np.array([[1, -1], [0, -1]], "int32")
    sums, counts = group.sums(group.examples({"goes": labels}, {"goes": OUTPUTS[:2]}))
    assert (float(sums[0]), float(counts[0])) == (0.0, 0.0)
    # A pair of two yeses, which the product of the article rewards without end.
    sure = np.zeros((1, 2 * WIDTH + 1), "float32")
    for bias in (-100.0, 0.0, 100.0):
        sure[:, -1] = bias
        found = float(RelationLoss().call(tf.ones((1, 2)), tf.constant(sure))[0])
        assert found == pytest.approx(np.logaddexp(0, -bias), rel=1e-6)


def build():
    keras.utils.set_random_seed(3)
    user, item = keras.Input((4,), name="user"), keras.Input((5,), name="item")
    goes = Relation("goes", WIDTH, l2=0.01)
    outputs = {"goes": PairRelation.of(goes)([user, item]), "age": keras.layers.Dense(1)(user)}
    given = [goes, kmtl.Regression("age", standardize=False)]
    model = kmtl.MultiTaskModel({"user": user, "item": item}, outputs, tasks=given)
    model.compile(keras.optimizers.Adam(0.05), run_eagerly=True)
    return model


X = {"user": RANDOM.normal(size=(ROWS, 4)).astype("float32"), "item": RANDOM.normal(size=(ROWS, 5)).astype("float32")}
Y = {"goes": with_gaps(LABELS["both"]), "age": np.where(np.arange(ROWS) % 2, np.nan, X["user"][:, 0])}


def test_the_layer_is_the_formula_over_all_pairs():
    model = build()
    found = model.predict_on_batch(X)["goes"]
    layer = model.get_layer("goes")
    a = np.tanh(X["user"] @ layer.first.kernel.numpy() + layer.first.bias.numpy())
    c = np.tanh(X["item"] @ layer.second.kernel.numpy() + layer.second.bias.numpy())
    b = c @ layer.bias.kernel.numpy() + layer.bias.bias.numpy()
    logits = a @ layer.relation.kernel.numpy() @ c.T + b.T
    np.testing.assert_allclose(relation_logits(tf.constant(found), tf.constant(found)), logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(PairRelation.probabilities(found[:2], found), 1 / (1 + np.exp(-logits[:2])), rtol=1e-4)


def test_it_trains_beside_another_task_and_comes_back_from_a_file(tmp_path):
    model = build()
    losses = [model.train_on_batch(X, Y, return_dict=True)["goes_loss"] for _ in range(8)]
    assert losses[0] == pytest.approx(by_loops(Y["goes"], build().predict_on_batch(X)["goes"], "both"), rel=1e-4)
    assert losses[-1] < 0.8 * losses[0]
    assert len(model.get_layer("goes").losses) == 4
    model.save(tmp_path / "pair.keras")
    again = keras.saving.load_model(tmp_path / "pair.keras")
    assert again.tasks == model.tasks
    np.testing.assert_array_equal(again.predict_on_batch(X)["goes"], model.predict_on_batch(X)["goes"])


def test_the_look_at_the_data_knows_its_classes():
    message = r"fit: `y\['goes'\]` must lie in 0\.\.1, or be -1 where missing, got 2"
    with pytest.raises(ValueError, match=message):
        build().fit(X, {**Y, "goes": np.full((ROWS, 2), 2)}, verbose=0)


def test_what_is_no_relation_is_refused():
    with pytest.raises(ValueError, match=r"Relation\('a'\): `target` must say when a pair is related, got 'bothh'. D"):
        Relation("a", 3, target="bothh")
    with pytest.raises(ValueError, match=r"`classes` must be 2 where a pair is related if both labels are yes, got 3"):
        Relation("a", 3, classes=3)
    with pytest.raises(ValueError, match=r"`loss` must be left out: it is taken over pairs of rows, got 'mse'"):
        Relation("a", 3, loss="mse")
    with pytest.raises(ValueError, match=r"`metrics` must be left out: they compare row by row, got \['mae'\]"):
        Relation("a", 3, metrics=["mae"])
    with pytest.raises(ValueError, match=r"PairRelation: `task` must be a kmtl.tasks.Relation, got Regression"):
        PairRelation.of(kmtl.Regression("a"))
