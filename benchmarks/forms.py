"""Every form of joint training on three sets, against separate models and three joint ones.

    python benchmarks/forms.py --folder RUNS                    # all sets, all rows; finished runs are not repeated
    python benchmarks/forms.py --folder RUNS --sets clothing --rows joint stacking
    python benchmarks/forms.py --folder RUNS --labels 0.1       # the rows for few labels
    python benchmarks/forms.py --folder RUNS --write            # the tables, to benchmarks/results

Joint training has rows at equal epochs, at the cost of the separate models, and with as many weights as they have
together (a wider trunk, a hidden layer in each head). All rows share one setting of trunk, rate and epochs, chosen so
that the whole takes two hours; options of recipes are their defaults, or stand in `form_rows.py`. Nothing is tuned.
"""

import argparse
import os
import pathlib
import platform

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
from form_problems import PROBLEMS, WIDE
from form_rows import few_labels, full_labels

import kmtl
from kmtl.evidence import compare

RESULTS = pathlib.Path(__file__).parent / "results" / "forms.md"
COMMAND = "python benchmarks/forms.py --folder RUNS --write"


def builder(problem, size):
    """A build function of one size of the trunk; the same rate for all, so that nothing depends on how long it runs."""

    def build(tasks):
        image = keras.Input(problem.shape, name="image")
        features = kmtl.trunks.convnet(image, widths=size.widths, units=size.units, pool_first=True)
        model = kmtl.MultiTaskModel.from_features(image, features, [size.headed(task) for task in tasks])
        model.compile(keras.optimizers.Adam(problem.rate), loss_weights=problem.weights_of(tasks))
        return model

    return build


def compared(name, folder, *, labels=1.0, rows=(), seeds=5, verbose=0):
    """The rows of one set."""
    problem = PROBLEMS[name]()
    train = problem.hidden(problem.train, labels)
    build, wide = builder(problem, problem.small), builder(problem, problem.large)
    recipes = (full_labels if labels == 1 else few_labels)(problem, wide)
    chosen = {key: recipe for key, recipe in recipes.items() if not rows or key in rows or key == "separate"}
    return compare(
        build,
        problem.tasks,
        train,
        problem.test,
        epochs=problem.epochs,
        seeds=seeds,
        recipes=chosen,
        batch_size=64,
        folder=folder / name,
        verbose=verbose,
    )


def section(name, found, labels):
    """One table in Markdown, with what it is of; held against the joint row of equal weights, too."""
    against = found.against("joint, equal weights").delta_m if "joint, equal weights" in found.runs else {}
    frame = found.parts()[0]
    share = "all labels" if labels == 1 else f"{labels:.0%} of the labels"
    lines = [f"\n## {name}, {share}\n", frame.markdown()]
    if against:
        told = [
            f"{key} {mean:+.1f} ± {half:.1f}" for key, (mean, half) in against.items() if key != "joint, equal weights"
        ]
        lines.append(f"\nAgainst `joint, equal weights`, percent: {'; '.join(told)}.")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where finished runs are kept")
    parser.add_argument("--sets", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--rows", nargs="+", default=[])
    parser.add_argument("--labels", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--verbose", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    shares = (1.0, 0.1) if given.write else (given.labels,)
    sections = []
    for share in shares:
        for name in given.sets:
            options = {"labels": share, "rows": given.rows, "seeds": given.seeds, "verbose": given.verbose}
            found = compared(name, given.folder, **options)
            sections.append(section(name, found, share))
            print(sections[-1], flush=True)
    if given.write:
        machine = f"{os.cpu_count()} cores, {platform.machine()}, no GPU"
        versions = f"Keras {keras.__version__}, NumPy {np.__version__}, kmtl {kmtl.__version__}"
        head = [
            "# Forms of joint training",
            f"\n`{COMMAND}`; {versions}; {machine}; {given.seeds} seeds.",
            WIDE,
            "delta_m: mean change of all metrics against separate models, percent, negative is better, with the 95 % "
            "interval over the seeds. Cost: joint trainings over the given epochs. Latency: one batch of test data, "
            "relative to the separate models. Seconds are wall time, some beside other work: read the cost.",
        ]
        RESULTS.write_text("\n".join([*head, *sections]) + "\n")


if __name__ == "__main__":
    main()
