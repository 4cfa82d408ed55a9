"""Every way to loss weights at one cost: delta_m on the test set, beside equal weights and the best balancer.

python benchmarks/ways.py --runs runs            # five seeds, resumed where it stopped
python benchmarks/ways.py --runs runs --write    # the table alone
"""

import argparse
import json
import pathlib

from front import HERE, SEEDS, run
from timing import header

from kmtl.search import Report
from kmtl.search.ways import Outcome

PROBLEMS = ("digit_poses",)
RESULTS = HERE / "results" / "ways.md"


def lines(folder):
    """The table, a part a problem."""
    told = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    out = []
    for name in dict.fromkeys(one["problem"] for one in told):
        found = [one for one in told if one["problem"] == name]
        report = Report([Outcome(**row) for one in found for row in one["outcomes"]])
        out += [
            f"## {name}, {len(found)} seeds",
            "",
            "| way | trainings | time | delta_m, % | against equal | |",
            "|---|---|---|---|---|---|",
        ]
        for row in report.table().to_dict("records"):
            change = f"{row['delta_m']:+.1f} ± {row['interval']:.1f}"
            against = f"{row['against_equal']:+.1f} ± {row['difference_interval']:.1f}"
            against = "-" if row["way"] == "equal" else against
            out.append(
                f"| {row['way']} | {row['runs']:.1f} | {row['time']:.1f} | {change} | {against} | {row['verdict']} |"
            )
        chosen = [
            f"{way}: " + "; ".join(one.chosen for one in report.of(way).values())
            for way in report.ways
            if any(one.chosen != "-" for one in report.of(way).values())
        ]
        out += ["", "Chosen, seed by seed. " + ". ".join(chosen) + ".", ""]
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=pathlib.Path, required=True, help="folder of what the trainings gave")
    parser.add_argument("--write", action="store_true", help="do not train; write the table of what is there")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    if not options.write:
        run("ways_worker.py", options.runs, [(name, seed) for name in PROBLEMS for seed in SEEDS], options.processes)
    note = (
        "One process a seed, one thread each, two at a time. The trunk has 32 thousand weights and a training 471 "
        "steps of 64 examples, so that tasks compete; what is chosen is chosen on the validation set, and the model "
        "that counts is trained from another seed (a front's is folded). Cost in trainings by epochs; time is wall "
        "time over that of `equal`, building, tracing and validation included. delta_m against single-task models of "
        "the same seed and length; negative is better than those. ± is half a 95 % Student interval over the seeds; "
        "differences are paired."
    )
    out = header("Ways to loss weights at one cost", "python benchmarks/ways.py --runs runs", note) + lines(
        options.runs
    )
    RESULTS.write_text("\n".join(out).rstrip() + "\n")
    print("\n".join(out))


if __name__ == "__main__":
    main()
