"""The table of `benchmarks/front.py`, out of what its trainings gave."""

import json

import numpy as np

from kmtl.evidence.intervals import interval
from kmtl.front import hypervolume, non_dominated

WAYS = ("grid", "matched grid", "3 of the grid", "longer 3", "front 1", "front 3")
RUNS = {"grid": 11, "matched grid": 11, "3 of the grid": 3, "longer 3": 3, "front 1": 1, "front 3": 3}
# What is barely acceptable: so much times the worst value of the grid.
ROOM, MIDDLE = 1.1, 0.1 - 1e-6


class Found:
    """The trainings of one problem and seed."""

    def __init__(self, told):
        self.told = told
        self.tasks = list(told["rows"][-1]["test"])
        self.seed = told["seed"]
        grid = [row for row in told["rows"] if row["way"] == "grid"]
        # Two tasks: the middle and both ends; three: the shares of 0.6.
        some = grid[5:6] + grid[:1] + grid[-1:] if len(self.tasks) == 2 else grid[1:4]
        self.rows = {way: [row for row in told["rows"] if row["way"] == way] for way in WAYS}
        self.rows["3 of the grid"] = some

    def values(self, way, side, space, middle=False):
        """Numbers of which less is better, `(points, tasks)`."""
        rows = [row for row in self.rows[way] if not middle or min(row["preference"]) >= MIDDLE]
        return np.array([[self._value(row[side][task], task, space) for task in self.tasks] for row in rows])

    def _value(self, scores, task, space):
        if space == "losses":
            return scores["loss"]
        metric, direction = next(iter(self.told["directions"][task].items()))
        return 1 - scores[metric] if direction == "max" else scores[metric]

    def volume(self, way, space, corner, middle=False):
        """The test volume of the points that validation calls non-dominated, as a share of the corner's box."""
        directions = ["min"] * len(self.tasks)
        kept = non_dominated(self.values(way, "validation", space, middle), directions)
        return hypervolume(self.values(way, "test", space, middle)[kept], corner, directions) / np.prod(corner)

    def best(self, way):
        """Test value of each task at the point whose validation is the best for it."""
        places = self.values(way, "validation", "metrics").argmin(axis=0)
        return self.values(way, "test", "metrics")[places, range(len(self.tasks))]

    def time(self, way):
        """CPU seconds of all trainings, over the mean of the grid's."""
        seconds = [row["seconds"] for row in self.rows[way]]
        total = seconds[0] if way.startswith("front") else sum(seconds)
        return total / np.mean([row["seconds"] for row in self.rows["grid"]])


def corner(seeds, space):
    """The reference point of a problem."""
    return ROOM * np.mean([found.values("grid", "test", space).max(axis=0) for found in seeds], axis=0)


def ratio(seeds, way, space, middle=False, base="grid"):
    """Volume over another way's, seed by seed: mean, half the 95 % interval, and what that says."""
    point = corner(seeds, space)
    pairs = [found.volume(way, space, point, middle) / found.volume(base, space, point, middle) for found in seeds]
    mean, half = float(np.mean(pairs)), interval(pairs)
    verdict = "tie" if not abs(mean - 1) > half else "more" if mean > 1 else "less"
    return f"{mean:.3f} ± {half:.3f}" + ("" if way == base else f", {verdict}")


def ends(seeds, way):
    """Change of the best value of each task against the grid's best, percent."""
    changes = np.array([100 * (found.best(way) / found.best("grid") - 1) for found in seeds])
    return ", ".join(
        f"{task} {mean:+.0f} ± {interval(column.tolist()):.0f}"
        for task, mean, column in zip(seeds[0].tasks, changes.mean(axis=0), changes.T, strict=True)
    )


def absolute(seeds):
    """What the grid and the single-task models reach, for the reader's sense of the numbers."""
    best = np.mean([found.best("grid") for found in seeds], axis=0)
    names = [next(iter(seeds[0].told["directions"][task])) for task in seeds[0].tasks]
    shown = []
    for task, metric, value in zip(seeds[0].tasks, names, best, strict=True):
        more = seeds[0].told["directions"][task][metric] == "max"
        shown.append(f"{task} {1 - value if more else value:.3g} {metric}")
    return "; ".join(shown)


def lines(folder):
    """The table, a part a problem."""
    told = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    out = []
    for name in dict.fromkeys(one["problem"] for one in told):
        seeds = [Found(one) for one in told if one["problem"] == name]
        one = seeds[0].told
        examples = ", ".join(f"{count} {split}" for split, count in one["examples"].items())
        out += [
            f"## {name}: {', '.join(seeds[0].tasks)}",
            "",
            f"{len(seeds)} seeds; {examples}; a run is {one['epochs']} epochs. {one['parameters']} weights plain, "
            f"{one['conditioned']} conditioned, {one['width']:.2f} times as wide to match. The grid's best, each at "
            f"its own point: {absolute(seeds)}.",
            "",
            "| way | runs | time | volume of metrics | of losses | of metrics, middle alone | best of each task, % |",
            "|---|---|---|---|---|---|---|",
        ]  # fmt: skip
        for way in WAYS:
            time = np.mean([found.time(way) for found in seeds])
            cells = [ratio(seeds, way, "metrics"), ratio(seeds, way, "losses"), ratio(seeds, way, "metrics", True)]
            cells = cells if way != "3 of the grid" or len(seeds[0].tasks) > 2 else [*cells[:2], "-"]
            out.append(f"| {way} | {RUNS[way]} | {time:.1f} | {' | '.join(cells)} | {ends(seeds, way)} |")
        rest = [ratio(seeds, "front 3", space, base="longer 3") for space in ("metrics", "losses")]
        out += ["", f"`front 3` over `longer 3`: {rest[0]} of metrics; {rest[1]} of losses.", ""]
    return out
