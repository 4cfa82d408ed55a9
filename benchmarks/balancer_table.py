"""The committed table of the balancer benchmark, from its samples."""

import os
import platform
import statistics

from balancer_rows import bar, beside

TITLES = {"lenet": "LeNet, 28x28x1, batch 256", "resnet": "small ResNet, 64x64x3, batch 64"}
NOTE = """CPU time of the process, one thread each, oneDNN on for both sides. `plain` is stock `keras.Model.fit` of the
same network, without metrics, as ours; from four alike heads on both have them in one kernel. `floor` is a hand-written
step: one forward pass, one backward pass of the trunk a task, one update. A ratio is taken within a round: median
(quarter to three-quarter). PyTorch runs eagerly with separate heads, TorchJD one gradient at a time
(`parallel_chunk_size=1`, its fastest way on a CPU), LibMTL from its repository. `channels_last` tells how the images
come to PyTorch.

**Bold breaks a bar**: a method of the losses takes at most 1.05 of plain (FAMO 1.4); an exact method of the Gramian at
most 1.10 of the floor; `level=features` 1.10 of plain; `update_every=10` 1.5 of plain with ten tasks; `solve=online`
1.9 of plain. In milliseconds, bold is above the best peer beside it with the images as they come, italic above the best
peer with the images in channels-last order alone."""


def spread(values):
    """Median and quartiles."""
    if len(values) < 2:
        return f"{values[0]:.2f} (once)"
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def milliseconds(found):
    """Median CPU time of a step."""
    return statistics.median(found["step"]) if found.get("step") else None


def ratio_cell(found, base, count):
    """A ratio, bold where it breaks its bar."""
    values, row = found.get(base), found["row"]
    is_exact = row.get("needs") in ("gram", "gradients") and not row["options"]
    if not values or row["name"] in (base, "plain") or (base == "floor" and not is_exact):
        return "-"
    limit = bar(row, count)
    is_broken = limit and limit[0] == base and statistics.median(values) > limit[1]
    return f"**{spread(values)}**" if is_broken else spread(values)


def wall_cell(found):
    """A ratio of wall times."""
    return spread(found["wall"]) if found.get("wall") and found["row"]["name"] != "plain" else "-"


def step_cell(found, cell):
    """Milliseconds of a step, bold or italic where a peer beside it takes less."""
    own = milliseconds(found)
    if own is None:
        return "-"
    text = f"{own:.0f}" if own >= 100 else f"{own:.1f}"
    best = _best(found, cell)
    if best["contiguous"] < own:
        return f"**{text}**"
    return f"*{text}*" if best["channels_last"] < own else text


def _best(found, cell):
    """The fastest peer beside a row of ours, by layout."""
    best = {"contiguous": float("inf"), "channels_last": float("inf")}
    if found["row"].get("options") is None or found["row"]["side"] == "torch":
        return best
    for label in beside(found["row"], cell):
        layout, peer = cell[label]["row"]["layout"], milliseconds(cell[label])
        best[layout] = min(best[layout], peer or float("inf"))
    return best


def number(found, key, digits=0):
    """A single measured value."""
    return f"{found[key]:.{digits}f}" if found.get(key) is not None else "-"


def table(title, labels, cells, text):
    """One table: a row a label, a column a number of tasks; rows that are empty throughout are left out."""
    counts = sorted(cells, key=int)
    rows = []
    for label in labels:
        values = [
            text(cells[count][label], cells[count], int(count)) if label in cells[count] else "-" for count in counts
        ]
        if any(value != "-" for value in values):
            rows.append("| " + " | ".join([label, *values]) + " |")
    if not rows:
        return []
    columns = [f"K={count}" for count in counts]
    return [title, "", "| " + " | ".join(["row", *columns]) + " |", "|---" * (len(columns) + 1) + "|", *rows, ""]


def labels_of(cells):
    """Labels of all columns, ours with their peers behind each method."""
    seen = {label: found for cell in cells.values() for label, found in cell.items()}
    ours = [label for label, found in seen.items() if found["row"]["side"] == "keras"]
    # What all are measured against comes first.
    ours.sort(key=lambda label: seen[label]["row"].get("options") is not None)
    order = []
    for place, label in enumerate(ours):
        order.append(label)
        row = seen[label]["row"]
        after = seen[ours[place + 1]]["row"]["name"] if place + 1 < len(ours) else None
        if row.get("options") is not None and row["name"] != after:
            # Behind the last variant of a method.
            variants = [one for one in ours if seen[one]["row"]["name"] == row["name"]]
            order += [peer for one in variants for peer in beside(seen[one]["row"], seen)]
    return ours, list(dict.fromkeys(order))


def section(model, cells):
    """The tables of one model."""
    ours, every = labels_of(cells)
    lines = [f"## {TITLES[model]}", ""]
    for title, labels, text in (
        ("CPU time, ratio to `plain`:", ours, lambda one, _, count: ratio_cell(one, "plain", count)),
        ("CPU time, ratio to `floor`:", ours, lambda one, _, count: ratio_cell(one, "floor", count)),
        ("Wall time, ratio to `plain`:", ours, lambda one, *_: wall_cell(one)),
        ("CPU time of a step, ms:", every, lambda one, cell, _: step_cell(one, cell)),
        ("CPU time of tracing (a first call beyond a later one), s:", ours, lambda one, *_: number(one, "tracing", 1)),
        ("Peak memory of a step above the idle process, MB:", every, lambda one, *_: number(one, "memory")),
    ):
        lines += table(title, labels, cells, text)
    return lines + failures(cells)


def failures(cells):
    """What could not run, and why."""
    found = {}
    for count in sorted(cells, key=int):
        for label, one in cells[count].items():
            if one.get("error"):
                found.setdefault((label, one["error"]), []).append(f"K={count}")
    lines = [f"- {label}, {', '.join(counts)}: {error.rstrip('.')}." for (label, error), counts in found.items()]
    return ["Could not run:", "", *lines, ""] if lines else []


def report(state):
    """The whole page."""
    versions = ", ".join(f"{name} {version}" for name, version in state["versions"].items())
    commands = "; ".join(
        f"`python benchmarks/balancers.py {command}`".replace(" `", "`") for command in state["commands"]
    )
    machine = f"{os.cpu_count()} cores ({platform.machine()}), no GPU"
    lines = ["# Step time and memory under each balancer", ""]
    lines += [f"Commands: {commands}. Python {platform.python_version()}, {versions}, {machine}.", "", NOTE, ""]
    for model, cells in state["cells"].items():
        lines += section(model, cells)
    return "\n".join(lines).rstrip() + "\n"
