"""The two-task toy problem of the literature: where balancers go, against a float64 NumPy implementation of it."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from balancers.golden_files import benchmark
from cases import cases

toy = benchmark("toy")
#: Starts from which a path does not hang on the last digit: (0, 0), (-7.5, -0.5), (9, -1).
CALM = [1, 3, 4]
#: Lengths as in the papers.
PAPER = {
    "equal": {},
    "mgda": {"scale": "paper"},
    "pcgrad": {"scale": "paper"},
    "cagrad": {"scale": "paper", "rescale": 0},
    "unit": {"scale": "paper", "factor": "one"},
    "imtl_g": {},
    "nash": {},
    "gradvac": {"scale": "paper", "beta": 0.5},
    "famo": {"scale": "paper"},
}
#: Points after 8,000 steps from the calm starts, by closed forms for two tasks in float64; None where a ridge is
#: crossed on the way, on which float32 turns off elsewhere.
AFTER_8000 = {
    "equal": [(-5.725, -5.007), (-5.727, -5.236), (8.285, 0.000)],
    "mgda": [(5.718, -5.055), (-4.271, -7.829), (7.003, -6.095)],
    "pcgrad": [(-3.749, -5.173), (-4.246, -5.537), (5.043, -8.051)],
    "cagrad": [(-4.940, -4.820), (-4.956, -5.304), (8.313, 0.000)],
    "unit": [(0.000, -5.892), (-3.534, -6.834), (5.020, -7.575)],
    "gradvac": [(-5.724, -5.000), (-5.727, -5.241), None],
    "famo": [(0.014, -4.890), (-1.876, -6.474), (2.992, -5.715)],
}
QUICK = ["mgda", "unit"]


@functools.cache
def walk(name):
    """A balancer's walk, compiled once."""
    return toy.Walk(name, PAPER[name])


def end(name, start, steps):
    """Where a balancer comes to."""
    return list(walk(name)(start, steps))[-1]


def test_the_problem_is_the_published_codes():
    """Losses by hand; the gradient passes where x2 = 0, which the kink of `relu` would block."""
    point = tf.Variable([1.3, 2.0])
    bend = np.tanh(2.0)
    ridges = np.log([abs(0.5 * (-1.3 - 7) + bend), abs(0.5 * (-1.3 + 3) - bend + 2)]) + 6
    np.testing.assert_allclose(toy.losses(point, 0.1), ridges * np.tanh(1.0) * [0.1, 1.0], rtol=1e-6)
    point.assign([-2.0, -3.0])
    bowls = np.array([(9.0**2 + 0.1 * 25) / 10 - 20, (5.0**2 + 0.1 * 25) / 10 - 20])
    np.testing.assert_allclose(toy.losses(point, 0.1), bowls * np.tanh(1.5) * [0.1, 1.0], rtol=1e-6)
    point.assign([0.0, 0.0])
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(toy.losses(point, 0.1))
    assert abs(float(tape.gradient(total, point)[1])) > 1


def test_the_front_is_where_the_gradients_oppose_each_other():
    for across in (-7.0, -3.0, 0.0, 2.5, 7.0):
        point = tf.Variable([across, toy.front(across)], dtype="float32")
        with tf.GradientTape(persistent=True) as tape:
            first, second = tf.unstack(toy.losses(point, 0.1))
        one, other = tape.gradient(first, point).numpy(), tape.gradient(second, point).numpy()
        assert abs(one[0] * other[1] - one[1] * other[0]) < 1e-4
        assert one @ other <= 1e-6
        assert toy.on_front((across, toy.front(across)))
    assert not toy.on_front((0.0, -8.2))
    assert not toy.on_front((7.5, -8.43))


@pytest.mark.long
@pytest.mark.parametrize("name", cases(AFTER_8000, *QUICK, others="slow"))
def test_paths_are_those_of_float64(name):
    for place, expected in zip(CALM, AFTER_8000[name], strict=True):
        if expected is not None:
            np.testing.assert_allclose(end(name, toy.STARTS[place], 8000), expected, atol=0.01)


@pytest.mark.long
@pytest.mark.parametrize("name", cases(["unit", "mgda", "imtl_g", "nash", "famo"], "unit", others="slow"))
def test_balanced_methods_reach_the_front_from_everywhere(name):
    for start in toy.STARTS:
        found = end(name, start, toy.STEPS)
        assert toy.on_front(found), (start, found)
        assert found[1] < -8.3


@pytest.mark.long
@pytest.mark.parametrize("name", cases(["equal", "cagrad", "gradvac"], "cagrad", others="slow"))
def test_methods_that_follow_the_sum_reach_its_optimum_or_stick_on_a_ridge(name):
    for place in CALM:
        np.testing.assert_allclose(end(name, toy.STARTS[place], toy.STEPS), (-5.727, -8.409), atol=0.1)
    assert not toy.on_front(end(name, toy.STARTS[2], 10_000))


@pytest.mark.long
def test_the_plain_sum_never_leaves_the_ridge():
    found = end("equal", toy.STARTS[2], toy.STEPS)
    np.testing.assert_allclose(found, (5.03, 4.00), atol=0.1)


@pytest.mark.long
@pytest.mark.parametrize(
    "start", [(-8.5, 7.5), *(pytest.param(s, marks=pytest.mark.slow) for s in [(-8.5, -5.0), (9.0, 9.0)])]
)
def test_cagrad_comes_to_the_optimum_of_the_mean(start):
    """The setting of its paper: losses as they are, 100,000 steps."""
    found = list(toy.Walk("cagrad", {"radius": 0.5, "rescale": 0, "scale": "paper"}, factor=1.0)(start, 100_000))[-1]
    np.testing.assert_allclose(found, (0.0, -8.355), atol=0.05)
