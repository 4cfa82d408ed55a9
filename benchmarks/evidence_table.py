"""The committed page of `benchmarks/evidence.py`."""

import numpy as np
from timing import header

from kmtl._table import Table
from kmtl.evidence.intervals import interval, with_interval
from kmtl.evidence.recommendation.serving_choice import ALONE
from kmtl.metrics import delta_m

_NOTE = "Seeds of the weights and of the order of the rows; the data stay the same."


def page(found, tasks, command):
    """The page.

    Args:
        found: `{set: {row: {seed: result}}}`.
        tasks: `{set: tasks}`.
        command: What made it.
    """
    lines = header("Does joint training help? Five sets", command, _NOTE)
    lines += [
        "± is the 95 % interval over the seeds, of changes paired by seed. delta_m: mean change of all metrics",
        "against separate models, percent, negative is better. `worse`: tasks whose change is above its interval.",
        "`wide` has as many weights as the separate models and a hidden layer in each head; `width` and",
        "`hidden layers` have one of the two. Weights: relative to the separate models'. CPU: seconds of the processor",
        "relative to separate, with all that is traced; `recommend 2` reads the separate models that are there, and",
        "does not train them again. Two processes shared the rows, beside other work on the machine: CPU is rough, and",
        "so are the costs of a step that `recommend` measured, by which it chose lengths.",
        "",
        "## What `recommend` ships",
        "",
        "A task keeps a model of its own where every joint model that the budget paid for loses on it by more than one",
        "standard error on the rows for choosing; one such task of three costs a third of the weights, and the sum is",
        "above half. In brackets: in how many seeds.",
        "",
        Table([row for name, rows in found.items() for row in _shipping_rows(name, rows, tasks[name])]).markdown(),
        "",
    ]
    for name, rows in found.items():
        count = len(rows["separate"])
        seeds = f"{count} seeds" if count > 1 else "one seed, which decides nothing"
        lines += [f"## {name}, {seeds}", "", _table(rows, tasks[name]).markdown(), ""]
        lines += [*_shipped(rows), ""]
    return "\n".join(lines)


def _shipping_rows(name, rows, tasks):
    """What each budget ships: whether a task is worse, how large it is, and which tasks cost the weights."""
    base, found = rows["separate"], []
    for row in (one for one in rows if one.startswith("recommend")):
        results, seeds = rows[row], sorted(rows[row])
        ratio = [results[seed]["weights"] / base[seed]["weights"] for seed in seeds]
        apart = {task.name: sum(results[seed]["serves"][task.name] == ALONE for seed in seeds) for task in tasks}
        found.append(
            {
                "set": name,
                "row": row,
                "worse": _worse(results, base, tasks, seeds),
                "delta_m": _change(results, base, tasks, seeds),
                "weights": f"{np.mean(ratio):.2f}",
                "at most half": f"{sum(value <= 0.5 for value in ratio)} of {len(seeds)} seeds",
                "kept a model of their own": ", ".join(f"{task} ({count})" for task, count in apart.items() if count)
                or "-",
            }
        )
    return found


def _table(rows, tasks):
    """A row a recipe."""
    base = rows["separate"]
    return Table([_row(name, results, base, tasks) for name, results in rows.items()])


def _row(name, results, base, tasks):
    """The cells of one row."""
    seeds = sorted(results)
    cells = {"row": name}
    for task in tasks:
        for metric in base[seeds[0]]["scores"][task.name]:
            values = [results[seed]["scores"][task.name][metric] for seed in seeds]
            cells[f"{task.name} {metric}"] = with_interval(np.mean(values), interval(values), ".3g")
    ratio = [results[seed]["weights"] / base[seed]["weights"] for seed in seeds]
    cost = [results[seed]["cpu"] / base[seed]["cpu"] for seed in seeds]
    return {
        **cells,
        "delta_m": _change(results, base, tasks, seeds),
        "worse": _worse(results, base, tasks, seeds),
        "weights": f"{np.mean(ratio):.2f}",
        "CPU": f"{np.mean(cost):.2f}",
    }


def _change(results, base, tasks, seeds):
    """delta_m with its interval."""
    changes = _changes(results, base, tasks, seeds)
    return with_interval(np.mean(changes), interval(changes), "+.1f")


def _worse(results, base, tasks, seeds):
    """The tasks whose change is above its interval."""
    worse = []
    for task in tasks:
        changes = _changes(results, base, [task], seeds)
        if len(seeds) > 1 and np.mean(changes) > interval(changes):
            worse.append(f"{task.name} ({np.mean(changes):+.1f} %)")
    return ", ".join(worse) or "-"


def _changes(results, base, tasks, seeds):
    """delta_m of some tasks, one a seed."""
    names = [task.name for task in tasks]
    return [
        delta_m(
            {name: results[seed]["scores"][name] for name in names},
            {name: base[seed]["scores"][name] for name in names},
            tasks,
        )
        for seed in seeds
    ]


def _shipped(rows):
    """What `recommend` shipped, seed by seed."""
    lines = []
    for name in rows:
        if name.startswith("recommend"):
            told = [
                f"seed {seed}: " + ", ".join(f"{task} from {source}" for task, source in result["serves"].items())
                for seed, result in sorted(rows[name].items())
            ]
            cost = np.mean([result["cost"] for result in rows[name].values()])
            lines += [f"- {name} shipped, at a cost of {cost:.2f}:", *(f"  - {line}" for line in told)]
    return lines
