"""The meta models of stacking, on arrays."""

import numpy as np
import pytest

from kmtl.training import meta_models

RANDOM = np.random.default_rng(0)


def test_a_copy_of_the_labels_has_weight_1_as_the_penalty_vanishes():
    y = RANDOM.normal(1000.0, 0.01, (40, 2))
    y[:5, 0] = np.nan
    copies = np.where(np.isnan(y), 0.0, y)
    columns = np.hstack([copies[:, 1:], RANDOM.normal(size=(40, 1))])
    found = meta_models.ridge(columns, y[:, 1:], 1e-9)
    np.testing.assert_allclose(found.weights, [[1.0], [0.0]], atol=1e-6)
    weaker = meta_models.ridge(columns, y[:, 1:], 40.0)
    assert weaker.weights[0, 0] == pytest.approx(0.5, abs=0.02), "n / (n + penalty) of one standardised column"


def test_ridge_is_its_closed_form_and_asks_nobodys_unit():
    columns, y = RANDOM.normal(3.0, 2.0, (30, 3)), RANDOM.normal(size=(30, 1))
    found = meta_models.ridge(columns, y, 2.0)
    z = (columns - columns.mean(0)) / columns.std(0)
    wanted = np.linalg.solve(z.T @ z + 2.0 * np.eye(3), z.T @ (y - y.mean()))
    np.testing.assert_allclose(found.kernel, wanted, rtol=1e-6)
    again = meta_models.ridge(columns * [1.0, 1e6, 1e-3], y, 2.0)
    np.testing.assert_allclose(again.kernel, found.kernel, rtol=1e-6)


def test_elements_learn_from_the_rows_that_have_them_and_weights_count():
    columns, y = RANDOM.normal(size=(30, 2)), RANDOM.normal(size=(30, 2))
    y[:10, 1] = np.nan
    garbage = columns.copy()
    found = meta_models.ridge(columns, y, 1.0, np.r_[np.zeros(10), np.ones(20)])
    # Without weight or without label is the same.
    np.testing.assert_allclose(found.kernel[:, 1], meta_models.ridge(garbage, y, 1.0).kernel[:, 1])
    assert not np.allclose(found.kernel[:, 0], meta_models.ridge(columns, y, 1.0).kernel[:, 0])


@pytest.mark.parametrize("present", [[0, 1, 2], [0, 2], [1]])
def test_logistic_learns_the_classes_that_occur_and_gives_the_others_little(present):
    labels = RANDOM.choice(present, 60)
    columns = np.log(np.where(np.eye(3)[labels] > 0, 0.9, 0.05))
    labels[:6] = -1
    found = meta_models.logistic(columns, labels, 3, 0.01)
    scores = (columns - found.mean) / found.scale @ found.kernel + found.bias
    chances = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    there = labels >= 0
    assert (chances.argmax(1) == labels)[there].all()
    absent = [one for one in range(3) if one not in present]
    assert chances[there][:, absent].max(initial=0.0) < 0.1


def test_yes_or_no_is_one_logistic_map_an_element():
    labels = RANDOM.integers(0, 2, (50, 2))
    labels[:7, 0] = -1
    columns = 2.0 * labels + RANDOM.normal(size=(50, 2))
    found = meta_models.yes_or_no(columns, labels, 1.0)
    two = meta_models.logistic(columns, labels[:, 1], 2, 1.0)
    np.testing.assert_allclose(found.kernel[:, 1], two.kernel[:, 1] - two.kernel[:, 0])
    assert found.bias[1] == pytest.approx(two.bias[1] - two.bias[0])


def test_convex_weights_are_on_the_simplex_and_no_other_point_of_it_is_better():
    y = RANDOM.normal(size=(40, 2))
    y[::5, 0] = np.nan
    predictions = [np.nan_to_num(y) + RANDOM.normal(0, scale, (40, 2)) for scale in (0.3, 0.4, 3.0)]
    found = meta_models.convex(predictions, y)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1.0)

    def error(weights):
        return np.nansum((np.tensordot(weights, np.stack(predictions), 1) - y) ** 2)

    others = RANDOM.dirichlet(np.ones(3), 300)
    assert error(found) <= min(map(error, others)) * (1 + 1e-6)
    # A copy of the labels takes all.
    np.testing.assert_allclose(meta_models.convex([predictions[0], np.nan_to_num(y)], y), [0.0, 1.0], atol=1e-6)
