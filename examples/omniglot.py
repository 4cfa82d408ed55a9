"""Handwritten characters: which alphabet, which character, in how many strokes, and how much ink, from one picture.

4,840 pictures of Omniglot (Lake, Salakhutdinov and Tenenbaum, "Human-level concept learning through probabilistic
program induction", Science 2015): 242 characters of 8 alphabets, each by 20 drawers, with what the pen did. An alphabet
is a coarser class than a character, strokes are counted, and the test is of drawers whom no model has seen.

    python examples/omniglot.py --data FOLDER --seeds 3   # FOLDER holds omniglot_56.npz; some minutes
    python examples/omniglot.py --smoke                   # seconds, on made-up characters; numbers mean nothing
"""

import argparse
import os
import pathlib
import platform

# Before TensorFlow is imported: docs/speed.md.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

import kmtl

RESULTS = pathlib.Path(__file__).parents[1] / "benchmarks" / "results" / "omniglot.md"
BATCH = 64
# The task's name, and the file's.
COLUMNS = {"alphabet": "alphabet", "character": "character", "strokes": "n_strokes", "ink": "ink_length"}


def characters(folder, smoke):
    """Pictures in 0..1, labels by task, and the split: 0 training, 1 validation, 2 test."""
    if folder is None:
        return made_up(120)
    with np.load(folder / "omniglot_56.npz") as file:
        # 20 drawers follow each other: every 41st row is of another one.
        rows = np.arange(len(file["character"]))[:: 41 if smoke else 1]
        labels = {name: file[column][rows] for name, column in COLUMNS.items()}
        return halved(file["images"][rows, :, :, None]), labels, file["split"][rows]


def halved(images):
    """Bytes as numbers in 0..1, each the mean of four pixels."""
    count, height, width, channels = images.shape
    blocks = images.reshape(count, height // 2, 2, width // 2, 2, channels)
    return blocks.mean((2, 4), dtype="float32") / 255


def made_up(rows):
    """Characters of one to six bars: across in one alphabet, upright in the other."""
    random = np.random.default_rng(0)
    character = np.arange(rows) % 12
    alphabet, strokes = character // 6, character % 6 + 1
    length = random.integers(8, 24, rows)
    pictures = np.zeros((rows, 28, 28, 1), "float32")
    for picture, upright, bars, end in zip(pictures, alphabet, strokes, length, strict=True):
        picture[2 : 4 * bars : 4, 2 : 2 + end] = 1
        if upright:
            picture[:] = picture.swapaxes(0, 1).copy()
    labels = {"alphabet": alphabet, "character": character, "strokes": strokes, "ink": strokes * length / 28}
    return pictures, labels, np.where(np.arange(rows) // 60, 2, 0)


def tasks():
    """Two classifications, a count and a regression."""
    return [
        kmtl.Classification("alphabet", classes=8),
        kmtl.Classification("character", classes=242),
        kmtl.PoissonRegression("strokes", metrics=["mae"]),
        kmtl.Regression("ink", unit="canvas widths"),
    ]


def compare(data, options):
    """Each task alone, all jointly, and all jointly for as long as the single models take together."""
    images, labels, split = data
    rows, held_out = (
        kmtl.data.from_arrays(
            images[split == part],
            {name: values[split == part] for name, values in labels.items()},
            tasks(),
            batch_size=BATCH,
            shuffle=part == 0,
        )
        for part in (0, 2)
    )
    epochs = 1 if options.smoke else options.epochs
    steps = epochs * len(rows)

    def build(chosen, steps=steps):
        picture = keras.Input(images.shape[1:], name="picture")
        features = kmtl.trunks.convnet(picture, widths=(16, 32, 64), pool_first=True, units=128, dropout=0.2)
        model = kmtl.MultiTaskModel.from_features(picture, features, chosen)
        model.compile(
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)), run_eagerly=options.smoke
        )
        return model

    recipes = {
        "each alone": kmtl.training.Separate(),
        "joint": kmtl.training.Joint(),
        "joint, equal cost": kmtl.training.Joint(epochs=4.0, build=lambda chosen: build(chosen, 4 * steps)),
    }
    budget = {"epochs": epochs, "seeds": options.seeds, "folder": options.folder}
    return kmtl.evidence.compare(build, tasks(), rows, held_out, recipes=recipes, verbose=0, **budget)


def constants(data):
    """Test scores of the commonest class or the median of the training pictures, whatever is seen."""
    _, labels, split = data
    known, asked = ({name: values[split == part] for name, values in labels.items()} for part in (0, 2))
    scores = {name: np.mean(asked[name] == np.bincount(known[name]).argmax()) for name in ("alphabet", "character")}
    return scores | {name: np.abs(asked[name] - np.median(known[name])).mean() for name in ("strokes", "ink")}


def page(found, data, command, seeds):
    """The committed table."""
    split = data[2]
    versions = f"Python {platform.python_version()}, TensorFlow {tf.__version__}, Keras {keras.__version__}"
    told = f"Seeds {', '.join(map(str, range(seeds)))}; ± is the 95 % interval."
    told = told if seeds > 1 else "Seed 0 alone, so without an interval: it decides nothing."
    always = ", ".join(f"{name} {score:.4g}" for name, score in constants(data).items())
    lines = [
        "# Omniglot: alphabet, character, strokes and ink",
        "",
        f"Command: `{command}`. {versions}, {os.cpu_count()} cores, no GPU.",
        told,
        f"{(split == 0).sum():,} pictures of 14 drawers an alphabet for training, {(split == 2).sum():,} of 4 others",
        "for the test, 28 x 28 pixels; strokes counted, ink in widths of the canvas.",
        "",
        "Test scores of the last epoch. `cost` counts joint trainings over the given epochs; seconds are wall time",
        "beside other work. delta_m: mean change of all scores against each task alone, percent, negative is better.",
        f"The same answer to every picture scores: {always}.",
        "Strokes have a long tail, up to 29, and a picture shows lines, not strokes: no model is far below that.",
        "The output is the mean count, where the least absolute error would be the median's.",
        "",
        found.parts()[0].markdown(),
    ]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, help="folder with omniglot_56.npz; made-up characters without")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each model")
    parser.add_argument("--folder", type=pathlib.Path, help="where finished runs are kept; they are not repeated")
    parser.add_argument("--smoke", action="store_true", help="few pictures, one epoch")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    data = characters(options.data, options.smoke)
    found = compare(data, options)
    print(found)
    if options.write:
        given = f"--data FOLDER --epochs {options.epochs} --seeds {options.seeds} --write"
        RESULTS.write_text(page(found, data, f"python examples/omniglot.py {given}", options.seeds))


if __name__ == "__main__":
    main()
