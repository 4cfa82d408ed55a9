"""How well affinities that are estimated from one joint model foretell what groups that are trained for real gain.

    python benchmarks/surrogate.py --write

Six tasks on 1,000 pictures of `mnist_attributes` at 14 x 14: every task alone and every pair, three seeds each, for 8
epochs, tested on 2,000 pictures. What j gains from i is `1 - L_j(i and j) / L_j(j alone)` by the mean test loss over
the seeds. Finished trainings are kept in `results/surrogate.json`, so that a run that was stopped goes on.
"""

import argparse
import itertools
import json
import os
import pathlib
import platform

import keras
import numpy as np
import tensorflow as tf
from form_problems import SHARED
from scipy import stats

import kmtl
from kmtl.training.reusable import LastModel

RESULTS = pathlib.Path(__file__).parent / "results"
SEEDS, EPOCHS = 3, 8
NUMBERS = ("slant", "thickness", "length", "area")
NOTE = [
    "Over the 30 ordered pairs: correlation of the affinity with that gain, of their ranks, and of both less the mean",
    "of their column: what j gains from i beyond what it gains from any task. Much of the first is the columns:",
    "`student` gains from any company, `digit` loses in any. The gains have a standard error of about 4 % over seeds.",
    "",
]


def make_tasks():
    """Two classifications, and four measurements of the strokes."""
    classes = [kmtl.Classification("digit", 10), kmtl.BinaryClassification("student")]
    return [*classes, *(kmtl.Regression(name) for name in NUMBERS)]


def load(names):
    """Training and test pictures with their labels."""
    held, random, sets = np.load(SHARED / "mnist" / "mnist_attributes.npz"), np.random.default_rng(0), []
    for part, count, total in (("train", 1000, 60_000), ("test", 2000, 10_000)):
        places = random.permutation(total)[:count]
        small = held[f"x_{part}"][places].reshape(-1, 14, 2, 14, 2).mean((2, 4))
        labels = {name: held[f"{name}_{part}"][places] for name in names}
        kinds = {name: "float32" if name in NUMBERS else "int32" for name in names}
        labels = {name: values.astype(kinds[name]) for name, values in labels.items()}
        sets.append((small[..., None].astype("float32") / 255, labels))
    return sets


def build(tasks):
    image = keras.Input((14, 14, 1), name="image")
    features = kmtl.trunks.convnet(image, widths=(8, 16), units=32)
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    model.compile(keras.optimizers.Adam(2e-3))
    return model


def trained_losses(tasks, train, test):
    """Test losses of every single task and every pair, one a seed."""
    path, named = RESULTS / "surrogate.json", {task.name: task for task in tasks}
    found = json.loads(path.read_text()) if path.exists() else {}
    for names in [*((name,) for name in named), *itertools.combinations(named, 2)]:
        key = "+".join(names)
        if key in found:
            continue
        last, rows = LastModel(), []
        for seed in range(SEEDS):
            keras.utils.set_random_seed(seed)
            model = last.reuse(build([named[name] for name in names]))
            model.fit(train[0], {name: train[1][name] for name in names}, epochs=EPOCHS, verbose=0)
            labels = {name: test[1][name] for name in names}
            logs = model.evaluate(test[0], labels, batch_size=500, verbose=0, return_dict=True)
            rows.append({name: logs[f"{name}_loss"] for name in names})
        found[key] = rows
        path.write_text(json.dumps(found))
        print(key, flush=True)
    return found


def gains(found, names):
    """What each task gains from each other, `(K, K)`; NaN on the diagonal."""
    values = np.full((len(names), len(names)), np.nan)
    for i, j in itertools.combinations(range(len(names)), 2):
        both = found[f"{names[i]}+{names[j]}"]
        for place, other in ((i, j), (j, i)):
            alone = np.mean([row[names[other]] for row in found[names[other]]])
            values[place, other] = 1 - np.mean([row[names[other]] for row in both]) / alone
    return values


def without_columns(values):
    """The same beside the mean of each column: what j gains from i beyond what it gains from any task."""
    return values - np.nanmean(np.where(np.eye(len(values), dtype=bool), np.nan, values), axis=0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/surrogate.md")
    write = parser.parse_args().write
    tasks = make_tasks()
    names = [task.name for task in tasks]
    train, test = load(names)
    real = gains(trained_losses(tasks, train, test), names)
    off = ~np.eye(len(names), dtype=bool)
    rows = ["| kind | Pearson | Spearman | beside column means | trainings | seconds |", "|---|---|---|---|---|---|"]
    for kind in ("surrogate", "lookahead", "gradient", "label"):
        options = {} if kind == "label" else {"tasks": tasks, "epochs": EPOCHS, "seeds": SEEDS, "verbose": 0}
        found = kmtl.evidence.affinity(tasks if kind == "label" else build, *train, kind=kind, **options)
        told, inner = found.values, np.corrcoef(without_columns(found.values)[off], without_columns(real)[off])[0, 1]
        whole, ranks = np.corrcoef(told[off], real[off])[0, 1], stats.spearmanr(told[off], real[off])[0]
        rows.append(f"| {kind} | {whole:.2f} | {ranks:.2f} | {inner:.2f} | {found.trainings} | {found.seconds:.0f} |")
        print(rows[-1], flush=True)
    matrix = [f"| from | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for name, line in zip(names, real, strict=True):
        cells = ["-" if np.isnan(value) else f"{100 * value:+.0f}" for value in line]
        matrix.append(f"| {name} | {' | '.join(cells)} |")
    if write:
        versions = f"Python {platform.python_version()}, TensorFlow {tf.__version__}, Keras {keras.__version__}"
        head = [f"Command: `python benchmarks/surrogate.py --write`. {versions}, {os.cpu_count()} cores, no GPU.", ""]
        text = [
            "# Affinities against groups that were trained",
            "",
            *head,
            *__doc__.splitlines()[4:],
            "",
            *NOTE,
            *rows,
            "",
        ]
        text += ["What the column's task gains from the row's in truth, in percent of its loss alone:", "", *matrix, ""]
        (RESULTS / "surrogate.md").write_text("\n".join(text))
    print("\n".join(matrix))


if __name__ == "__main__":
    main()
