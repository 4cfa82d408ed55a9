"""Literal directions of every method of the Gramian, each set of gradients with its origin, and a few of the losses."""

import numpy as np
import pytest
from keras import ops

from kmtl.balancers import get
from kmtl.balancers.by_gramian import (
    IMTLG,
    MGDA,
    Aligned,
    CAGrad,
    ConFIG,
    DualProj,
    FairGrad,
    NashMTL,
    PCGrad,
    Unit,
    UPGrad,
)
from kmtl.balancers.by_losses import GLS, SI, STCH, UWSO
from kmtl.balancers.by_losses.averages import dwa_weights
from kmtl.balancers.by_losses.prioritizing import dtp_weights

METHODS = {
    "mgda": lambda: MGDA(scale="paper"),
    "pcgrad": lambda: PCGrad(scale="paper", seed=0),
    "upgrad": lambda: UPGrad(scale="paper"),
    "dualproj": lambda: DualProj(scale="paper"),
    "imtl_g": lambda: IMTLG(scale="paper"),
    "aligned": lambda: Aligned(scale="paper"),
    "aligned rmse": lambda: Aligned(mode="rmse", scale="paper"),
    "config": lambda: ConFIG(scale="paper"),
    "cagrad 0.4": lambda: CAGrad(radius=0.4, rescale=0, scale="paper"),
    "cagrad 0.4, rescaled": lambda: CAGrad(radius=0.4, rescale=1, scale="paper"),
    "cagrad 0.5": lambda: CAGrad(radius=0.5, rescale=0, scale="paper"),
    "nash": lambda: NashMTL(max_norm=None, scale="paper"),
    "nash, clipped": lambda: NashMTL(scale="paper"),
    "fairgrad 0.5": lambda: FairGrad(alpha=0.5, scale="paper"),
    "fairgrad 1": lambda: FairGrad(alpha=1.0, scale="paper"),
    "fairgrad 2": lambda: FairGrad(alpha=2.0, scale="paper"),
    "unit rms": lambda: Unit(scale="paper"),
    "unit max": lambda: Unit(factor="max", scale="paper"),
    "unit one": lambda: Unit(factor="one", scale="paper"),
}

#: The matrix of TorchJD's documentation and the directions that its version 0.18 prints there, to four decimals.
TORCHJD = (
    [[-4, 1, 1], [6, 1, 1]],
    5e-5,
    {
        "mgda": [0, 1, 1],
        "pcgrad": [0.5848, 3.8012, 3.8012],
        "upgrad": [0.2929, 1.9004, 1.9004],
        "dualproj": [0.5563, 1.1109, 1.1109],
        "imtl_g": [0.0767, 1, 1],
        "aligned": [0.2133, 0.9673, 0.9673],
        "config": [0.1588, 2.0706, 2.0706],
        "cagrad 0.5": [0.1835, 1.2041, 1.2041],
        "nash, clipped": [0.0542, 0.7061, 0.7061],
        "fairgrad 1": [0.0766, 0.9985, 0.9985],
    },
)
#: TorchJD adds 1e-4 to the scaled Gramian there; these are the directions without it.
UNREGULARIZED = {"upgrad": [0.29240, 1.90058, 1.90058], "dualproj": [0.55556, 1.11111, 1.11111]}

#: Three gradients, solved in float64 NumPy by other routes: enumeration of supports, SLSQP, least squares, SVD.
THREE = (
    [[1, 2, 0, -1], [-1, 1, 2, 0], [0.5, -2, 1, 3]],
    1e-5,
    {
        "mgda": [0.56265, 0.54019, 0.60284, 0.45981],
        "upgrad": [0.60965, 0.72807, 1.16374, 0.79678],
        "dualproj": [0.16667, 0.33333, 1.00000, 0.66667],
        "imtl_g": [0.60629, 0.46574, 0.57203, 0.53426],
        "config": [1.79965, 1.38243, 1.69794, 1.58585],
        "nash": [0.56123, 0.80733, 1.22104, 0.73642],
        "fairgrad 2": [0.53614, 0.66966, 0.91397, 0.58339],
        "fairgrad 0.5": [0.57783, 0.95917, 1.63533, 0.95960],
        "aligned": [0.29007, 0.37481, 0.61759, 0.40711],
        "aligned rmse": [0.56390, 0.72862, 1.20060, 0.79143],
        "cagrad 0.4": [0.42686, 0.74234, 1.03713, 0.53642],
        "cagrad 0.5": [0.55189, 0.81875, 1.09501, 0.61398],
        "unit rms": [0.39180, 2.05564, 3.19883, 1.14320],
        "unit max": [0.50000, 2.62331, 4.08221, 1.45890],
        "unit one": [0.13245, 0.69493, 1.08140, 0.38647],
    },
)

#: Gradients whose lengths differ by 4,500 and two of which nearly oppose each other; solved as the three above.
SCALED = (
    [[100, 0, 0], [-30, 1, 0], [0, -0.02, 0.01]],
    5e-4,
    {
        "mgda": [9.498e-07, 0.000123475, 0.0097450241],
        "upgrad": [0.0074057617, 0.2888395171, 0.5810123676],
        "dualproj": [0.0074057617, 0.2221728505, 0.444345701],
        "imtl_g": [7.92213e-05, 0.0047545967, 0.0096863375],
        "aligned": [0.0022455596, 0.004073828, 0.0034176297],
        "aligned rmse": [13.5391628412, 24.5623492493, 20.6059298915],
        "config": [0.0070091304, 0.420664612, 0.8570021162],
        "cagrad 0.4": [14.0042666589, 0.6376355558, 0.0033333333],
        "cagrad 0.4, rescaled": [12.0726436714, 0.549685824, 0.0028735632],
        "nash": [0.0087132692, 0.5228160005, 1.6512381461],
        "fairgrad 0.5": [0.0142395497, 0.5553860006, 1.1187615987],
        "fairgrad 2": [0.0054968998, 0.4659870985, 5.2827731765],
        "unit max": [0.0555093254, -86.1111960779, 44.72133955],
    },
)

#: Three gradients of rank 2, the third the sum of the others; every method's answer is a multiple of (1, 1, 0).
DEPENDENT = (
    [[1, 0, 1], [0, 1, -1], [1, 1, 0]],
    1e-5,
    {
        "mgda": [0.5, 0.5, 0],
        "upgrad": [0.83333, 0.83333, 0],
        "dualproj": [0.66667, 0.66667, 0],
        "imtl_g": [0.75, 0.75, 0],
        "aligned": [0.66667, 0.66667, 0],
        "config": [2, 2, 0],
        "cagrad 0.4": [0.93333, 0.93333, 0],
        "cagrad 0.5": [1, 1, 0],
        "nash": [1.22474, 1.22474, 0],
        "fairgrad 2": [1.07722, 1.07722, 0],
        "fairgrad 0.5": [1.42837, 1.42837, 0],
        "unit one": [1.41421, 1.41421, 0],
    },
)

#: More tasks than dimensions: exact optima by 50-digit arithmetic, of gradients drawn once from N(0, 1), rounded.
TALL = (
    [
        [1.044165, -0.410935, -1.138776],
        [1.369711, -0.398664, -0.203878],
        [3.140821, 0.075165, -2.734914],
        [1.040308, 0.425862, -0.980377],
        [0.088657, -0.654247, -3.271201],
    ],
    1e-5,
    {
        "upgrad": [1.336733, -0.192564, -1.665829],
        "dualproj": [1.336733, -0.192564, -1.665829],
        "mgda": [1.222545, -0.030294, -0.550791],
        "cagrad 0.5": [2.355910, -0.489202, -1.817531],
        "nash": [1.534013, -0.244827, -1.608373],
        "fairgrad 2": [1.054522, -0.166020, -0.939873],
        "fairgrad 0.5": [2.413753, -0.372568, -2.771716],
    },
)

SETS = {"TorchJD": TORCHJD, "three": THREE, "scaled": SCALED, "dependent": DEPENDENT, "tall": TALL}


def direction(method, rows):
    return np.asarray(METHODS[method]().combine(ops.array(np.asarray(rows, "float32"))))


@pytest.mark.parametrize(("title", "method"), [(title, method) for title in SETS for method in SETS[title][2]])
def test_the_direction(title, method):
    rows, tolerance, known = SETS[title]
    expected = UNREGULARIZED.get(method, known[method]) if title == "TorchJD" else known[method]
    np.testing.assert_allclose(direction(method, rows), expected, atol=tolerance * max(1.0, np.abs(expected).max()))


def test_torchjds_regularization_is_a_thousandth_off():
    rows, _, known = TORCHJD
    for method, expected in UNREGULARIZED.items():
        np.testing.assert_allclose(known[method], expected, atol=1.5e-3)
        np.testing.assert_allclose(direction(method, rows), expected, atol=1e-5)


#: What the methods make of three orthogonal gradients of length 2, in units of their sum.
ORTHOGONAL = {
    **dict.fromkeys(["mgda", "imtl_g", "upgrad", "dualproj", "aligned", "aligned rmse"], 1 / 3),
    **dict.fromkeys(["pcgrad", "config", "unit rms", "unit max"], 1.0),
    "unit one": 0.5,
    "nash": 0.5,
    "fairgrad 2": 2.0 ** (-4 / 3),
    "cagrad 0.5": 0.5,
}


@pytest.mark.parametrize("method", ORTHOGONAL)
def test_orthogonal_gradients_of_one_length(method):
    np.testing.assert_allclose(direction(method, 2 * np.eye(3)), [2 * ORTHOGONAL[method]] * 3, rtol=1e-5)


#: What they make of three copies of one gradient, in units of it.
IDENTICAL = {
    **dict.fromkeys(["mgda", "imtl_g", "upgrad", "dualproj", "aligned"], 1.0),
    **dict.fromkeys(["pcgrad", "config", "unit rms", "unit max"], 3.0),
    "cagrad 0.5": 1.5,
}


@pytest.mark.parametrize("method", IDENTICAL)
def test_copies_of_one_gradient(method):
    gradient = np.array([1.0, -2.0, 0.5, 3.0])
    np.testing.assert_allclose(direction(method, [gradient] * 3), IDENTICAL[method] * gradient, rtol=1e-4)


@pytest.mark.parametrize("method", ["mgda", "upgrad", "dualproj", "pcgrad", "cagrad 0.5", "unit one"])
def test_opposite_gradients_cancel(method):
    np.testing.assert_allclose(direction(method, [[3.0, 4.0], [-3.0, -4.0]]), [0, 0], atol=1e-5)


@pytest.mark.parametrize("method", ["nash", "imtl_g", "config", "unit one"])
def test_with_two_tasks_four_methods_have_one_direction(method):
    rows = np.array([[1.0, 2.0, 0.5], [-3.0, 1.0, 4.0]])
    expected = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).sum(axis=0)
    found = direction(method, rows)
    np.testing.assert_allclose(found / np.linalg.norm(found), expected / np.linalg.norm(expected), rtol=1e-5)


LOSSES = np.array([0.8, 0.3, 1.5], "float32")
#: Weights by hand of the losses above.
OF_LOSSES = {
    "si": (SI, [1.25, 10 / 3, 2 / 3]),
    "gls": (GLS, 0.7113787 / 3 / LOSSES),
    "uw_so": (lambda **options: UWSO(temperature=1.0, **options), [0.10428, 0.83752, 0.05819]),
    "stch, plain": (
        lambda **options: STCH(logarithmic=False, preference=[1, 1, 1], smoothness=1 / 3, **options),
        np.array([0.27622, 0.16754, 0.55624]) / 3,
    ),
    "stch, sharp": (
        lambda **options: STCH(logarithmic=False, smoothness=0.1 / 3, **options),
        np.array([0.00091, 0.00001, 0.99908]) / 3,
    ),
}


@pytest.mark.parametrize("method", OF_LOSSES)
def test_weights_of_losses(method):
    make, expected = OF_LOSSES[method]
    np.testing.assert_allclose(make(scale="paper").weigh(losses=ops.array(LOSSES)), expected, atol=1e-5)


def test_weights_of_ratios_and_indicators():
    everyone = ops.array([True] * 3)
    ratios = ops.array([0.8 / 1.0, 0.3 / 0.4, 1.5 / 1.2])
    np.testing.assert_allclose(dwa_weights(ratios, 2.0, everyone), [0.92947, 0.90653, 1.16400], atol=1e-5)
    np.testing.assert_allclose(dtp_weights(ops.array([0.9, 0.5, 0.2]), 1.0), [0.01054, 0.34657, 1.28755], atol=1e-5)


def test_equal_weights_sum_the_gradients():
    assert np.asarray(get("equal").weigh(losses=ops.array(LOSSES))).tolist() == [1.0, 1.0, 1.0]
