"""The logs of how the tasks' gradients lie to each other."""

import numpy as np
import pytest
from toys import assert_same_weights, compiled, examples

from kmtl.balancers import Unit, UPGrad

X, Y = examples(24, hidden=0.4, seed=5)
NAMES = ["species", "alive", "box", "age"]


def trained(model, steps):
    """Logs of the last of a few steps."""
    model.adapt(X, Y)
    for _ in range(steps):
        model.reset_metrics()
        logs = model.train_on_batch(X, Y, return_dict=True)
    return logs


def test_conflicts_are_logged_from_the_gradients_by_hand():
    model = compiled(balancer="equal", track_conflicts=True, run_eagerly=True)
    model.adapt(X, Y)
    found = model.gramians(X, Y, batches=1, batch_size=24).grams[0]
    untracked = compiled(balancer="equal", run_eagerly=True)
    logs, plain = trained(model, 1), trained(untracked, 1)
    assert_same_weights(model, untracked, rtol=1e-5, atol=1e-7)
    assert {key: logs[key] for key in plain} == pytest.approx(plain, rel=1e-5)
    lengths = np.sqrt(np.diag(found))
    cosines = found / np.outer(lengths, lengths)
    for place, name in enumerate(NAMES):
        assert logs[f"{name}_gradient_norm"] == pytest.approx(lengths[place], rel=1e-4)
    assert logs["species_box_cosine"] == pytest.approx(cosines[0, 2], rel=1e-3)
    assert logs["conflicting_pairs"] == pytest.approx((cosines[np.triu_indices(4, 1)] < 0).mean())
    assert logs["gram_condition"] == pytest.approx(np.linalg.cond(cosines), rel=1e-3)
    assert not any("cosine" in key or "failures" in key for key in model.evaluate(X, Y, verbose=0, return_dict=True))


@pytest.mark.parametrize("options", [{}, {"level": "features"}, {"update_every": 2}, {"gram_fraction": 0.5}])
def test_tracking_changes_no_weight_of_a_gramian_method(options):
    tracked, plain = (
        compiled(balancer=UPGrad(**options), track_conflicts=on, run_eagerly=True) for on in (True, False)
    )
    logs = trained(tracked, 2)
    trained(plain, 2)
    assert_same_weights(tracked, plain, rtol=1e-6, atol=1e-7)
    assert logs["solver_failures"] == 0
    assert np.isfinite(logs["age_gradient_norm"]) == ("update_every" not in options)


def test_gradients_that_are_looked_at_are_the_tasks_own_where_features_are_balanced():
    balancer = Unit(level="features", smoothing=0.5)
    model, plain = compiled(balancer=balancer), compiled(run_eagerly=True)
    model.fit(X, Y, batch_size=12, verbose=0)
    plain.set_weights(model.get_weights())
    state = [variable.numpy() for variable in balancer.variables]
    found, expected = (one.gramians(X, Y, batches=1, batch_size=24) for one in (model, plain))
    np.testing.assert_allclose(found.grams, expected.grams, rtol=1e-4)
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-5)
    for variable, value in zip(balancer.variables, state, strict=True):
        np.testing.assert_array_equal(variable.numpy(), value)
