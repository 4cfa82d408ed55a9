"""One training for every preference: what it learns, what it tells, what it refuses."""

import keras
import numpy as np
import pages
import pytest
import tensorflow as tf

import kmtl
from kmtl.feeding import resume
from kmtl.front import Front, Point, preferences
from kmtl.front.loss_scales import LossScales, alike

INPUTS, WIDTH = 16, 10


def sets(hide=0.0, scale=100.0):
    """Two regressions that need more than the trunk can hold, the second a hundred times as large."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(1024, INPUTS)).astype("float32")
    first = np.tanh(rows @ generator.normal(size=(INPUTS, WIDTH))).astype("float32")
    second = (scale * np.tanh(rows @ generator.normal(size=(INPUTS, WIDTH)))).astype("float32")
    second[generator.random(1024) < hide] = np.nan
    arrays = tf.data.Dataset.from_tensor_slices((rows, {"zoo": first, "ant": second}))
    return arrays.take(768).shuffle(768, seed=1).batch(64), arrays.skip(768).batch(64)


# Plain regressions, not standardised, so that their losses differ by ten thousand.
OPTIONS = {"shape": (WIDTH,), "standardize": False}
TASKS = [kmtl.Regression("zoo", **OPTIONS), kmtl.Regression("ant", unit="mm", **OPTIONS)]


def build(tasks):
    row = keras.Input((INPUTS,), name="row")
    hidden = row
    for width in (24, 6):
        hidden = keras.layers.BatchNormalization(momentum=0.9)(keras.layers.Dense(width)(hidden))
        hidden = keras.layers.ReLU()(hidden)
    model = kmtl.MultiTaskModel.from_features(row, hidden, tasks)
    model.compile(keras.optimizers.Adam(1e-2))
    return model


@pytest.fixture(scope="module")
def found():
    keras.utils.set_random_seed(1)
    train, validation = sets()
    return kmtl.front.train(build, TASKS, train, validation, epochs=12, verbose=0)


@pytest.mark.long
def test_more_preference_for_a_task_makes_it_better(found):
    assert len(found.points) == 11
    values, better = found.values()
    assert better == ["min", "min"]
    assert [point.preference for point in found.points][:2] == [(0.0, 1.0), (0.1, 0.9)]
    zoo, ant = values.T
    assert zoo[-2] < 0.9 * zoo[1]
    assert ant[1] < 0.9 * ant[-2]
    assert found.violations() < 0.3


@pytest.mark.long
def test_the_points_are_what_the_conditioned_and_the_folded_model_give(found):
    _, validation = sets()
    rows = np.concatenate([batch.numpy() for batch, _ in validation])
    labels = np.concatenate([batch["ant"].numpy() for _, batch in validation])
    point = found.points[3]
    given = {"row": rows, "preference": np.tile(np.float32(point.preference), (len(rows), 1))}
    expected = found.conditioned(given, training=False)["ant"]
    assert np.abs(expected - labels).mean() == pytest.approx(point.scores["ant"]["mae"], rel=1e-5)
    plain = found.model(point)
    np.testing.assert_allclose(plain(rows, training=False)["ant"], expected, rtol=1e-5, atol=1e-3)
    assert plain.count_params() == build(TASKS).count_params()
    assert plain.loss_weights == pytest.approx({"zoo": 0.6, "ant": 1.4})
    plain.fit(validation, epochs=1, verbose=0)


@pytest.mark.long
def test_the_table_and_the_measures_agree_with_the_points(found):
    table = found.table()
    assert list(table["zoo_mae"]) == [point.scores["zoo"]["mae"] for point in found.points]
    values, _ = found.values()
    expected = [not any((other <= one).all() and (other < one).any() for other in values) for one in values]
    assert list(table["non_dominated"]) == expected
    reference = {"zoo": 1.0, "ant": 100.0}
    both = found.hypervolume(reference)
    assert 0 < both < 100
    assert found.hypervolume(reference, {"ant": "loss"}) != both
    assert "steps make the favoured task worse" in str(found)


def planted(scores):
    """A front of given scores, without a model."""
    points = [Point((1 - share, share), scores[place]) for place, share in enumerate(np.linspace(0, 1, len(scores)))]
    model = type("Tasks", (), {"tasks": {"zoo": kmtl.Regression("zoo"), "ant": kmtl.Classification("ant", 3)}})
    return Front(None, None, model, points, 1.0)


def scored(mae, accuracy):
    return {"zoo": {"loss": mae**2, "mae": mae}, "ant": {"loss": 1 - accuracy, "accuracy": accuracy}}


@pytest.mark.long
def test_selection_by_change_constraint_and_knee():
    chosen = planted([scored(1.0, 0.5), scored(1.2, 0.8), scored(1.6, 0.85), scored(3.0, 0.9)])
    places = {id(point): place for place, point in enumerate(chosen.points)}
    baselines = {"zoo": {"mae": 1.0}, "ant": {"accuracy": 0.9}}
    changes = [(mae - 1 - (accuracy - 0.9) / 0.9) for mae, accuracy in ((1, 0.5), (1.2, 0.8), (1.6, 0.85), (3, 0.9))]
    assert places[id(chosen.select(delta_m=baselines))] == int(np.argmin(changes))
    assert places[id(chosen.select(constraint={"zoo": 1.7}))] == 2
    assert places[id(chosen.select(constraint={"ant": 0.79}))] == 1
    assert places[id(chosen.select(constraint={"ant": 0.5}, metrics={"zoo": "loss"}))] == 0
    assert places[id(chosen.select(knee=True))] == 1
    # The points lie at shares 0, 1/3, 2/3 and 1 of the second task.
    assert places[id(chosen.select(preference={"ant": 3.0, "zoo": 1.0}))] == 2
    assert places[id(chosen.select(preference=(0.99, 0.01)))] == 0
    for wrong, words in (
        ({}, "must say how, got none"),
        ({"knee": True, "constraint": {"zoo": 1.0}}, "must say how, got several"),
        ({"constraint": {"zoo": 0.5}}, r"must hold for some point, got .*The best values are .*1\.0"),
        ({"constraint": {"zoo": 1.0, "ant": 1.0}}, "must bound all tasks of .* but one"),
        ({"constraint": {"bee": 1.0}}, "must bound all tasks of .* but one"),
        ({"preference": (1.0, -1.0)}, "`preference` must give each of"),
        ({"knee": True, "metrics": {"zoo": "maee"}}, "Did you mean 'mae'"),
    ):
        with pytest.raises(ValueError, match=words):
            chosen.select(**wrong)


@pytest.mark.long
def test_labels_may_be_missing():
    train, validation = sets(hide=0.6)
    keras.utils.set_random_seed(1)
    partial = kmtl.front.train(build, TASKS, train, validation, epochs=6, steps=2, verbose=0)
    values, _ = partial.values()
    assert np.isfinite(values).all()
    assert values[2, 0] < values[0, 0]
    assert values[0, 1] < values[2, 1]


@pytest.mark.long
def test_many_tasks_have_adapters_and_the_rays_to_every_corner(capsys):
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(512, INPUTS)).astype("float32")
    names = ["zoo", "ant", "bee", "cat", "dog", "elk"]
    labels = {name: np.tanh(rows @ generator.normal(size=(INPUTS, 4))).astype("float32") for name in names}
    data = (rows, labels)

    def build(tasks):
        row = keras.Input((INPUTS,), name="row")
        hidden = keras.layers.ReLU()(keras.layers.Dense(6)(row))
        model = kmtl.MultiTaskModel.from_features(row, hidden, tasks)
        model.compile(keras.optimizers.Adam(0.02))
        return model

    keras.utils.set_random_seed(1)
    tasks = [kmtl.Regression(name, shape=(4,)) for name in names]
    found = kmtl.front.train(build, tasks, data, data, epochs=8, batch_size=64, verbose=2)
    assert len(found.points) == 13
    shown = capsys.readouterr().out
    assert "Measuring 13 preferences" in shown
    assert "13/13" in shown
    losses = np.array([[point.scores[name]["loss"] for name in names] for point in found.points])
    assert np.all(losses[7:].argmin(axis=1) == np.arange(6)) or found.violations() < 0.3
    assert np.mean(np.diag(losses[7:])) < np.mean(losses[0])
    plain = found.model(found.points[3])
    given = {"row": rows[:5], "preference": np.tile(np.float32(found.points[3].preference), (5, 1))}
    np.testing.assert_allclose(plain(rows[:5])["dog"], found.conditioned(given)["dog"], atol=1e-5)


@pytest.mark.long
def test_scales_make_losses_alike():
    assert alike({"a": 4.0, "b": 0.25}, {"a": 1.0, "b": 1.0}) == pytest.approx({"a": 2 / 17, "b": 32 / 17})
    assert alike({"a": float("nan"), "b": 0.5}, {"a": 1.0, "b": 1.0}) == pytest.approx({"a": 2 / 3, "b": 4 / 3})
    weighed = alike({"a": 1.0, "b": 1.0}, {"a": 3.0, "b": 1.0})
    assert weighed == pytest.approx({"a": 1.5, "b": 0.5})


@pytest.mark.long
def test_scales_follow_the_losses_and_then_stand_still():
    train, validation = sets()
    model, seen = build(TASKS), []
    scales = LossScales(validation, epochs=2)
    watch = keras.callbacks.LambdaCallback(on_epoch_end=lambda *_: seen.append(dict(model.loss_weights)))
    start = model.evaluate(validation, verbose=0, return_dict=True)
    model.fit(train, epochs=4, validation_data=validation, verbose=0, callbacks=[scales, watch])
    assert start["ant_loss"] > 1000 * start["zoo_loss"]
    assert seen[0]["zoo"] > 1000 * seen[0]["ant"]
    assert seen[0] != seen[1] == seen[2] == seen[3]
    told = LossScales(validation, {"zoo": 1.0, "ant": 3.0})
    model.set_loss_weights({"zoo": 1.0, "ant": 1.0})
    model.fit(train, epochs=1, steps_per_epoch=1, verbose=0, callbacks=[told])
    assert told.scales == pytest.approx({"zoo": 1.5, "ant": 0.5})


@pytest.mark.long
def test_preferences_are_drawn_as_told():
    rows = preferences.draw(20_000, 3, 1.0, 0.3, 1.0, tf.constant([1, 2])).numpy()
    np.testing.assert_allclose(rows.sum(axis=1), 1.0, atol=1e-5)
    corners = (rows.max(axis=1) > 1 - 1e-6).mean()
    assert corners == pytest.approx(0.3, abs=0.015)
    np.testing.assert_allclose(rows.mean(axis=0), 1 / 3, atol=0.015)
    inside = rows[rows.max(axis=1) < 1 - 1e-6]
    # A uniform draw from the triangle: E[r^2] = 2 / (K (K + 1)).
    assert (inside**2).mean() == pytest.approx(2 / 12, abs=0.005)
    sharp = preferences.draw(5000, 3, 0.1, 0.0, 1.0, tf.constant([1, 2])).numpy()
    assert sharp.max(axis=1).mean() > 0.85 > rows.max(axis=1).mean()
    assert np.isfinite(sharp).all()


@pytest.mark.long
def test_a_power_moves_preferences_from_the_middle_to_the_corners():
    flat, plain, sharp = (
        preferences.draw(2000, 3, 0.1, 0.0, power, tf.constant([1, 2])).numpy() for power in (0.0, 1.0, 50.0)
    )
    np.testing.assert_allclose(flat, 1 / 3, rtol=1e-6)
    np.testing.assert_allclose(sharp.sum(axis=1), 1.0, atol=1e-6)
    assert sharp.max(axis=1).mean() > 0.99 > plain.max(axis=1).mean()
    np.testing.assert_array_equal(sharp.argmax(axis=1), plain.argmax(axis=1))
    draws = preferences.Draws(1.0, 0.0, (0.5, 2.5), 10, 0)
    assert [float(draws.power(number)) for number in (0, 5, 10, 25)] == [0.5, 1.5, 2.5, 2.5]


EVEN = preferences.Draws(1.0, 0.0, (1.0, 1.0), 1, 3)


@pytest.mark.long
def test_each_pass_draws_anew_and_a_stream_goes_on_where_it_stood():
    arrays = np.zeros((6, 2), "float32"), {"a": np.zeros(6), "b": np.zeros(6)}
    rows = tf.data.Dataset.from_tensor_slices(arrays).batch(3)
    made = preferences.with_draws(rows, ["row", "preference"], ["a", "b"], EVEN)
    assert made.cardinality() == tf.data.INFINITE_CARDINALITY
    found = [batch[0]["preference"].numpy() for batch in made.take(4)]
    assert all(not np.array_equal(found[0], other) for other in found[1:])
    for given, _, weights in made.take(2):
        np.testing.assert_array_equal(given["preference"][:, 1], weights["b"])
    numbered = kmtl.data.from_arrays(*arrays, [kmtl.Regression("a"), kmtl.Regression("b")], batch_size=3)
    for dataset in (rows, numbered):
        stream = preferences.with_draws(dataset, ["row", "preference"], ["a", "b"], EVEN)
        whole = [batch[0]["preference"].numpy() for batch in resume.stream_from(stream, 0).take(5)]
        later = [batch[0]["preference"].numpy() for batch in resume.stream_from(stream, 3).take(2)]
        np.testing.assert_array_equal(whole[3:], later)
        np.testing.assert_array_equal(whole[:4], found)


@pytest.mark.long
def test_weights_that_are_there_are_multiplied():
    given = {"a": np.full(4, 2.0, "float32"), "b": np.array([0, 1, 0, 1], "float32")}
    rows = tf.data.Dataset.from_tensors((np.zeros((4, 2), "float32"), {"a": np.zeros(4), "b": np.zeros(4)}, given))
    (batch,) = preferences.with_draws(rows, ["row", "preference"], ["a", "b"], EVEN).take(1)
    shares = batch[0]["preference"].numpy()
    np.testing.assert_allclose(batch[2]["a"], 2 * shares[:, 0])
    np.testing.assert_allclose(batch[2]["b"], [0, shares[1, 1], 0, shares[3, 1]])


@pytest.mark.long
def test_a_set_of_unknown_length_and_one_without_end_give_the_same_front():
    _, validation = sets()
    train = validation.take(2)  # in one order
    unknown = train.filter(lambda *_: True)
    rows = {}
    for name, given, options in (
        ("unknown", unknown, {}),
        ("endless", train.repeat(), {"steps_per_epoch": 2}),
    ):
        keras.utils.set_random_seed(1)
        with pages.eagerly():
            front = kmtl.front.train(build, TASKS, given, validation, epochs=2, steps=1, verbose=0, **options)
        rows[name] = front.values()[0]
    np.testing.assert_allclose(rows["endless"], rows["unknown"], rtol=1e-6)
    with pytest.raises(ValueError, match=r"^front: `steps_per_epoch` must be given for a dataset without end"):
        kmtl.front.train(build, TASKS, train.repeat(), validation, epochs=1, verbose=0)


def compiled(tasks, balancer="equal"):
    row = keras.Input((4,), name="row")
    model = kmtl.MultiTaskModel.from_features(row, keras.layers.Dense(3)(row), tasks)
    model.compile(balancer=balancer)
    return model


@pytest.mark.long
def test_what_is_wrong_is_told_before_anything_is_trained():
    train, validation = sets()
    row = keras.Input((4,))
    for wrong, words in (
        ({"build": lambda _: keras.Model(row, {"a": row})}, "`build` must return a compiled kmtl.MultiTaskModel"),
        ({"build": lambda: None}, r"`build` must be a function build\(tasks\).*got <lambda>\(\)"),
        ({"build": compiled(TASKS)}, r"`build` must be a function build\(tasks\).*got the model"),
        ({"tasks": TASKS[:1]}, r"`tasks` must be 2 or more, got \['zoo'\]"),
        ({"tasks": train}, r"`tasks` must hold kmtl tasks, got .*The order is front.train\(build, tasks, train"),
        (
            {"build": lambda tasks: compiled(tasks, "pcgrad")},
            "`build` must compile with balancer='equal', got 'PCGrad'",
        ),
        ({"train": np.zeros(3)}, "`train` must be what fit takes"),
        ({"epochs": 0}, "`epochs` must be a whole number"),
        ({"steps": 0.5}, "`steps` must be a whole number"),
        ({"alpha": 0}, "`alpha` must be a positive number"),
        ({"sharpness": 2.0}, "`sharpness` must be two numbers of at least 0"),
        ({"sharpness": (1.0, -1.0)}, "`sharpness` must be two numbers of at least 0"),
        ({"edges": 1.5}, "`edges` must be a number from 0 to 1"),
        ({"scale": "first"}, "`scale` must be 'initial', 'running' or a positive number for each of"),
        ({"scale": {"zoo": 1.0}}, "`scale` must be 'initial'"),
        ({"scale": {"zoo": 1.0, "ant": 0.0}}, "`scale` must be 'initial'"),
    ):
        given = {"build": build, "tasks": TASKS, "train": train, "validation": validation, "epochs": 1, **wrong}
        with pytest.raises(ValueError, match=f"^front: {words}"):
            kmtl.front.train(**given)
