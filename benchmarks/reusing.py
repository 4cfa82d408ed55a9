"""Trials of a search by one traced model, set back each time, against a new model a trial: wall time of a trial.

python benchmarks/reusing.py --write
"""

import argparse
import os
import pathlib
import time

import keras_tuner

# Before TensorFlow is imported: docs/speed.md.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import numpy as np
from front_problems import PROBLEMS
from timing import header, spread

from kmtl.search.cross_validation import Split
from kmtl.search.hypermodel import Trainee, TrialTrainer
from kmtl.search.objectives import Custom
from kmtl.search.space import Space, TaskSpace

RESULTS = pathlib.Path(__file__).parent / "results" / "reusing.md"


def seconds(trainee, build, weights, epochs):
    """Builds a trial's model and trains it."""
    hp = keras_tuner.HyperParameters()
    hp.values = dict(weights)
    start = time.perf_counter()
    trainee.fit(hp, build(hp), epochs, 0, [])
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the table")
    parser.add_argument("--pairs", type=int, default=8)
    options = parser.parse_args()
    problem, random = PROBLEMS["digit_poses"](), np.random.default_rng(0)
    tasks = problem.tasks()
    space = TaskSpace(Space(), {task.name: 1.0 for task in tasks})
    aim = Custom(lambda scores: scores["angle"]["mae"])
    split = Split(problem.data("train"), problem.data("validation"))
    trainer = TrialTrainer(problem.build, tasks)
    trainee = Trainee(trainer, space, aim, {task.name: task for task in tasks}, [split])
    rows = []
    for epochs in (1, 3):
        pairs = []
        for turn in range(options.pairs + 1):
            weights = {f"weight_{task.name}": float(10 ** random.uniform(-1, 1)) for task in tasks[1:]}
            ways = [trainee.build, trainee.fresh][:: 1 if turn % 2 else -1]
            times = {way.__name__: seconds(trainee, way, weights, epochs) for way in ways}
            pairs.append(times)
        kept = pairs[1:]  # The first one traces both.
        ratio = spread([one["build"] / one["fresh"] for one in kept])
        best = [min(one[name] for one in kept) for name in ("build", "fresh")]
        rows.append(f"| {epochs} | {best[0]:.2f} | {best[1]:.2f} | {ratio} |")
    note = (
        f"{options.pairs} interleaved pairs a row, `digit_poses`, the small trunk of `front_problems.py`. A trial is "
        "building, training and validation; seconds are those of the quickest, the ratio is median and quartiles."
    )
    lines = [
        *header("Trials by one traced model", "python benchmarks/reusing.py --write", note),
        "| epochs a trial | set back, s | new, s | set back / new |",
        "|---|---|---|---|",
        *rows,
    ]
    print("\n".join(lines))
    if options.write:
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
