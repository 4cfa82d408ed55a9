"""Values of other libraries (TorchJD 0.18, LibMTL's HEAD of 2025-05-14), in float64; skipped where they do not lie.

Where they are not met, the test says why.
"""

from pathlib import Path

import numpy as np
import pytest
from cases import cases
from keras import ops

from kmtl.balancers.by_gradients import DBMTL, ExcessMTL, Krum, MoCo, TrimmedMean
from kmtl.balancers.by_gradients.excess import excess_risks
from kmtl.balancers.by_gradients.graddrop import graddrop_direction
from kmtl.balancers.by_gradients.robust import krum_weights, squared_distances, trimmed_mean

GOLDEN = Path(__file__).parents[4] / "shared" / "golden"
pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden values do not lie beside the repository")
SIZES = ["K2", "K3", "K5"]


def single(value):
    return ops.cast(value, "float32")


def everyone(rows):
    return ops.array([True] * len(rows))


def near(found, expected, rows, tolerance=2e-6):
    """Whether they differ by little beside the rows, whose digits may cancel."""
    np.testing.assert_allclose(found, expected, atol=tolerance * max(np.abs(rows).max(), 1e-30), rtol=0)


def test_graddrop_is_torchjds_with_its_draws():
    golden = np.load(GOLDEN / "GradDrop_torchjd.npz")
    for title in golden["cases"]:
        rows = golden[f"{title}/J"]
        for draw in ("s0", "s1"):
            for kind, leaks in (("agg", np.zeros(len(rows))), ("leak_agg", np.linspace(0.1, 0.9, len(rows)))):
                found = graddrop_direction(single(rows), single(golden[f"{title}/{draw}/U"]), single(leaks))
                near(found, golden[f"{title}/{draw}/{kind}"], rows)


@pytest.mark.long
def test_trimmed_mean_is_torchjds():
    golden, seen = np.load(GOLDEN / "TrimmedMean.npz"), 0
    for title in golden["cases"]:
        rows = golden[f"{title}/J"]
        for trim in (0, 1, 2):
            key = f"{title}/t{trim}/agg"
            if key not in golden.files:
                with pytest.raises(ValueError, match="a value must be left"):
                    TrimmedMean(trim=trim).combine(single(rows))
                continue
            near(trimmed_mean(single(rows), everyone(rows), trim), golden[key], rows)
            # A row of zeros sits out; TorchJD takes it for a vote.
            if title != "zerorow_3x10":
                near(TrimmedMean(trim=trim, scale="paper").combine(single(rows)), golden[key], rows)
            seen += 1
    assert seen == 85


@pytest.mark.long
def test_krum_is_torchjds_but_for_ties_and_squares():
    golden, others = np.load(GOLDEN / "Krum.npz"), set()
    for title in golden["cases"]:
        rows = golden[f"{title}/J"]
        for variant in golden["variants"]:
            byzantine, selected = (int(part[1:]) for part in str(variant).split("_"))
            if f"{title}/{variant}/w" in golden.files:
                expected, gram = golden[f"{title}/{variant}/w"], single(rows @ rows.T)
                # TorchJD's scores sum distances, the paper's their squares.
                plain = krum_weights(ops.sqrt(squared_distances(gram)), everyone(rows), byzantine, selected)
                squared = Krum(byzantine=byzantine, selected=selected, scale="paper").weigh(gram=gram)
                for kind, found in (("plain", plain), ("squared", squared)):
                    if not np.allclose(found, expected, atol=1e-6):
                        others.add((kind, str(title), str(variant)))
    tied = {("rand_5x50_0", "f2_m1"), ("rand_5x50_1", "f2_m1"), ("scale_5x50", "f2_m1")}
    # Equal rows and rows of zeros tie too.
    assert {(title, variant) for kind, title, variant in others if kind == "plain"} >= tied
    for kind, title, variant in others:
        byzantine, selected = (int(part[1:]) for part in variant.split("_"))
        rows = golden[f"{title}/J"]
        apart = np.linalg.norm(rows[:, None] - rows[None], axis=2)
        near_ones = np.sort(apart**2 if kind == "squared" else apart, axis=1)[:, 1 : len(rows) - byzantine - 1]
        scores = np.sort(near_ones.sum(axis=1))
        at_a_tie = np.isclose(scores[selected - 1], scores[selected], rtol=1e-6)
        assert at_a_tie or (kind, title, variant) == ("squared", "scale_5x50", "f0_m1")


def follows(balancer, golden, size, key, times=1.0):
    """The directions of a sequence, against the golden ones."""
    losses = golden[f"{size}/losses"] if f"{size}/losses" in golden.files else np.ones(golden[f"{size}/J"].shape[:2])
    steps = zip(golden[f"{size}/J"], losses, golden[f"{size}/{key}/agg"], strict=True)
    for rows, loss, expected in steps:
        found = np.asarray(balancer.combine(single(rows), losses=single(loss))) * times
        np.testing.assert_allclose(found, expected, atol=2e-6 * np.linalg.norm(expected), rtol=0)


@pytest.mark.parametrize("size", cases(SIZES, "K3"))
def test_moco_by_softmax_is_libmtls(size):
    golden = np.load(GOLDEN / "MoCo_seq_libmtl.npz")
    follows(MoCo(projection="softmax", scale="paper"), golden, size, "default")
    follows(MoCo(projection="softmax", scale="paper", rho=0.1), golden, size, "rho0.1")


@pytest.mark.parametrize("size", SIZES)
def test_db_mtl_is_libmtls(size):
    golden = np.load(GOLDEN / "DB_MTL_seq_libmtl.npz")
    follows(DBMTL(beta=0.9, decay=0.0, scale="paper"), golden, size, "default")
    follows(DBMTL(beta=0.5, decay=0.5, scale="paper"), golden, size, "beta0.5_sigma0.5")


@pytest.mark.parametrize("size", cases(SIZES, "K3"))
def test_excess_is_libmtls_and_torchjds(size):
    golden = np.load(GOLDEN / "ExcessMTL_seq_libmtl.npz")
    # LibMTL's weights sum to K.
    follows(ExcessMTL(step_size=0.01, warmup=1), golden, size, "default")
    follows(ExcessMTL(step_size=1.0, warmup=1), golden, size, "step1")
    golden = np.load(GOLDEN / "sequences_torchjd.npz")
    follows(ExcessMTL(step_size=0.01, warmup=3, scale="paper"), golden, size, "ExcessMTL_0.01_warm3")


@pytest.mark.parametrize("size", SIZES)
def test_excess_without_warm_up_differs_in_the_first_step_alone(size):
    # Without a warm-up TorchJD takes the first excess itself, undivided; here the warm-up is one step at least.
    golden = np.load(GOLDEN / "sequences_torchjd.npz")
    balancer = ExcessMTL(step_size=1.0, warmup=1, scale="paper")
    for turn, rows in enumerate(golden[f"{size}/J"]):
        found = np.asarray(balancer.combine(single(rows)))
        if turn == 0:
            balancer.logits.assign(excess_risks(single(rows), single(rows**2)))
        else:
            expected = golden[f"{size}/ExcessMTL_1.0/agg"][turn]
            np.testing.assert_allclose(found, expected, atol=1e-5 * np.linalg.norm(expected), rtol=0)
