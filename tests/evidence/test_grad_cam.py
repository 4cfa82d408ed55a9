"""Where evidence lies: closed forms of linear networks, and a picture whose evidence was put into one quadrant."""

import keras
import numpy as np
import pytest

import kmtl
from kmtl.evidence import grad_cam

SIDE = 8
QUADRANTS = {"up left": (0, 0), "up right": (0, 4), "down left": (4, 0), "down right": (4, 4)}


def planted(place):
    """A picture of noise with a bright spot in the middle of a quadrant."""
    picture = np.random.default_rng(0).random((SIDE, SIDE, 1)).astype("float32") * 0.1
    row, column = QUADRANTS[place]
    picture[row + 1 : row + 3, column + 1 : column + 3] = 1.0
    return picture


@pytest.fixture(scope="module")
def model():
    """Channels: the picture and its negative; heads on their means."""
    image = keras.Input((SIDE, SIDE, 1), name="image")
    start = keras.initializers.Constant(np.array([1.0, -1.0]).reshape(1, 1, 1, 2))
    pixels = keras.layers.Conv2D(2, 1, kernel_initializer=start, name="trunk")(image)
    means = keras.layers.GlobalAveragePooling2D()(pixels)
    tasks = [kmtl.Classification("kind", 3, label_names=["bright", "dark", "grey"]), kmtl.BinaryClassification("lit")]
    tasks += [kmtl.Regression("level", shape=2, unit="lx", standardize=False), kmtl.MultiLabel("tags", 2)]
    tasks += [kmtl.tasks.OrdinalRegression("grade", 3), kmtl.Segmentation("mask", 2, shape=(SIDE, SIDE))]
    made = kmtl.MultiTaskModel.from_features(image, {"vector": means, "map": pixels}, tasks)
    kernel = np.array([[3.0, 0.0, 1.0], [0.0, 3.0, 1.0]])
    made.get_layer("kind").set_weights([kernel, np.zeros(3)])
    made.get_layer("lit").set_weights([np.array([[2.0], [0.0]]), np.array([-0.2])])
    made.get_layer("level").set_weights([np.array([[2.0, -5.0], [0.0, 0.0]]), np.zeros(2)])
    made.get_layer("tags").set_weights([np.array([[1.0, -1.0], [0.0, 0.0]]), np.zeros(2)])
    return made


def test_the_map_of_a_linear_network_is_its_closed_form(model):
    picture = planted("up left")[None]
    found = grad_cam(model, picture)
    # The head sees the mean of A: of each place the gradient is its weight over the number of places.
    share, pixels = 1 / SIDE**2, picture[..., 0]
    expected = {
        # Of the decided class, bright, A_1 has weight 3 and A_2 none.
        "kind": 3 * share * pixels,
        "lit": 2 * share * pixels,
        "level[0]": 2 * share * pixels,
        "level[1]": -5 * share * pixels,
        "tags[0]": share * pixels,
        "tags[1]": np.zeros_like(pixels),
    }
    assert list(found.maps) == [*expected, "grade"]
    for row, values in expected.items():
        np.testing.assert_allclose(found.maps[row], values, rtol=1e-5, atol=1e-8)
    assert found.layer == "trunk"
    level = model.predict(picture, verbose=0)["level"][0]
    assert found.answers["kind"] + found.answers["level[1]"] == ["bright", f"{level[1]:.4g} lx"]
    # With no bias, the maps of a linear network add up to its output.
    assert found.maps["level[0]"].sum() == pytest.approx(level[0], rel=1e-5)
    other = grad_cam(model, picture, tasks=["kind"], classes={"kind": 1})
    # Darkness is the negative's mean, negative everywhere.
    assert (list(other.maps), other.answers["kind"], other.maps["kind"].max()) == (["kind"], ["dark"], 0.0)


def test_saturated_probabilities_still_show_their_evidence(model):
    picture = 1000 * planted("down left")[None]
    assert model.predict(picture, verbose=0)["kind"].max() == 1.0
    one = grad_cam(model, picture, tasks="kind").maps["kind"]
    np.testing.assert_allclose(one, 3 / SIDE**2 * picture[..., 0], rtol=1e-5)
    # The activation that was left out is there again.
    assert model.predict(picture, verbose=0)["kind"].sum() == pytest.approx(1.0)


def test_heads_of_one_kernel_show_their_logits_too():
    image = keras.Input((SIDE, SIDE, 1), name="image")
    means = keras.layers.GlobalAveragePooling2D()(keras.layers.Identity(name="map")(image))
    tasks = [kmtl.BinaryClassification("spot"), kmtl.BinaryClassification("other")]
    made = kmtl.MultiTaskModel.from_features(image, means, tasks, fuse=True)
    made.get_layer("spot_and_1_more").kernels[0].assign([[2.0, 5.0]])
    # Of so bright a picture both are sure to the last digit.
    picture = 1000 * planted("up right")[None]
    found = grad_cam(made, picture, tasks=["other", "spot"])
    for name, weight in {"spot": 2, "other": 5}.items():
        np.testing.assert_allclose(found.maps[name], weight / SIDE**2 * picture[..., 0], rtol=1e-5)


@pytest.mark.parametrize("fuse", [False, True], ids=["own heads", "one kernel"])
def test_evidence_is_found_in_the_quadrant_that_it_was_put_in(fuse):
    keras.utils.set_random_seed(0)
    image = keras.Input((SIDE, SIDE, 1), name="image")
    pixels = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    pixels = keras.layers.Conv2D(4, 3, padding="same", activation="relu", name="last")(pixels)
    tasks = [kmtl.BinaryClassification(name, hidden=4) for name in ("spot", "other")]
    made = kmtl.MultiTaskModel.from_features(image, keras.layers.GlobalAveragePooling2D()(pixels), tasks, fuse=fuse)
    # Of weights that are all positive whatever is bright speaks for yes. A frozen trunk has its map, too.
    for variable in made.weights:
        variable.assign(abs(variable))
    made.trainable = False
    found = grad_cam(made, np.stack([planted(place) for place in QUADRANTS]))
    assert found.layer == "last"
    for row in found.maps.values():
        for one, (top, left) in zip(row, QUADRANTS.values(), strict=True):
            inside = one[top : top + 4, left : left + 4]
            assert inside.max() == one.max() > 0
            # A quarter of the places has more than half of the evidence.
            assert inside.sum() > 0.5 * one.sum()


def test_it_prints_and_draws_and_refuses(model):
    pictures = np.stack([planted("up left"), planted("down right")])
    found = grad_cam(model, pictures, tasks=["kind", "level"])
    assert found.table()["peak"].iloc[0].startswith("0.")
    assert len([axis for axis in found.plot().axes if axis.get_visible()]) == 6
    assert found.signed == {"kind": False, "level[0]": True, "level[1]": True}
    for options, words in [
        ({"tasks": "mask"}, "must have one answer a picture, got 'mask'"),
        ({"tasks": "knid"}, "Did you mean 'kind'"),
        ({"layer": "trunks"}, "`layer` must name a layer with one map.*Did you mean 'trunk'"),
        ({"classes": {"kind": 3}}, r"`classes` of 'kind' must lie in 0\.\.2, got 3"),
        ({"classes": {"level": 0}}, "`classes` of 'level' must be left out"),
    ]:
        with pytest.raises(ValueError, match=f"(?s){words}"):
            grad_cam(model, pictures, **options)
    x = keras.Input((2,), name="x")
    flat = kmtl.MultiTaskModel.from_features(x, x, [kmtl.Regression("a", standardize=False)])
    with pytest.raises(ValueError, match="must have a map that all of these tasks need"):
        grad_cam(flat, np.zeros((1, 2)))
