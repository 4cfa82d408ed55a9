"""Penalties and dropout around a build function: which kernels, which heads, and what stays."""

import inspect

import keras
import numpy as np
import pytest

import kmtl
from kmtl.training import regularized
from kmtl.training.shared_trunk import shared_trunk, trunk_in

# Four alike heads are fused; one asks for a penalty of its own.
TASKS = [*(kmtl.Regression(f"side_{place}") for place in range(4)), kmtl.Classification("kind", 3, hidden=5, l2=0.5)]
X = np.random.default_rng(0).random((12, 4, 4, 2), dtype="float32")


def build(tasks, hp=None):
    """Kernels of several forms: of a convolution in two parts, of attention, inside a model, with a penalty."""
    del hp
    image = keras.Input((4, 4, 2))
    maps = keras.layers.SeparableConv2D(4, 3, name="apart")(image)
    maps = keras.layers.BatchNormalization()(maps)
    tokens = keras.layers.Reshape((4, 4))(maps)
    tokens = keras.layers.MultiHeadAttention(2, 2, name="attention")(tokens, tokens)
    inner = keras.Sequential([keras.layers.Dense(6, activation="tanh", name="inside")], name="inner")
    features = inner(keras.layers.Flatten()(tokens))
    features = keras.layers.Dense(6, kernel_regularizer=keras.regularizers.L2(0.25), name="own")(features)
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    weights = {task.name: 2.0 for task in tasks if task.name == "kind"}
    model.compile(keras.optimizers.SGD(0.0), loss_weights=weights, balancer="si", run_eagerly=True)
    return model


def made(build, tasks=TASKS):
    keras.utils.set_random_seed(3)
    return build(tasks)


@pytest.fixture(scope="module")
def plain():
    return made(build)


@pytest.fixture(scope="module")
def both():
    return made(regularized(build, l1=0.01, l2=0.1, dropout=0.5))


def penalty(model, l1, l2):
    """By NumPy, over the kernels that had none."""
    total = 0.0
    for variable in model.trainable_variables:
        kernel = np.asarray(variable, "float64")
        if "/own/" in f"/{variable.path}" and "kernel" in variable.path:
            total += 0.25 * (kernel**2).sum()
        elif "/kind" in f"/{variable.path}" and "kernel" in variable.path:
            total += 0.5 * (kernel**2).sum()
        elif "kernel" in variable.path:
            total += l1 * np.abs(kernel).sum() + l2 * (kernel**2).sum()
    return total


def test_every_kernel_without_a_penalty_gets_one_and_no_bias_does(plain, both):
    kernels = [variable.path for variable in both.trainable_variables if "kernel" in variable.path]
    for layer in ("apart/depthwise", "apart/pointwise", "attention/query", "inside", "side_0_and_3_more"):
        assert any(layer in path for path in kernels), layer
    for variable in both.trainable_variables:
        if "kernel" not in variable.path:
            variable.assign(variable + 0.5)
    assert float(sum(both.losses)) == pytest.approx(penalty(both, 0.01, 0.1), rel=1e-5)
    assert float(sum(plain.losses)) == pytest.approx(penalty(plain, 0.0, 0.0), rel=1e-5)
    for variable in both.trainable_variables:
        if "kernel" not in variable.path:
            variable.assign(variable - 0.5)


def test_weights_start_as_those_of_the_plain_build(plain, both):
    for one, other in zip(plain.get_weights(), both.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_head_has_dropout_and_only_in_training(plain, both):
    names = [layer.name for layer in both.layers if isinstance(layer, keras.layers.Dropout)]
    assert sorted(names) == sorted(f"{task.name}_features_dropout" for task in TASKS)
    without, still, moving = plain(X, training=False), both(X, training=False), both(X, training=True)
    for name, output in without.items():
        np.testing.assert_array_equal(still[name], output)
        assert not np.allclose(moving[name], output)


def test_what_it_was_compiled_with_stays_and_a_step_logs_the_penalty(both):
    assert type(both.optimizer) is keras.optimizers.SGD
    assert repr(both.setup.balancer) == "kmtl.balancers.get('si')"
    assert both.loss_weights == {**{task.name: 1.0 for task in TASKS[:4]}, "kind": 2.0}
    labels = {task.name: np.arange(12, dtype="float32") for task in TASKS[:4]}
    labels["kind"] = np.arange(12) % 3
    labels["side_1"][::2], labels["kind"][1:9] = np.nan, -1
    logs = both.fit(X, labels, epochs=1, batch_size=12, verbose=0).history
    assert logs["regularization"][0] == pytest.approx(penalty(both, 0.01, 0.1), rel=1e-4)
    assert np.isfinite([logs[f"{task.name}_loss"][0] for task in TASKS]).all()


def test_a_file_holds_the_penalties_and_the_dropout(both, tmp_path):
    both.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert float(sum(again.losses)) == pytest.approx(float(sum(both.losses)), rel=1e-6)
    assert [layer.name for layer in again.layers] == [layer.name for layer in both.layers]


def test_the_trunk_is_found_in_the_models_of_one_task(both):
    alone = made(regularized(build, l1=0.01, l2=0.1, dropout=0.5), TASKS[4:])
    trunk = shared_trunk("Indirect", both)
    same = trunk_in("Indirect", alone, trunk)
    assert [type(layer) for layer in same.layers] == [type(layer) for layer in trunk.layers]
    assert alone.get_layer("own_head_dropout").input is same.output


def by_hand(tasks):
    """Heads of names of their own, behind a map, whose channels are dropped, and one on the input."""
    image = keras.Input((4, 4, 2), name="image")
    maps = keras.layers.Conv2D(6, 3, name="trunk")(image)
    said = keras.layers.Dense(3, activation="softmax", name="answer")(keras.layers.Flatten(name="flat")(maps))
    read = keras.layers.Dense(1, name="reader")(keras.layers.Flatten(name="pixels")(image))
    outputs = {"kind": said, "age": keras.layers.Rescaling(2.0, name="in_years")(read)}
    model = kmtl.MultiTaskModel(image, {task.name: outputs[task.name] for task in tasks}, tasks=tasks)
    model.compile("sgd")
    return model


def test_heads_that_were_built_by_hand():
    tasks = [kmtl.Classification("kind", 3), kmtl.Regression("age", standardize=False)]
    two = made(regularized(by_hand, dropout=0.9), tasks)
    assert {layer.name for layer in two.layers if isinstance(layer, keras.layers.Dropout)} == {
        "flat_head_dropout",
        "pixels_head_dropout",
    }
    assert two.get_layer("answer").input is two.get_layer("flat_head_dropout").output


def on_maps(tasks):
    image = keras.Input((4, 4, 2), name="image")
    model = kmtl.MultiTaskModel.from_features(image, keras.layers.Conv2D(6, 1, name="trunk")(image), tasks)
    model.compile("sgd")
    return model


def test_whole_channels_of_a_map_are_dropped():
    task = kmtl.tasks.Segmentation("mask", 2, shape=(4, 4))
    model = made(regularized(on_maps, dropout=0.5), [task])
    maps = keras.Model(model.input, model.get_layer("trunk_head_dropout").output)(X, training=True)
    there = np.asarray(maps != 0).any(axis=(1, 2))
    assert 0.2 < there.mean() < 0.8
    assert (np.asarray(maps != 0) == there[:, None, None, :]).all()


def test_each_map_that_a_decoder_reads_is_dropped():
    def build(tasks):
        image = keras.Input((4, 4, 2), name="image")
        fine = keras.layers.Conv2D(6, 1, name="fine")(image)
        maps = [fine, keras.layers.Conv2D(3, 2, strides=2, name="coarse")(fine)]
        model = kmtl.MultiTaskModel.from_features(image, maps, tasks)
        model.compile("sgd")
        return model

    masks = [kmtl.Segmentation(name, 2, shape=(4, 4)) for name in ("mask", "edge")]
    for tasks, names in (
        (masks[:1], {"fine_head_dropout", "coarse_head_dropout"}),
        (masks, {f"{task}_{fork}_dropout" for task in ("mask", "edge") for fork in ("fork", "fork_1")}),
    ):
        keras.utils.clear_session()
        model = made(regularized(build, dropout=0.5), tasks)
        dropping = [layer for layer in model.layers if isinstance(layer, keras.layers.SpatialDropout2D)]
        assert {layer.name for layer in dropping} == names
        reading = [model.get_layer(f"mask_decoder_{place}_lateral").input for place in (1, 2)]
        assert all(any(end is layer.output for layer in dropping) for end in reading)


def test_nothing_asked_for_is_the_models_own_and_a_search_may_draw():
    assert made(regularized(on_maps), [kmtl.tasks.Segmentation("mask", 2, shape=(4, 4))]).count_params()
    assert list(inspect.signature(regularized(build, l2=0.1)).parameters) == ["tasks", "hp"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"l2": -1.0, "dropout": 1.0},
            r"`l2` must be a .*\nregularized: `dropout` must be at least 0 and below 1, got 1",
        ),
        ({"l1": float("nan")}, "`l1` must be a finite number of at least 0, got nan"),
        ({"build": "model"}, r"`build` must be a function build\(tasks\)"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=f"^regularized: {message}"):
        regularized(**{"build": build, **options})


def test_a_build_that_makes_no_model_of_kmtl_is_refused():
    with pytest.raises(ValueError, match=r"^regularized: `build` must return a compiled kmtl\.MultiTaskModel"):
        regularized(lambda tasks: keras.Sequential(), l2=0.1)(TASKS)  # noqa: ARG005
