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
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf
from form_problems import PROBLEMS, WIDE
from form_rows import few_labels, full_labels

import kmtl
from kmtl.evidence import Comparison, compare

RESULTS = pathlib.Path(__file__).parent / "results" / "forms.md"
TURNS = 30
COMMAND = "python benchmarks/forms.py --folder RUNS --write --seeds 5 3 5 --few mnist_attributes --few-seeds 3"


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
        folder=folder / (name if labels == 1 else f"{name}_{labels:g}"),
        verbose=verbose,
    )


def timed(found, batch):
    """The same with the latency of each model of the first seed, measured in turns: the least of many."""
    models = {name: found.model(name) for name in found.runs}
    calls = {name: tf.function(model, autograph=False) for name, model in models.items() if model is not None}
    least = dict.fromkeys(found.runs, float("nan"))
    for turn in range(TURNS):
        for name, call in calls.items():
            start = time.perf_counter()
            call(batch)
            seconds = time.perf_counter() - start
            # The first turn traces.
            least[name] = seconds if turn < 2 else min(least[name], seconds)
    runs = {name: [run._replace(latency=least[name]) for run in found.runs[name]] for name in found.runs}
    return Comparison(found.tasks, runs, found.baseline)


def section(name, found, labels):
    """One table in Markdown, with what it is of, and what is better or worse than each joint row."""
    share = "all labels" if labels == 1 else f"{labels:.0%} of the labels"
    seeds = len(found.runs[found.baseline])
    lines = [f"\n## {name}, {share}, {seeds} seeds\n", found.parts()[0].markdown(), ""]
    for baseline in ("separate", *(row for row in found.runs if row.startswith("joint"))):
        lines.append(told(found.against(baseline)))
    return "\n".join(lines)


def told(against):
    """Which recipes are better and which worse than one, by more than the interval; the others are ties."""
    verdicts = {"better": [], "worse": []}
    for name, (change, half) in against.delta_m.items():
        if name != against.baseline and not np.isnan(half) and abs(change) > half:
            verdicts["better" if change < 0 else "worse"].append(f"{name} ({change:+.1f} ± {half:.1f})")
    parts = [f"{verdict}: {', '.join(names) or 'none'}" for verdict, names in verdicts.items()]
    return f"- Than `{against.baseline}` {'; '.join(parts)}. The others tie."


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where finished runs are kept")
    parser.add_argument("--sets", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--rows", nargs="+", default=[])
    parser.add_argument("--labels", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, nargs="+", default=[5], help="one number, or one a set")
    parser.add_argument("--few", nargs="*", default=list(PROBLEMS), help="sets of which --write has few labels, too")
    parser.add_argument("--few-seeds", type=int, default=5)
    parser.add_argument("--verbose", type=int, default=0)
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    seeds = given.seeds * len(given.sets) if len(given.seeds) == 1 else given.seeds
    planned = [(name, given.labels, number) for name, number in zip(given.sets, seeds, strict=True)]
    planned += [(name, 0.1, given.few_seeds) for name in given.few] if given.write else []
    sections = []
    for name, share, number in planned:
        options = {"labels": share, "rows": given.rows, "seeds": number, "verbose": given.verbose}
        found = timed(compared(name, given.folder, **options), tf.constant(PROBLEMS[name]().test[0][:64]))
        sections.append(section(name, found, share))
        print(sections[-1], flush=True)
    if given.write:
        machine = f"{os.cpu_count()} cores, {platform.machine()}, no GPU"
        versions = f"Keras {keras.__version__}, NumPy {np.__version__}, kmtl {kmtl.__version__}"
        head = [
            "# Forms of joint training",
            f"\n`{COMMAND}`; {versions}; {machine}.",
            WIDE,
            "delta_m: mean change of all metrics against separate models, percent, negative is better, with the 95 % "
            "interval over the seeds. Cost: joint trainings over the given epochs. Latency: 64 test pictures, the "
            "least of 30 turns, relative to the separate models; `-`: the form is no one graph. Seconds are wall time, "
            "some of it beside other work: read the cost.",
        ]
        RESULTS.write_text("\n".join([*head, *sections]) + "\n")


if __name__ == "__main__":
    main()
