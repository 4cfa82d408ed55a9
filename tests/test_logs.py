"""What is logged adds up, and stock callbacks read it."""

import keras
import numpy as np
import pytest
import states
from cases import cases
from toys import build, compiled, examples

import kmtl

X, Y = examples(22, hidden=0.3)
NAMES = ["species", "alive", "box", "age"]
STILL = 0.0


def standing(**options):
    """A model whose weights do not move, so that an epoch can be computed again at its end."""
    model = build(dropout=0.0, penalty=0.1)
    model.compile(keras.optimizers.SGD(STILL), **options)
    return model


still = states.Reused(standing)


def fit(model, **options):
    """One epoch in batches of eight, the last ragged, unless told otherwise."""
    return model.fit(X, **{"y": Y, "batch_size": 8, "shuffle": False, "verbose": 0, **options}).history


def added(logs, weights, prefix=""):
    """The sum that `loss` must be."""
    parts = sum(weights[name] * logs[f"{prefix}{name}_loss"][-1] for name in NAMES)
    return parts + logs[f"{prefix}regularization"][-1]


def test_the_loss_is_the_weighted_sum_of_its_parts():
    weights = {"species": 1.0, "alive": 0.5, "box": 3.0, "age": 0.0}
    model = still(loss_weights=weights)
    logs = fit(model, validation_data=(X[:5], {"box": Y["box"][:5], "age": Y["age"][:5]}))
    assert {name: logs[f"{name}_weight"][0] for name in NAMES} == weights
    assert logs["loss"][0] == pytest.approx(added(logs, weights), rel=1e-6)
    assert logs["regularization"][0] == pytest.approx(0.1 * np.sum(model.get_layer("trunk").get_weights()[0] ** 2))
    known = 3.0 * logs["val_box_loss"][0] + logs["val_regularization"][0]
    assert logs["val_loss"][0] == pytest.approx(known, rel=1e-6)
    assert np.isnan(logs["val_species_loss"][0])
    assert not [key for key in logs if key.startswith("val_") and key.endswith("_weight")]


def test_losses_that_layers_add_are_part_of_the_loss():
    image = keras.Input((6,))
    features = keras.layers.Dense(5, activity_regularizer="l2")(image)
    model = kmtl.MultiTaskModel.from_features(image, features, [kmtl.Regression("age", standardize=False)])
    model.compile(keras.optimizers.SGD(STILL))
    logs = model.fit(X, {"age": Y["age"]}, batch_size=22, verbose=0).history
    activity = 0.01 * np.sum(keras.Model(image, features).predict(X, verbose=0) ** 2) / 22
    assert logs["regularization"] == pytest.approx([activity], rel=1e-5)
    assert logs["loss"] == pytest.approx([logs["age_loss"][0] + activity], rel=1e-6)


def test_under_a_balancer_the_weights_are_those_of_the_steps():
    model = still(loss_weights={"box": 3.0}, balancer=kmtl.balancers.Uncertainty(learning_rate=0.0, scale="paper"))
    logs = fit(model)
    weights = {name: logs[f"{name}_weight"][0] for name in NAMES}
    # A variance of 1: one half for a regression, one for the others.
    assert weights == {"species": 1.0, "alive": 1.0, "box": 1.5, "age": 0.5}
    assert logs["loss"][0] == pytest.approx(added(logs, weights), rel=1e-6)


def test_every_value_is_that_of_the_examples_whatever_the_batches():
    ragged, whole = fit(still()), fit(still(), batch_size=22)
    assert {key: value[0] for key, value in ragged.items()} == pytest.approx(
        {key: value[0] for key, value in whole.items()}, rel=1e-5
    )
    model = still()
    model.adapt(X, Y)
    found = model.predict(X, verbose=0)
    error = np.abs(found["box"] - Y["box"])
    assert ragged["box_mae"][0] == pytest.approx(np.nanmean(error), rel=1e-5)
    labelled = Y["species"] >= 0
    chance = found["species"][labelled, Y["species"][labelled]]
    assert ragged["species_loss"][0] == pytest.approx(-np.log(chance).mean(), rel=1e-5)
    assert ragged["species_accuracy"][0] == pytest.approx(
        (found["species"].argmax(axis=1) == Y["species"])[labelled].mean(), rel=1e-5
    )


class Move(keras.callbacks.Callback):
    """Sets loss weights at the end of a batch."""

    def __init__(self, at, weights):
        super().__init__()
        self.at, self.weights = at, weights

    def on_train_batch_end(self, batch, logs=None):
        del logs
        if batch == self.at:
            self.model.set_loss_weights(self.weights)


@pytest.mark.long
@pytest.mark.parametrize("form", cases(["graph", "xla"], "graph", others="slow"))
def test_weights_that_move_take_effect_in_the_next_step(form):
    model = compiled(jit_compile=form == "xla")
    model.adapt(X, Y)
    model.fit(X, Y, batch_size=11, epochs=1, verbose=0)
    heads = {name: [variable.numpy() for variable in model.task_variables(name)] for name in NAMES}
    model.fit(X[:11], {name: Y[name][:11] for name in Y}, batch_size=11, verbose=0, callbacks=[Move(0, {"box": 0.0})])
    moved = {name: [variable.numpy() for variable in model.task_variables(name)] for name in NAMES}
    assert all((old != new).any() for name in NAMES for old, new in zip(heads[name], moved[name], strict=True))
    logs = fit(model)
    assert logs["box_weight"] == [0.0]
    for old, variable in zip(moved["box"], model.task_variables("box"), strict=True):
        np.testing.assert_array_equal(variable, old)
    assert (moved["age"][0] != model.task_variables("age")[0].numpy()).any()


def test_logged_weights_are_the_mean_over_the_labelled_examples():
    full = {name: np.abs(value) for name, value in examples(22)[1].items()}
    model = still()
    logs = model.fit(X, full, batch_size=11, shuffle=False, verbose=0, callbacks=[Move(0, {"age": 3.0})]).history
    assert logs["age_weight"] == [2.0]
    assert logs["box_weight"] == [1.0]


def history(model, callback, epochs=4, **options):
    return fit(model, epochs=epochs, validation_data=(X, Y), callbacks=callback, **options)


@pytest.mark.long
@pytest.mark.parametrize("spoilt", [["age"], NAMES])
def test_an_epoch_whose_loss_sat_out_is_the_best_of_none(spoilt):
    far = [kmtl.Regression(name, standardize=False) for name in NAMES]
    model = compiled(far, run_eagerly=True)
    labels = {name: np.full(22, 1e30 if name in spoilt else 1.0, "float32") for name in NAMES}
    kept = keras.callbacks.EarlyStopping("loss")
    with pytest.warns(RuntimeWarning, match="'age' 3"):
        logs = fit(model, y=labels, callbacks=[kept])
    assert np.isnan(logs["loss"]).all()
    assert np.isnan(logs["age_loss"]).all()
    assert not kept.best < np.inf


@pytest.mark.long
def test_early_stopping_needs_no_mode():
    stop = keras.callbacks.EarlyStopping("val_species_accuracy", patience=1, start_from_epoch=0)
    assert len(history(still(), stop)["loss"]) == 2
    assert stop.mode == "max"
    stop = keras.callbacks.EarlyStopping("val_age_mae", patience=3)
    assert len(history(compiled(optimizer=keras.optimizers.SGD(0.1)), stop)["loss"]) == 4
    assert stop.mode == "min"
    assert stop.wait == 0


@pytest.mark.long
def test_a_checkpoint_keeps_the_best_of_a_task(tmp_path):
    model = compiled(optimizer=keras.optimizers.SGD(0.5))
    keep = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="val_alive_accuracy", save_best_only=True)
    logs = history(model, [keep], epochs=5)
    best = keras.saving.load_model(tmp_path / "best.keras")
    found = best.evaluate(X, Y, verbose=0, return_dict=True)
    place = int(np.argmax(logs["val_alive_accuracy"]))
    assert found["alive_accuracy"] == pytest.approx(max(logs["val_alive_accuracy"]))
    assert found["age_mae"] == pytest.approx(logs["val_age_mae"][place], rel=1e-5)


@pytest.mark.long
def test_a_plateau_lowers_the_rate():
    model = build()
    model.compile(keras.optimizers.SGD(1e-9))
    history(model, keras.callbacks.ReduceLROnPlateau("val_box_mae", patience=1, factor=0.5, min_delta=0.1), epochs=3)
    np.testing.assert_allclose(model.optimizer.learning_rate, 0.25e-9)


def test_a_monitor_with_a_mode_may_be_anything():
    stop = keras.callbacks.EarlyStopping("val_spread", mode="max", patience=1)
    spread = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: logs.update(val_spread=-epoch))
    assert len(history(still(), [spread, stop])["loss"]) == 2
