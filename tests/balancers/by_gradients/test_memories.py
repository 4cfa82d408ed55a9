"""Balancers that remember gradients: MoCo, DB-MTL, ExcessMTL."""

import numpy as np
import pytest
import tensorflow as tf
from cases import cases
from keras import ops
from scipy.optimize import minimize

from kmtl import balancers
from kmtl.balancers.by_gradients import DBMTL, ExcessMTL, GradDrop, MemorylessDBMTL, MoCo, TrimmedMean
from kmtl.balancers.by_gradients.moco import onto_simplex
from kmtl.tasks import Regression

REMEMBERING = [MoCo, DBMTL, ExcessMTL]
DRAWS = np.random.default_rng(0)
ROWS = DRAWS.normal(size=(3, 6)).astype("float32")
LOSSES = np.array([0.5, 2.0, 1.0], "float32")
TASKS = [Regression("zebra"), Regression("ant"), Regression("mole")]


def step(balancer, rows=ROWS, losses=LOSSES, present=(True, True, True)):
    return np.asarray(balancer.combine(ops.array(rows), losses=ops.array(losses), present=ops.array(present)))


@pytest.mark.parametrize("make", REMEMBERING)
def test_the_memory_is_made_with_the_size_or_with_the_first_gradients(make):
    sized, late = make(), make()
    sized.prepare(TASKS, size=6)
    late.prepare(TASKS)
    assert sized.memory.shape == (3, 6)
    assert not late.variables
    np.testing.assert_array_equal(step(sized), step(late))
    assert late.memory.shape == (3, 6)
    with pytest.raises(ValueError, match=rf"^{make.__name__}: `size` must be 6 again, got 7\. Make a new one"):
        late.prepare(TASKS, size=7)


@pytest.mark.parametrize("make", REMEMBERING)
@pytest.mark.parametrize("harm", ["absent", "nan", "infinite loss", "zero"])
def test_the_row_of_a_task_that_sits_out_stands_still(make, harm):
    balancer = make()
    step(balancer)
    before = {variable.path: variable.numpy() for variable in balancer.variables}
    rows, losses = 2 * ROWS, LOSSES.copy()
    rows[1] = {"nan": np.nan, "zero": 0.0}.get(harm, rows[1])
    losses[1] = np.inf if harm == "infinite loss" else 1.0
    direction = step(balancer, rows, losses, (True, harm != "absent", True))
    assert np.isfinite(direction).all()
    after = {variable.path: variable.numpy() for variable in balancer.variables}
    for path in before:
        if before[path].shape[:1] == (3,) and not path.endswith("excluded"):
            np.testing.assert_array_equal(before[path][1], after[path][1], err_msg=path)
    assert np.any(balancer.memory[0].numpy() != before[balancer.memory.path][0])


@pytest.mark.parametrize("make", REMEMBERING)
def test_a_memory_is_of_the_weights(make):
    with pytest.raises(
        ValueError, match=rf"^{make.__name__}: `level` must be 'parameters': the memory is of the shared"
    ):
        make(level="features")


@pytest.mark.parametrize("make", [*REMEMBERING, GradDrop, TrimmedMean])
def test_no_step_is_without_gradients(make):
    with pytest.raises(
        ValueError, match=rf"^{make.__name__}: `update_every` must be 1: between its steps there would be"
    ):
        make(update_every=2)


@pytest.mark.parametrize("make", [GradDrop, TrimmedMean])
def test_directions_without_weights_are_not_smoothed(make):
    with pytest.raises(ValueError, match=rf"^{make.__name__}: `smoothing` must be 0: this method has no weights"):
        make(smoothing=0.5)
    assert make(level="features").get_config()["level"] == "features"


@pytest.mark.parametrize("make", [MoCo, DBMTL])
def test_losses_are_needed(make):
    with pytest.raises(ValueError, match=rf"^{make.__name__}: `losses` must be given to this method, got none"):
        make().combine(ops.array(ROWS))
    with pytest.raises(ValueError, match=r"^MemorylessDBMTL: `losses` must be given"):
        MemorylessDBMTL().weigh(gram=ops.eye(2))


@pytest.mark.parametrize("make", [MoCo, DBMTL])
def test_a_loss_below_zero_is_a_failure_that_leaves_no_trace(make):
    balancer = make()
    step(balancer)
    row, last = balancer.memory[2].numpy(), balancer.last.numpy()
    step(balancer, losses=np.array([0.5, 2.0, -1.0], "float32"))
    assert float(balancer.failures) == 1
    np.testing.assert_array_equal(balancer.memory[2].numpy(), row)
    np.testing.assert_allclose(balancer.last.numpy(), last, rtol=1e-6)


def test_the_simplex_point_is_the_nearest():
    for scale in (0.1, 1.0, 10.0):
        values = DRAWS.normal(size=5) * scale
        constraint = {"type": "eq", "fun": lambda x: x.sum() - 1}
        start = np.full(5, 0.2)
        best = minimize(
            lambda x, values=values: np.sum((x - values) ** 2), start, bounds=[(0, 1)] * 5, constraints=constraint
        )
        found = onto_simplex(ops.array(values.astype("float32")), ops.array([True] * 5))
        np.testing.assert_allclose(found, best.x, atol=1e-4)
    huge = onto_simplex(ops.array([-1e20, -2e20, -1e20]), ops.array([True] * 3))
    np.testing.assert_allclose(huge, [0.5, 0, 0.5])


@pytest.mark.long
def test_moco_comes_to_the_min_norm_point_of_steady_gradients():
    balancer = MoCo(scale="paper", gamma=1.0, gamma_decay=0.0)
    rows = np.array([[1.0, 0.0], [0.6, 0.8]], "float32") * [[5.0], [0.1]]
    losses = np.array([1.0, 0.5])
    given = {"losses": ops.array(losses, "float32"), "present": ops.array([True, True])}
    balancer.prepare(TASKS[:2], size=2)
    combined = tf.function(lambda: balancer.combine(ops.array(rows, "float32"), **given))
    for _ in range(200):
        direction = combined()
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True) * losses[:, None]
    share = np.clip((units[1] - units[0]) @ units[1] / np.sum((units[0] - units[1]) ** 2), 0, 1)
    np.testing.assert_allclose(direction, share * units[0] + (1 - share) * units[1], atol=1e-3)


def test_db_mtl_forgets_its_start_and_becomes_memoryless():
    balancer = DBMTL(scale="paper")
    for _ in range(60):
        direction = step(balancer)
    weights = MemorylessDBMTL(scale="paper").weigh(gram=ops.array(ROWS @ ROWS.T), losses=ops.array(LOSSES))
    np.testing.assert_allclose(direction, np.asarray(weights) @ ROWS, rtol=1e-4, atol=1e-5)
    with pytest.raises(
        ValueError, match=r"^DBMTL: `beta` must be above 0 and below 1, got 0\. Without an average take"
    ):
        DBMTL(beta=0)


def test_memoryless_db_mtl_is_the_sum_of_unit_gradients():
    gram = ops.array(ROWS @ ROWS.T)
    weights = np.asarray(MemorylessDBMTL().weigh(gram=gram, losses=ops.array(LOSSES)))
    lengths = np.linalg.norm(ROWS, axis=1)
    np.testing.assert_allclose(weights * lengths / (weights[0] * lengths[0]), 1, rtol=1e-5)
    weights = np.asarray(MemorylessDBMTL(scale="paper").weigh(gram=gram, losses=ops.array(LOSSES)))
    np.testing.assert_allclose(weights * lengths, np.max(lengths / LOSSES), rtol=1e-5)


def test_excess_raises_the_task_whose_gradient_does_not_shrink():
    balancer = ExcessMTL(step_size=0.5, warmup=2)
    for turn in range(10):
        step(balancer, ROWS * np.array([[1.0], [0.5**turn], [1.0]], "float32"))
        if turn < 2:
            np.testing.assert_allclose(balancer.last, 1.0, rtol=1e-5)
    weights = balancer.last.numpy()
    assert weights[1] < 0.9 < weights[0]
    np.testing.assert_allclose(weights.sum(), 3, rtol=1e-5)


def test_excess_survives_a_task_whose_first_gradients_were_nothing():
    balancer = ExcessMTL(step_size=1.0, warmup=1)
    step(balancer, ROWS * np.array([[1e-15], [1.0], [1.0]], "float32"))
    for _ in range(3):
        assert np.isfinite(step(balancer)).all()
    np.testing.assert_allclose(balancer.last, [3, 0, 0], atol=1e-5)
    assert np.isfinite(balancer.logits.numpy()).all()


@pytest.mark.parametrize("make", REMEMBERING)
def test_a_memory_is_saved_and_goes_on(make):
    balancer, again = make(), make()
    for ready in (balancer, again):
        ready.prepare(TASKS, size=6)
    step(balancer)
    saved = {}
    balancer.save_own_variables(saved)
    again.load_own_variables({key: np.array(value) for key, value in saved.items()})
    np.testing.assert_array_equal(again.memory.numpy(), balancer.memory.numpy())
    assert np.any(again.memory.numpy())
    np.testing.assert_array_equal(step(balancer), step(again))


@pytest.mark.long
@pytest.mark.parametrize("name", cases(["moco", "db_mtl", "excess", "graddrop", "trimmed_mean"], "moco", others="slow"))
@pytest.mark.parametrize("compiled", cases([False, True], False, others="slow"))
def test_they_run_in_a_graph(name, compiled):
    balancer, plain = balancers.get(name), balancers.get(name)
    for ready in (balancer, plain):
        ready.prepare(TASKS, size=6)
    traced = tf.function(lambda rows, losses: balancer.combine(rows, losses=losses), jit_compile=compiled)
    for _ in range(3):
        direction = np.asarray(traced(tf.constant(ROWS), tf.constant(LOSSES)))
        if name != "graddrop":
            np.testing.assert_allclose(direction, step(plain), rtol=1e-5, atol=1e-6)
    assert np.isfinite(direction).all()
