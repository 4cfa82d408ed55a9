"""Journeys of a new user that begin with data: files and a table, generators, turned pictures, two inputs, text."""

import keras
import numpy as np
import pages
import pandas as pd
import pytest
import tensorflow as tf

import kmtl

pytestmark = pytest.mark.long


@pytest.fixture
def eager():
    """Without graphs, for a few steps."""
    with pages.eagerly():
        yield


def corner_and_size():
    return [
        kmtl.Classification("corner", classes=4, label_names=["nw", "ne", "sw", "se"]),
        kmtl.Regression("size", unit="px"),
    ]


def small_model(inputs, features, tasks, **options):
    model = kmtl.MultiTaskModel.from_features(inputs, features, tasks)
    model.compile("adam", **options)
    return model


@pytest.mark.usefixtures("eager")
def test_a_table_with_gaps_and_a_folder_of_images(folder, pictures, labels):
    """A CSV with half-filled columns and files beside it; trained, and a picture of the result."""
    (folder / "images").mkdir()
    names = ["nw", "ne", "sw", "se"]
    for number, picture in enumerate(pictures):
        keras.utils.save_img(folder / "images" / f"{number}.png", picture, scale=True)
    table = pd.DataFrame(
        {
            "file": [f"{number}.png" for number in range(len(pictures))],
            "corner": [None if place < 0 else names[place] for place in labels["corner"]],
            "size": labels["size"],
        }
    )
    table.to_csv("labels.csv", index=False)

    tasks = corner_and_size()
    data = kmtl.data.from_folder("images", "labels.csv", tasks, file_column="file", image_size=16, batch_size=16)
    image = keras.Input((16, 16, 3), name="image")
    model = small_model(image, kmtl.trunks.convnet(image, widths=(8,), units=16), tasks)
    model.fit(data, epochs=1, verbose=0)
    logs = model.evaluate(data, verbose=0, return_dict=True)
    # The scale of the sizes is that of the labels that are there.
    assert float(model.scalers["size"].mean[0]) == pytest.approx(np.nanmean(labels["size"]), rel=1e-5)
    assert {"corner_accuracy", "size_mae"} <= set(logs)
    kmtl.evidence.plot_samples(model, data, "samples.png")
    assert (folder / "samples.png").stat().st_size > 5000


@pytest.mark.usefixtures("eager")
def test_batches_from_a_generator(pictures, labels):
    tasks = corner_and_size()
    image = keras.Input((16, 16, 3), name="image")
    model = small_model(image, kmtl.trunks.convnet(image, widths=(8,), units=16), tasks)
    generator = np.random.default_rng(0)

    def batches():
        while True:
            chosen = generator.integers(0, len(pictures), 8)
            yield pictures[chosen], {name: values[chosen] for name, values in labels.items()}

    history = model.fit(batches(), steps_per_epoch=3, epochs=2, verbose=0, validation_data=(pictures, labels)).history
    assert len(history["val_corner_accuracy"]) == 2


def test_a_picture_that_is_mirrored_moves_its_corner(pictures, labels):
    """A flip in the data exchanges west and east, and leaves what is missing missing."""

    def mirrored(batch, label):
        flipped = tf.reverse(batch, axis=[2])
        place = label["corner"]
        moved = tf.where(place < 0, place, tf.bitwise.bitwise_xor(place, 1))
        return flipped, {**label, "corner": moved}

    tasks = corner_and_size()
    data = kmtl.data.from_arrays(pictures, labels, tasks, batch_size=16)
    image = keras.Input((16, 16, 3), name="image")
    model = small_model(image, keras.layers.Flatten()(image), tasks)
    model.compile(keras.optimizers.Adam(0.01))
    model.fit(data.concatenate(data.map(mirrored)), epochs=25, verbose=0)
    logs = model.evaluate(data.map(mirrored), verbose=0, return_dict=True)
    assert logs["corner_accuracy"] > 0.9


@pytest.mark.usefixtures("eager")
def test_an_image_and_a_table_beside_it(pictures, labels):
    image, table = keras.Input((16, 16, 3), name="image"), keras.Input((2,), name="table")
    features = keras.layers.Concatenate()([kmtl.trunks.convnet(image, widths=(8,), units=8), table])
    model = small_model({"image": image, "table": table}, features, corner_and_size())
    rows = np.random.default_rng(0).normal(size=(len(pictures), 2)).astype("float32")
    inputs = {"image": pictures, "table": rows}
    model.fit(inputs, labels, epochs=1, verbose=0)
    assert model.predict(inputs, verbose=0)["corner"].shape == (48, 4)


def test_text_in_labels_out():
    """Text by layers of Keras; the saved model and the exported one take text too."""
    texts = np.array(["fast and cheap", "slow and dear", "slow but cheap", "fast but dear"] * 8)
    labels = {"fast": np.array([1, 0, 0, 1] * 8), "price": np.array([1.0, 9.0, 1.5, 8.0] * 8, "float32")}
    labels["price"][::3] = np.nan
    words = keras.layers.TextVectorization(output_sequence_length=4)
    words.adapt(texts)
    text = keras.Input((), dtype="string", name="text")
    tokens = keras.layers.Embedding(words.vocabulary_size(), 8)(words(text))
    tasks = [kmtl.BinaryClassification("fast"), kmtl.Regression("price", unit="EUR")]
    model = small_model(text, keras.layers.Flatten()(tokens), tasks)
    model.compile(keras.optimizers.Adam(0.05))
    model.fit(tf.constant(texts), labels, epochs=30, verbose=0)
    assert model.evaluate(texts, labels, verbose=0, return_dict=True)["fast_accuracy"] == 1.0
    model.save("reader.keras")
    again = keras.saving.load_model("reader.keras")
    expected = model.predict(texts, verbose=0)
    np.testing.assert_allclose(again.predict(tf.constant(texts), verbose=0)["price"], expected["price"], rtol=1e-5)
    kmtl.export.saved_model(model, "served")
    served = tf.saved_model.load("served/1").signatures["serving_default"]
    np.testing.assert_allclose(served(tf.constant(texts))["price"], expected["price"], rtol=1e-5)
