"""PCD against TorchJD, its optimality conditions and its rules of who leads."""

import numpy as np
import pytest
from balancers.by_gramian import golden, peers
from balancers.by_gramian.documented import THREE, weights_of
from keras import ops

from kmtl.balancers.by_gramian import PCD
from kmtl.tasks import Regression


@pytest.mark.long
@golden.needed
@pytest.mark.parametrize("tau", [0.02, 0.5])
def test_torchjds_first_step(tau):
    found = peers.errors(lambda _: PCD(tau=tau, scale="paper"), "PCD", f"tau{tau}/agg")
    assert len(found) >= 36
    assert max(found.values()) < 1e-3


@golden.needed
@pytest.mark.parametrize("count", [2, 3, 5])
def test_torchjds_sequence(count):
    known, balancer = np.load(golden.FOLDER / "sequences_torchjd.npz"), PCD(tau=0.1, beta=0.9, scale="paper")
    for rows, expected in zip(known[f"K{count}/J"], known[f"K{count}/PCD_0.1/agg"], strict=True):
        found = weights_of(balancer, rows) @ rows
        assert np.linalg.norm(found - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("count", [2, 4, 9])
def test_its_optimality_conditions(count):
    for seed in range(5):
        rows = np.random.default_rng(seed).normal(size=(count, 12))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        found = weights_of(PCD(tau=0.3, eps=0.0, scale="paper"), rows)
        pulls = found / found[0]
        slack = rows[1:] @ (pulls @ rows) - 0.3
        assert min(pulls) >= 0
        assert min(slack) > -1e-4
        np.testing.assert_allclose(pulls[1:] * slack, 0.0, atol=1e-4)
        assert np.linalg.norm(found @ rows) == pytest.approx(1.0, rel=1e-4)


def test_without_conflict_the_primary_goes_alone():
    rows = np.abs(THREE) + 1.0
    assert weights_of(PCD(scale="paper"), rows).tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)


def test_conditions_that_exclude_each_other_are_dropped():
    rows = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 1.0], [0.0, -2.0, -1.0]])
    balancer = PCD(scale="paper")
    assert weights_of(balancer, rows).tolist() == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)
    assert balancer.failures == 0


def test_the_named_task_leads_and_the_first_where_it_is_away():
    def named(primary, present):
        balancer = PCD(primary=primary, tau=0.1, scale="paper")
        balancer.prepare([Regression("a"), Regression("b"), Regression("c")])
        return weights_of(balancer, THREE, present=ops.array(present))

    turned = weights_of(PCD(tau=0.1, scale="paper"), THREE[[2, 0, 1]])
    np.testing.assert_allclose(named("c", [True] * 3), turned[[1, 2, 0]], rtol=1e-5)
    away = named("a", [False, True, True])
    np.testing.assert_allclose(away[1:], weights_of(PCD(tau=0.1, scale="paper"), THREE[1:]), rtol=1e-5)
    np.testing.assert_allclose(named(None, [True] * 3), named("a", [True] * 3))


def test_bad_options_are_refused():
    with pytest.raises(ValueError, match=r"^PCD: `primary` must name one of the model's tasks, got 'aa'\."):
        PCD(primary="aa").prepare([Regression("a"), Regression("b")])
    with pytest.raises(TypeError, match=r"^PCD: `primary` must be None or the name of a task, got 3\."):
        PCD(primary=3)
    with pytest.raises(ValueError, match=r"^PCD: `tau` must be at least 0 and at most 1, got 2\."):
        PCD(tau=2)
    with pytest.raises(ValueError, match=r"^PCD: `beta` must be at least 0 and below 1, got 1\."):
        PCD(beta=1)
