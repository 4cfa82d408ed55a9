"""One problem and one seed of `benchmarks/ways.py`: every way to loss weights, as JSON."""

import json
import pathlib
import sys
import tempfile

from front_problems import PROBLEMS

import kmtl

BUDGET = 9
WAYS = ("equal", "dynamic", "balancer", "longer", "random", "halving", "front")


def main():
    name, seed, path = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
    problem = PROBLEMS[name]()
    with tempfile.TemporaryDirectory() as folder:
        found = kmtl.search.report(
            lambda tasks, epochs: problem.build(tasks, units=epochs / problem.epochs, seed=None),
            problem.tasks(),
            problem.data("train", seed),
            problem.data("validation"),
            problem.data("test"),
            epochs=problem.epochs,
            budget=BUDGET,
            ways=WAYS,
            seeds=[seed],
            directory=folder,
            verbose=0,
        )
    told = {"problem": name, "seed": seed, "budget": BUDGET, "outcomes": [one._asdict() for one in found.outcomes]}
    scratch = path.with_suffix(".part")
    scratch.write_text(json.dumps(told))
    scratch.rename(path)
    print(found)


if __name__ == "__main__":
    main()
