"""Does joint training help, and what does `recommend` ship? Five sets, several seeds, each row beside separate models.

    python benchmarks/evidence.py --folder RUNS --seeds 5 --write

Each finished row is kept in RUNS and not repeated. Some hours on two cores; `--smoke` takes seconds.
"""

import argparse
import json
import os
import pathlib
import time

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from evidence_problems import BATCH, PROBLEMS
from evidence_table import page

import kmtl
from kmtl.model.compile_like import compile_like
from kmtl.training import Joint, Separate, stretched, widened, width_for
from kmtl.training.trainer import scores

RESULTS = pathlib.Path(__file__).parent / "results" / "evidence.md"


def recipes(problem):
    """The rows beside those of `recommend`, as functions: widths are searched only where a row is not there yet."""
    tasks, build, count = problem.tasks, problem.build, float(len(problem.tasks))
    single = sum(build([task]).count_params() for task in tasks)
    hidden = max(problem.units // 2, 16)

    def wide(balancer=None, length=1.0):
        factor = width_for(build, tasks, single, hidden=hidden)
        made = stretched(widened(build, factor, hidden=hidden), length)
        return Joint(length, build=made if balancer is None else balanced(made, balancer))

    return {
        "separate": Separate,
        "joint": Joint,
        "joint, equal cost": lambda: Joint(count, build=stretched(build, count)),
        "joint, unit": lambda: Joint(build=balanced(build, "unit")),
        "joint, uncertainty": lambda: Joint(build=balanced(build, "uncertainty")),
        "hidden layers": lambda: Joint(build=widened(build, hidden=hidden)),
        "width": lambda: Joint(build=widened(build, width_for(build, tasks, single))),
        "wide": wide,
        "wide, twice as long": lambda: wide(length=2.0),
        "wide, unit": lambda: wide("unit"),
    }


def balanced(build, balancer):
    """The same build function with a balancer."""

    def made(tasks):
        model = build(tasks)
        return compile_like(model, model, balancer=balancer)

    return made


def run(problem, name, recipe, seed, folder):
    """One row under one seed: test scores, weights, cost in seconds of the processor."""
    start, races = time.process_time(), folder / "races"
    if name.startswith("recommend"):
        found = kmtl.evidence.recommend(
            problem.build,
            problem.tasks,
            problem.train,
            problem.validation,
            test=problem.test,
            epochs=problem.epochs,
            budget=float(name.split()[-1]),
            seed=seed,
            batch_size=BATCH,
            folder=races / name.replace(" ", "-") / str(seed),
            verbose=0,
        )
        model, told = found.model, {"serves": dict(found.serves), "cost": found.cost, "reason": found.reason}
    else:
        made = recipe()
        data = {"epochs": problem.epochs, "seed": seed, "batch_size": BATCH, "verbose": 0}
        if name == "separate":
            # `recommend` trains the same single models, and reads these.
            data["folder"] = races / "recommend-2" / str(seed) / f"each-task-alone-{seed}"
            data["validation"] = problem.validation
        trained = made.train(problem.build, problem.tasks, problem.train, **data)
        model, told = trained.model, {}
    test = kmtl.data.from_arrays(*problem.test, problem.tasks, batch_size=256, shuffle=False)
    weights, cpu = int(model.count_params()), time.process_time() - start
    return {"scores": scores(model, test), "weights": weights, "cpu": cpu, **told}


def results(names, seeds, folder, *, smoke):
    """`{set: {row: {seed: result}}}`; what is there already is read."""
    found = {}
    for seed in range(seeds):
        for name in names:
            problem = PROBLEMS[name]()
            problem = problem.smaller() if smoke else problem
            rows = recipes(problem) | {"recommend 1": None, "recommend 2": None}
            for row, recipe in rows.items():
                file = folder / name / f"{row}-{seed}.json"
                if not file.is_file():
                    file.parent.mkdir(parents=True, exist_ok=True)
                    told = run(problem, row, recipe, seed, folder / name)
                    beside = file.with_suffix(f".{os.getpid()}")
                    beside.write_text(json.dumps(told))
                    beside.replace(file)
                    print(f"{name}, {row}, seed {seed}: {told['cpu']:.0f} s", flush=True)
                found.setdefault(name, {}).setdefault(row, {})[seed] = json.loads(file.read_text())
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="where finished rows are kept")
    parser.add_argument("--sets", nargs="+", default=list(PROBLEMS), choices=list(PROBLEMS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--smoke", action="store_true", help="few rows and one epoch; numbers mean nothing")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    options = parser.parse_args()
    found = results(options.sets, options.seeds, options.folder, smoke=options.smoke)
    tasks = {name: PROBLEMS[name]().tasks for name in options.sets}
    text = page(found, tasks, f"python benchmarks/evidence.py --folder RUNS --seeds {options.seeds} --write")
    print(text)
    if options.write:
        RESULTS.write_text(text)


if __name__ == "__main__":
    main()
