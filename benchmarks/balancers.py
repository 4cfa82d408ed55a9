"""What a step under each balancer costs, beside stock Keras, the floor, LibMTL and TorchJD.

    pip install -e ".[peers]"
    python benchmarks/balancers.py --libmtl PATH_TO_A_CHECKOUT

Without the first line there are no peers, without the option no LibMTL. The whole table takes hours: `--models`,
`--tasks` and `--methods` choose a part of it, `--keep` adds to the parts that are there.

On a LeNet (28x28x1, batch 256) and a small ResNet (64x64x3, batch 64) with 2 to 40 classifications. `plain` is stock
`keras.Model.fit` of the same network. `floor` is what every exact method must do, by hand: one forward pass, one
backward pass of the trunk a task, one update. Each library runs single-threaded in a process of its own; the rows of a
group take turns, in changing order, and every ratio is taken within one round. Time is CPU time of the process.
"""

import argparse
import json
import math
import pathlib
import statistics
import sys

from balancer_rows import FLOOR, PLAIN, SEPARATE, default_rows, parsed, peers
from balancer_table import report
from step_worker import Worker

OUT = pathlib.Path(__file__).parent / "results" / "balancers.md"
# A group ends with the method that brings it to so many rows: what is compared should run close in time.
GROUP = 4


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["lenet", "resnet"], choices=["lenet", "resnet"])
    parser.add_argument("--tasks", nargs="+", type=int, default=[2, 5, 10, 40])
    parser.add_argument("--methods", nargs="+", help="names, or name:option=value,...; all are the default")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=0.5, help="CPU time of one turn of a row")
    parser.add_argument("--slow", type=float, default=20.0, help="a peer's step above so many seconds is timed once")
    parser.add_argument("--quick", action="store_true", help="3 short rounds, no memory")
    parser.add_argument("--measure", nargs="+", default=["time", "memory"], choices=["time", "memory"])
    parser.add_argument("--libmtl", type=pathlib.Path, help="a checkout of LibMTL")
    parser.add_argument("--layouts", nargs="*", default=["contiguous", "channels_last"], help="of the peers' images")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--malloc", default="kept", choices=["kept", "default"], help="see step_worker.py")
    parser.add_argument("--keep", action="store_true", help="add to what the JSON file beside OUT holds")
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.measure = 3, 0.2, ["time"]
    return options


class Turn:
    """One row in its worker: built, warmed, then timed in turns of so many steps."""

    def __init__(self, row, worker, model, count, slow):
        self.row, self.worker = row, worker
        # A method that is idle on most steps is timed over whole periods.
        self.period = self.steps = row.get("options", {}).get("update_every", 1)
        self.error = worker.ask(do="build", key=row["label"], model=model, count=count, row=row).get("error")
        # This turn traces, where there is something to trace.
        self.first = self.step = self.warm()
        self.is_slow = row["side"] == "torch" and self.step > 1000 * slow

    def warm(self):
        """CPU milliseconds of a step, 0 where it fails."""
        cpu, _ = (None, None) if self.error else self.take()
        return cpu or 0.0

    def take(self):
        """CPU and wall milliseconds of one step."""
        answer = self.worker.ask(do="run", key=self.row["label"], steps=self.steps)
        self.error = answer.get("error")
        return (None, None) if self.error else [1000 * answer[clock] / self.steps for clock in ("cpu", "wall")]


def groups(rows):
    """Rows in groups; those of one method stay together."""
    found = [[]]
    for mine in rows:
        if len(found[-1]) >= GROUP and found[-1][-1]["name"] != mine["name"]:
            found.append([])
        found[-1].append(mine)
    return found


def rows_of(group, options, facts, is_first):
    """The rows of a group and those that it is measured against."""
    exact = [row for row in group if row["needs"] != "losses"]
    path = str(options.libmtl.resolve()) if options.libmtl else None
    beside = peers(group, options.layouts, path, facts.get("torchjd")) if "versions" in facts else []
    return [PLAIN, *([SEPARATE] if is_first else []), *([FLOOR] if exact else []), *group, *beside]


def turns(rows, workers, model, count, options):
    """Builds and warms every row; those that fail keep their error."""
    made = [Turn(row, workers[row["side"]], model, count, options.slow) for row in rows]
    # After the last is built, because the memory of a process settles in the first round of all its rows.
    for turn in (turn for turn in made if not turn.is_slow):
        turn.step = turn.warm()
    for turn in made:
        turn.steps *= max(1, math.ceil(1000 * options.seconds / max(turn.step * turn.period, 1.0)))
    return made


def timed(made, options):
    """Samples of every row, `{label: [(CPU, wall), ...]}`, a pair a round; `(None, None)` where there is none.

    Plain opens and closes every round and counts with the mean: a machine that slows down during a round slows both.
    """
    plain, *others = made
    samples = {turn.row["label"]: [] for turn in made}
    for place in range(options.rounds):
        shift = place * len(others) // options.rounds
        order = others[shift:] + others[:shift]
        before = plain.take()
        for turn in order if place % 2 == 0 else reversed(order):
            samples[turn.row["label"]].append((None, None) if turn.error or turn.is_slow else turn.take())
        both = [pair for pair in (before, plain.take()) if pair[0]]
        samples[plain.row["label"]].append(
            [statistics.mean(clock) for clock in zip(*both, strict=True)] or (None, None)
        )
    return samples


def ratios(values, base, clock):
    """Ratios of two rows, round by round."""
    pairs = zip(values, base, strict=True)
    return [round(one[clock] / other[clock], 4) for one, other in pairs if one[clock] and other[clock]]


def measure_group(group, cell, model, count, options, facts):
    """Times one group and adds it to the cell."""
    rows = rows_of(group, options, facts, "plain" not in cell)
    sides = {row["side"] for row in rows}
    workers = {side: Worker(side, options.threads, options.malloc == "kept") for side in sides}
    made = turns(rows, workers, model, count, options)
    samples = timed(made, options)
    for worker in workers.values():
        worker.close()
    for turn in made:
        add_samples(cell, turn, samples)


def add_samples(cell, turn, samples):
    """Adds what was timed of one row; the bases run in every group, and all of it is kept."""
    label, values = turn.row["label"], samples[turn.row["label"]]
    before = cell.get(label, {}) if label in (PLAIN["label"], FLOOR["label"]) else {}
    timed = [round(cpu, 3) for cpu, _ in values if cpu] or ([round(turn.step, 3)] if turn.is_slow else [])
    found = {"row": public(turn.row), "error": turn.error, "step": before.get("step", []) + timed}
    if turn.row["side"] == "keras" and not turn.error:
        found["tracing"] = round((turn.first - turn.step) * turn.period / 1000, 2)
        for name, base, clock in (("plain", PLAIN, 0), ("wall", PLAIN, 1), ("floor", FLOOR, 0)):
            own = ratios(values, samples[base["label"]], clock) if base["label"] in samples else []
            found[name] = before.get(name, []) + own
    cell[label] = {**cell.get(label, {}), **found}


def public(row):
    """A row without paths."""
    return {key: value for key, value in row.items() if key != "path"}


def peak_of(row, model, count, options):
    """Megabytes above the idle process after three steps in a fresh process: `memory`, or `error`."""
    with Worker(row["side"], options.threads, kept=False) as worker:
        answer = worker.ask(do="build", key="row", model=model, count=count, row=row)
        steps = max(3, row.get("options", {}).get("update_every", 1))
        answer = answer if "error" in answer else worker.ask(do="run", key="row", steps=steps)
        return answer if "error" in answer else {"memory": round(worker.ask(do="peak")["peak"], 1)}


def measure_memory(rows, cell, model, count, options, facts):
    """Peak memory of every row that has not failed; of the peers with the first layout alone."""
    for row in rows_of(rows, options, facts, True):
        if row["side"] == "torch" and row["layout"] != options.layouts[0]:
            continue
        found = cell.setdefault(row["label"], {"row": public(row)})
        if not found.get("error"):
            found |= peak_of(row, model, count, options)


def library_facts():
    """Versions and methods of both sides; a side that is not installed has none."""
    found = {}
    for side in ("keras", "torch"):
        with Worker(side, 1, kept=False) as worker:
            found[side] = worker.facts
    if "methods" not in found["keras"]:
        sys.exit("kmtl cannot be imported: install it beside this benchmark.")
    return found


def begun(options, facts):
    """What the JSON file beside the table holds, with this command."""
    path = options.out.with_suffix(".json")
    state = json.loads(path.read_text()) if options.keep and path.exists() else {"commands": [], "cells": {}}
    # The page names no path of the machine that made it.
    paths = {str(options.libmtl): "LIBMTL", str(options.out): "OUT"}
    state["commands"].append(" ".join(paths.get(word, word) for word in sys.argv[1:]))
    state["versions"] = {**facts["keras"]["versions"], **facts["torch"].get("versions", {})}
    return state


def measure_cell(model, count, rows, state, options, facts):
    """Times and weighs all rows for one model and one number of tasks; the page is written after every step."""
    cell = state["cells"].setdefault(model, {}).setdefault(str(count), {})
    for group in groups(rows) if "time" in options.measure else ():
        measure_group(group, cell, model, count, options, facts["torch"])
        print(model, count, "; ".join(row["label"] for row in group), flush=True)
        write(state, options.out)
    if "memory" in options.measure:
        measure_memory(rows, cell, model, count, options, facts["torch"])
        write(state, options.out)


def write(state, out):
    out.parent.mkdir(parents=True, exist_ok=True)
    out.with_suffix(".json").write_text(json.dumps(state) + "\n")
    out.write_text(report(state))


def main():
    options = arguments()
    facts = library_facts()
    methods = facts["keras"]["methods"]
    rows = [parsed(text, methods) for text in options.methods] if options.methods else default_rows(methods)
    state = begun(options, facts)
    for model in options.models:
        for count in options.tasks:
            measure_cell(model, count, rows, state, options, facts)


if __name__ == "__main__":
    main()
