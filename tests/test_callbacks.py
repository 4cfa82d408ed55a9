"""Moving loss weights, the joint score as a monitor, reports by class."""

import keras
import numpy as np
import pytest
import states

import kmtl
from kmtl.callbacks import ClassificationReports, DeltaM, LossWeightScheduler

RANDOM = np.random.default_rng(0)
X = RANDOM.random((64, 6)).astype("float32")
Y = {"width": X[:, 0] * 10, "kind": (X[:, 1] * 3).astype("int32")}


def made_anew():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,), name="x")
    features = keras.layers.Dense(8, activation="relu")(inputs)
    tasks = [kmtl.Regression("width", unit="mm"), kmtl.Classification("kind", 3, label_names=["a", "b", "c"])]
    made = kmtl.MultiTaskModel.from_features(inputs, features, tasks)
    made.compile(keras.optimizers.Adam(0.01))
    return made


model = states.Reused(made_anew)


@pytest.mark.parametrize(
    "schedule",
    [
        {"width": lambda epoch: 0.5**epoch},
        lambda epoch, weights: {"width": weights["width"] * (0.5 if epoch else 1.0)},
        {"width": keras.optimizers.schedules.ExponentialDecay(1.0, 1, 0.5)},
    ],
    ids=["by task", "function", "keras schedule"],
)
def test_weights_move_and_the_step_sees_them(schedule):
    made = model()
    history = made.fit(X, Y, epochs=3, verbose=0, shuffle=False, callbacks=[LossWeightScheduler(schedule)])
    assert history.history["width_weight"] == pytest.approx([1.0, 0.5, 0.25])
    assert history.history["kind_weight"] == pytest.approx([1.0, 1.0, 1.0])
    assert made.loss_weights == {"width": 0.25, "kind": 1.0}
    expected = np.array(history.history["width_loss"]) * [1.0, 0.5, 0.25] + history.history["kind_loss"]
    assert history.history["loss"] == pytest.approx(expected, rel=1e-5)


def test_a_moved_weight_is_saved_and_training_equals_the_uninterrupted(tmp_path):
    schedule = {"kind": lambda epoch: 1.0 / (1 + epoch)}
    whole = model()
    whole.fit(X, Y, epochs=4, verbose=0, shuffle=False, callbacks=[LossWeightScheduler(schedule)])
    expected = whole.get_weights()
    first = model()
    first.fit(X, Y, epochs=2, verbose=0, shuffle=False, callbacks=[LossWeightScheduler(schedule)])
    first.save(tmp_path / "half.keras")
    second = keras.saving.load_model(tmp_path / "half.keras")
    assert second.loss_weights["kind"] == 0.5
    options = {"initial_epoch": 2, "epochs": 4, "verbose": 0, "shuffle": False}
    second.fit(X, Y, callbacks=[LossWeightScheduler(schedule)], **options)
    for left, right in zip(expected, second.get_weights(), strict=True):
        np.testing.assert_array_equal(left, right)


def test_bad_schedules_are_refused_before_the_first_step():
    for schedule, words in [
        ({"widht": lambda _: 1.0}, "Did you mean 'width'"),
        ({"width": lambda _: -1.0}, "width"),
    ]:
        made = model()
        with pytest.raises(ValueError, match=words):
            made.fit(X, Y, verbose=0, callbacks=[LossWeightScheduler(schedule)])
        assert int(made.optimizer.iterations) == 0
    for schedule, words in [
        (lambda *_: None, r"`schedule` must return \{task: weight\}, got None"),
        ({"width": lambda _: None}, r"`schedule\['width'\]` must return a number, got None"),
    ]:
        with pytest.raises(TypeError, match=words):
            LossWeightScheduler(schedule).weights_at(0, {"width": 1.0})
    with pytest.raises(TypeError, match="schedule"):
        LossWeightScheduler(0.5)


BASELINES = {"width": {"mae": 2.0}, "kind": {"accuracy": 0.5}}


def test_delta_m_is_the_documented_mean():
    history = model().fit(X, Y, epochs=2, verbose=0, validation_data=(X, Y), callbacks=[DeltaM(BASELINES)]).history
    width, kind = np.array(history["val_width_mae"]), np.array(history["val_kind_accuracy"])
    expected = 100 * ((width - 2.0) / 2.0 - (kind - 0.5) / 0.5) / 2
    assert history["val_delta_m"] == pytest.approx(expected)
    assert "delta_m" not in history


def test_without_validation_it_is_of_the_training_metrics():
    history = model().fit(X, Y, verbose=0, callbacks=[DeltaM({"width": {"mae": 2.0}})]).history
    assert history["delta_m"] == pytest.approx([100 * (history["width_mae"][0] - 2.0) / 2.0])


@pytest.mark.parametrize("first", [True, False], ids=["score first", "monitor first"])
def test_stock_monitors_need_no_mode_and_no_order(first, tmp_path):
    stop = keras.callbacks.EarlyStopping(monitor="val_delta_m", patience=0)
    best = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="val_kind_accuracy", save_best_only=True)
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="val_width_mae", patience=1)
    callbacks = [DeltaM(BASELINES), stop, best, plateau]
    made = model()
    # The same data every epoch with no learning: nothing improves, so patience 0 stops in epoch 2.
    made.optimizer.learning_rate = 0.0
    history = made.fit(
        X, Y, epochs=5, verbose=0, validation_data=(X, Y), callbacks=callbacks if first else callbacks[::-1]
    ).history
    assert len(history["loss"]) == 2
    assert (stop.mode, best.mode, plateau.mode) == ("min", "max", "min")
    assert (tmp_path / "best.keras").exists()


@pytest.mark.parametrize(
    ("baselines", "words"),
    [
        ({"widht": {"mae": 1.0}}, "Did you mean 'width'"),
        ({"width": {"mae": 0.0}}, "must be finite and not near 0"),
        ({"width": {"mae": float("nan")}}, "must be finite and not near 0"),
        ({"width": {"rmse": 1.0}}, "must name compiled metrics"),
        ({}, "must be a dict"),
        ({"width": 1.0}, "must be a dict"),
    ],
)
def test_bad_baselines_are_refused_before_the_first_step(baselines, words):
    made = model()
    with pytest.raises(ValueError, match=words):
        made.fit(X, Y, verbose=0, callbacks=[DeltaM(baselines)])
    assert int(made.optimizer.iterations) == 0


def test_reports_by_class_equal_scikit_learn(capsys):
    from sklearn.metrics import recall_score

    labels = {"width": Y["width"], "kind": Y["kind"].copy()}
    labels["kind"][::4] = -1
    reports = ClassificationReports((X, labels))
    made = model()
    made.fit(X, Y, epochs=2, verbose=0, callbacks=[reports])
    assert [list(found) for found in reports.reports] == [["kind"], ["kind"]]
    decided = made.predict(X, verbose=0)["kind"].argmax(1)
    keep = labels["kind"] >= 0
    expected = recall_score(labels["kind"][keep], decided[keep], average=None, labels=[0, 1, 2], zero_division=0)
    values = reports.reports[-1]["kind"].values
    assert [values[name]["recall"] for name in "abc"] == pytest.approx(expected)
    assert values["weighted avg"]["support"] == keep.sum()
    assert "Epoch 2: kind" in capsys.readouterr().out


def test_reports_of_a_dataset_that_reshuffles_stay_aligned():
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((X, Y)).shuffle(64, seed=0).batch(16)
    reports = ClassificationReports(data, verbose=False)
    made = model()
    made.fit(X, Y, verbose=0, callbacks=[reports])
    accuracy = made.evaluate(X, Y, verbose=0, return_dict=True)["kind_accuracy"]
    assert reports.reports[0]["kind"].values["accuracy"] == pytest.approx(accuracy)


def test_reports_need_a_classification():
    inputs = keras.Input((6,))
    made = kmtl.MultiTaskModel.from_features(inputs, keras.layers.Dense(4)(inputs), [kmtl.Regression("width")])
    made.compile("adam")
    with pytest.raises(ValueError, match="must have a classification task"):
        made.fit(X, {"width": Y["width"]}, verbose=0, callbacks=[ClassificationReports((X, Y))])
