"""Intent and slots of SNIPS from text by one model, against one model a task: three seeds, at equal epochs and cost.

`python benchmarks/snips.py --data snips.csv.gz --folder RUNS --write` keeps finished runs in the folder and writes the
table. The data: columns split, text, slots, intent of 14,484 sentences (Goo et al., NAACL 2018).
"""

import argparse
import csv
import gzip
import os
import pathlib
import platform

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported

import keras
import numpy as np
import tensorflow as tf

import kmtl

RESULTS = pathlib.Path(__file__).parent / "results" / "snips.md"
TOKENS = 35
NOTE = """\
13,084 sentences for training, 700 for validation, 700 for the test; 7 intents, 72 tags. Width, kernel, dropout and rate
come from two short joint runs, looked at on the validation split; no epoch is picked. No pre-trained weights:
`kmtl.trunks.text` (words, hashed affixes, two convolutions of five words, width 96, dropout 0.3), Adam at 3e-3 with
averaged weights (EMA 0.99), batches of 64, all losses weigh 1. Slots: F1 of whole entities of the constrained
decoding, as the CoNLL evaluation counts them.
delta_m: mean change of both scores against separate models, percent, negative is better, with the 95 % interval over
the seeds. Cost: trainings of one epoch budget. Seconds are wall time beside other work: read the cost.
Published joint models without pre-trained weights: intent 97.0, slots 88.8 (slot-gated, Goo et al., NAACL 2018)."""


def splits(path):
    """Sentences, intents and tags of the training, validation and test split."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [[row for row in rows if row["split"] == split] for split in ("train", "valid", "test")]


def made_tasks(rows):
    """The class of a sentence, and the tag of each word."""
    intents = sorted({row["intent"] for row in rows})
    tags = sorted({tag for row in rows for tag in row["slots"].split()})
    return [
        kmtl.Classification("intent", len(intents), label_names=intents),
        kmtl.Tagging("slots", tags, tokens=TOKENS, metrics=["span_f1"]),
    ]


def batches(rows, tasks, *, shuffled=False):
    """Batches of sentences and labels."""
    intent, slots = tasks
    labels = {
        "intent": np.array([intent.label_names.index(row["intent"]) for row in rows]),
        "slots": slots.labels([row["slots"].split() for row in rows]),
    }
    data = tf.data.Dataset.from_tensor_slices((tf.constant([row["text"] for row in rows]), labels))
    return (data.shuffle(len(rows)) if shuffled else data).batch(64)


def builder(vocabulary):
    """A build function on these words."""

    def build(tasks):
        text = keras.Input((), dtype="string", name="text")
        options = {"width": 96, "kernel_size": 5, "dropout": 0.3, "affixes": True, "pooling": None}
        sequence = kmtl.trunks.text(text, vocabulary, tokens=TOKENS, **options)
        features = {"sequence": sequence, "vector": kmtl.trunks.pool(sequence, units=None)}
        model = kmtl.MultiTaskModel.from_features(text, features, tasks)
        model.compile(keras.optimizers.Adam(3e-3, use_ema=True, ema_momentum=0.99))
        return model

    return build


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, required=True, help="snips.csv.gz")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where finished runs are kept")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--equal-cost", action="store_true", help="a row of the joint model for twice the epochs, too")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    train, _, test = splits(given.data)
    tasks = made_tasks([*train, *test])
    recipes = {"separate": kmtl.training.Separate(), "joint": kmtl.training.Joint()}
    if given.equal_cost:
        recipes["joint, equal cost"] = kmtl.training.Joint(epochs=2.0)
    found = kmtl.evidence.compare(
        builder(kmtl.trunks.vocabulary([row["text"] for row in train])),
        tasks,
        batches(train, tasks, shuffled=True),
        batches(test, tasks),
        epochs=given.epochs,
        seeds=given.seeds,
        recipes=recipes,
        folder=given.folder,
        verbose=2,
    )
    table = found.parts()[0].markdown()
    print(table)
    if given.write:
        options = f"--epochs {given.epochs} --seeds {given.seeds}{' --equal-cost' if given.equal_cost else ''} --write"
        command = f"`python benchmarks/snips.py --data snips.csv.gz --folder RUNS {options}`"
        machine = f"{os.cpu_count()} cores, {platform.machine()}, no GPU"
        versions = f"Keras {keras.__version__}, TensorFlow {tf.__version__}, kmtl {kmtl.__version__}"
        lines = ["# Intent and slots of SNIPS", f"\n{command}; {versions}; {machine}.", NOTE, "", table]
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
