"""Every way to loss weights at one cost: delta_m on the test set, beside equal weights and the best balancer.

python benchmarks/ways.py --runs runs            # five seeds, resumed where it stopped
python benchmarks/ways.py --runs runs --write    # the table alone
python benchmarks/ways.py --runs runs --smoke    # one seed of one epoch a training; prints the table alone
"""

import argparse
import json
import pathlib

import numpy as np
from front import HERE, SEEDS, run
from timing import header

from kmtl._table import Table
from kmtl.evidence.intervals import interval

PROBLEMS = ("digit_poses",)
RESULTS = HERE / "results" / "ways.md"
NOTE = (
    "One process a seed, one thread each, two at a time. The trunk has 32 thousand weights and a training 471 "
    "steps of 64 examples, so that tasks compete; what is chosen is chosen on the validation set, and the model "
    "that counts is trained from another seed (a front's is folded). Cost in trainings by epochs; time is wall "
    "time over that of `equal`, building, tracing and validation included. delta_m against single-task models of "
    "the same seed and length; negative is better than those. ± is half a 95 % Student interval over the seeds; "
    "differences are paired."
)


def verdict(change, half):
    """What a difference against equal weights says; one seed decides nothing."""
    return "-" if np.isnan(half) else "tie" if abs(change) <= half else "better" if change < 0 else "worse"


def row(way, found, equal):
    """One way's line: its cost, delta_m, and the difference to equal weights, paired by seed."""
    changes = [one["delta_m"] for one in found.values()]
    pairs = [one["delta_m"] - equal[seed]["delta_m"] for seed, one in found.items()]
    change, half, is_equal = np.mean(pairs), interval(pairs), way == "equal"
    return {
        "way": way,
        "trainings": np.mean([one["runs"] for one in found.values()]),
        "time": np.mean([one["seconds"] / equal[seed]["seconds"] for seed, one in found.items()]),
        "delta_m, %": f"{np.mean(changes):+.1f} ± {interval(changes):.1f}",
        "against equal": "-" if is_equal else f"{change:+.1f} ± {half:.1f}",
        "verdict": "-" if is_equal else verdict(change, half),
    }


def lines(folder):
    """The table, a part a problem."""
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    out = []
    for name in dict.fromkeys(one["problem"] for one in runs):
        outcomes = [row for one in runs if one["problem"] == name for row in one["outcomes"]]
        ways = {}
        for one in outcomes:
            ways.setdefault(one["way"], {})[one["seed"]] = one
        table = Table(
            [row(way, found, ways["equal"]) for way, found in ways.items()], {"trainings": ".1f", "time": ".1f"}
        )
        chosen = {way: "; ".join(one["chosen"] for one in found.values()) for way, found in ways.items()}
        listed = [f"{way}: {text}" for way, text in chosen.items() if set(text) - set("-; ")]
        out += [f"## {name}, {len(ways['equal'])} seeds", "", table.markdown(), ""]
        out += ["Chosen, seed by seed. " + ". ".join(listed) + ".", ""]
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=pathlib.Path, required=True, help="folder of what the trainings gave")
    parser.add_argument("--write", action="store_true", help="do not train; write the table of what is there")
    parser.add_argument("--smoke", action="store_true", help="a short run, to see that everything works")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if not options.write:
        jobs = [(name, seed) for name in PROBLEMS for seed in (SEEDS[:1] if options.smoke else SEEDS)]
        run("ways_worker.py", options.runs, jobs, options.processes, *(["--smoke"] if options.smoke else []))
    out = header("Ways to loss weights at one cost", "python benchmarks/ways.py --runs runs", NOTE) + lines(
        options.runs
    )
    if not options.smoke:
        RESULTS.write_text("\n".join(out).rstrip() + "\n")
    print("\n".join(out))


if __name__ == "__main__":
    main()
