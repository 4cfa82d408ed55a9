"""Trains a task of every kind on built-in data and draws a picture of each: the ones of docs/tasks.md.

    python examples/every_kind.py                    # docs/kinds/*.png, some minutes on two cores
    python examples/every_kind.py --smoke --out pictures

The digits are real handwriting; the sentences are made from templates.
"""

import argparse
import pathlib

import keras
import numpy as np
from scipy import ndimage

import kmtl

ARTISTS = ["ella fitzgerald", "miles davis", "nina simone", "joao gilberto", "fela kuti", "edith piaf"]
PLACES = ["oslo", "new york", "sao paulo", "cairo", "kyoto", "cape town"]
TEMPLATES = {
    "play": ("play {artist} now", "i want to hear {artist}", "put on some {artist} please"),
    "weather": ("will it rain in {place} today", "how warm is {place}", "weather for {place} please"),
}


def arrays(dataset, rows):
    """The first rows of a set, as arrays."""
    batches = list(dataset.unbatch().batch(rows).take(1).as_numpy_iterator())
    return batches[0]


def fitted(inputs, features, tasks, x, labels, epochs):
    """A joint model of some tasks, trained, with its held-out rows beside it."""
    model = kmtl.MultiTaskModel.from_features(inputs, features, tasks)
    model.compile(keras.optimizers.Adam(2e-3))
    model.fit(x, labels, epochs=epochs, batch_size=64, verbose=2)
    return model


def poses(rows, epochs):
    """Tasks of a vector on pictures of one digit: classes, yes or no, numbers, quantiles, a mean and its deviation."""
    train, _, test = kmtl.data.load("digit_poses", labels=["digit", "angle", "position", "scale"])

    def with_loops(labels):
        return {**labels, "loop": np.isin(labels["digit"], [0, 6, 8, 9]).astype("int32"), "tilt": labels["angle"]}

    (x, y), (x_test, y_test) = arrays(train, rows), arrays(test, 8)
    tasks = [
        kmtl.Classification("digit", 10),
        kmtl.BinaryClassification("loop"),
        kmtl.Regression("position", shape=(2,), unit="px"),
        kmtl.QuantileRegression("angle", unit="deg"),
        kmtl.HeteroscedasticRegression("tilt", unit="deg", beta=0.5),
    ]
    y = {task.name: with_loops(y)[task.name] for task in tasks}
    y_test = {task.name: with_loops(y_test)[task.name] for task in tasks}
    image = keras.Input((32, 32, 1), name="image")
    model = fitted(image, kmtl.trunks.convnet(image, widths=(16, 32, 64)), tasks, x, y, epochs)
    return model, x_test, y_test


def scenes(rows, epochs):
    """Tasks on pictures of several digits: how many, which, where, what each pixel is, how far the next ink is."""
    train, _, test = kmtl.data.load("digit_scenes", labels=["count", "digits", "boxes", "mask"])

    def with_more(labels):
        paper = labels["mask"] == 0
        distance = np.stack([ndimage.distance_transform_edt(one) for one in paper]).astype("float32")
        distance[paper.all(axis=(1, 2))] = np.nan  # no ink, no distance
        return {**labels, "grade": labels["count"], "number": labels["count"].astype("float32"), "distance": distance}

    (x, y), (x_test, y_test) = arrays(train, rows), arrays(test, 8)
    tasks = [
        kmtl.MultiLabel("digits", 10),
        kmtl.OrdinalRegression("grade", 6, label_names=["none", "one", "two", "three", "four", "five"]),
        kmtl.PoissonRegression("number", unit="digits"),
        kmtl.Segmentation("mask", 11, shape=(64, 64)),
        kmtl.DenseRegression("distance", unit="px", shape=(64, 64)),
        kmtl.Detection("boxes", 10, grid=8),
    ]
    y = {task.name: with_more(y)[task.name] for task in tasks}
    y_test = {task.name: with_more(y_test)[task.name] for task in tasks}
    image = keras.Input((64, 64, 1), name="image")
    maps = kmtl.trunks.stages(kmtl.trunks.convnet(image, widths=(16, 32, 64), pooling=None))
    model = fitted(image, {"map": maps, "vector": kmtl.trunks.pool(maps[-1])}, tasks, x, y, epochs)
    return model, x_test, y_test


def sentences(rows, epochs):
    """A tag a word beside a class of the whole sentence."""
    generator = np.random.default_rng(0)
    intents = list(TEMPLATES)
    slots = kmtl.Tagging("slots", ["O", "B-artist", "I-artist", "B-place", "I-place"], tokens=10)
    texts, tags, chosen = [], [], []
    for _ in range(rows + 8):
        intent = generator.integers(len(intents))
        kind, names = (("artist", ARTISTS), ("place", PLACES))[intent]
        before, after = generator.choice(TEMPLATES[intents[intent]]).split("{" + kind + "}")
        name = generator.choice(names).split()
        texts.append(" ".join([*before.split(), *name, *after.split()]))
        inside = [f"B-{kind}"] + [f"I-{kind}"] * (len(name) - 1)
        tags.append(["O"] * len(before.split()) + inside + ["O"] * len(after.split()))
        chosen.append(intent)
    x, labels = np.array(texts), {"slots": slots.labels(tags), "intent": np.array(chosen, "int32")}
    text = keras.Input((), dtype="string", name="text")
    vocabulary = kmtl.trunks.vocabulary(texts[:rows])
    sequence = kmtl.trunks.text(text, vocabulary, tokens=10, width=32, pooling=None)
    features = {"sequence": sequence, "vector": kmtl.trunks.pool(sequence, units=None)}
    tasks = [slots, kmtl.Classification("intent", 2, label_names=intents)]
    model = fitted(text, features, tasks, x[:rows], {name: part[:rows] for name, part in labels.items()}, epochs)
    return model, x[rows:], {name: part[rows:] for name, part in labels.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("docs/kinds"), help="where pictures go")
    parser.add_argument("--smoke", action="store_true", help="a few rows, one epoch")
    chosen = parser.parse_args()
    keras.utils.set_random_seed(0)
    for make, epochs in ((poses, 5), (scenes, 12), (sentences, 10)):
        rows = {poses: 10_000, scenes: 4_000, sentences: 512}[make]
        model, x, labels = make(64 if chosen.smoke else rows, 1 if chosen.smoke else epochs)
        for name, task in model.tasks.items():
            if name == "intent":
                continue  # a class as any other
            alone = model.without(*(other for other in model.tasks if other != name))
            file = chosen.out / f"{task.kind}.png"
            kmtl.evidence.plot_samples(alone, (x, {name: labels[name]}), file, count=4)
            print(file)


if __name__ == "__main__":
    main()
