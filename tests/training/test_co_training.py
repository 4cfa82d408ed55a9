"""Two views of the data that label it for each other."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from recipe_rows import TASKS, build, left, right, rows, train

import kmtl
from kmtl import training
from kmtl.training.co_training import NormalizedProduct
from kmtl.training.confident_labels import confident_labels
from kmtl.training.input_views import InputView

KIND = kmtl.Classification("kind", 2)
WIDTH = 20


def pairs(count, seed, labelled=None):
    """Two views that each tell the kind along one direction of many, independently given it."""
    random, directions = np.random.default_rng(seed), np.random.default_rng(99).normal(size=(2, WIDTH))
    kind = random.integers(0, 2, count).astype("int32")
    signs = 1.5 * (2 * kind[:, None] - 1)
    x = {
        name: (random.normal(size=(count, WIDTH)) + signs * along / np.linalg.norm(along)).astype("float32")
        for name, along in zip(("one", "other"), directions, strict=True)
    }
    y = np.where(np.arange(count) < (labelled or count), kind, -1).astype("int32")
    return x, {"kind": y}


def build_eagerly(tasks):
    return build_pairs(tasks, run_eagerly=True)


def build_pairs(tasks, *, run_eagerly=False):
    inputs = {name: keras.Input((WIDTH,), name=name) for name in ("one", "other")}
    model = kmtl.MultiTaskModel.from_features(inputs, keras.layers.Concatenate()(list(inputs.values())), tasks)
    model.compile(keras.optimizers.Adam(0.1), run_eagerly=run_eagerly)
    return model


@pytest.mark.long
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2))])
def test_independent_views_make_much_of_few_labels(seed):
    data, test = pairs(600, seed, labelled=12), pairs(1000, 100 + seed)
    few = {name: value[:12] for name, value in data[0].items()}, {"kind": data[1]["kind"][:12]}
    options = {"epochs": 6, "batch_size": 600, "verbose": 0, "seed": seed}
    recipe = training.CoTraining(("one", "other"), rounds=2, take=0.25)
    found = recipe.train(build_eagerly, [KIND], data, **options)
    supervised = training.Joint(epochs=3.0).train(build_eagerly, [KIND], few, **options)
    accuracies = [
        trained.model.evaluate(*test, verbose=0, return_dict=True)["kind_accuracy"] for trained in (found, supervised)
    ]
    assert accuracies[0] > 0.95
    assert 1 - accuracies[0] < 0.5 * (1 - accuracies[1])
    assert all(np.diff([0, *found.notes["labelled"]["kind"]]) > 0)


def test_a_row_with_one_view_gets_no_label_and_trains_that_view_alone():
    x, y = pairs(16, 0, labelled=8)
    x["one"][::2] = 0.0
    seen = []

    class Counts(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            del logs
            seen.append(int(self.model.optimizer.iterations))

    found = training.CoTraining(("one", "other"), rounds=1, take=1.0).train(
        build_eagerly, [KIND], (x, y), epochs=1, batch_size=1, verbose=0, callbacks=lambda: [Counts()]
    )
    given = found.notes["labelled"]["kind"][0]
    assert 0 < given <= 4
    # One row a step: labelled rows of each view, then those and what was given.
    assert seen == [4, 8, 4 + given, 8 + given]


def test_labels_of_unlabelled_rows_are_never_read():
    (x, y), (more, _) = pairs(16, 0), pairs(24, 1)
    garbage = {"kind": np.full(24, 10**6)}
    data = tf.data.Dataset.from_tensor_slices((more, garbage)).batch(7)
    models = []
    for unlabelled in (more, data):
        recipe = training.CoTraining(("one", "other"), unlabelled, rounds=1, take=0.5)
        models.append(recipe.train(build_eagerly, [KIND], (x, y), epochs=1, batch_size=16, verbose=0).model)
    for one, two in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, two)
    # Arrays beside labels are the same rows.
    found = training.CoTraining(("one", "other"), (more, garbage)).unlabelled.x
    assert found.keys() == more.keys()
    for name, values in more.items():
        np.testing.assert_array_equal(found[name], values)


def test_surest_rows_get_labels_in_the_shares_of_the_classes():
    random = np.random.default_rng(0)
    start = np.array([0] * 6 + [1] * 2 + [-1] * 80)
    open_ = start < 0
    views = [random.dirichlet((1.0, 1.0), len(start)) for _ in range(2)]
    for one in views:
        given = confident_labels(start, [one], open_, 0.1)
        new = open_ & (given >= 0)
        assert np.bincount(given[new]).tolist() == [6, 2]
        for kind in (0, 1):
            rest = open_ & (given < 0) & (one.argmax(-1) == kind)
            assert one[new & (given == kind), kind].min() >= one[rest, kind].max()
    np.testing.assert_array_equal(confident_labels(start, views, open_, 0.1)[:8], start[:8])


def test_what_two_views_call_differently_stays_without_a_label():
    start, views = np.array([0, 1, -1, -1]), [np.array([[1, 0], [0, 1], [0.9, 0.1], [0.2, 0.8]])] * 2
    views[1] = views[1][:, ::-1].copy()
    assert confident_labels(start, views, start < 0, 1.0).tolist() == [0, 1, -1, -1]
    # A class without a label at the start is never given.
    assert confident_labels(np.array([0, 0, -1, -1]), views[:1], start < 0, 1.0).tolist() == [0, 0, 0, -1]


def test_the_product_is_the_posterior_of_two_independent_views():
    # Equal priors: p(c | x1, x2) is proportional to p(x1 | c) p(x2 | c).
    likelihoods = np.random.default_rng(1).random((2, 5, 3)).astype("float32")
    alone = [one / one.sum(-1, keepdims=True) for one in likelihoods]
    both = likelihoods.prod(0)
    np.testing.assert_allclose(NormalizedProduct()(alone), both / both.sum(-1, keepdims=True), rtol=1e-5)
    yes = [one[:, :1] / one[:, :2].sum(-1, keepdims=True) for one in likelihoods]
    np.testing.assert_allclose(NormalizedProduct()(yes), both[:, :1] / both[:, :2].sum(-1, keepdims=True), rtol=1e-5)
    sure = NormalizedProduct()([np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])])
    assert np.isfinite(sure).all()


def test_tasks_without_classes_are_trained_on_their_labels_and_told():
    found = train(training.CoTraining((left, right), rounds=1), epochs=1, batch_size=24, validation=None)
    assert found.notes["supervised"] == ["speed"]
    assert list(found.notes["labelled"]) == ["kind"]
    x = rows(seed=1)[0]
    parts = [layer for layer in found.model.layers if layer.name.startswith("view_")]
    outputs = [part.predict(view(x), verbose=0) for part, view in zip(parts, (left, right), strict=True)]
    joined = found.model.predict(x, verbose=0)
    np.testing.assert_allclose(joined["speed"], (outputs[0]["speed"] + outputs[1]["speed"]) / 2, rtol=1e-5)
    product = outputs[0]["kind"] * outputs[1]["kind"]
    np.testing.assert_allclose(joined["kind"], product / product.sum(-1, keepdims=True), rtol=1e-5)


def test_functions_are_told_by_their_names():
    assert repr(training.CoTraining((left, right), rounds=2)) == "CoTraining(views=(left, right), rounds=2)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": ("image",)}, "`views` must be two different names"),
        ({"views": ("image", "image")}, "`views` must be two different names"),
        ({"views": ("image", left)}, "`views` must be two different names"),
        ({"views": (left, right), "rounds": 0}, "`rounds` must be a whole number of at least 1"),
        ({"views": (left, right), "take": 0}, "`take` must be a share"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        training.CoTraining(**options)


def test_data_that_views_cannot_label_is_refused():
    x, y = pairs(8, 0, labelled=4)
    options = {"epochs": 1, "verbose": 0}
    named = training.CoTraining(("one", "other"))
    with pytest.raises(ValueError, match=r"`views` must name inputs of the model .* got 'two'"):
        training.CoTraining(("one", "two")).train(build_pairs, [KIND], (x, y), **options)
    with pytest.raises(ValueError, match=r"`train` must have rows that hold both views and no label of .*0 unlabelled"):
        named.train(build_pairs, [KIND], pairs(8, 0), **options)
    x["one"][4:] = 0.0
    with pytest.raises(ValueError, match="`train` must have rows that hold both views"):
        named.train(build_pairs, [KIND], (x, y), **options)
    images, labels = rows()
    speeds = images, {"speed": labels["speed"]}
    with pytest.raises(ValueError, match="`tasks` must have one with one class a row"):
        training.CoTraining((left, right)).train(build, TASKS[1:], speeds, **options)
    with pytest.raises(ValueError, match="`views` must keep shape and dtype of the inputs"):
        train(training.CoTraining((left, lambda image: image[:, :, 2:])))


def test_an_input_is_seen_and_the_others_are_zeros():
    x = {"image": np.ones((2, 3), "float32"), "text": np.full((2, 4), 7), "sound": np.ones((2, 1))}
    found = InputView("text", "text", list(x)).of_arrays("CoTraining", x)
    assert {name: (value.sum(), value.dtype) for name, value in found.items()} == {
        "image": (0, x["image"].dtype),
        "text": (56, x["text"].dtype),
        "sound": (0, x["sound"].dtype),
    }
