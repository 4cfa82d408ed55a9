"""How a step gets its gradients: each way against gradients taken by hand, or against another way."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from toys import assert_same_weights, compiled, examples, tasks

import kmtl
from kmtl import gradients
from kmtl.balancers import MGDA, Unit, UPGrad

X, Y = examples(24, hidden=0.4, seed=5)
NAMES = ["species", "alive", "box", "age"]


def trained(model, steps=2, **options):
    """Logs of the last of a few steps."""
    model.adapt(X, Y)
    for _ in range(steps):
        model.reset_metrics()
        logs = model.train_on_batch(X, Y, return_dict=True, **options)
    return logs


def test_a_model_from_features_has_a_usable_cut():
    model = compiled(balancer="pcgrad")
    assert model.setup.cut is model.forks[0]
    assert compiled(balancer="equal").setup.cut is None
    assert compiled([kmtl.Regression("age")], balancer="pcgrad").forks == []


@pytest.mark.parametrize("options", [{}, {"gram_fraction": 0.5}, {"update_every": 2}])
def test_a_cut_changes_the_way_and_not_the_gradients(options):
    cut, whole = (compiled(balancer=UPGrad(**options), run_eagerly=True) for _ in range(2))
    whole.setup.__dict__["cut"] = None
    whole.forks[0].attach(None)
    left, right = trained(cut), trained(whole)
    assert left == pytest.approx(right, rel=1e-4, abs=1e-6)
    assert_same_weights(cut, whole, rtol=1e-4, atol=1e-6)


def test_no_cut_where_a_task_sees_the_trunk_by_another_way():
    image = keras.Input((6,))
    early = keras.layers.Dense(4, name="early")(image)
    features = keras.layers.Dense(5, name="late")(early)
    copies = kmtl.sharing.Fork(["age", "size"])(features)
    outputs = {
        "age": keras.layers.Dense(1)(keras.layers.Concatenate()([copies["age"], early])),
        "size": keras.layers.Dense(1)(copies["size"]),
    }
    chosen = [kmtl.Regression(name, standardize=False) for name in outputs]
    model = kmtl.MultiTaskModel(image, outputs, tasks=chosen)
    model.compile("sgd", balancer="upgrad")
    assert model.setup.cut is None
    assert [variable.path.split("/")[0] for variable in model.shared_variables] == ["early", "early", "late", "late"]


def cotangents(model):
    """Gradients of each task's loss with respect to the features, by hand, `(K, batch * width)`."""
    trunk = keras.Model(model.input, model.get_layer("trunk").output)
    features = tf.constant(trunk(X))
    heads = keras.Model(model.forks[0].output, model.output)
    with tf.GradientTape(persistent=True) as tape:
        copies = {name: tf.identity(features) for name in NAMES}
        for copy in copies.values():
            tape.watch(copy)
        # Keras lists the outputs of a layer by name.
        outputs = heads([copies[name] for name in sorted(NAMES)])
        seen = [group.sums(group.examples(Y, outputs, None)) for group in model.setup.groups]
        losses = tf.concat([sums / counts for sums, counts in seen], axis=0)
        parts = tf.unstack(losses)
    order = [name for group in model.setup.groups for name in group.names]
    rows = {name: tape.gradient(part, copies[name]) for name, part in zip(order, parts, strict=True)}
    return features, np.stack([np.ravel(rows[name]) for name in NAMES]), trunk


def test_feature_level_balances_the_gradients_of_the_features():
    model = compiled(balancer=UPGrad(level="features"), optimizer=keras.optimizers.SGD(0.1), run_eagerly=True)
    model.adapt(X, Y)
    features, rows, trunk = cotangents(model)
    weights = np.asarray(UPGrad().weigh(gram=ops.convert_to_tensor(rows @ rows.T)))
    assert np.ptp(weights) > 0.05
    with tf.GradientTape() as tape:
        again = trunk(X)
    start = tf.reshape(weights @ rows, features.shape)
    values = [variable.value for variable in model.shared_variables]
    expected = tape.gradient(again, values, output_gradients=start)
    before = [variable.numpy() for variable in model.shared_variables]
    logs = model.train_on_batch(X, Y, return_dict=True)
    for variable, old, gradient in zip(model.shared_variables, before, expected, strict=True):
        np.testing.assert_allclose(variable.numpy() - old, -0.1 * gradient, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose([logs[f"{name}_weight"] for name in NAMES], weights, rtol=1e-4)


def test_feature_level_balances_the_gradients_of_each_of_several_maps():
    image = keras.Input((4, 4, 1), name="image")
    fine = keras.layers.Conv2D(2, 3, padding="same", activation="tanh", name="fine")(image)
    maps = [fine, keras.layers.Conv2D(3, 2, strides=2, name="coarse")(fine)]
    masks = [kmtl.Segmentation(name, count, shape=(4, 4), decoder=3) for name, count in (("cat", 2), ("sky", 3))]
    model = kmtl.MultiTaskModel.from_features(image, maps, masks)
    model.compile(keras.optimizers.SGD(0.1), balancer=Unit(level="features"), run_eagerly=True)
    pixels = np.random.default_rng(1).normal(size=(5, 4, 4, 1)).astype("float32")
    labels = {"cat": (pixels[..., 0] > 0).astype("int32"), "sky": (pixels[..., 0] > 1).astype("int32") + 1}
    forks = sorted(model.forks, key=lambda fork: -fork.input.shape[1])
    heads = keras.Model([forks[0].output, forks[1].output], model.output)
    with tf.GradientTape(persistent=True) as tape:
        ends = keras.Model(image, maps)(pixels)
        copies = [[tf.identity(end) for _ in masks] for end in ends]
        found = heads(copies)
        losses = [group.sums(group.examples(labels, found))[0][0] / labels["cat"].size for group in model.setup.groups]
    starts = []
    for place, end in enumerate(ends):
        rows = np.stack([np.ravel(tape.gradient(losses[k], copies[place][k])) for k in range(2)])
        weights = np.asarray(Unit().weigh(gram=ops.convert_to_tensor(rows @ rows.T)))
        starts.append(tf.reshape(weights @ rows, end.shape))
    values = [variable.value for variable in model.shared_variables]
    expected = tape.gradient(ends, values, output_gradients=starts)
    before = [value.numpy() for value in values]
    model.train_on_batch(pixels, labels)
    for variable, old, gradient in zip(model.shared_variables, before, expected, strict=True):
        np.testing.assert_allclose(variable.numpy() - old, -0.1 * gradient, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("form", [pytest.param("xla", marks=pytest.mark.long), "eager"])
def test_feature_level_trains_alike_in_every_mode(form):
    mode = {"xla": {"jit_compile": True}, "eager": {"run_eagerly": True}}[form]
    reference, model = compiled(balancer=MGDA(level="features")), compiled(balancer=MGDA(level="features"), **mode)
    trained(reference)
    trained(model)
    assert_same_weights(reference, model, rtol=1e-4, atol=1e-5)


def test_feature_level_without_a_fork_is_refused():
    features = keras.layers.Dense(3)(image := keras.Input((2,)))
    outputs = {name: keras.layers.Dense(1)(features) for name in ("b", "a")}
    model = kmtl.MultiTaskModel(image, outputs, tasks=[kmtl.Regression(n, standardize=False) for n in ("b", "a")])
    with pytest.raises(ValueError, match=r"level='features' needs a fork of the features.*from_features"):
        model.compile("sgd", balancer=MGDA(level="features"))


def two_modalities():
    """Two trunks, a fork behind each; one of them serves one task more."""
    left, right = keras.Input((3,), name="left"), keras.Input((2,), name="right")
    first = kmtl.sharing.Fork(["zebra", "ant"])(keras.layers.Dense(4, name="one")(left))
    second = kmtl.sharing.Fork(["ant", "bee", "zebra"])(keras.layers.Dense(4, name="two")(right))
    joined = {
        "zebra": keras.layers.Concatenate()([first["zebra"], second["zebra"]]),
        "ant": keras.layers.Concatenate()([first["ant"], second["ant"]]),
        "bee": second["bee"],
    }
    outputs = {name: keras.layers.Dense(1, name=name)(value) for name, value in joined.items()}
    chosen = [kmtl.Regression(name, standardize=False) for name in outputs]
    return kmtl.MultiTaskModel({"left": left, "right": right}, outputs, tasks=chosen)


def test_several_forks_balance_each_its_own_tasks():
    keras.utils.set_random_seed(1)
    model = two_modalities()
    model.compile(
        keras.optimizers.SGD(0.1),
        balancer=kmtl.balancers.Unit(level="features", factor="one", scale="paper"),
        run_eagerly=True,
    )
    generator = np.random.default_rng(0)
    x = {"left": generator.normal(size=(8, 3)), "right": generator.normal(size=(8, 2))}
    labels = {name: generator.normal(size=8) * 10**place for place, name in enumerate(("zebra", "ant", "bee"))}
    kernels = {name: model.get_layer(name).kernel.numpy() for name in labels}
    found = {name: np.asarray(value)[:, 0] for name, value in model(x).items()}
    change = {}
    for layer, width, served in (("one", 0, ["zebra", "ant"]), ("two", 4, ["ant", "bee", "zebra"])):
        total = np.zeros((8, 4))
        for name in served:
            part = kernels[name][width : width + 4, 0] if name != "bee" else kernels[name][:, 0]
            row = 2 / 8 * np.outer(found[name] - labels[name], part)
            total += row / np.linalg.norm(row)
        change[layer] = x["left" if layer == "one" else "right"].T @ total
    before = {name: model.get_layer(name).kernel.numpy() for name in change}
    model.train_on_batch(x, labels)
    for name, gradient in change.items():
        moved = model.get_layer(name).kernel.numpy() - before[name]
        np.testing.assert_allclose(moved, -0.1 * gradient, rtol=1e-3, atol=1e-5)


def test_the_state_of_every_fork_s_balancer_is_saved(tmp_path):
    def make():
        keras.utils.set_random_seed(1)
        model = two_modalities()
        model.compile("sgd", balancer=kmtl.balancers.Unit(level="features", smoothing=0.9), run_eagerly=True)
        return model

    generator = np.random.default_rng(0)
    x = {"left": generator.normal(size=(8, 3)), "right": generator.normal(size=(8, 2))}
    labels = {name: generator.normal(size=8) for name in ("zebra", "ant", "bee")}
    model = make()
    for _ in range(3):
        model.train_on_batch(x, labels)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert len(again.setup.other_balancers) == 1
    for one in (model, again):
        one.train_on_batch(x, labels)
    assert_same_weights(model, again)


@pytest.mark.long
def test_online_weights_come_to_the_exact_ones_in_a_model():
    model = compiled(balancer=MGDA(solve="online"), optimizer=keras.optimizers.SGD(0.0))
    model.adapt(X, Y)
    gram = model.gramians(X, Y, batches=1, batch_size=24).grams[0]
    for _ in range(60):
        model.reset_metrics()
        logs = model.train_on_batch(X, Y, return_dict=True)
    expected = np.asarray(MGDA().weigh(gram=ops.convert_to_tensor(gram)))
    assert np.ptp(expected) > 0.02
    gap = np.array([logs[f"{task}_weight"] for task in NAMES]) - expected
    assert gap @ gram @ gap < 1e-6 * (expected @ gram @ expected)


@pytest.mark.parametrize("is_cut", [True, pytest.param(False, marks=pytest.mark.long)])
def test_the_slopes_along_a_direction_are_inner_products_with_the_gradients(is_cut):
    model = compiled(balancer="upgrad")

    def cut():
        return model.forks[0].cut if is_cut else None

    found = model.gramians(X, Y, batches=1, batch_size=24)
    direction = [tf.random.normal(variable.shape, seed=1) for variable in model.shared_variables]
    batch = next(gradients.first_batches(X, Y, None, 24, 1))

    @tf.function
    def step():
        with tf.GradientTape(persistent=True) as tape:
            losses = model.step.forward(batch).losses
            parts = tf.unstack(losses)
        back = gradients.Backward(tape, parts, None, model.shared_variables, model.shared_variables, cut())
        _, slopes = back.direction_with_slopes(tf.constant([0.5, 2.0, 0.0, 1.0]))
        return tf.stack([gradients.flatten(row) for row in back.rows()]), slopes(direction)

    if not is_cut:
        model.forks[0].attach(None)
    rows, products = step()
    expected = np.asarray(rows) @ np.asarray(gradients.flatten(direction))
    np.testing.assert_allclose(products, expected, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.grams[0], np.asarray(rows) @ np.asarray(rows).T, rtol=1e-4, atol=1e-6)


@pytest.mark.long
def test_weights_are_kept_between_the_steps_that_make_some():
    model = compiled(balancer=UPGrad(update_every=3), optimizer=keras.optimizers.SGD(0.5))
    model.adapt(X, Y)
    told = []
    for turn in range(5):
        model.reset_metrics()
        labels = {**Y, "box": np.full_like(Y["box"], np.nan)} if turn == 1 else Y
        logs = model.train_on_batch(X, labels, return_dict=True)
        told.append(np.array([logs[f"{name}_weight"] for name in NAMES]))
    # A task that is absent leaves its share to the others, in the proportions that were kept.
    there = np.array([True, True, False, True])
    np.testing.assert_allclose(told[1][there], told[0][there] / told[0][there].sum() * 3, rtol=1e-5)
    np.testing.assert_allclose(told[2], told[0], rtol=1e-5)
    assert not np.allclose(told[3], told[0], rtol=1e-3)
    np.testing.assert_allclose(told[4], told[3], rtol=1e-5)


def test_a_slice_of_the_batch_gives_the_weights_and_all_of_it_the_gradient():
    half = 12
    model = compiled(balancer=UPGrad(gram_fraction=0.5), optimizer=keras.optimizers.SGD(0.1), run_eagerly=True)
    model.adapt(X, Y)
    part = model.gramians(X[:half], {name: label[:half] for name, label in Y.items()}, batches=1, batch_size=half)
    weights = np.asarray(UPGrad().weigh(gram=ops.convert_to_tensor(part.grams[0])))
    logs = model.train_on_batch(X, Y, return_dict=True)
    np.testing.assert_allclose([logs[f"{name}_weight"] for name in NAMES], weights, rtol=1e-4)


def test_a_task_that_the_slice_does_not_show_keeps_its_last_weight():
    labels = {name: label.copy() for name, label in Y.items()}
    labels["alive"][:12] = -1
    model = compiled(balancer=UPGrad(gram_fraction=0.5), run_eagerly=True)
    model.adapt(X, Y)
    logs = model.train_on_batch(X, labels, return_dict=True)
    assert logs["alive_weight"] > 0
    assert sum(logs[f"{name}_weight"] for name in NAMES) == pytest.approx(4, rel=1e-5)


@pytest.mark.long
def test_a_second_look_leaves_statistics_and_random_draws_alone():
    def make(balancer):
        keras.utils.set_random_seed(2)
        image = keras.Input((6,))
        features = keras.layers.Dropout(0.5)(keras.layers.BatchNormalization()(keras.layers.Dense(8)(image)))
        model = kmtl.MultiTaskModel.from_features(image, features, tasks())
        model.compile(keras.optimizers.SGD(0.0), balancer=balancer)
        return model

    class Witness(kmtl.balancers.Balancer):
        """Looks again and remembers both losses."""

        looks_again = True

        def build(self, input_shape):
            self.first = self.state(input_shape[:1], "zeros", "first")
            self.second = self.state(input_shape[:1], "zeros", "second")

        def task_weights(self, signals):
            self.first.assign(signals.losses)
            return ops.ones_like(signals.losses)

        def after_update(self, losses, present):
            del present
            self.second.assign(losses)

    looked, plain = make(Witness()), make("equal")
    for model in (looked, plain):
        trained(model, 3)
    assert_same_weights(looked, plain)
    # Nothing moved, and the same units were dropped.
    np.testing.assert_allclose(looked.balancer.second, looked.balancer.first, rtol=1e-6)
    assert np.all(looked.balancer.first.numpy() > 0)
