"""Spoken digits: which digit, who speaks, and how high the voice is, where 32 % of the pitches are missing.

3,000 recordings of the Free Spoken Digit Dataset (Zohar Jackson et al., DOI 10.5281/zenodo.1342401) as log-mel pictures
of 64 bands and 64 frames. A pitch is missing where too few frames were voiced; such a row trains the other tasks. Takes
0 to 4 of each speaker are the official test.

    python examples/spoken_digits.py --data FOLDER --seeds 3   # FOLDER holds fsdd_mel64.npz; some minutes
    python examples/spoken_digits.py --smoke                   # seconds, on made-up tones; numbers mean nothing
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

RESULTS = pathlib.Path(__file__).parents[1] / "benchmarks" / "results" / "spoken_digits.md"
BATCH = 64
RATE = 8000


def recordings(folder, smoke):
    """Pictures in 0..1, labels by task, and the split: 0 training, 1 validation, 2 test."""
    if folder is None:
        return made_up(120)
    with np.load(folder / "fsdd_mel64.npz") as file:
        rows = np.arange(len(file["digit"]))[:: 15 if smoke else 1]
        images = file["images"][rows, :, :, None].astype("float32") / 255
        labels = {"digit": file["digit"], "speaker": file["speaker"], "pitch": file["f0_hz"]}
        return images, {name: values[rows] for name, values in labels.items()}, file["split"][rows]


def made_up(rows):
    """Voices of tones: a pitch with its overtones, a tone above that tells the digit, and how loud the speaker is."""
    random, seconds = np.random.default_rng(0), np.arange(round(1.024 * RATE)) / RATE
    digit, speaker = np.arange(rows) % 10, np.arange(rows) // 10 % 6
    pitch = random.uniform(90.0, 300.0, rows)
    frequencies = [pitch, 2 * pitch, 1000 + 250.0 * digit]
    waves = sum(np.sin(2 * np.pi * one[:, None] * seconds) for one in frequencies) * (0.05 + 0.05 * speaker[:, None])
    pictures = kmtl.trunks.LogMel(RATE)(waves.astype("float32")).numpy()
    labels = {"digit": digit, "speaker": speaker, "pitch": np.where(random.random(rows) < 0.3, np.nan, pitch)}
    return pictures, labels, np.where(np.arange(rows) // 60, 2, 0)


def tasks():
    """Two classifications and a regression."""
    return [
        kmtl.Classification("digit", classes=10),
        kmtl.Classification("speaker", classes=6),
        kmtl.Regression("pitch", unit="Hz"),
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
        features = kmtl.trunks.convnet(picture, widths=(8, 16, 32, 64), pool_first=True, units=64, dropout=0.2)
        model = kmtl.MultiTaskModel.from_features(picture, features, chosen)
        model.compile(
            keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(3e-3, steps)), run_eagerly=options.smoke
        )
        return model

    recipes = {
        "each alone": kmtl.training.Separate(),
        "joint": kmtl.training.Joint(),
        "joint, equal cost": kmtl.training.Joint(epochs=3.0, build=lambda chosen: build(chosen, 3 * steps)),
    }
    budget = {"epochs": epochs, "seeds": options.seeds, "folder": options.folder}
    return kmtl.evidence.compare(build, tasks(), rows, held_out, recipes=recipes, verbose=0, **budget)


def page(found, data, command, seeds):
    """The committed table."""
    _, labels, split = data
    versions = f"Python {platform.python_version()}, TensorFlow {tf.__version__}, Keras {keras.__version__}"
    missing = np.isnan(labels["pitch"]).mean()
    lines = [
        "# Spoken digits: digit, speaker and pitch",
        "",
        f"Command: `{command}`. {versions}, {os.cpu_count()} cores, no GPU.",
        f"Seeds 0 to {seeds - 1}; ± is the 95 % interval. {(split == 0).sum():,} recordings for training,",
        f"{(split == 2).sum():,} for the test, {missing:.0%} of the pitches missing; pitch in Hz.",
        "",
        "Test scores of the last epoch. `cost` counts joint trainings over the given epochs; seconds are wall time",
        "beside other work. delta_m: mean change of all scores against each task alone, percent, negative is better.",
        "",
        found.parts()[0].markdown(),
    ]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, help="folder with fsdd_mel64.npz; made-up tones without")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each model")
    parser.add_argument("--folder", type=pathlib.Path, help="where finished runs are kept; they are not repeated")
    parser.add_argument("--smoke", action="store_true", help="few recordings, one epoch")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    data = recordings(options.data, options.smoke)
    found = compare(data, options)
    print(found)
    if options.write:
        given = f"--data FOLDER --epochs {options.epochs} --seeds {options.seeds} --write"
        RESULTS.write_text(page(found, data, f"python examples/spoken_digits.py {given}", options.seeds))


if __name__ == "__main__":
    main()
