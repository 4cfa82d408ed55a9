"""Every kind of task compared and drawn: one row of the table in tests/kinds.py a kind."""

import keras
import numpy as np
import pages
import pytest
import tensorflow as tf
from kinds import KINDS
from kinds_model import NAMES

import kmtl
from kmtl.evidence import advise, compare, plot_samples

COUNT = 8
TASKS = {name: KINDS[name].make(f"{name}_task") for name in NAMES}


def dataset(seed=0):
    generator = np.random.default_rng(seed)
    x = generator.random((COUNT, 4, 4, 1), dtype="float32")
    labels = {task.name: KINDS[name].draw(generator, COUNT) for name, task in TASKS.items()}
    for name, task in TASKS.items():
        labels[task.name][1] = KINDS[name].make("zebra").missing
    return tf.data.Dataset.from_tensor_slices((x, labels)).batch(COUNT)


def build(tasks):
    image = keras.Input((4, 4, 1), name="image")
    fine = keras.layers.Conv2D(3, 3, padding="same", activation="tanh")(image)
    features = keras.layers.Conv2D(3, 3, strides=2, padding="same", activation="tanh")(fine)
    every = {
        "map": [fine, features],
        "sequence": keras.layers.Reshape((4, -1))(features),
        "vector": keras.layers.GlobalAveragePooling2D()(features),
    }
    model = kmtl.MultiTaskModel.from_features(image, every, tasks)
    model.compile("adam", run_eagerly=True)
    return model


@pytest.mark.long
def test_every_kind_is_compared_by_its_own_metrics():
    recipes = {"joint": kmtl.training.Joint()}
    options = {"epochs": 1, "seeds": (0,), "recipes": recipes, "verbose": 0}
    found = compare(build, list(TASKS.values()), dataset(), dataset(1), **options)
    expected = [(task.name, metric) for task in TASKS.values() for metric in task.metric_names()]
    table = found["joint"].table()
    assert sorted(zip(table["task"], table["metric"], strict=True)) == sorted(expected)
    assert np.isfinite(table["value"]).all()
    assert np.isfinite(table["baseline"]).all()
    assert all(name in str(found) for name in found.baselines)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(2)
    return build(list(TASKS.values()))


@pytest.fixture(scope="module")
def axes(model):
    return plot_samples(model, dataset(), count=3).axes


@pytest.mark.parametrize("name", NAMES)
def test_a_sample_tells_and_draws_what_the_task_does(model, axes, name):
    images, labels = next(iter(dataset()))
    outputs = model.predict(images, verbose=0)
    task = TASKS[name]
    label = labels[task.name].numpy()
    for place, axis in enumerate(axes[:3]):
        line = axis.get_title(loc="left").splitlines()[NAMES.index(name)]
        assert line == task.describe(label[place], outputs[task.name][place])
        # The second example has no label.
        assert ("?" in line) == (place == 1)
        if task.dense_axes == 2 and task.decides:
            decided = keras.ops.convert_to_numpy(task.decide(outputs[task.name]))
            np.testing.assert_array_equal(axis.images[1].get_array(), decided[place])
            assert bool(axis.collections) == (place != 1)
        elif task.dense_axes == 2:
            truth, shown = (one.images[0].get_array() for one in axis.child_axes[:2])
            np.testing.assert_allclose(shown, outputs[task.name][place][..., 0])
            np.testing.assert_allclose(np.ma.filled(truth, np.nan), label[place])
        if task.kind == "detection":
            objects = 0 if place == 1 else (label[place][:, 4] >= 0).sum()
            assert [one.get_linestyle() for one in axis.patches].count("--") == objects


def test_what_is_a_map_already_is_not_explained(model):
    images, _ = next(iter(dataset()))
    for name in ("segmentation", "detection"):
        with pytest.raises(ValueError, match=r"must have one answer a picture, got .* Its output is a map already"):
            kmtl.evidence.grad_cam(model, images, tasks=[f"{name}_task"])


def test_a_task_without_labels_is_drawn_as_unknown(model):
    unlabelled = dataset().map(lambda x, y: (x, {"vector_task": y["vector_task"]}))
    title = plot_samples(model, unlabelled, count=1).axes[0].get_title(loc="left")
    assert title.splitlines()[NAMES.index("classification")].startswith("classification_task ? → ")


def test_every_kind_has_a_level_of_guessing_that_no_other_constant_beats(model):
    with pages.eagerly():
        found = advise(model, dataset(), batches=1).tasks
    (_, labels), generator = next(iter(dataset())), np.random.default_rng(4)
    for task in TASKS.values():
        given = labels[task.name].numpy()
        best = task.constant_outputs(given)
        # Which box answers for an object depends on the outputs.
        assert bool(best) == (task.kind != "detection")
        assert (found["guessing"][task.name] > 0) == bool(best)
        if not best:
            continue
        assert {np.shape(output) for output in best} == {(task.units,)}
        group = next(one for one in model.setup.groups if task.name in one.names)
        for _ in range(5):
            moved = best[0] + generator.uniform(0.02, 0.2, task.units)
            moved = moved / moved.sum() if task.weighs_classes and task.units > 1 else np.clip(moved, 0.01, None)
            if task.decides:
                moved = np.clip(moved, 0.01, 0.99)
            outputs = np.broadcast_to(moved.astype("float32"), (*given.shape[: 1 + task.dense_axes], task.units))
            sums, counts = group.sums(group.examples({task.name: given}, {task.name: outputs}))
            assert float(sums[0]) / float(counts[0]) >= found["guessing"][task.name] - 1e-5
