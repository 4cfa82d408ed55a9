"""Balancers of losses in `fit`: the logs of an epoch and the second look reach them."""

import keras
import numpy as np
import pytest
import toys

from kmtl.balancers.by_losses import DTP, DWA, FAMO, STCH, LabelCount


def trained(balancer, epochs=3, **options):
    model = toys.compiled(optimizer="adam", balancer=balancer, **options)
    x, y = toys.examples(hidden=0.3)
    history = model.fit(x, y, batch_size=8, epochs=epochs, validation_data=(x, y), verbose=0).history
    assert all(np.isfinite(values).all() for values in history.values())
    assert float(balancer.failures) == 0
    return model, history


def losses_of(history, epoch):
    return [history[f"{task.name}_loss"][epoch] for task in toys.tasks()]


@pytest.mark.long
def test_averages_are_those_of_the_logs():
    balancer = DWA()
    _, history = trained(balancer, run_eagerly=True)
    expected = np.stack([losses_of(history, 1), losses_of(history, 2)], axis=1)
    np.testing.assert_allclose(balancer.memory.numpy(), expected, rtol=1e-5)


@pytest.mark.long
def test_the_nadir_is_of_the_last_epoch_of_the_warm_up():
    balancer = STCH(warmup=2)
    _, history = trained(balancer, run_eagerly=True)
    np.testing.assert_allclose(balancer.nadir.numpy(), losses_of(history, 1), rtol=1e-5)


@pytest.mark.long
def test_indicators_are_those_of_validation():
    balancer = DTP(kpi={"alive": "loss"})
    _, history = trained(balancer, run_eagerly=True)
    assert balancer.measured.numpy().tolist() == [1.0] * 4
    assert balancer.indicators.numpy()[0] == pytest.approx(history["val_species_accuracy"][-1])
    first = balancer.first.total.numpy() / balancer.first.number.numpy()
    for place, name in ((1, "alive"), (2, "box"), (3, "age")):
        progress = 1 - history[f"val_{name}_loss"][-1] / first[place]
        assert balancer.indicators.numpy()[place] == pytest.approx(progress, abs=1e-5)


def test_the_second_look_moves_the_logits_once_a_step():
    balancer = FAMO()
    trained(balancer, epochs=2)
    assert balancer.adam.steps.numpy().tolist() == [6.0] * 4
    assert np.ptp(balancer.logits.numpy()) > 0


@pytest.mark.long
def test_labels_are_counted():
    balancer = LabelCount()
    trained(balancer, epochs=2, run_eagerly=True)
    _, y = toys.examples(hidden=0.3)
    counts = [int(task.present(y[task.name]).reshape(24, -1).any(axis=1).sum()) for task in toys.tasks()]
    np.testing.assert_array_equal(balancer.labels.numpy(), 2 * np.array(counts))


@pytest.mark.long
@pytest.mark.parametrize("make", [DWA, FAMO, *(pytest.param(m, marks=pytest.mark.slow) for m in (DTP, STCH))])
def test_a_saved_model_goes_on_with_the_state(make, tmp_path):
    model, _ = trained(make())
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    for old, new in zip(model.balancer.variables, again.balancer.variables, strict=True):
        np.testing.assert_array_equal(new.numpy(), old.numpy())
