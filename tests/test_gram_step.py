"""What one step under a balancer of gradients does, against gradients taken by hand."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from toys import build, compiled, examples

import kmtl

RATE, PENALTY = 0.1, 0.05
STATIC = {"species": 1.0, "alive": 0.5, "box": 2.0, "age": 1.5}
NAMES = list(STATIC)
X, Y = examples(24, hidden=0.4, seed=5)


def losses_by_hand(model, labels):
    """Each task's weighted mean over its labelled examples, in plain TensorFlow."""
    found = model(X, training=True)
    chosen = tf.boolean_mask(found["species"], labels["species"] >= 0)
    classes = labels["species"][labels["species"] >= 0]
    yes = labels["alive"][labels["alive"] >= 0].astype("float32")
    chance = tf.boolean_mask(found["alive"][:, 0], labels["alive"] >= 0)
    values = {
        "species": -tf.math.log(tf.gather(chosen, classes, batch_dims=1)),
        "alive": -(yes * tf.math.log(chance) + (1 - yes) * tf.math.log(1 - chance)),
    }
    for name in ("box", "age"):
        target = labels[name].reshape(24, -1)
        known = ~np.isnan(target).any(axis=1)
        error = (tf.boolean_mask(found[name], known) - target[known]) / model.scalers[name].scale.value
        values[name] = tf.reduce_mean(error**2, axis=1)
    return [STATIC[name] * tf.reduce_sum(values[name]) / max(len(values[name]), 1) for name in NAMES]


def gradients_by_hand(model, labels):
    """Rows of the trunk's gradient, `(K, P)`, and each task's gradients of its own head."""
    heads = {name: [variable.value for variable in model.task_variables(name)] for name in NAMES}
    trunk = [variable.value for variable in model.shared_variables]
    with tf.GradientTape(persistent=True) as tape:
        losses = losses_by_hand(model, labels)
    rows = [tape.gradient(loss, trunk, unconnected_gradients="zero") for loss in losses]
    rows = np.stack([np.concatenate([np.ravel(part) for part in row]) for row in rows])
    own = {
        name: [
            np.zeros(value.shape) if gradient is None else np.asarray(gradient)
            for gradient, value in zip(tape.gradient(loss, heads[name]), heads[name], strict=True)
        ]
        for name, loss in zip(NAMES, losses, strict=True)
    }
    return rows, own


def step(model, labels):
    """One step on everything: logs, change of the trunk `(P,)` and of each head, penalty's gradient of the trunk."""
    before = {name: [v.numpy() for v in model.task_variables(name)] for name in NAMES}
    old = [variable.numpy() for variable in model.shared_variables]
    logs = model.train_on_batch(X, labels, return_dict=True)
    new = [variable.numpy() for variable in model.shared_variables]
    moved = np.concatenate([np.ravel(a - b) for a, b in zip(new, old, strict=True)])
    heads = {
        name: [v.numpy() - value for v, value in zip(model.task_variables(name), before[name], strict=True)]
        for name in NAMES
    }
    return logs, moved, heads, np.concatenate([2 * PENALTY * np.ravel(old[0]), np.zeros(old[1].shape)])


def surgery(rows, orders):
    """PCGrad as the paper writes it, on vectors."""
    total = np.zeros(rows.shape[1])
    for place, row in enumerate(rows):
        vector = row.copy()
        for other in orders[place]:
            product = vector @ rows[other]
            if other != place and product < 0:
                vector -= product / (rows[other] @ rows[other]) * rows[other]
        total += vector
    return total


def model_of(balancer):
    model = build(penalty=PENALTY)
    model.compile(keras.optimizers.SGD(RATE), loss_weights=STATIC, balancer=balancer)
    model.adapt(X, Y)
    return model


@pytest.fixture(params=["all", "one absent"])
def labels(request):
    """Labels with gaps, or with one task in no example."""
    return Y if request.param == "all" else {**Y, "alive": np.full(24, -1)}


def test_the_trunk_takes_the_projected_gradients_of_the_paper(labels):
    model = model_of(kmtl.balancers.PCGrad(seed=1, scale="paper"))
    rows, own = gradients_by_hand(model, labels)
    orders = np.argsort(keras.random.uniform((4, 4), seed=keras.random.SeedGenerator(1)), axis=1)
    assert (rows @ rows.T < 0).any()
    logs, moved, heads, penalty = step(model, labels)
    np.testing.assert_allclose(moved, -RATE * (surgery(rows, orders) + penalty), rtol=1e-4, atol=1e-6)
    for name in NAMES:
        for change, gradient in zip(heads[name], own[name], strict=True):
            np.testing.assert_allclose(change, -RATE * gradient, rtol=1e-4, atol=1e-6)
    assert np.isnan(logs["alive_weight"]) == (labels is not Y)


def test_the_trunk_takes_the_weighted_gradients(labels):
    model = model_of(kmtl.balancers.PCGrad(seed=1))
    rows, own = gradients_by_hand(model, labels)
    present = rows.any(axis=1)
    gram = ops.convert_to_tensor(rows @ rows.T, "float32")
    weights = np.asarray(kmtl.balancers.PCGrad(seed=1).weigh(gram=gram, present=present))
    assert weights.sum() == pytest.approx(present.sum(), rel=1e-5)
    assert np.ptp(weights[present]) > 0.01
    logs, moved, heads, penalty = step(model, labels)
    np.testing.assert_allclose(moved, -RATE * (weights @ rows + penalty), rtol=1e-4, atol=1e-6)
    for name, weight, there in zip(NAMES, weights, present, strict=True):
        for change, gradient in zip(heads[name], own[name], strict=True):
            np.testing.assert_allclose(change, -RATE * gradient, rtol=1e-4, atol=1e-6)
        expected = STATIC[name] * weight if there else np.nan
        np.testing.assert_allclose(logs[f"{name}_weight"], expected, rtol=1e-4)


class Mean(kmtl.balancers.Balancer):
    """The mean of the gradients; what a user may write."""

    needs = "gradients"

    def transform(self, gradients, signals):
        del signals
        return ops.mean(gradients, axis=0), None


@pytest.mark.long
def test_a_balancer_of_the_user_s_own_combines_the_trunk_s_gradients():
    (_, equal, same, penalty), (_, mean, own, _) = (step(model_of(balancer), Y) for balancer in ("equal", Mean()))
    np.testing.assert_allclose(mean + RATE * penalty, (equal + RATE * penalty) / 4, rtol=1e-4, atol=1e-6)
    for name in NAMES:
        for one, other in zip(same[name], own[name], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


def test_slices_of_a_fused_head_get_their_own_task_s_gradient():
    given = [kmtl.Regression(name, standardize=False) for name in ("zinc", "iron", "lead", "gold")]
    labels = {task.name: X[:, place] - 0.5 for place, task in enumerate(given)}
    steps = []
    for balancer in ("equal", "pcgrad"):
        model = compiled(given, optimizer=keras.optimizers.SGD(RATE), balancer=balancer)
        before = [variable.numpy() for variable in model.task_variables("zinc")]
        model.train_on_batch(X, labels)
        after = [variable.numpy() for variable in model.task_variables("zinc")]
        steps.append([new - old for new, old in zip(after, before, strict=True)])
    for one, other in zip(*steps, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
