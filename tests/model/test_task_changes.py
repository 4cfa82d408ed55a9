"""Tasks that come, go and are renamed: the others go on bit by bit, with all that was learned."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from toys import build, examples, network, tasks

import kmtl

X, Y = examples(24, hidden=0.2)
NEW = np.arange(24, dtype="int32") % 3


def trained(optimizer="adam", given=None, labels=Y, steps=2, network_options=None, **options):
    """A compiled model that has learned something."""
    model = build(given, **(network_options or {}))
    model.compile(optimizer, run_eagerly=True, **options)
    model.adapt(X, labels)
    for _ in range(steps):
        model.train_on_batch(X, labels)
    return model


def new_task(name="kind", **options):
    return kmtl.Classification(name, classes=3, **options)


def weights(model, names=None):
    """Every weight by path, those of renamed tasks under their old names."""
    names = {new: old for old, new in (names or {}).items()}
    found = {}
    for variable in model.variables:
        layer, _, rest = variable.path.partition("/")
        for new, old in names.items():
            if layer == new or layer.startswith(f"{new}_"):
                layer = old + layer.removeprefix(new)
                break
        found[f"{layer}/{rest}"] = variable.numpy()
    return found


def assert_same(left, right, **tolerance):
    """Compares what both have."""
    both = left.keys() & right.keys()
    assert len(both) > 6
    for path in both:
        if "loss" not in path and "metric" not in path:
            np.testing.assert_allclose(left[path], right[path], **(tolerance or {"rtol": 0, "atol": 0}), err_msg=path)


def slots(model):
    return {slot.path.partition("/")[2]: slot.numpy() for slot in model.optimizer.variables}


def outputs(model, x=X):
    return {name: keras.ops.convert_to_numpy(value) for name, value in model(x).items()}


@pytest.fixture(scope="module")
def model():
    """Nobody trains it."""
    return trained(
        balancer="uncertainty", loss_weights={"age": 0.5}, metrics={"age": [keras.metrics.MeanSquaredError()]}
    )


# What stays, what is new, what is shared.


def test_a_new_task_leaves_the_others_as_they_are(model):
    before = {path: value.copy() for path, value in weights(model).items()}
    model.set_loss_weights({"box": 0.25})
    grown = model.with_task(new_task(hidden=4))
    assert list(grown.tasks) == [*model.tasks, "kind"]
    for name, value in outputs(model).items():
        np.testing.assert_array_equal(outputs(grown)[name], value)
    assert {id(variable) for variable in grown.variables}.isdisjoint(id(variable) for variable in model.variables)
    assert grown.loss_weights == {"species": 1.0, "alive": 1.0, "box": 0.25, "age": 0.5, "kind": 1.0}
    assert all(scaler.is_learned for scaler in grown.scalers.values())
    held, now = slots(model), slots(grown)
    assert any(np.any(value) for path, value in held.items() if "momentum" in path)
    for path, value in held.items():
        np.testing.assert_array_equal(now[path], value)
    assert len(now) == len(held) + 8
    assert not any(np.any(now[path]) for path in now.keys() - held.keys())
    np.testing.assert_array_equal(grown.balancer.last[:4], model.balancer.last)
    assert float(grown.balancer.last[4]) == 1.0
    grown.train_on_batch(X, {**Y, "kind": NEW})
    assert_same(before, weights(model))
    assert {name for name in grown.metrics_names if name.startswith("age")} == {"age_loss", "age_mean_squared_error"}


@pytest.mark.parametrize("balancer", ["uncertainty", "upgrad"])
def test_a_task_of_weight_0_is_as_one_that_is_not_there(balancer):
    optimizer = keras.optimizers.Adam(0.01, weight_decay=0.1, use_ema=True, global_clipnorm=1e9)
    old = trained(optimizer, balancer=balancer)
    grown, fewer = old.with_task(new_task()), old.without("alive")
    grown.set_loss_weights({"kind": 0.0})
    for _ in range(2):
        grown.train_on_batch(X, {**Y, "kind": NEW})
        old.train_on_batch(X, Y)
    assert_same(weights(old), weights(grown), rtol=1e-5, atol=1e-6)
    old = fewer.with_task(kmtl.BinaryClassification("alive"))
    old.set_loss_weights({"alive": 0.0})
    fewer.train_on_batch(X, {name: Y[name] for name in fewer.tasks})
    old.train_on_batch(X, Y)
    assert_same(weights(old), weights(fewer), rtol=1e-5, atol=1e-6)


def test_names_change_places_with_all_that_hangs_on_them(tmp_path):
    parts = {"shared": keras.optimizers.Adam(0.01), "age": keras.optimizers.SGD(0.1, momentum=0.9)}
    options = {"loss": {"age": "mae"}, "loss_weights": {"age": 0.5}, "metrics": {"box": ["mse"]}}
    balancer = kmtl.balancers.Static(weights={"age": 2.0})
    old = trained(parts, balancer=balancer, learning_rate_multipliers={"box": 0.5, "age_standardized": 0.25}, **options)
    names = {"age": "box", "box": "age", "species": "kind"}
    new = old.renamed(names)
    labels = {names.get(name, name): value for name, value in Y.items()}
    before, after = outputs(old), outputs(new)
    for name, value in before.items():
        np.testing.assert_array_equal(after[names.get(name, name)], value)
    assert list(new.tasks) == ["kind", "alive", "age", "box"]
    assert new.tasks["age"].shape == (2,)
    assert new.loss_weights["box"] == 0.5
    assert list(new.optimizer.parts) == ["shared", "box"]
    new.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for _ in range(2):
        logs = [one.train_on_batch(X, Y, return_dict=True) for one in (old,)]
        logs += [one.train_on_batch(X, labels, return_dict=True) for one in (new, again)]
    assert logs[1]["box_loss"] == logs[0]["age_loss"]
    assert logs[1]["age_mse"] == logs[0]["box_mse"]
    assert_same(weights(old), weights(new, names))
    assert_same(weights(old), weights(again, names))


def test_what_is_frozen_stays_so_and_keeps_its_state():
    old = trained()
    old.get_layer("species").trainable = False
    old.get_layer("trunk").bias.trainable = False
    old.train_on_batch(X, Y)
    new = old.without("alive")
    assert not new.get_layer("species").trainable
    assert [variable.path for variable in new.get_layer("trunk").trainable_variables] == ["trunk/kernel"]
    for path, value in slots(old).items():
        if "alive" not in path:
            np.testing.assert_array_equal(slots(new)[path], value)
    for one in (old, new):
        one.get_layer("species").trainable = True
    old.set_loss_weights({"alive": 0.0})
    for one in (old, new):
        one.train_on_batch(X, {name: Y[name] for name in one.tasks})
    assert_same(weights(old), weights(new), rtol=1e-6, atol=1e-7)


def test_scaled_losses_and_factored_slots_are_taken_along():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        old = trained(keras.optimizers.Adafactor(0.01))
        old.optimizer.dynamic_scale.assign(256.0)
        new = old.without("box")
        assert float(new.optimizer.dynamic_scale) == 256.0
        held, now = old.optimizer.inner_optimizer, new.optimizer.inner_optimizer
        place, other = (
            [variable.path for variable in one._trainable_variables].index("species/kernel") for one in (held, now)
        )
        assert np.any(held._r[place])
        np.testing.assert_array_equal(held._r[place], now._r[other])
        assert outputs(new)["age"].dtype == "float32"
    finally:
        keras.config.set_dtype_policy(policy)


# Heads of one kernel.


def flags(*names):
    return [kmtl.BinaryClassification(name, hidden=3) for name in names]


def test_slices_of_a_fused_head_go_with_their_slots():
    names = ["cat", "ant", "dog", "bee"]
    labels = {name: (X[:, place] > 0.5).astype("int32") for place, name in enumerate(names)}
    old = trained(given=flags(*names), labels=labels)
    new = old.without("ant").renamed({"bee": "wasp"})
    assert [layer.name for layer in new.layers][-1] == "cat_and_2_more"
    assert new.get_layer("cat_and_2_more").names == ["cat", "dog", "wasp"]
    for name, value in outputs(new).items():
        np.testing.assert_allclose(value, outputs(old)["bee" if name == "wasp" else name], rtol=1e-6)
    old.set_loss_weights({"ant": 0.0})
    for _ in range(2):
        old.train_on_batch(X, labels)
        new.train_on_batch(X, {"cat": labels["cat"], "dog": labels["dog"], "wasp": labels["bee"]})
    for name in ("cat", "dog", "wasp"):
        there = outputs(old)["bee" if name == "wasp" else name]
        np.testing.assert_allclose(outputs(new)[name], there, rtol=1e-4, atol=1e-6)
    grown = old.with_task(kmtl.BinaryClassification("eel", hidden=3))
    assert [layer.name for layer in grown.task_layers("eel")] == ["eel_hidden_1", "eel"]
    for name, value in outputs(old).items():
        np.testing.assert_array_equal(outputs(grown)[name], value)


# Which features a new head reads.


def forms():
    image = keras.Input((4, 4, 1), name="image")
    folded = keras.layers.Conv2D(3, 1, name="fold")(image)
    vector = keras.layers.GlobalAveragePooling2D(name="pool")(folded)
    return image, {"vector": vector, "map": folded}


def pixels(name):
    return kmtl.Segmentation(name, classes=2, shape=(4, 4))


def test_a_head_reads_what_its_kind_wants():
    image, features = forms()
    given = [kmtl.Regression("size"), kmtl.BinaryClassification("alive"), pixels("mask")]
    old = kmtl.MultiTaskModel.from_features(image, features, given)
    grown = old.with_task(pixels("depth")).with_task(kmtl.Regression("age"))
    fork, mask = (
        grown.forks[0],
        [layer for layer in grown.task_layers("mask") if isinstance(layer, keras.layers.Conv2D)],
    )
    assert fork.names == ["size", "alive", "age"]
    assert mask
    assert grown.output["depth"].shape == (None, 4, 4, 2)
    assert not grown.compiled
    picture = np.random.default_rng(0).random((2, 4, 4, 1), dtype="float32")
    for name, value in outputs(old, picture).items():
        np.testing.assert_array_equal(outputs(grown, picture)[name], value)


def test_a_head_on_several_maps_reads_those_that_its_kind_takes():
    image = keras.Input((4, 4, 1), name="image")
    fine = keras.layers.Conv2D(3, 1, name="fine")(image)
    maps = [fine, keras.layers.Conv2D(2, 2, strides=2, name="coarse")(fine)]
    old = kmtl.MultiTaskModel.from_features(image, maps, [pixels("mask"), pixels("edge")])
    grown = old.with_task(pixels("depth")).with_task(kmtl.Segmentation("sky", 2, shape=(4, 4), decoder=None))
    forks = {fork.input.shape[1]: fork.names for fork in grown.forks}
    assert forks == {4: ["mask", "edge", "depth"], 2: ["mask", "edge", "depth", "sky"]}
    ends = [
        grown.get_layer(name).input for name in ("depth_decoder_1_lateral", "depth_decoder_2_lateral", "sky_logits")
    ]
    assert [tuple(end.shape[1:]) for end in ends] == [(4, 4, 3), (2, 2, 2), (2, 2, 2)]
    # Named, where there is no fork.
    alone = kmtl.MultiTaskModel.from_features(image, maps, [pixels("mask")])
    added = alone.with_task(pixels("depth"), features=["fine", "coarse"])
    assert added.get_layer("depth_decoder_1_lateral").input is added.get_layer("fine").output
    with pytest.raises(
        ValueError, match=r"^with_task: `features` must go from fine to coarse for task 'depth', got .*"
    ):
        alone.with_task(pixels("depth"), features=["coarse", "fine"])
    picture = np.random.default_rng(0).random((2, 4, 4, 1), dtype="float32")
    for name, value in outputs(old, picture).items():
        np.testing.assert_array_equal(outputs(grown.without("sky"), picture)[name], value)


def test_a_layer_may_be_named_where_none_or_several_fit():
    row, features = network()
    only = kmtl.MultiTaskModel.from_features(row, features, [kmtl.Regression("age")])
    with pytest.raises(ValueError, match=r"^with_task: `features` must end in one layer .*fitting: 'image', 'trunk'"):
        only.with_task(new_task())
    both = only.with_task(new_task(), features="trunk")
    assert both.get_layer("kind").input is both.get_layer("trunk").output
    assert [variable.path for variable in both.shared_variables] == ["trunk/kernel", "trunk/bias"]
    assert only.with_task(new_task(), features="image").get_layer("kind").input is not None
    with pytest.raises(ValueError, match=r"`features` must name a layer of the model, got 'trunc'.*'trunk'"):
        only.with_task(new_task(), features="trunc")
    with pytest.raises(ValueError, match="`features` must be a KerasTensor of shape"):
        only.with_task(pixels("mask"), features="trunk")


# Layers of every sort.


def test_inner_models_statistics_vocabularies_and_generators_are_copied():
    row = keras.Input((6,), name="image")
    scale = keras.layers.Normalization(name="scale")
    scale.adapt(X)
    inner = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(5), keras.layers.BatchNormalization(), keras.layers.Dropout(0.5)],
        name="in",
    )
    word = keras.Input((), dtype="string", name="word")
    look = keras.layers.StringLookup(output_mode="one_hot", name="look")
    look.adapt(np.array(["no", "yes", "no"]))
    joined = keras.layers.Concatenate(name="both")([inner(scale(row)) * 2.0, look(word)])
    keras.utils.set_random_seed(1)
    old = kmtl.MultiTaskModel.from_features({"image": row, "word": word}, joined, tasks())
    old.compile("adam", run_eagerly=True)
    x = {"image": tf.constant(X), "word": tf.constant(["yes", "no"] * 12)}
    old.adapt(x, Y)
    old.train_on_batch(x, Y)
    old.get_layer("in").layers[0].trainable = False
    new = old.without("species")
    assert not new.get_layer("in").layers[0].trainable
    for name, value in outputs(new, x).items():
        np.testing.assert_array_equal(value, outputs(old, x)[name])
    old.set_loss_weights({"species": 0.0})
    for one in (old, new):
        one.train_on_batch(x, {name: Y[name] for name in one.tasks})
    # The same units were dropped.
    assert_same(weights(old), weights(new), rtol=1e-6, atol=1e-7)


def test_a_task_that_others_read_leaves_its_layers():
    row, features = network()
    first = keras.layers.Dense(1, name="age")(features)
    second = keras.layers.Dense(2, name="box")(keras.layers.Concatenate()([features, first]))
    given = [kmtl.Regression("age", standardize=False), kmtl.Regression("box", shape=(2,), standardize=False)]
    old = kmtl.MultiTaskModel(row, {"age": first, "box": second}, tasks=given)
    new = old.without("age")
    assert new.output_names == ["box"]
    np.testing.assert_array_equal(outputs(new)["box"], outputs(old)["box"])


@pytest.fixture(scope="module")
def clicks():
    """A product of two heads, one of which counts where the other's label says so."""
    given = [
        kmtl.BinaryClassification("click"),
        kmtl.BinaryClassification("bought", where={"click": 1}),
        kmtl.BinaryClassification("sale", product_of=("click", "bought"), threshold=0.3),
        kmtl.Regression("price"),
    ]
    model = kmtl.MultiTaskModel.from_features(row := keras.Input((6,)), keras.layers.Dense(4)(row), given)
    model.compile("adam", balancer="uncertainty", run_eagerly=True)
    return model


def test_tasks_that_read_others_follow_their_new_names(clicks):
    names = {"click": "bought", "bought": "click", "price": "cost"}
    new = clicks.renamed(names)
    assert new.tasks["click"].where == {"bought": (1,)}
    assert new.tasks["sale"].product_of == ("bought", "click")
    assert new.tasks["sale"].threshold == 0.3
    before, after = outputs(clicks), outputs(new)
    for name, value in before.items():
        np.testing.assert_array_equal(after[names.get(name, name)], value)


def test_a_new_product_multiplies_the_outputs_of_its_factors(clicks):
    new = clicks.without("sale").with_task(clicks.tasks["sale"])
    before, after = outputs(clicks), outputs(new)
    np.testing.assert_array_equal(after["sale"], before["sale"])
    shared = {variable.path.partition("/")[0] for variable in new.shared_variables}
    assert {"click", "bought"} <= shared
    with pytest.raises(ValueError, match=r"^with_task: `product_of of 'both'` must name tasks beside it, got 'clic'"):
        clicks.with_task(kmtl.BinaryClassification("both", product_of=("clic", "bought")))
    alike = [kmtl.BinaryClassification(name) for name in "abcd"]
    fused = kmtl.MultiTaskModel.from_features(row := keras.Input((6,)), row, alike)
    with pytest.raises(
        ValueError, match=r"^with_task: `task` must be a product of heads of their own, got \['a', 'c'\]"
    ):
        fused.with_task(kmtl.BinaryClassification("both", product_of=("a", "c")))


def test_a_task_that_another_asks_for_cannot_go_alone(clicks):
    with pytest.raises(ValueError, match=r"^without: `name` must not be of a task that 'bought' asks for, got 'click'"):
        clicks.without("click", "sale")
    with pytest.raises(ValueError, match="that 'sale' asks for, got 'bought'"):
        clicks.without("bought")
    assert list(clicks.without("click", "bought", "sale").tasks) == ["price"]


# A new head first, then all.


@pytest.mark.parametrize("balancer", [pytest.param("equal", marks=pytest.mark.slow), "upgrad", "moco"])
def test_a_new_head_is_trained_alone_and_then_with_the_others(balancer):
    grown = trained(balancer=balancer).with_task(new_task(hidden=4))
    labels = {**Y, "kind": NEW}
    head = grown.task_layers("kind")
    for layer in grown.layers:
        layer.trainable = layer in head
    before, state = weights(grown), [variable.numpy() for variable in grown.balancer.variables]
    grown.fit(X, labels, batch_size=12, epochs=1, verbose=0)
    for path, value in weights(grown).items():
        if "loss" not in path and "metric" not in path:
            assert np.any(value != before[path]) == path.startswith("kind"), path
    if grown.balancer.needs != "losses":
        for old, variable in zip(state, grown.balancer.variables, strict=True):
            np.testing.assert_array_equal(old, variable)
    for layer in grown.layers:
        layer.trainable = True
    trunk = grown.get_layer("trunk").kernel.numpy()
    grown.fit(X, labels, batch_size=12, epochs=1, verbose=0)
    assert np.any(grown.get_layer("trunk").kernel.numpy() != trunk)
    assert balancer == "equal" or not np.array_equal(state[0], grown.balancer.variables[0])


# What is refused.


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.with_task(new_task("age")), "^with_task: `task` must have a new name, got 'age'"),
        (lambda m: m.with_task(new_task("trunk")), "^with_task: `task` must not bear the name of a layer, got 'trunk'"),
        (lambda m: m.with_task("age"), "^with_task: `task` must be a kmtl task, got 'age'"),
        (
            lambda m: m.with_task(pixels("mask")),
            "^with_task: `features` must end in one layer for task 'mask', got none",
        ),
        (lambda m: m.without("agee"), "^without: `name` must use task names as keys, got 'agee'.*'age'"),
        (lambda m: m.without(*m.tasks), "^without: `name` must leave a task"),
        (lambda m: m.without(), "^without: `name` must name a task, got none"),
        (
            lambda m: m.renamed({"age": "box"}),
            "^renamed: `names` must leave every task a name of its own; twice, got 'box'",
        ),
        (lambda m: m.renamed({"age": "loss"}), "^renamed: `name` must not be a reserved word, got 'loss'"),
        (lambda m: m.renamed({"age": "trunk"}), "^renamed: `names` must not be names of other layers, got trunk"),
        (lambda m: m.renamed(["age"]), "^renamed: `names` must be {old name: new name}"),
    ],
)
def test_changes_that_make_no_model_are_refused(model, change, message):
    with pytest.raises(ValueError, match=message):
        change(model)


def test_a_balancer_that_names_the_task_is_refused_and_another_taken():
    old = trained(balancer=kmtl.balancers.PCD(primary="age"))
    with pytest.raises(ValueError, match=r"named by the balancer's option `primary`, got 'age'\. Pass balancer="):
        old.without("age")
    assert type(old.without("age", balancer="pcgrad").balancer) is kmtl.balancers.PCGrad
    with pytest.raises(ValueError, match="`balancer` must be None while the model is not compiled"):
        build().without("age", balancer="pcgrad")


@pytest.mark.long
def test_the_exported_file_has_the_tasks_that_the_model_has_now(tmp_path):
    old = trained()
    new = old.without("species").renamed({"age": "years"}).with_task(new_task())
    kmtl.export.saved_model(new, tmp_path / "served")
    found = kmtl.export.inspect(tmp_path / "served")
    assert {"alive", "box", "years", "kind"} <= set(str(found).replace(",", " ").split())
    report = kmtl.export.check(new, tmp_path / "served" / "1", X[:4])
    assert report.worst < 1e-5
