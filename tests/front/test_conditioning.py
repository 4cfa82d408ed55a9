"""One model for every preference, and the plain model that it is at one of them."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from cases import cases
from states import with_scales

import kmtl
from kmtl.front import FiLM, condition, fold

NAMES = ("zoo", "ant", "bee")


def tasks(count=2, **options):
    kinds = [
        kmtl.Regression("zoo", shape=(2,), **options),
        kmtl.Classification("ant", 3, **options),
        kmtl.BinaryClassification("bee", **options),
    ]
    return kinds[:count]


def convolutional(normalization, **options):
    image = keras.Input((8, 8, 1), name="image")
    features = kmtl.trunks.convnet(image, widths=(4, 6), normalization=normalization)
    return kmtl.MultiTaskModel.from_features(image, features, tasks(3, **options))


def nested():
    """A trunk that is a model of its own, with a `Sequential` inside."""
    inner = keras.Input((8, 8, 1))
    block = keras.Sequential([keras.layers.Conv2D(4, 3), keras.layers.GroupNormalization(2), keras.layers.ReLU()])
    trunk = keras.Model(inner, keras.layers.GlobalAveragePooling2D()(block(inner)))
    image = keras.Input((8, 8, 1), name="image")
    return with_scales(kmtl.MultiTaskModel.from_features(image, trunk(image), tasks()))


def fused():
    image = keras.Input((8, 8, 1), name="image")
    features = keras.layers.Dense(5)(keras.layers.Flatten()(image))
    many = [kmtl.BinaryClassification(name, hidden=4) for name in ("zoo", "ant", "bee", "cat", "dog")]
    return kmtl.MultiTaskModel.from_features(image, features, many)


def on_a_map():
    """Heads whose first layer is a 1x1 convolution, one of them on two maps, beside those on the mean of the map."""
    image = keras.Input((8, 8, 1), name="image")
    features = keras.layers.Conv2D(5, 3, padding="same")(image)
    maps = [features, keras.layers.Conv2D(4, 2, strides=2)(features)]
    both = {"map": maps, "vector": keras.layers.GlobalAveragePooling2D()(features)}
    masks = [
        kmtl.Segmentation("zoo", 3, shape=(8, 8), hidden=4, decoder=None),
        kmtl.Segmentation("cat", 2, shape=(8, 8), decoder=3),
        kmtl.Segmentation("elk", 2, shape=(8, 8), decoder=3),
    ]
    return kmtl.MultiTaskModel.from_features(image, both, [*masks, kmtl.Regression("ant"), kmtl.Regression("bee")])


def users_own():
    """Layers of the user's own, no fork; a normalisation used twice, and one without a scale, which has no place."""
    image = keras.Input((8, 8, 1), name="image")
    twice = keras.layers.LayerNormalization()
    hidden = twice(keras.layers.Dense(6)(twice(keras.layers.Dense(6)(keras.layers.Flatten()(image)))))
    hidden = keras.layers.LayerNormalization(scale=False)(hidden)
    outputs = {"zoo": keras.layers.Dense(2)(hidden), "ant": keras.layers.Dense(3, activation="softmax")(hidden)}
    return kmtl.MultiTaskModel(image, outputs, tasks=tasks())


def dilated():
    """Convolutions of every kind that an adapter stands beside, and two that it does not."""
    image = keras.Input((8, 8, 1), name="image")
    hidden = keras.layers.Conv2D(4, 3, padding="same", dilation_rate=2)(image)
    hidden = keras.layers.Conv2D(6, (3, 2), strides=2, use_bias=False)(keras.layers.ReLU()(hidden))
    hidden = keras.layers.DepthwiseConv2D(2)(hidden)
    hidden = keras.layers.Conv2D(4, 1, activation="relu")(hidden)
    hidden = keras.layers.Reshape((-1, 4))(hidden)
    twice = keras.layers.Conv1D(4, 2, padding="same")
    return kmtl.MultiTaskModel.from_features(image, keras.layers.Flatten()(twice(twice(hidden))), tasks(3))


BUILDS = {
    "batch": lambda: convolutional("batch"),
    "group": lambda: convolutional("group", hidden=5),
    "dropout": lambda: convolutional("layer", dropout=0.4),
    "nested": nested,
    "fused": fused,
    "on a map": on_a_map,
    "own": users_own,
}


def stirred(model, seed=1):
    """A model whose every weight is a random one, moving variances above 0."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        # Else a gain of 4, layer after layer, leaves numbers too large to compare.
        behind_gain = weight.path.endswith(("_film/kernel", "_film/bias"))
        values = generator.normal(size=weight.shape) * (0.1 if behind_gain else 0.4)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.path else values)
    return model


WAYS = {**dict.fromkeys(BUILDS), "batch, adapters": 2, "nested, adapters": 3, "own, adapters": 1}


@pytest.fixture(params=cases([*WAYS, "dilated, adapters"], "batch", "fused", "own", "dilated, adapters"))
def way(request):
    """A build function, and the rank of the adapters or None."""
    keras.utils.set_random_seed(3)
    name = request.param.partition(",")[0]
    return {**BUILDS, "dilated": dilated}[name], WAYS.get(request.param, 2)


@pytest.fixture
def build(way):
    return way[0]


@pytest.fixture
def conditioning(way):
    return functools.partial(condition, rank=way[1])


@pytest.fixture
def images():
    return np.random.default_rng(2).random((5, 8, 8, 1), "float32")


def preferences(count, tasks, seed=0):
    return np.random.default_rng(seed).dirichlet(np.ones(tasks), count).astype("float32")


def test_it_starts_as_the_model_that_it_was_made_of(build, conditioning, images):
    model = build()
    before = {name: values.numpy() for name, values in model(images, training=False).items()}
    both = conditioning(model)
    found = both({"image": images, "preference": preferences(5, len(model.tasks))}, training=False)
    assert list(found) == list(before)
    for name, values in before.items():
        np.testing.assert_allclose(found[name], values, atol=1e-6)


def test_each_example_has_a_preference_of_its_own(build, conditioning, images):
    both = stirred(conditioning(build()))
    rows = preferences(5, len(both.tasks))
    together = both({"image": images, "preference": rows}, training=False)
    for place in range(5):
        alone = both({"image": images[place : place + 1], "preference": rows[place : place + 1]}, training=False)
        for name, values in alone.items():
            np.testing.assert_allclose(values[0], together[name][place], atol=1e-5)
    other = both({"image": images, "preference": rows[::-1].copy()}, training=False)
    assert all(np.abs(other[name] - values).max() > 1e-4 for name, values in together.items())


def test_folded_it_is_the_plain_model_of_the_base_size(build, conditioning, images):
    origin, base = build(), build()
    both = stirred(conditioning(origin))
    for seed in range(3):
        (row,) = preferences(1, len(both.tasks), seed)
        expected = both({"image": images, "preference": np.tile(row, (5, 1))}, training=False)
        plain = fold(both, origin, base, row)
        assert plain is base
        assert plain.count_params() == build().count_params()
        for name, values in plain(images, training=False).items():
            np.testing.assert_allclose(values, expected[name], atol=1e-5)
    assert both.count_params() > base.count_params()


def test_a_preference_may_come_by_name_and_in_any_unit():
    origin, base = nested(), nested()
    both = stirred(condition(origin))
    by_name = fold(both, origin, base, {"ant": 3, "zoo": 1}).get_weights()
    for one, other in zip(by_name, fold(both, origin, base, [0.25, 0.75]).get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.long
def test_both_forms_are_saved_and_exported(images, tmp_path):
    origin, base = nested(), nested()
    both = with_scales(stirred(condition(origin)))
    both.save(tmp_path / "both.keras")
    again = keras.saving.load_model(tmp_path / "both.keras")
    given = {"image": images, "preference": preferences(5, 2)}
    np.testing.assert_array_equal(again(given)["zoo"], both(given)["zoo"])
    saved = kmtl.export.saved_model(both, tmp_path / "both")
    assert kmtl.export.check(both, saved, given, tolerance=1e-6).rows
    plain = fold(both, origin, base, [0.5, 0.5])
    sizes = [
        kmtl.export.litert(one, tmp_path / "m.tflite").stat().st_size for one in (plain, with_scales(stirred(nested())))
    ]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.01)
    folders = [kmtl.export.saved_model(one, tmp_path / name) for one, name in ((plain, "plain"), (nested(), "base"))]
    weights = [folder / "variables" / "variables.data-00000-of-00001" for folder in folders]
    assert weights[0].stat().st_size == pytest.approx(weights[1].stat().st_size, rel=0.001)
    signature = tf.saved_model.load(str(saved)).signatures["ant"]
    assert {spec.name for spec in signature.structured_input_signature[1].values()} == {"image", "preference"}


def test_the_layer_is_the_identity_at_first_and_follows_its_formula():
    layer = FiLM(3, axis=1, gain=2.5)
    features, rows = np.random.default_rng(1).normal(size=(4, 5, 2, 2)), preferences(4, 3)
    np.testing.assert_allclose(layer([features, rows]), features, atol=1e-6)
    weights = [np.random.default_rng(place).normal(size=one.shape) for place, one in enumerate(layer.get_weights())]
    layer.set_weights(weights)
    first, bias, second, offset = weights
    scale, shift = np.split(np.maximum((2 * rows - 1) @ first + bias, 0) @ second + offset, 2, axis=-1)
    expected = (1 + 2.5 * scale)[:, :, None, None] * features + 2.5 * shift[:, :, None, None]
    np.testing.assert_allclose(layer([features, rows]), expected, rtol=1e-4, atol=1e-4)
    again = FiLM.from_config(layer.get_config())
    assert (again.axis, again.gain) == (1, 2.5)
    with pytest.raises(ValueError, match=r"^FiLM: `gain` must be a positive number, got 0"):
        FiLM(gain=0)


def without_a_place():
    image = keras.Input((4,), name="image")
    return kmtl.MultiTaskModel(
        image, {"zoo": keras.layers.Dense(2)(image), "ant": keras.layers.Dense(3, "softmax")(image)}, tasks=tasks()
    )


def test_what_cannot_be_conditioned_is_told():
    image, named = keras.Input((4,), name="image"), keras.Input((4,), name="preference")
    one = kmtl.MultiTaskModel.from_features(image, image, tasks(1))
    for model, words in (
        (keras.Model(image, {"a": image * 2}), "must be a kmtl.MultiTaskModel, got Functional"),
        (one, r"must have two tasks or more, got \['zoo'\]"),
        (kmtl.MultiTaskModel.from_features(named, named, tasks()), "must not have an input of that name"),
        (without_a_place(), "must have a place for preferences"),
    ):
        with pytest.raises(ValueError, match=f"^condition: `model` {words}"):
            condition(model)


def test_what_cannot_be_folded_is_told():
    origin = nested()
    both = condition(origin)
    for row in ([0.5], [0, 0], [1, -1], [np.nan, 1], {"zoo": 1}, {"zoo": 1, "cat": 1}):
        with pytest.raises(ValueError, match=r"^fold: `preference` must give each of"):
            fold(both, origin, nested(), row)
    with pytest.raises(ValueError, match=r"^fold: `base` must have the layers of the model that was conditioned"):
        fold(both, origin, fused(), [0.5, 0.5])


class Raw(kmtl.Regression):
    """A head that begins with no dense layer."""

    def hidden_layers(self, features):
        return keras.layers.ReLU()(features)


def test_a_head_that_does_not_begin_densely_is_told():
    def build():
        image = keras.Input((4,), name="image")
        return kmtl.MultiTaskModel.from_features(image, image, [Raw("zoo"), kmtl.Regression("ant")])

    origin = build()
    both = condition(origin)
    with pytest.raises(ValueError, match=r"^fold: `base` must begin the head of 'zoo' densely, got a ReLU"):
        fold(both, origin, build(), [0.5, 0.5])
