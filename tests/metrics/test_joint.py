"""delta_m, delta_p and the mean rank: published rows, and what they are undefined for."""

import numpy as np
import pytest

from kmtl.metrics import check_baselines, delta_m, delta_p, mean_rank
from kmtl.tasks import Classification, Regression


def table(*values):
    """NYUv2's nine numbers by task and metric, named so that their directions are known."""
    miou, pixel, absolute, relative, mean, median, near, middle, far = values
    return {
        "segmentation": {"miou": miou, "pixel_accuracy": pixel},
        "depth": {"absolute_error": absolute, "relative_error": relative},
        "normals": {
            "mean_error": mean,
            "median_error": median,
            "accuracy_11": near,
            "accuracy_22": middle,
            "accuracy_30": far,
        },
    }


NYUV2 = [Regression("normals", shape=3), Classification("segmentation", 13), Regression("depth")]
SINGLE = table(38.30, 63.76, 0.6754, 0.2780, 25.01, 19.21, 30.14, 57.20, 69.15)
# Navon et al., "Multi-Task Learning as a Bargaining Game", ICML 2022, Table 2, and the papers that follow it.
PUBLISHED = {
    "LS": ((39.29, 65.33, 0.5493, 0.2263, 28.15, 23.96, 22.09, 47.50, 61.08), 5.589),
    "SI": ((38.45, 64.27, 0.5354, 0.2201, 27.60, 23.37, 22.53, 48.57, 62.32), 4.39),
    "MGDA": ((30.47, 59.90, 0.6070, 0.2555, 24.88, 19.45, 29.18, 56.88, 69.36), 1.38),
    "Nash-MTL": ((40.13, 65.93, 0.5261, 0.2171, 25.26, 20.08, 28.40, 55.47, 68.15), -4.047),
    "FairGrad": ((39.74, 66.01, 0.5377, 0.2236, 24.84, 19.60, 29.26, 56.58, 69.16), -4.66),
    "NTKMTL": ((39.68, 65.43, 0.5296, 0.2168, 24.24, 18.63, 30.74, 58.72, 70.78), -6.99),
}


@pytest.mark.parametrize("method", PUBLISHED)
def test_published_rows_of_nyuv2(method):
    row, published = PUBLISHED[method]
    digits = len(str(published).partition(".")[2])
    assert delta_m(table(*row), SINGLE, NYUV2) == pytest.approx(published, abs=1.1 * 10**-digits)


# Lin et al., "Dual-Balancing for Multi-Task Learning" (DB-MTL), 2023: Table 1, on DeepLabV3+; delta_p there.
DEEPLAB = table(53.50, 75.39, 0.3926, 0.1605, 21.99, 15.16, 39.04, 65.00, 75.16)
GAINS = {
    "EW": ((53.93, 75.53, 0.3825, 0.1577, 23.57, 17.01, 35.04, 60.99, 72.05), -1.778),
    "GLS": ((54.59, 76.06, 0.3785, 0.1555, 22.71, 16.07, 36.89, 63.11, 73.81), 0.30),
    "CAGrad": ((53.97, 75.54, 0.3885, 0.1588, 22.47, 15.71, 37.77, 63.82, 74.30), -0.27),
    "MoCo": ((52.25, 74.56, 0.3920, 0.1622, 22.82, 16.24, 36.58, 62.72, 73.49), -2.25),
    "DB-MTL": ((53.92, 75.60, 0.3768, 0.1557, 21.97, 15.37, 38.43, 64.81, 75.24), 1.15),
}


@pytest.mark.parametrize("method", GAINS)
def test_published_gains_of_nyuv2(method):
    row, published = GAINS[method]
    digits = len(str(published).partition(".")[2])
    assert delta_p(table(*row), DEEPLAB, NYUV2) == pytest.approx(published, abs=1.1 * 10**-digits)


def test_the_two_conventions_disagree_on_one_row():
    # Five of nine metrics are of one task: worse than single models in the one, better in the other (Table 6 there).
    equal = table(*PUBLISHED["LS"][0])
    assert delta_m(equal, SINGLE, NYUV2) == pytest.approx(5.589, abs=0.001)
    assert delta_p(equal, SINGLE, NYUV2) == pytest.approx(0.88, abs=0.006)


def test_ranks_share_places_and_follow_the_better_end():
    tasks = [Regression("angle", metrics=["mae"]), Classification("digit", 10), Regression("own")]

    def scores(mae, accuracy):
        return {"angle": {"mae": mae}, "digit": {"accuracy": accuracy}, "own": {"sharpness": mae}}

    values = {"one": scores(3.0, 0.9), "two": scores(1.0, 0.9), "three": scores(float("nan"), 0.8)}
    # Angle 2, 1, 3; digit 1.5, 1.5, 3; nobody knows which end of sharpness is better.
    assert mean_rank(values, tasks) == {"one": 1.75, "two": 1.25, "three": 3.0}
    assert np.isnan(mean_rank({"one": {"own": {"sharpness": 1.0}}}, tasks)["one"])


def test_a_published_row_of_cityscapes():
    tasks = [Classification("segmentation", 7), Regression("depth")]

    def row(miou, pixel, absolute, relative):
        return {
            "segmentation": {"miou": miou, "pixel_accuracy": pixel},
            "depth": {"absolute_error": absolute, "relative_error": relative},
        }

    single, equal = row(74.01, 93.16, 0.0125, 27.77), row(75.18, 93.49, 0.0155, 46.77)
    assert delta_m(equal, single, tasks) == pytest.approx(22.62, abs=0.006)


def test_better_is_negative_whichever_way_a_metric_points():
    tasks = [Regression("angle"), Classification("digit", 10)]
    single = {"angle": {"mae": 4.0}, "digit": {"accuracy": 0.8}}
    assert delta_m({"angle": {"mae": 3.0}, "digit": {"accuracy": 0.8}}, single, tasks) == pytest.approx(-12.5)
    assert delta_m({"angle": {"mae": 4.0}, "digit": {"accuracy": 0.6}}, single, tasks) == pytest.approx(12.5)
    assert delta_m(single, single, tasks) == 0


def test_every_metric_counts_once_and_only_those_with_a_baseline():
    tasks = [Regression("angle"), Classification("digit", 10)]
    single = {"angle": {"mae": 4.0, "mse": 10.0, "rmse": 2.0}, "digit": {"accuracy": np.float32(0.5)}}
    joint = {"angle": {"mae": 5.0, "mse": 10.0, "rmse": 2.0, "r2": 0.1}, "digit": {"accuracy": 0.5, "auc": 1.0}}
    assert delta_m(joint, single, tasks) == pytest.approx(25 / 4)
    assert delta_m(joint, {"angle": {"mae": 4.0}}, tasks) == pytest.approx(25)


def test_of_a_negative_baseline_the_size_divides():
    task = Regression("angle")
    # From -0.5 up to 0.3 is better by 1.6 of the baseline's size.
    assert delta_m({"angle": {"r2": 0.3}}, {"angle": {"r2": -0.5}}, [task]) == pytest.approx(-160)
    assert delta_m({"angle": {"r2": -0.8}}, {"angle": {"r2": -0.5}}, [task]) == pytest.approx(60)
    with pytest.raises(
        ValueError, match=r"`baselines` of 'angle' must be finite and not near 0 for 'r2', got -0\.0005"
    ):
        delta_m({"angle": {"r2": 0.3}}, {"angle": {"r2": -0.0005}}, [task])
    # An error has a unit of its own.
    assert delta_m({"angle": {"mae": 1e-6}}, {"angle": {"mae": 2e-6}}, [task]) == pytest.approx(-50)


def test_a_value_that_is_nan_is_told_and_not_left_out():
    tasks = [Regression("angle"), Classification("digit", 10)]
    single = {"angle": {"mae": 4.0}, "digit": {"accuracy": 0.8}}
    assert np.isnan(delta_m({"angle": {"mae": float("nan")}, "digit": {"accuracy": 0.9}}, single, tasks))


@pytest.mark.parametrize(
    ("baselines", "message"),
    [
        ({}, r"must be a dict \{task: \{metric: value\}\}, got \{\}"),
        ([1.0], r"must be a dict \{task: \{metric: value\}\}, got \[1\.0\]"),
        ({"angel": {"mae": 1.0}}, "must use task names as keys, got 'angel'. Did you mean 'angle'?"),
        ({"angle": {}}, r"of 'angle' must be a dict \{metric: value\}, got \{\}"),
        ({"angle": 3.0}, r"of 'angle' must be a dict \{metric: value\}, got 3\.0"),
        ({"angle": {"mae": 0.0}}, r"of 'angle' must be finite and not near 0 for 'mae', got 0\.0"),
        ({"angle": {"mae": float("nan")}}, "of 'angle' must be finite and not near 0 for 'mae', got nan"),
        ({"angle": {"mae": float("inf")}}, "of 'angle' must be finite and not near 0 for 'mae', got inf"),
        ({"angle": {"mae": "1"}}, "of 'angle' must be finite and not near 0 for 'mae', got '1'"),
        ({"angle": {"mae": True}}, "of 'angle' must be finite and not near 0 for 'mae', got True"),
    ],
)
def test_baselines_that_it_is_undefined_for_are_refused(baselines, message):
    with pytest.raises(ValueError, match=rf"^delta_m: `baselines` {message}"):
        delta_m({"angle": {"mae": 1.0}}, baselines, [Regression("angle")])


def test_all_offenders_are_told_at_once():
    with pytest.raises(ValueError, match="compare") as caught:
        check_baselines({"angel": {"mae": 1.0}, "angle": {"mae": 0}}, {"angle": Regression("angle")}, "compare")
    assert len(str(caught.value).splitlines()) == 2


def test_a_metric_that_the_joint_model_lacks_is_refused():
    with pytest.raises(ValueError, match=r"^delta_m: `values` must hold 'mae' of 'angle', got \{'angle': \['mse'\]\}"):
        delta_m({"angle": {"mse": 1.0}}, {"angle": {"mae": 1.0}}, [Regression("angle")])


def test_a_metric_of_unknown_direction_is_refused():
    values = {"angle": {"sharpness": 1.0}}
    with pytest.raises(ValueError, match="`direction` needs a metric whose better end is known, got 'sharpness'"):
        delta_m(values, values, [Regression("angle")])
