"""Forks behind maps and sequences: the same mathematics as behind vectors."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import kmtl
from kmtl.balancers import MGDA, Unit, UPGrad
from kmtl.sharing import Fork

GENERATOR = np.random.default_rng(11)
X = GENERATOR.normal(size=(6, 5, 4, 2)).astype("float32")
Y = {
    "zebra": 3 * X.mean(axis=(1, 2, 3)),
    "ant": X[:, 0, 0, 0],
    "bee": 5 * X.max(axis=(1, 2, 3)),
    "cat": -X[:, 2, 1, 1],
}
MAPPED, POOLED = ["zebra", "ant"], ["cat", "bee"]


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize(
    ("known", "shape"), [((5,), (5,)), ((None, 5), (7, 5)), ((4, 3, 2), (4, 3, 2)), ((None, None, 2), (3, 6, 2))]
)
def test_gradients_of_any_rank_are_balanced_as_one_vector(known, shape, policy):
    """The sum of unit vectors, over all axes and examples together; the unlike losses would show a sum per axis."""
    dtype = "float16" if policy == "mixed_float16" else "float32"
    image = keras.Input(known, dtype=dtype)
    fork = Fork(["zebra", "ant"], balancer=Unit(factor="one", scale="paper"), dtype=policy)
    model = keras.Model(image, fork(image))
    assert {tuple(copy.shape) for copy in model.output.values()} == {(None, *known)}
    value = tf.constant(GENERATOR.normal(size=(3, *shape)), dtype)
    weights = {
        name: tf.constant(GENERATOR.normal(size=value.shape) * size, dtype)
        for name, size in (("zebra", 8.0), ("ant", 0.25))
    }

    @tf.function(input_signature=[tf.TensorSpec((None, *known), dtype)])
    def gradient(features):
        with tf.GradientTape() as tape:
            tape.watch(features)
            copies = model(features, training=True)
            total = tf.add_n([tf.reduce_sum(weights[name] * copies[name]) for name in weights])
        return tape.gradient(total, features)

    found = gradient(value)
    rows = [weight.numpy().astype("float64") for weight in weights.values()]
    assert found.dtype == dtype
    tolerance = 1e-5 if dtype == "float32" else 2e-3
    np.testing.assert_allclose(found, sum(row / np.linalg.norm(row) for row in rows), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("work", [{"balancer": None}, {"balancer": None, "cuts": True}, {"balancer": "mgda"}])
def test_the_mask_of_a_sequence_reaches_every_task(work):
    words = keras.Input((None,), dtype="int32")
    tokens = keras.layers.Embedding(9, 4, mask_zero=True)(words)
    fork = Fork(["a", "b"], balancer=work["balancer"])
    means = {name: keras.layers.GlobalAveragePooling1D()(copy) for name, copy in fork(tokens).items()}
    if "cuts" in work:
        fork.attach(**work)
    bare = keras.Model(words, keras.layers.GlobalAveragePooling1D()(tokens))
    sentences = np.array([[3, 5, 0, 0], [1, 2, 7, 8]])
    for training in (True, False):
        for mean in keras.Model(words, means)(sentences, training=training).values():
            np.testing.assert_array_equal(mean, bare(sentences))


def network(names, *, forks):
    """Heads of these tasks on a map or on the vector of one trunk, whose dense layer some of them share."""
    keras.utils.set_random_seed(5)
    image = keras.Input((5, 4, 2), name="image")
    last = kmtl.trunks.convnet(image, (4,), pooling=None, normalization=None, activation="tanh")
    heads = {
        name: keras.Sequential(
            [
                keras.Input((3, 4, 4)),
                keras.layers.Conv2D(2, 2, activation="tanh"),
                keras.layers.Flatten(),
                keras.layers.Dense(1),
            ],
            name=name,
        )
        for name in MAPPED
    }
    parts = {"map": (last, [name for name in names if name in MAPPED])}
    if set(names) & set(POOLED):
        vector = kmtl.trunks.pool(last, units=3, normalization=None, activation="tanh")
        heads |= {name: keras.layers.Dense(1, name=name) for name in POOLED}
        parts["vector"] = (vector, [name for name in names if name in POOLED])
    outputs = {}
    for features, served in parts.values():
        copies = Fork(served)(features) if forks else dict.fromkeys(served, features)
        outputs.update({name: heads[name](copies[name]) for name in served})
    tasks = [kmtl.Regression(name, standardize=False) for name in names]
    return kmtl.MultiTaskModel(image, {name: outputs[name] for name in names}, tasks=tasks), last


def labels(names):
    return {name: Y[name] for name in names}


def step(model, **options):
    """One eager step, and the logs."""
    model.compile(keras.optimizers.SGD(0.1), run_eagerly=True, **options)
    return model.train_on_batch(X, labels(model.tasks), return_dict=True)


def rows_at(model, start):
    """Each task's gradient of its loss by what `start` returns of a watching tape, flat, by tapes alone."""
    rows = []
    for name in model.tasks:
        with tf.GradientTape() as tape:
            outputs, values = start(tape)
            loss = tf.reduce_mean((outputs[name][:, 0] - Y[name]) ** 2)
        found = tape.gradient(loss, values, unconnected_gradients="zero")
        rows.append(np.concatenate([np.ravel(one) for one in found]))
    return np.stack(rows)


def test_feature_level_balances_at_a_map():
    """The Gramian at the map's own elements; the trunk moves along the weighted sum of those gradients."""
    model, last = network(MAPPED, forks=True)
    trunk, heads = keras.Model(model.input, last), {name: model.get_layer(name) for name in MAPPED}
    features = tf.constant(trunk(X))

    def start(tape):
        tape.watch(features)
        return {name: head(features) for name, head in heads.items()}, [features]

    rows = rows_at(model, start)
    weights = np.asarray(MGDA().weigh(gram=ops.convert_to_tensor(rows @ rows.T)))
    assert weights.min() > 0.05
    assert np.ptp(weights) > 0.05
    with tf.GradientTape() as tape:
        again = trunk(X)
    values = [variable.value for variable in trunk.trainable_variables]
    moves = tape.gradient(again, values, output_gradients=tf.reshape(weights @ rows, features.shape))
    before = [variable.numpy() for variable in trunk.trainable_variables]
    logs = step(model, balancer=MGDA(level="features"))
    np.testing.assert_allclose(model.forks[0].balanced.gram, rows @ rows.T, rtol=1e-4)
    np.testing.assert_allclose([logs[f"{name}_weight"] for name in MAPPED], weights, rtol=1e-4)
    for variable, old, move in zip(trunk.trainable_variables, before, moves, strict=True):
        np.testing.assert_allclose(variable.numpy() - old, -0.1 * move, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("names", [MAPPED, ["zebra", "cat", "ant", "bee"]], ids=["one fork", "two forks"])
def test_parameter_level_is_the_same_with_forks_and_without(names):
    """Behind one map each pass starts at the fork; with the vector of the same trunk beside it none may."""
    model, _ = network(names, forks=True)
    bare, _ = network(names, forks=False)
    shared = [variable.path for variable in model.shared_variables]
    assert len(shared) == (2 if names == MAPPED else 4)

    def start(_):
        return bare(X), [variable.value for variable in bare.shared_variables]

    rows = rows_at(bare, start)
    logs, expected = step(model, balancer="upgrad"), step(bare, balancer="upgrad")
    if names == MAPPED:
        assert model.forks[0].cut.features.shape == (6, 3, 4, 4)
    assert logs == pytest.approx(expected, rel=1e-4)
    weights = np.asarray(UPGrad().weigh(gram=ops.convert_to_tensor(rows @ rows.T)))
    np.testing.assert_allclose([logs[f"{name}_weight"] for name in names], weights, rtol=1e-3)
    assert np.ptp(weights) > 0.05
    for one, other in zip(model.get_weights(), bare.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_gramians_are_measured_behind_a_map():
    model, last = network(MAPPED, forks=True)
    model.compile("sgd", balancer="upgrad")
    trunk = keras.Model(model.input, last)

    def start(_):
        return model(X), [variable.value for variable in trunk.trainable_variables]

    rows = rows_at(model, start)
    found = model.gramians(X, labels(MAPPED), batches=1, batch_size=6).grams[0]
    np.testing.assert_allclose(found, rows @ rows.T, rtol=1e-3)
