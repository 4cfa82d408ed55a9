"""TorchJD's and LibMTL's weights of the losses, over sequences; both compute in float64."""

import numpy as np
import pytest
from balancers.golden_files import FOLDER, golden, needed, single
from cases import cases
from keras import ops

from kmtl.balancers import get
from kmtl.balancers.by_losses import DWA, FAMO, GLS, IMTLL, STCH, Uncertainty
from kmtl.balancers.by_losses.imtl import imtl_l_gradient
from kmtl.balancers.by_losses.uncertainty import uncertainty_gradient
from kmtl.balancers.fixed import Static
from kmtl.balancers.signals import masked_softmax
from kmtl.tasks import Regression

pytestmark = needed
#: The peers' own formulas take any number of tasks alike.
SIZES = cases(["K2", "K3", "K10"], "K2", "K10", others="slow")
#: What no balancer here is: the rest of each file is compared.
ABSENT = {
    "sequences_torchjd": "MoDo, SDMGrad: weights of the products of two batches; here the problem is that of one",
    "scalarizers_torchjd": "COSMOS, PBI: scalarizers for a front by preferences, no balancers",
    "rep_grad_libmtl": "GradDrop: signs of gradient times feature, summed over the batch",
    "STCH": "LibMTL's preference-free form is compared; TorchJD's plain form has its own test",
}
#: Files that the tests of the methods of gradients read.
BY_GRADIENTS = {
    "GradDrop_torchjd",
    "TrimmedMean",
    "Krum",
    "MoCo_seq_libmtl",
    "DB_MTL_seq_libmtl",
    "ExcessMTL_seq_libmtl",
}


def told(balancer, size):
    """A balancer that knows its tasks."""
    balancer.prepare([Regression(f"task{place}") for place in range(int(size[1:]))])
    return balancer


def epoch(losses):
    """The logs of an epoch."""
    return {f"task{place}_loss": float(loss) for place, loss in enumerate(losses)}


def test_every_file_is_compared():
    here = {"DWA", "UW", "IMTL_L", "GLS", "STCH", "FAMO", "RLW", "scalarizers_torchjd"}
    exact = {
        "UPGrad",
        "DualProj",
        "MGDA",
        "CAGrad",
        "NashMTL",
        "FairGrad_torchjd",
        "AlignedMTL",
        "ConFIG",
        "IMTLG",
        "PCD",
    }
    peers = {
        "UPGrad",
        "MGDA",
        "CAGrad",
        "Nash_MTL",
        "FairGrad",
        "Aligned_MTL",
        "IMTL_G",
        "Nash_MTL_seq",
        "GradNorm_seq",
    }
    peers = {f"{name}_libmtl" for name in peers | {"PCGrad", "GradVac", "rep_grad"}}
    others = {"MeanSum", "PCGrad", "GradVac_torchjd", "sequences_torchjd"}
    assert here | exact | peers | others | BY_GRADIENTS == {path.stem for path in FOLDER.glob("*.npz")}
    assert set(ABSENT) <= here | peers | others


@pytest.mark.parametrize("temperature", [2.0, 0.5])
@pytest.mark.parametrize("size", SIZES)
def test_dwa_is_both_peers(size, temperature):
    found = golden("DWA")
    balancer = told(DWA(temperature=temperature), size)
    for number, losses in enumerate(found[f"{size}/epoch_losses"]):
        weights = balancer.weigh(losses=single(losses))
        for whose in ("w", "w_torchjd"):
            np.testing.assert_allclose(weights, found[f"{size}/T{temperature}/{whose}"][number], rtol=1e-5)
        balancer.end_epoch(epoch(losses))


@pytest.mark.parametrize("size", SIZES)
def test_uncertainty_is_both_peers(size):
    found = golden("UW")
    for initial, weights, scales in ((-0.5, "w", "s"), (0.0, "w_torchjd", "s_torchjd")):
        balancer = told(Uncertainty(learning_rate=0.01, initial=initial, scale="paper"), size)
        for step, losses in enumerate(found[f"{size}/losses"]):
            got = balancer.weigh(losses=single(losses))
            np.testing.assert_allclose(got, found[f"{size}/adam0.01/{weights}"][step], rtol=1e-4)
            np.testing.assert_allclose(balancer.learned, found[f"{size}/adam0.01/{scales}"][step], atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_slopes_of_learned_parameters_are_the_peers(size):
    """Under plain gradient descent the parameters show the slopes themselves."""
    found, count = golden("UW"), int(size[1:])
    learned = ops.full((count,), -0.5)
    for step, losses in enumerate(found[f"{size}/losses"]):
        learned = learned - 0.1 * uncertainty_gradient(single(losses), learned, ops.full((count,), 0.5))
        np.testing.assert_allclose(learned, found[f"{size}/sgd0.1/s"][step], atol=1e-5)
    found, learned = golden("IMTL_L"), ops.zeros((count,))
    for step, losses in enumerate(found[f"{size}/losses"]):
        learned = learned - 0.1 * imtl_l_gradient(single(losses), learned)
        np.testing.assert_allclose(learned, found[f"{size}/sgd0.1/s"][step], atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_imtl_l_is_torchjds(size):
    found = golden("IMTL_L")
    balancer = told(IMTLL(learning_rate=0.01, scale="paper"), size)
    for step, losses in enumerate(found[f"{size}/losses"]):
        weights = balancer.weigh(losses=single(losses))
        np.testing.assert_allclose(weights, found[f"{size}/adam0.01/w"][step], rtol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_the_geometric_mean_is_both_peers(size):
    found = golden("GLS")
    for losses, expected in zip(found[f"{size}/losses"], found[f"{size}/w"], strict=True):
        np.testing.assert_allclose(GLS(scale="paper").weigh(losses=single(losses)), expected, rtol=1e-5)
    found = golden("scalarizers_torchjd")
    for losses, expected in zip(found[f"{size}/losses"], found[f"{size}/GeometricMean/w"], strict=True):
        np.testing.assert_allclose(GLS(scale="paper").weigh(losses=single(losses)), expected, rtol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_fixed_weights_are_torchjds(size):
    found, count = golden("scalarizers_torchjd"), int(size[1:])
    weights = {f"task{place}": float(share) for place, share in enumerate(found[f"{size}/pref"])}
    fixed = told(Static(weights=weights, scale="paper"), size)
    for losses, expected in zip(found[f"{size}/losses"], found[f"{size}/Constant/w"], strict=True):
        np.testing.assert_allclose(fixed.weigh(losses=single(losses)), expected, rtol=1e-5)
        equal = np.asarray(get("equal").weigh(losses=single(losses)))
        np.testing.assert_allclose(equal, found[f"{size}/Sum/w"][0])
        np.testing.assert_allclose(equal / count, found[f"{size}/Mean/w"][0], rtol=1e-6)


@pytest.mark.parametrize("smoothness", [1.0, 0.2])
@pytest.mark.parametrize("size", SIZES)
def test_stch_is_libmtls(size, smoothness):
    """LibMTL's epochs 3, 4 and 5, of which 4 is the last of the warm-up."""
    found = golden("STCH")
    losses, expected = found[f"{size}/losses"], found[f"{size}/mu{smoothness}/w"]
    balancer = told(STCH(smoothness=smoothness, warmup=2, scale="paper"), size)
    for first, last in ((0, 3), (3, 6), (6, 12)):
        for step in range(first, last):
            np.testing.assert_allclose(balancer.weigh(losses=single(losses[step])), expected[step], rtol=1e-4)
        balancer.end_epoch(epoch(losses[first:last].mean(axis=0)))
    np.testing.assert_allclose(balancer.nadir, found[f"{size}/mu{smoothness}/nadir"], rtol=1e-5)


@pytest.mark.parametrize("smoothness", [1.0, 0.2])
@pytest.mark.parametrize("size", SIZES)
def test_plain_stch_is_torchjds(size, smoothness):
    found = golden("STCH")
    for losses, expected in zip(found[f"{size}/losses"], found[f"{size}/mu{smoothness}/torchjd_w"], strict=True):
        balancer = STCH(smoothness=smoothness, logarithmic=False, scale="paper")
        np.testing.assert_allclose(balancer.weigh(losses=single(losses)), expected, rtol=1e-4)


@pytest.mark.parametrize("decay", cases([0.0, 0.001, 0.01], 0.001))
@pytest.mark.parametrize("size", SIZES)
def test_famo_is_both_peers(size, decay):
    found, key = golden("FAMO"), f"{size}/gamma{decay}"
    balancer = told(FAMO(learning_rate=0.025, weight_decay=decay, scale="paper"), size)
    everyone = ops.ones((int(size[1:]),), "bool")
    steps = zip(found[f"{size}/losses_before"], found[f"{size}/losses_after"], strict=True)
    for step, (before, after) in enumerate(steps):
        weights = balancer.weigh(losses=single(before))
        balancer.after_update(single(after), everyone)
        for whose in ("", "torchjd_"):
            np.testing.assert_allclose(weights, found[f"{key}/{whose}grad_w"][step], rtol=1e-4)
            np.testing.assert_allclose(balancer.logits, found[f"{key}/{whose}logits_after"][step], atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_random_weights_are_libmtls_of_its_draws(size):
    found = golden("RLW")
    for draws, expected in zip(found[f"{size}/normals"], found[f"{size}/w"], strict=True):
        everyone = ops.ones((len(draws),), "bool")
        np.testing.assert_allclose(masked_softmax(single(draws), everyone), expected, rtol=1e-5)
