"""Feelings in a sentence: valence, arousal and dominance as regressions, and the genre it is from as a class.

On EmoBank (Buechel and Hahn, EACL 2017: 10,062 sentences of seven genres, each rated by several people) a small
convolutional trunk from scratch, all four tasks in one model against a model for each. Pearson's r is what papers on
this set report; predicting the training set's mean has none, so the baseline is told by its absolute error too.

python examples/emobank.py --data emobank.csv.gz            # a quarter of an hour on two cores
python examples/emobank.py --data emobank.csv.gz --write    # the same, and the table into benchmarks/results
python examples/emobank.py --smoke                          # seconds, on made-up sentences; the numbers mean nothing
"""

import argparse
import csv
import gzip
import os
import pathlib

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # before TensorFlow is imported

import keras
import numpy as np

import kmtl

RESULTS = pathlib.Path(__file__).parents[1] / "benchmarks" / "results" / "emobank.md"
SCALES = {"valence": "V", "arousal": "A", "dominance": "D"}
WORTH = {"good": 4.0, "kind": 3.6, "table": 3.0, "walks": 3.0, "cold": 2.5, "war": 1.8}


def made_up(number, seed):
    """Rows in the form of the set; a sentence is worth the mean of its words."""
    generator = np.random.default_rng(seed)
    rows = []
    for words in generator.choice(list(WORTH), (number, 5)):
        worth = np.mean([WORTH[word] for word in words])
        category = "letters" if "war" in words else "blog"
        rows.append({"text": " ".join(words), "category": category} | dict.fromkeys("VAD", worth))
    return rows


def splits(path):
    """Training and test rows."""
    if path is None:
        return made_up(200, 0), made_up(50, 1)
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [[row for row in rows if row["split"] == split] for split in ("train", "test")]


def inputs_and_labels(rows, genres):
    """Texts, and a label of every task."""
    labels = {name: np.array([float(row[column]) for row in rows], "float32") for name, column in SCALES.items()}
    labels["genre"] = np.array([genres.index(row["category"]) for row in rows], "int32")
    return np.array([row["text"] for row in rows]), labels


def build(tasks, vocabulary):
    """One small trunk, its words averaged."""
    text = keras.Input((), dtype="string", name="text")
    features = kmtl.trunks.text(text, vocabulary, tokens=40, width=64, units=None, dropout=0.4)
    model = kmtl.MultiTaskModel.from_features(text, features, tasks)
    model.compile(keras.optimizers.Adam(1e-3))
    return model


def scores(outputs, labels):
    """Pearson's r of each regression, and accuracy of the genre."""
    found = {name: np.corrcoef(outputs[name][:, 0], labels[name])[0, 1] for name in SCALES if name in outputs}
    if "genre" in outputs:
        found["genre"] = (outputs["genre"].argmax(-1) == labels["genre"]).mean()
    return found


def rows_of(runs, baseline):
    """The table, as Markdown."""
    yield "| | " + " | ".join([*(f"{name}, r" for name in SCALES), "genre, accuracy"]) + " |"
    yield "|---|" + "---|" * 4
    yield "| training mean, commonest genre | " + " | ".join([*["-"] * 3, f"{baseline:.3f}"]) + " |"
    for way, seeds in runs.items():
        values = np.array([[one[name] for name in (*SCALES, "genre")] for one in seeds])
        cells = [f"{mean:.3f} ± {sd:.3f}" for mean, sd in zip(values.mean(0), values.std(0), strict=True)]
        yield f"| {way} | " + " | ".join(cells) + " |"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=pathlib.Path, help="emobank.csv.gz; without it sentences are made up")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="one seed and epoch, to see that everything runs")
    parser.add_argument("--write", action="store_true", help="write the table, too")
    given = parser.parse_args()
    train, test = splits(None if given.smoke else given.data)
    genres = sorted({row["category"] for row in train})
    (x, y), (new, labels) = (inputs_and_labels(rows, genres) for rows in (train, test))
    vocabulary = kmtl.trunks.vocabulary(x)
    tasks = [*(kmtl.Regression(name) for name in SCALES), kmtl.Classification("genre", len(genres), label_names=genres)]
    runs = {"one model": [], "a model each": []}
    for seed in range(1 if given.smoke else given.seeds):
        for way, groups in {"one model": [tasks], "a model each": [[task] for task in tasks]}.items():
            outputs = {}
            for group in groups:
                keras.utils.set_random_seed(seed)
                model = build(group, vocabulary)
                wanted = {task.name: y[task.name] for task in group}
                model.fit(x, wanted, epochs=1 if given.smoke else given.epochs, batch_size=64, verbose=0)
                outputs |= model.predict(new, verbose=0, batch_size=256)
            runs[way].append(scores(outputs, labels))
    table = "\n".join(rows_of(runs, (labels["genre"] == np.bincount(y["genre"]).argmax()).mean()))
    print(f"on {len(new):,} test sentences, mean ± sd over seeds\n{table}")
    if given.write:
        note = f"{given.seeds} seeds of {given.epochs} epochs; {len(x):,} training and {len(new):,} test sentences."
        RESULTS.write_text(
            f"# EmoBank\n\n`python examples/emobank.py --data emobank.csv.gz --write`, {note}\n\n{table}\n"
        )


if __name__ == "__main__":
    main()
