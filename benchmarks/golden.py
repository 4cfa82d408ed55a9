"""Our directions, TorchJD's and LibMTL's beside exact ones: worst and median relative error of every method.

    python benchmarks/golden.py --golden PATH --write

The golden files hold 39 sets of gradients in float64, what the peers make of them in float64, and for most methods
the exact optimum from 50-digit arithmetic. Ours are computed as a user's would be: gradients and Gramian in float32.
An error is |d - exact| / max(|exact|, 1e-6 * shortest gradient).
"""

import argparse
import pathlib
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from timing import header

import kmtl

RESULTS = pathlib.Path(__file__).parent / "results" / "golden.md"
#: Cases without one well-posed answer, which no method is held to.
DEGENERATE = {
    "opposite_2x5": "two opposite gradients: every combination of equal shares is 0",
    "rankdef_stationary_3x10": "the gradients sum to 0",
    "rankdef_rank3_5x50": "0 lies in the hull of the gradients",
    "zeros_3x10": "no gradient at all",
    "zerorow_3x10": "a gradient of 0: the hull holds 0; here the task sits out",
}
OFF = 1e-3


class Entry(NamedTuple):
    """One method with fixed options.

    Attributes:
        title: As in the table.
        name: Registered name.
        options: Of the balancer, or a function of the number of tasks that makes them.
        exact: File and key of the exact direction; of the best peer's where no independent one exists.
        peers: `{peer: (file, key, factor)}`; the peer's direction times the factor has the exact one's length.
        times: What ours is multiplied by: a number, or `"K"`.
        independent: Whether the exact direction comes from another hand than the peers'.
    """

    title: str
    name: str
    options: Any
    exact: tuple[str, str]
    peers: dict[str, tuple[str, str, float]]
    times: Any = 1.0
    independent: bool = True


def _upgrad():
    by_rank = {"preference": lambda count: [place + 1.0 for place in range(count)]}
    jd, lib = "TorchJD", "LibMTL"
    tight = "TorchJD, tight tolerances"
    return [
        Entry(
            "UPGrad",
            "upgrad",
            {},
            ("UPGrad", "exact/agg"),
            {
                jd: ("UPGrad", "default/agg", 1.0),
                tight: ("UPGrad", "tight/agg", 1.0),
                lib: ("UPGrad_libmtl", "default/agg", 1.0),
            },
        ),
        Entry(
            "UPGrad, preference 1..K",
            "upgrad",
            by_rank,
            ("UPGrad", "exact/pref_agg"),
            {jd: ("UPGrad", "pref_default/agg", 1.0)},
        ),
        Entry(
            "DualProj",
            "dualproj",
            {},
            ("DualProj", "exact/agg"),
            {jd: ("DualProj", "default/agg", 1.0), tight: ("DualProj", "tight/agg", 1.0)},
        ),
    ]


def _mgda():
    peers = {
        "TorchJD": ("MGDA", "default/agg", 1.0),
        "TorchJD, tight tolerances": ("MGDA", "eps1e-12_it100000/agg", 1.0),
        "LibMTL": ("MGDA_libmtl", "none/agg", 1.0),
    }
    return [Entry("MGDA", "mgda", {}, ("MGDA", "exact/agg"), peers)]


def _cagrad():
    found = []
    for radius in (0.2, 0.5, 0.8):
        peers = {
            "TorchJD": ("CAGrad", f"c{radius}/agg", 1.0),
            "LibMTL": ("CAGrad_libmtl", f"c{radius}_r0/agg", 1.0),
        }
        options = {"radius": radius, "rescale": 0}
        found.append(Entry(f"CAGrad, c {radius}", "cagrad", options, ("CAGrad", f"exact/c{radius}_agg"), peers))
    return found


def _fair():
    nash = {"TorchJD": ("NashMTL", "max0/agg", 1.0), "LibMTL": ("Nash_MTL_libmtl", "max0/agg", 1.0)}
    clip = {"TorchJD": ("NashMTL", "default_max1/agg", 1.0), "LibMTL": ("Nash_MTL_libmtl", "default_max1/agg", 1.0)}
    found = [
        Entry("Nash-MTL", "nash", {"max_norm": None}, ("NashMTL", "exact/agg"), nash),
        Entry("Nash-MTL, norm at most 1", "nash", {}, ("NashMTL", "exact/agg_clip1"), clip),
    ]
    for alpha in (0.5, 1.0, 2.0):
        peers = {
            "TorchJD": ("FairGrad_torchjd", f"alpha{alpha}/agg", 1.0),
            "LibMTL": ("FairGrad_libmtl", f"alpha{alpha}/agg", 1.0),
        }
        exact = ("FairGrad_torchjd", f"exact/alpha{alpha}_agg")
        found.append(Entry(f"FairGrad, alpha {alpha}", "fairgrad", {"alpha": alpha}, exact, peers))
    return found


def _closed():
    """Methods with a closed form, which both peers compute in float64: TorchJD's is what the others are held to."""
    by_rank = {"preference": lambda count: [place + 1.0 for place in range(count)]}
    found = []
    for mode in ("min", "median", "rmse"):
        peers = {"LibMTL": ("Aligned_MTL_libmtl", "default/agg", "1/K")} if mode == "min" else {}
        found.append(
            Entry(f"Aligned-MTL, {mode}", "aligned", {"mode": mode}, ("AlignedMTL", f"{mode}/agg"), peers, 1.0, False)
        )
    found += [
        Entry("ConFIG", "config", {}, ("ConFIG", "default/agg"), {}, 1.0, False),
        Entry("ConFIG, preference 1..K", "config", by_rank, ("ConFIG", "pref/agg"), {}, 1.0, False),
        Entry(
            "IMTL-G",
            "imtl_g",
            {"sign": "paper"},
            ("IMTLG", "default/agg"),
            {"LibMTL": ("IMTL_G_libmtl", "default/agg", 1.0)},
            1.0,
            False,
        ),
        Entry("PCD, tau 0.02", "pcd", {}, ("PCD", "tau0.02/agg"), {}, 1.0, False),
        Entry("PCD, tau 0.5", "pcd", {"tau": 0.5}, ("PCD", "tau0.5/agg"), {}, 1.0, False),
        Entry("sum", "equal", {}, ("MeanSum", "sum/agg"), {}, 1.0, False),
    ]
    return found


ENTRIES = [*_upgrad(), *_mgda(), *_cagrad(), *_fair(), *_closed()]


class Golden:
    """A folder of golden files, each read once."""

    def __init__(self, path):
        self.path = pathlib.Path(path)
        self.files = {}

    def __call__(self, file, key):
        """An array, or None where the file has none of that name."""
        if file not in self.files:
            self.files[file] = dict(np.load(self.path / f"{file}.npz"))
        return self.files[file].get(key)

    @property
    def cases(self):
        """Names of the sets of gradients."""
        return [str(case) for case in self("UPGrad", "cases")]


class Ours:
    """One method on gradients of any shape, a graph for every number of tasks."""

    def __init__(self, entry):
        self.entry = entry
        self.made = {}

    def _make(self, count):
        """A balancer, the state it starts with, and its step."""
        given = self.entry.options
        options = {key: value(count) if callable(value) else value for key, value in given.items()}
        balancer = type(kmtl.balancers.get(self.entry.name))(**{"scale": "paper", **options})
        balancer.prepare([kmtl.Regression(f"task{place}") for place in range(count)])
        step = tf.function(lambda gram: balancer.weigh(losses=tf.ones(count), gram=gram), autograph=False)
        step = step.get_concrete_function(tf.TensorSpec((count, count)))
        return balancer, [variable.numpy() for variable in balancer.variables], step

    def __call__(self, gradients):
        """The direction of a first step."""
        gradients = np.asarray(gradients, "float32")
        count = len(gradients)
        if count not in self.made:
            self.made[count] = self._make(count)
        balancer, start, step = self.made[count]
        for variable, value in zip(balancer.variables, start, strict=True):
            variable.assign(value)
        weights = step(tf.constant(gradients @ gradients.T)).numpy()
        return factor(self.entry.times, count) * (weights @ gradients).astype("float64")


def factor(times, count):
    """What a direction is multiplied by."""
    return {"K": count, "1/K": 1 / count}.get(times, times)


def error(found, exact, gradients):
    """Relative error of a direction."""
    if found is None or not np.isfinite(found).all():
        return np.inf
    lengths = np.linalg.norm(gradients, axis=1)
    shortest = lengths[lengths > 0].min(initial=np.inf)
    return np.linalg.norm(found - exact) / max(np.linalg.norm(exact), 1e-6 * min(shortest, 1e30))


def errors(entry, golden, ours):
    """`{who: {case: error}}` over the cases that have an exact answer."""
    found = {"kmtl": {}} | {peer: {} for peer in entry.peers}
    for case in golden.cases:
        gradients, exact = golden(entry.exact[0], f"{case}/J"), golden(entry.exact[0], f"{case}/{entry.exact[1]}")
        if case in DEGENERATE or exact is None:
            continue
        found["kmtl"][case] = error(ours(gradients), exact, gradients)
        for peer, (file, key, times) in entry.peers.items():
            theirs = golden(file, f"{case}/{key}")
            scaled = None if theirs is None else factor(times, len(gradients)) * theirs
            found[peer][case] = error(scaled, exact, gradients)
    return found


def cell(values):
    """Median and worst, or nothing."""
    if not values:
        return "-"
    numbers = [f"{value:.0e}" if np.isfinite(value) else "fails" for value in (np.median(values), max(values))]
    return " / ".join(numbers)


def measure(golden):
    """One row a method, and one a peer that is off."""
    rows, off = [], []
    for entry in ENTRIES:
        found = errors(entry, golden, Ours(entry))
        reference = "exact" if entry.independent else "TorchJD"
        columns = [cell(list(found.get(who, {}).values())) for who in ("kmtl", "TorchJD", PEERS[2], "LibMTL")]
        rows.append(f"| {entry.title} | {reference} | {len(found['kmtl'])} | {' | '.join(columns)} |")
        for who, values in found.items():
            wrong = {case: value for case, value in values.items() if not value <= OFF}
            if wrong:
                told = ", ".join(f"{case} ({value:.0e})" for case, value in sorted(wrong.items(), key=lambda x: -x[1]))
                off.append(f"| {entry.title} | {who} | {len(wrong)} | {told.replace('inf', 'fails')} |")
    return rows, off


PEERS = ("kmtl", "TorchJD", "TorchJD, tight tolerances", "LibMTL")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--golden", type=pathlib.Path, required=True, help="folder of the golden files")
    parser.add_argument("--write", action="store_true", help="also write the committed table")
    options = parser.parse_args()
    note = (
        "Cells: median / worst relative error of the direction; ours in float32, the peers in float64 (TorchJD 0.18, "
        "LibMTL's HEAD of 2025-05-14). Not counted, having no one answer: " + ", ".join(sorted(DEGENERATE)) + "."
    )
    lines = header("Directions beside exact ones", "python benchmarks/golden.py --golden PATH --write", note)
    lines += [f"| method | against | cases | {' | '.join(PEERS)} |", "|---" * 7 + "|"]
    rows, off = measure(Golden(options.golden))
    lines += [
        *rows,
        "",
        f"## Cases off by more than {OFF:g}",
        "",
        "| method | whose | number | cases |",
        "|---" * 4 + "|",
    ]
    lines += off
    print("\n".join(lines))
    if options.write:
        RESULTS.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
