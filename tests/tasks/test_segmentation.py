"""One class a pixel."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

import kmtl
from kmtl._checks import Refusals
from kmtl.losses import group_tasks
from kmtl.metrics import ClassificationReport, TaskMetrics, reported
from kmtl.tasks import Segmentation
from kmtl.tasks.upsampling import BilinearUpSampling


def head_of(task, shape):
    features = keras.Input(shape)
    return keras.Model(features, task.head(features))


@pytest.mark.parametrize(
    ("options", "sides", "expected", "layer"),
    [
        ({"shape": (8, 4)}, (4, 2), (8, 4), keras.layers.UpSampling2D),
        ({"shape": (7, 9)}, (4, 4), (7, 9), keras.layers.Resizing),
        ({"shape": (6, 6)}, (None, None), (6, 6), keras.layers.Resizing),
        ({"shape": (4, 4)}, (4, 4), (4, 4), None),
        ({"upsampling": 3}, (None, None), (None, None), BilinearUpSampling),
        ({"upsampling": 3}, (4, 2), (12, 6), keras.layers.UpSampling2D),
        ({}, (None, None), (None, None), None),
    ],
)
def test_the_logits_are_enlarged_to_the_labels_size(options, sides, expected, layer):
    task = Segmentation("mask", 3, **options)
    model = head_of(task, (*sides, 5))
    assert model.output.shape == (None, *expected, 3)
    assert model.layers[-1].name == "mask"
    enlarging = [one for one in model.layers if one.name == "mask_enlarged"]
    assert [type(one) for one in enlarging] == ([] if layer is None else [layer])
    outputs = model(np.ones((2, 4, 2, 5), "float32") if sides in [(None, None), (4, 2)] else np.ones((2, 4, 4, 5)))
    factor = options.get("upsampling", 1)
    assert outputs.shape[1:3] == tuple(a or factor * b for a, b in zip(expected, (4, 2), strict=True))
    np.testing.assert_allclose(ops.sum(outputs, axis=-1), 1.0, rtol=1e-5)


def test_an_enlarged_edge_lies_between_the_map_s_pixels():
    task = Segmentation("mask", 2, shape=(8, 8))
    model = head_of(task, (4, 4, 2))
    model.get_layer("mask_logits").set_weights([20 * np.eye(2).reshape(1, 1, 2, 2), np.zeros(2)])
    left = np.repeat(np.arange(4) < 2, 4).reshape(4, 4).T
    rows = np.stack([left, ~left], axis=-1)[None].astype("float32")
    decided = ops.convert_to_numpy(task.decide(model(rows)))[0]
    np.testing.assert_array_equal(decided, np.tile(np.repeat([0, 1], 4), (8, 1)))


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_maps_of_open_size_are_enlarged_as_keras_enlarges_known_ones(factor):
    rows = np.random.default_rng(0).normal(size=(2, 3, 5, 2)).astype("float32")
    expected = keras.layers.UpSampling2D(factor, interpolation="bilinear")(rows)
    image = keras.Input((None, None, 2))
    model = keras.Model(image, BilinearUpSampling(factor)(image))
    assert model.output_shape == (None, None, None, 2)
    # In a graph, where the sizes are open.
    graph = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 2))])
    np.testing.assert_allclose(graph(rows), expected, atol=1e-6)
    again = keras.Model.from_config(model.get_config())
    np.testing.assert_array_equal(again(rows), model(rows))


def dense(map, layer):
    """A convolution with "same" padding, of a few lines."""
    kernel, bias = (np.asarray(weight) for weight in layer.weights)
    side = kernel.shape[0] // 2
    padded = np.pad(map, [(0, 0), (side, side), (side, side), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, kernel.shape[:2], axis=(1, 2))
    return np.einsum("bhwcij,ijco->bhwo", windows, kernel) + bias


@pytest.mark.parametrize(("merge", "finer"), [("sum", (7, 5)), ("concatenation", (8, 6)), ("sum", (None, None))])
def test_a_decoder_goes_from_coarse_to_fine(merge, finer):
    """By NumPy and Keras's own enlargement, layer by layer; sizes that are odd, whole factors, and open."""
    keras.utils.set_random_seed(3)
    task = Segmentation("mask", 2, shape=(14, 10), decoder=4, merge=merge)
    maps = [keras.Input((*finer, 3)), keras.Input((None, None, 2) if None in finer else (4, 3, 2))]
    model = keras.Model(maps, task.head(maps))
    given = [
        np.random.default_rng(0).normal(size=(2, *size))
        for size in (((7, 5) if None in finer else finer) + (3,), (4, 3, 2))
    ]
    part = {layer.name.removeprefix("mask_decoder_"): layer for layer in model.layers if layer.weights}
    low = np.maximum(dense(dense(given[1], part["2_lateral"]), part["2"]), 0)
    low = keras.layers.Resizing(*given[0].shape[1:3])(low)
    side = dense(given[0], part["1_lateral"])
    joined = low + side if merge == "sum" else np.concatenate([low, side], axis=-1)
    logits = dense(np.maximum(dense(np.asarray(joined), part["1"]), 0), part["mask_logits"])
    expected = ops.softmax(keras.layers.Resizing(14, 10)(logits))
    np.testing.assert_allclose(model(given), expected, atol=1e-5)


def test_a_head_takes_the_maps_that_it_can_use():
    maps = [keras.Input((side, side, 2)) for side in (16, 8, 4)]
    assert Segmentation("mask", 2, shape=(32, 32)).chosen_map(maps) == maps
    assert Segmentation("mask", 2).chosen_map(maps) == maps
    # One finer than the label tells it nothing.
    assert Segmentation("mask", 2, shape=(12, 12)).chosen_map(maps) == maps[1:]
    assert Segmentation("mask", 2, shape=(2, 2)).chosen_map(maps) == maps[2:]
    assert Segmentation("mask", 2, decoder=0).chosen_map(maps) is maps[-1]
    # A kind that says nothing takes what a trunk gives by itself, and of one map there is no decoder.
    assert kmtl.Regression("age").chosen_map(maps) is maps[-1]
    assert [layer.name for layer in head_of(Segmentation("mask", 2), (4, 4, 2)).layers[1:]] == ["mask_logits", "mask"]


def test_ignored_and_missing_pixels_are_the_same_to_loss_metrics_and_counts():
    generator = np.random.default_rng(0)
    task = Segmentation("mask", 3, shape=(5, 5), ignore=255)
    labels = generator.integers(0, 3, (4, 5, 5))
    gone = generator.random(labels.shape) < 0.4
    outputs = generator.dirichlet(np.ones(3), (4, 5, 5)).astype("float32")
    found = []
    for fill in (-1, 255):
        (group,) = group_tasks([task], {"mask": task.resolved_loss()}, {})
        metrics = TaskMetrics([group], reported([task], {"mask": task.metrics}, {}))
        seen = group.examples({"mask": np.where(gone, fill, labels)}, {"mask": outputs})
        metrics.update_state([seen])
        statistics = task.statistics()
        statistics.update(np.where(gone, fill, labels))
        with Refusals("Demo") as refusals:
            statistics.refuse(refusals, "y")
        values = {key: float(value) for key, value in metrics.result().items()}
        found.append((*(float(part[0]) for part in group.sums(seen)), values, statistics.counts.tolist()))
    assert found[0] == found[1]
    assert found[0][1] == (~gone).sum()
    assert found[0][3] == np.bincount(labels[~gone], minlength=3).tolist()


def test_a_weight_may_be_one_a_pixel():
    generator = np.random.default_rng(0)
    task = Segmentation("mask", 3, shape=(4, 4))
    labels, weights = generator.integers(-1, 3, (2, 4, 4)), generator.uniform(0.0, 2.0, (2, 4, 4))
    outputs = generator.dirichlet(np.ones(3), (2, 4, 4)).astype("float32")
    (group,) = group_tasks([task], {"mask": task.resolved_loss()}, {})
    sums, counts = group.sums(group.examples({"mask": labels}, {"mask": outputs}, {"mask": weights}))
    there = labels >= 0
    chosen = np.take_along_axis(outputs, np.maximum(labels, 0)[..., None], axis=-1)[..., 0]
    assert float(sums[0]) == pytest.approx((-np.log(chosen) * weights)[there].sum(), rel=1e-5)
    assert float(counts[0]) == there.sum()


def test_of_sides_that_vary_an_absent_label_takes_those_of_the_output():
    task = Segmentation("mask", 3)
    (group,) = group_tasks([task], {"mask": task.resolved_loss()}, {})
    outputs = np.full((2, 4, 6, 3), 1 / 3, "float32")
    sums, counts = group.sums(group.examples({"mask": task.absent_labels(2)}, {"mask": outputs}))
    assert (float(sums[0]), float(counts[0])) == (0.0, 0.0)


def test_a_report_counts_pixels():
    task = Segmentation("mask", 3, shape=(2, 2), label_names=["sky", "tree", "road"])
    labels = np.array([[[0, 1], [2, -1]], [[1, 1], [0, 0]]])
    outputs = np.eye(3)[[[[0, 1], [0, 2]], [[1, 0], [0, 0]]]]
    report = ClassificationReport(task, labels, outputs)
    assert report.values["accuracy"] == pytest.approx(5 / 7)
    assert report.values["tree"]["recall"] == pytest.approx(2 / 3)
    assert report.values["sky"]["support"] == 3


def test_features_are_refused_with_the_way_out():
    image = keras.Input((8, 8, 1), name="image")
    vector = keras.layers.Flatten()(image)
    mask = Segmentation("mask", 2, shape=(8, 8))
    build = kmtl.MultiTaskModel.from_features
    with pytest.raises(ValueError, match=r"\(batch, height, width, channels\) for task 'mask'.*pooling=None"):
        build(image, vector, [mask, kmtl.Regression("age")])
    with pytest.raises(ValueError, match=r"must hold those of task 'mask', a 'map', got \['vector'\]\. Add 'map'"):
        build(image, {"vector": vector}, [mask, kmtl.Regression("age")])
    coarse = keras.layers.MaxPooling2D()(image)
    with pytest.raises(
        ValueError, match=r"must go from fine to coarse for task 'mask', got heights and widths of \[\(4, 4"
    ):
        build(image, {"map": [coarse, image]}, [mask])
    with pytest.raises(ValueError, match=r"must be a KerasTensor of shape .* for task 'mask', got \(None, 64\)"):
        build(image, {"mask": [image, vector]}, [mask])
    with pytest.raises(ValueError, match=r"`features` must be a KerasTensor of shape \(batch, width\)"):
        build(image, [image, coarse], [kmtl.Regression("age")])
    with pytest.raises(ValueError, match=r"got \['map'\], the name of a task\. Rename the task"):
        build(image, {"vector": vector, "map": image}, [kmtl.Regression("map"), kmtl.Regression("age")])
    # Of a map alone every task that wants one is served, and a fork stands behind what several take.
    model = build(image, {"vector": vector, "map": image}, [mask, kmtl.Regression("age"), kmtl.Regression("size")])
    assert [fork.names for fork in model.forks] == [["age", "size"]]


def test_a_picture_gets_the_classes_and_the_outlines():
    from matplotlib.figure import Figure

    task = Segmentation("mask", 3, shape=(4, 4))
    axis = Figure().subplots()
    axis.imshow(np.zeros((8, 8)))
    label = np.repeat([[0, 0, 1, -1]], 4, axis=0)
    output = np.eye(3)[np.repeat([[0, 1, 1, 2]], 4, axis=0)]
    task.draw(axis, label, output)
    overlay = axis.images[-1]
    np.testing.assert_array_equal(overlay.get_array(), output.argmax(axis=-1))
    assert tuple(overlay.get_extent()) == tuple(axis.images[0].get_extent())
    assert len(axis.collections) == 2
    assert task.describe(label, output) == "mask 67 % of pixels"


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"classes": 1}, "`classes` must be a whole number of at least 2, got 1"),
        ({"shape": 32}, r"`shape` must be \(height, width\), got 32"),
        ({"shape": (4, 0)}, "`shape` must hold positive whole numbers"),
        ({"ignore": 2}, r"`ignore` must be a whole number outside of 0\.\.2, got 2"),
        ({"upsampling": 0}, "`upsampling` must be a whole number of at least 1, got 0"),
        ({"decoder": -1}, "`decoder` must be a number of channels, 'auto', or None for no decoder, got -1"),
        ({"merge": "add"}, "`merge` must be 'sum' or 'concatenation', got 'add'"),
        ({"class_weight": {5: 1.0}}, r"`class_weight` must map classes 0\.\.2"),
    ],
)
def test_bad_options_are_refused(options, rule):
    with pytest.raises(ValueError, match=rf"^Segmentation\('mask'\): {rule}"):
        Segmentation("mask", **{"classes": 3, **options})


def test_options_survive_the_file():
    task = Segmentation(
        "mask",
        3,
        shape=(4, 6),
        decoder=8,
        merge="concatenation",
        ignore=255,
        class_weight={1: 2.0},
        label_names=["a", "b", "c"],
    )
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(task))
    assert again == task
    assert (again.shape, again.ignore, again.class_weight) == ((4, 6), 255, {1: 2.0})
    assert (again.decoder, again.merge) == (8, "concatenation")
