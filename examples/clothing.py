"""Photographs of clothes: what garment it is, where 6 % have no answer, and whether it is for children.

5,398 photographs of 351 contributors, the clothing dataset of Alexey Grigorev (CC0): 17 garments, from 1,011 t-shirts
to 23 blouses, and one garment in eleven for children. Classes that uneven are scored so that each counts alike, too:
the garment by F1 averaged over the garments beside its accuracy, children by the area under the ROC curve.

    python examples/clothing.py --data FOLDER --seeds 3   # FOLDER holds clothing_64.npz; some minutes
    python examples/clothing.py --smoke                   # seconds, on made-up clothes; numbers mean nothing
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

RESULTS = pathlib.Path(__file__).parents[1] / "benchmarks" / "results" / "clothing.md"
BATCH = 64


def photographs(folder, smoke):
    """Pictures in 0..1, labels by task, and the split: 0 training, 1 validation, 2 test."""
    if folder is None:
        return made_up(120)
    with np.load(folder / "clothing_64.npz") as file:
        rows = np.arange(len(file["garment"]))[:: 40 if smoke else 1]
        labels = {name: file[name][rows] for name in ("garment", "kids")}
        return halved(file["images"][rows]), labels, file["split"][rows]


def halved(images):
    """Bytes as numbers in 0..1, each the mean of four pixels."""
    count, height, width, channels = images.shape
    blocks = images.reshape(count, height // 2, 2, width // 2, 2, channels)
    return blocks.mean((2, 4), dtype="float32") / 255


def made_up(rows):
    """Clothes of a length and a width that tell the garment, in a colour; small for children."""
    random = np.random.default_rng(0)
    garment, kids = random.integers(0, 17, rows), random.random(rows) < 0.3
    pictures = np.ones((rows, 32, 32, 3), "float32")
    for picture, kind, small in zip(pictures, garment, kids, strict=True):
        height, width = (8 + 3 * kind % 24) // (1 + small), (8 + 7 * kind % 24) // (1 + small)
        picture[:height, :width] = random.random(3)
    labels = {"garment": np.where(random.random(rows) < 0.1, -1, garment), "kids": kids.astype("int32")}
    return pictures, labels, np.where(np.arange(rows) // 60, 2, 0)


def tasks():
    """One garment of many, and yes or no."""
    macro = keras.metrics.F1Score(average="macro", name="macro_f1")
    return [
        kmtl.Classification("garment", classes=17, metrics=["accuracy", macro]),
        kmtl.BinaryClassification("kids", metrics=[keras.metrics.AUC(name="auc", num_thresholds=2000)]),
    ]


def compare(data, options):
    """Each task alone, both jointly, and both jointly for as long as the single models take together."""
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
        # A garment seen in a mirror is the same.
        mirrored = keras.layers.RandomFlip("horizontal")(picture)
        features = kmtl.trunks.convnet(mirrored, widths=(16, 32, 64), pool_first=True, units=128, dropout=0.3)
        model = kmtl.MultiTaskModel.from_features(picture, features, chosen)
        model.compile(
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)), run_eagerly=options.smoke
        )
        return model

    recipes = {
        "each alone": kmtl.training.Separate(),
        "joint": kmtl.training.Joint(),
        "joint, equal cost": kmtl.training.Joint(epochs=2.0, build=lambda chosen: build(chosen, 2 * steps)),
    }
    budget = {"epochs": epochs, "seeds": options.seeds, "folder": options.folder}
    return kmtl.evidence.compare(build, tasks(), rows, held_out, recipes=recipes, verbose=0, **budget)


def page(found, data, command, seeds):
    """The committed table."""
    _, labels, split = data
    versions = f"Python {platform.python_version()}, TensorFlow {tf.__version__}, Keras {keras.__version__}"
    told = f"Seeds {', '.join(map(str, range(seeds)))}; ± is the 95 % interval."
    told = told if seeds > 1 else "Seed 0 alone, so without an interval: it decides nothing."
    garment, kids = labels["garment"], labels["kids"][split == 2].mean()
    asked = garment[(split == 2) & (garment >= 0)]
    commonest = np.mean(asked == np.bincount(garment[(split == 0) & (garment >= 0)]).argmax())
    lines = [
        "# Clothing: garment and children's wear",
        "",
        f"Command: `{command}`. {versions}, {os.cpu_count()} cores, no GPU.",
        told,
        f"{(split == 0).sum():,} photographs for training, {(split == 2).sum():,} for the test, five in six of",
        "these by people of whom none is in the training; 32 x 32 pixels;",
        f"{(garment < 0).mean():.0%} of the garments missing.",
        "",
        "Test scores of the last epoch. `cost` counts joint trainings over the given epochs; seconds are wall time",
        "beside other work. delta_m: mean change of all scores against each task alone, percent, negative is better.",
        f"The commonest garment as every answer has an accuracy of {commonest:.3g} and a macro F1 near 0. For children",
        f"are {kids:.1%}: a constant no has an accuracy of {1 - kids:.3g} and an AUC of 0.5. All is learned from",
        "scratch, on small pictures and in few epochs, and no class is weighted.",
        "",
        found.parts()[0].markdown(),
    ]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, help="folder with clothing_64.npz; made-up clothes without")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each model")
    parser.add_argument("--folder", type=pathlib.Path, help="where finished runs are kept; they are not repeated")
    parser.add_argument("--smoke", action="store_true", help="few photographs, one epoch")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    data = photographs(options.data, options.smoke)
    found = compare(data, options)
    print(found)
    if options.write:
        given = f"--data FOLDER --epochs {options.epochs} --seeds {options.seeds} --write"
        RESULTS.write_text(page(found, data, f"python examples/clothing.py {given}", options.seeds))


if __name__ == "__main__":
    main()
