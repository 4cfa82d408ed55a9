"""N replicas give the weights of one: largest differences after 50 steps, with uneven missing labels.

    python benchmarks/replicas.py --write

One process on one device, one on two logical devices, two processes with one device each; the same network, the
same global batches of 32 of which the first half goes to the first replica, half of the labels missing: of some
tasks nine of ten in the first half of every batch, of another in the second half. SGD with momentum 0.9 and global
clipping. The last column is one device with every batch in reverse order: what rounding alone does.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
from replica_worker import CASES
from timing import header

import kmtl

HERE = pathlib.Path(__file__).parent
RESULTS = HERE / "results" / "replicas.md"
MODES = {"devices": "two devices", "workers": "two processes", "reversed": "one device, batches reversed"}


def run(mode, directory, given):
    """All cases in a process of their own, or in two."""
    arguments = [
        str(HERE / "replica_worker.py"),
        mode,
        str(directory),
        "--steps",
        str(given.steps),
        "--only",
        *given.only,
    ]
    if mode == "workers":
        kmtl.distribution.launch(arguments, workers=2, timeout=given.seconds)
    else:
        subprocess.run([sys.executable, *arguments], check=True, timeout=given.seconds)


def difference(one, other):
    """The largest difference of a variable, relative to its largest value, and whose it is."""
    with np.load(one) as left, np.load(other) as right:
        found = {name: np.abs(left[name] - right[name]).max() / np.abs(left[name]).max() for name in left.files}
    name = max(found, key=found.get)
    return f"{found[name]:.1e} ({name.split(' ', 1)[1]})"


def table(directory, cases):
    """One row a case."""
    lines = [f"| balancer | {' | '.join(MODES.values())} |", f"|---|{'---|' * len(MODES)}"]
    for case in cases:
        cells = [difference(directory / f"one {case}.npz", directory / f"{mode} {case}.npz") for mode in MODES]
        lines.append(f"| {case} | {' | '.join(cells)} |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--only", nargs="*", default=list(CASES))
    parser.add_argument("--seconds", type=float, default=900, help="limit of each process")
    parser.add_argument("--write", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for mode in ("one", *MODES):
            run(mode, pathlib.Path(folder), given)
        rows = table(pathlib.Path(folder), given.only)
    note = f"Largest difference of a variable over its largest value, after {given.steps} steps; bar 1e-5."
    lines = [*header("Replicas against one device", "python benchmarks/replicas.py --write", note), *rows]
    print("\n".join(lines))
    if given.write:
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
