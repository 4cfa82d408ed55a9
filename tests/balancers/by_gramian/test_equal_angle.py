"""Unit, IMTL-G, IMTL and ConFIG against closed forms, each other and other libraries."""

import numpy as np
import pytest
from balancers.by_gramian import golden, peers
from balancers.by_gramian.documented import THREE, TWO, direction_of, weights_of
from keras import ops

from kmtl.balancers.by_gramian import IMTL, IMTLG, ConFIG, NashMTL, Unit
from kmtl.tasks import Regression


def test_documented_directions():
    np.testing.assert_allclose(direction_of(IMTLG(scale="paper"), TWO), [0.0767, 1.0, 1.0], atol=5e-5)
    np.testing.assert_allclose(weights_of(IMTLG(scale="paper"), THREE), [0.53566, 0.10769, 0.35664], atol=1e-5)
    np.testing.assert_allclose(direction_of(ConFIG(scale="paper"), TWO), [0.1588, 2.0706, 2.0706], atol=5e-5)
    expected = [1.79965, 1.38243, 1.69794, 1.58585]
    np.testing.assert_allclose(direction_of(ConFIG(scale="paper"), THREE), expected, atol=2e-5)
    np.testing.assert_allclose(weights_of(Unit(scale="paper"), THREE), [1.20761, 1.20761, 0.78360], atol=1e-5)


@pytest.mark.parametrize(("factor", "length"), [("rms", np.sqrt(8.5)), ("max", 4.0), ("one", 1.0)])
def test_unit_gradients_have_the_factors_length(factor, length):
    rows = np.diag([1.0, 4.0])
    for size in (1e-10, 1.0, 1e10):
        scaled = length if factor == "one" else length * size
        found = direction_of(Unit(factor=factor, scale="paper"), size * rows)
        np.testing.assert_allclose(found / scaled, [1.0, 1.0], rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_two_tasks_have_one_direction(seed):
    rows = np.random.default_rng(seed).normal(size=(2, 5)) * [[1.0], [30.0]]
    lengths = np.linalg.norm(rows, axis=1)
    found = [weights_of(kind(), rows) for kind in (Unit, IMTLG, ConFIG, NashMTL)]
    np.testing.assert_allclose(found, np.tile(2 / lengths / (1 / lengths).sum(), (4, 1)), rtol=1e-4)
    expected = lengths.sum() / (2 * lengths)
    np.testing.assert_allclose(weights_of(ConFIG(scale="paper"), rows), expected, rtol=1e-4)


@pytest.mark.long
@golden.needed
def test_torchjds_config():
    found = peers.errors(lambda _: ConFIG(scale="paper"), "ConFIG", "default/agg")
    preferring = peers.errors(lambda count: ConFIG(preference=range(1, count + 1), scale="paper"), "ConFIG", "pref/agg")
    assert len(found) == len(preferring) == 35
    assert max(found.values()) < 1e-4
    assert max(preferring.values()) < 1e-4


@golden.needed
@pytest.mark.parametrize("file", ["IMTLG", "IMTL_G_libmtl"])
def test_the_peers_imtl_g(file):
    found = peers.errors(lambda _: IMTLG(sign="paper", scale="paper"), file, "default/agg")
    # Their pseudo-inverse is another one where gradients depend on each other.
    found = {title: error for title, error in found.items() if not title.startswith(("rankdef", "tall"))}
    assert len(found) >= 30
    assert max(found.values()) < 1e-4


def test_any_number_of_tasks_imtl_g_is_parallel_to_config():
    rows = np.random.default_rng(2).normal(size=(6, 9)) * 10.0 ** np.linspace(-3, 3, 6)[:, None]
    found, other = weights_of(IMTLG(), rows), weights_of(ConFIG(), rows)
    np.testing.assert_allclose(found, other, rtol=1e-3)


def test_the_papers_sign_ascends_every_task_and_the_safe_one_none():
    cosines = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    cosines[2, :2] = cosines[:2, 2] = 0.7
    cosines[2, 2] = 1.0
    rows = np.linalg.cholesky(cosines) * [[1.0], [1.0], [0.1]]
    paper = rows @ direction_of(IMTLG(sign="paper", scale="paper"), rows)
    safe = rows @ direction_of(IMTLG(scale="paper"), rows)
    assert (paper < 0).all()
    np.testing.assert_allclose(safe, -paper, rtol=1e-4)


def test_imtl_has_imtl_gs_direction_and_another_length():
    rows, losses = THREE, ops.array([4.0, 1.0, 0.2])
    long, plain = IMTL(learning_rate=0.1, scale="paper"), weights_of(IMTLG(), rows)
    for _ in range(5):
        found = weights_of(long, rows, losses=losses)
    np.testing.assert_allclose(3 * found / found.sum(), plain, rtol=1e-5)
    assert abs(found.sum() - 1) > 0.01


@golden.needed
@pytest.mark.parametrize("count", [2, 3])
def test_torchjds_sequence_of_imtls_scales(count):
    known = np.load(golden.FOLDER / "IMTL_L.npz")
    balancer = IMTL(learning_rate=0.01)
    for losses, scales in zip(known[f"K{count}/losses"], known[f"K{count}/adam0.01/s"], strict=True):
        weights_of(balancer, np.eye(count), losses=ops.array(losses, dtype="float32"))
        np.testing.assert_allclose(balancer.scales, scales, rtol=1e-4, atol=1e-6)


def test_imtl_needs_losses():
    with pytest.raises(ValueError, match=r"^IMTL: `losses` must be given to this method, got none\."):
        weights_of(IMTL(), TWO)


@pytest.mark.parametrize("kind", [IMTLG, ConFIG])
def test_copies_of_a_gradient_share_its_weight(kind):
    rows = THREE[[0, 1, 1]]
    found = weights_of(kind(scale="paper"), rows)
    assert found[1] == pytest.approx(found[2], rel=1e-4)
    products = rows @ (found @ rows) / np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(products, products[0], rtol=1e-4)


@pytest.mark.parametrize("kind", [IMTLG, ConFIG])
def test_opposite_gradients_are_a_failure(kind):
    balancer = kind()
    assert weights_of(balancer, [[1.0, 2.0], [-1.0, -2.0]]).tolist() == [1.0, 1.0]
    assert balancer.failures == 1


def test_configs_cosines_are_proportional_to_the_preference():
    balancer = ConFIG(preference={"b": 3.0})
    balancer.prepare([Regression("a"), Regression("b"), Regression("c")])
    direction = direction_of(balancer, THREE)
    cosines = THREE @ direction / np.linalg.norm(THREE, axis=1)
    np.testing.assert_allclose(cosines / cosines[0], [1.0, 3.0, 1.0], rtol=1e-4)


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match=r"^IMTLG: `sign` must be 'safe' or 'paper', got 'save'\. Did you mean 'safe'"):
        IMTLG(sign="save")
    with pytest.raises(ValueError, match=r"^Unit: `factor` must be one of .*, got 'mean'\."):
        Unit(factor="mean")
    with pytest.raises(ValueError, match=r"^ConFIG: `tolerance` must be a finite number of at least 0, got -1\."):
        ConFIG(tolerance=-1)
