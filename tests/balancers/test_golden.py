"""Every method against exact directions, and the peers' beside it: each disagreement has its reason here."""

import functools
import json

import numpy as np
import pytest
from balancers.golden_files import FOLDER, benchmark, gram_of, needed
from cases import cases
from keras import ops

from kmtl.balancers import by_gramian
from kmtl.balancers.by_gramian.projections import pcgrad_weights

table = benchmark("golden")
pytestmark = needed
ENTRIES = {entry.title: entry for entry in table.ENTRIES}
#: The same formula with another number in it, on the same path.
OTHER_NUMBERS = ["CAGrad, c 0.2", "CAGrad, c 0.8", "FairGrad, alpha 0.5", "FairGrad, alpha 1.0", "PCD, tau 0.5"]
#: What `test_the_oracles_directions` sees of them, it sees of the branch that they alone take.
SEEN_BELOW = ["Aligned-MTL, median", "Aligned-MTL, rmse", "Nash-MTL"]
TITLES = cases(ENTRIES, *(title for title in ENTRIES if title not in OTHER_NUMBERS + SEEN_BELOW), others="slow")

SCALED = ["scale_3x10_0", "scale_3x10_1", "scale_5x50", "scale_conflict_3x10"]
SIMPLEX = ["simplex_5x50_0", "simplex_5x50_1"]
FROM_RANDOM = [f"rand_{shape}" for shape in ("3x10_0", "3x10_1", "4x30_0", "4x30_1", "5x50_0", "5x50_1", "5x50_2")]
#: Reasons for an error of a peer's direction above a thousandth: (file, reason): cases.
PEERS_OFF = {
    ("UPGrad", "adds 1e-4 to the Gramian over its trace: short rows and near-opposite ones are not protected"): [
        *SIMPLEX,
        "scale_3x10_1",
        "scale_5x50",
        "scale_conflict_3x10",
        "nearopposite_2x10",
    ],
    ("UPGrad", "takes a Gramian of trace below 1e-4 for zero: no projection at all"): ["tiny_conflict_3x10"],
    ("UPGrad_libmtl", "adds 1e-4 to the Gramian over its trace: short rows are not protected"): [
        *SIMPLEX,
        "scale_3x10_1",
        "scale_5x50",
        "scale_conflict_3x10",
    ],
    ("UPGrad_libmtl", "takes a Gramian of trace below 1e-4 for zero: no projection at all"): ["tiny_conflict_3x10"],
    ("DualProj", "adds 1e-4 to the Gramian over its trace: short rows and near-opposite ones are not protected"): [
        *SIMPLEX,
        "scale_3x10_1",
        "scale_5x50",
        "scale_conflict_3x10",
        "nearopposite_2x10",
    ],
    ("DualProj", "takes a Gramian of trace below 1e-4 for zero: no projection at all"): ["tiny_conflict_3x10"],
    ("MGDA", "Frank and Wolfe's iteration, cut after 100 steps or 20,000, whose tail is slow"): [
        *FROM_RANDOM,
        *SIMPLEX,
        *[f"rand_{shape}" for shape in ("7x20_0", "7x20_1", "10x200_0", "10x200_1", "10x200_2")],
        *["conflict_3x10_0", "conflict_3x10_1", "scale_5x50", "scale_conflict_3x10", "rankdef_sum_3x10", "tall_5x3"],
        *["orth_3x10", "positive_4x30", "tiny_conflict_3x10", "huge_conflict_3x10"],
    ],
    ("MGDA_libmtl", "raises UnboundLocalError for one task"): ["k1_1x10"],
    ("MGDA_libmtl", "clips the step to [0.001, 0.999] and stops at 1e-5"): ["scale_3x10_0", "scale_5x50"],
    ("CAGrad", "returns 0 where |g_w| is below 1e-4 of the gradients, or these below 1e-2"): [
        "scale_3x10_0",
        "scale_3x10_1",
        "scale_5x50",
        "tiny_conflict_3x10",
    ],
    ("CAGrad_libmtl", "SLSQP stops at an absolute change of 1e-6, whatever the gradients' size"): [
        *["scale_3x10_0", "scale_3x10_1", "scale_5x50", "tiny_conflict_3x10", "huge_conflict_3x10"],
        *SIMPLEX,
        *["nearopposite_2x10", "conflict_3x10_1"],
    ],
    ("NashMTL", "raises for one task: 'Scalar operands are not allowed'"): ["k1_1x10"],
    ("NashMTL", "20 linearisations from ones end before the bargain of rows of unlike or small length"): [
        *SCALED,
        "tiny_conflict_3x10",
    ],
    ("Nash_MTL_libmtl", "raises for one task: 'Scalar operands are not allowed'"): ["k1_1x10"],
    ("Nash_MTL_libmtl", "20 linearisations from ones end before the bargain of rows of unlike or small length"): [
        *SCALED,
        "tiny_conflict_3x10",
    ],
    ("FairGrad_torchjd", "absolute tolerances of least squares, far from small or unlike gradients"): [
        *SCALED,
        "tiny_conflict_3x10",
    ],
    ("FairGrad_libmtl", "absolute tolerances of least squares, far from small or unlike gradients"): [
        *SCALED,
        "tiny_conflict_3x10",
    ],
    ("IMTL_G_libmtl", "inverts a singular matrix: raises, or returns noise"): [
        *["duprow_3x10", "duprow_conflict_3x10", "rankdef_sum_3x10", "tall_5x3"],
    ],
}
#: The same of ours, where TorchJD's closed form is what it is held to.
OURS_OFF = {
    ("IMTL-G", "the pseudo-inverse is that of the cosines, not of the Gramian: dependent gradients share by angle"): [
        "rankdef_sum_3x10",
        "tall_5x3",
    ],
}


def errors(title, method):
    """`{who: {case: error}}`, of ours by a method of gradients."""
    return table.errors(ENTRIES[title], table.Golden(FOLDER), method)


@functools.cache
def ours(title):
    """Our method, traced once."""
    return table.Ours(ENTRIES[title])


def explained(reasons, whose):
    """Cases that have a reason."""
    return {case for (owner, _), cases in reasons.items() if owner == whose for case in cases}


@pytest.mark.parametrize("title", TITLES)
def test_ours_is_within_a_thousandth_of_the_exact_direction(title):
    found = errors(title, ours(title))["kmtl"]
    off = {case for case, error in found.items() if not error < 1e-3}
    assert off == explained(OURS_OFF, title)
    assert len(found) == 34
    held = [error for case, error in found.items() if case not in off]
    assert np.median(held) < 1e-6


@pytest.mark.long
def test_every_disagreement_of_a_peer_has_its_reason():
    off = {}
    for title, entry in ENTRIES.items():
        theirs = errors(title, lambda _: None)
        for peer, (file, _, _) in entry.peers.items():
            found = {case for case, error in theirs[peer].items() if not error < 1e-3}
            off[file] = off.get(file, set()) | found
    assert {file: cases for file, cases in off.items() if cases} == {
        file: explained(PEERS_OFF, file) for file, _ in PEERS_OFF
    }


@pytest.mark.parametrize("title", TITLES)
def test_without_one_answer_the_direction_is_finite_and_no_longer_than_the_gradients(title):
    golden = table.Golden(FOLDER)
    for case in table.DEGENERATE:
        gradients = golden("UPGrad", f"{case}/J")
        lengths, found = np.linalg.norm(gradients, axis=1), ours(title)(gradients)
        assert np.linalg.norm(found) <= len(gradients) * max(1.0, lengths.max()), case
        cancel = case in ("opposite_2x5", "rankdef_stationary_3x10", "rankdef_rank3_5x50")
        if cancel and title.startswith(("UPGrad", "DualProj", "MGDA")):
            # The exact direction is 0.
            assert np.linalg.norm(found) < 2e-3 * lengths.min(), case


@pytest.mark.parametrize("title", [title for title in TITLES if "preference" not in str(title)])
def test_a_gradient_of_zero_sits_out(title):
    gradients = table.Golden(FOLDER)("UPGrad", "zerorow_3x10/J")
    left = gradients[np.linalg.norm(gradients, axis=1) > 0]
    assert len(left) == len(gradients) - 1
    np.testing.assert_allclose(ours(title)(gradients), ours(title)(left), rtol=1e-4, atol=1e-6)


ORACLES = {
    "mgda": (by_gramian.MGDA, {}),
    "imtl_g": (by_gramian.IMTLG, {}),
    "upgrad": (by_gramian.UPGrad, {}),
    "dualproj": (by_gramian.DualProj, {}),
    "aligned_min": (by_gramian.Aligned, {}),
    "aligned_median": (by_gramian.Aligned, {"mode": "median"}),
    "aligned_rmse": (by_gramian.Aligned, {"mode": "rmse"}),
    "config": (by_gramian.ConFIG, {}),
    "cagrad_c0_4": (by_gramian.CAGrad, {"radius": 0.4, "rescale": 0}),
    "cagrad_c0_5": (by_gramian.CAGrad, {"radius": 0.5, "rescale": 0}),
    "cagrad_c0_4_r1": (by_gramian.CAGrad, {"radius": 0.4, "rescale": 1}),
    "db_mtl": (by_gramian.Unit, {"factor": "max"}),
    "sum_of_units": (by_gramian.Unit, {"factor": "one"}),
    "ntk_n1": (by_gramian.Unit, {}),
    "nash": (by_gramian.NashMTL, {"max_norm": None}),
    "fairgrad_a2": (by_gramian.FairGrad, {}),
    "fairgrad_a0_5": (by_gramian.FairGrad, {"alpha": 0.5}),
}
#: Where ours is not the oracle's.
ORACLES_OFF = {("J2", "aligned_median"): "of two eigenvalues it takes the upper median; TorchJD and kmtl the lower"}


@pytest.mark.parametrize("matrix", ["J2", "K3", "K3_orth", "K3_rankdef", "K3_scaled"])
def test_the_oracles_directions(matrix):
    known = json.loads((FOLDER.parent / "oracles" / "oracle_values.json").read_text())[matrix]
    rows, off = np.array(known["G"]), set()
    orders = ops.array([range(len(rows))] * len(rows))
    found = {"pcgrad_fixed_order": pcgrad_weights(gram_of(rows), orders), "mean": ops.ones(len(rows)) / len(rows)}
    for method, (kind, options) in ORACLES.items():
        found[method] = kind(scale="paper", **options).weigh(gram=gram_of(rows))
    assert set(found) == set(known) - {"G", "M", "cos"}
    for method, weights in found.items():
        expected = known[method]["d"]
        if not np.linalg.norm(np.asarray(weights) @ rows - expected) < 5e-4 * np.linalg.norm(expected):
            off.add((matrix, method))
    assert off == {key for key in ORACLES_OFF if key[0] == matrix}
