"""What a report says of a model on data: by hand, by another route, and for every kind of task."""

import keras
import numpy as np
import pages
import pytest
from kinds import KINDS

import kmtl
from kmtl.evidence import report
from kmtl.evidence.reports.extreme_samples import Extremes
from kmtl.evidence.reports.layer_conflicts import layer_cosines, layer_gramians, layer_picture
from kmtl.evidence.reports.reliability import reliability, reliability_picture
from kmtl.evidence.reports.residuals import residual_picture, residuals
from kmtl.metrics.confusion import confusion_picture, confusions

PET = kmtl.Classification("pet", label_names=["cat", "dog", "eel"], classes=3)
AGE = kmtl.Regression("age", unit="years")


def test_a_confusion_counts_labels_by_what_was_decided():
    labels = np.array([0, 0, 0, 1, 2, -1])
    outputs = np.eye(3)[[0, 1, 1, 1, 0, 2]]
    (found,) = confusions(PET, labels, outputs)
    assert found.counts.tolist() == [[1, 2, 0], [0, 1, 0], [1, 0, 0]]
    assert found.right == 0.4
    assert found.mistakes() == ["'cat' taken for 'dog' (2 of 3)", "'eel' taken for 'cat' (1 of 1)"]
    picture = confusion_picture(PET, [found])
    assert picture.description.startswith("pet: 40.0% of 5 labels right. Most frequent mistakes: 'cat' taken for 'dog'")
    (axis,) = picture.figure.axes
    assert [text.get_text() for text in axis.texts] == ["1", "2", "0", "0", "1", "0", "1", "0", "0"]
    np.testing.assert_allclose(axis.images[0].get_array()[0], [1 / 3, 2 / 3, 0])
    assert confusions(AGE, labels, outputs) == []


def test_several_labels_have_a_matrix_each():
    task = kmtl.MultiLabel("tags", 2, label_names=["red", "big"])
    found = confusions(task, np.array([[1, 0], [0, -1]]), np.array([[0.9, 0.8], [0.7, 0.1]]))
    assert [one.name for one in found] == ["tags: red", "tags: big"]
    assert [one.counts.tolist() for one in found] == [[[0, 1], [0, 1]], [[0, 1], [0, 0]]]
    many = kmtl.MultiLabel("tags", 14)
    drawn = confusion_picture(many, confusions(many, np.ones((3, 14), "int32"), np.ones((3, 14))))
    assert drawn.description.endswith("2 more labels are not drawn.")


def test_residuals_are_taken_of_each_element_where_it_is_labelled():
    task = kmtl.Regression("place", shape=(2,), unit="px")
    labels = np.array([[1.0, 2.0], [3.0, np.nan], [5.0, 4.0]])
    one, other = residuals(task, labels, np.array([[2.0, 2.0], [3.0, 9.0], [6.0, 5.0]]))
    assert (one.name, other.name) == ("place[0]", "place[1]")
    assert (one.mae, one.bias, one.r2) == (2 / 3, 2 / 3, 0.75)
    assert other.labels.tolist() == [2.0, 4.0]
    picture = residual_picture(task, [one, other])
    points = picture.figure.axes[0].collections[0].get_offsets()
    assert points.tolist() == [[1.0, 2.0], [3.0, 3.0], [5.0, 6.0]]
    assert picture.figure.axes[0].get_xlabel() == "label [px]"
    assert residuals(PET, np.array([1]), np.eye(3)[:1]) == []


def test_who_is_too_sure_is_told_and_chance_is_not():
    labels = np.zeros(400, "int32")
    sure = np.tile([0.9, 0.05, 0.05], (400, 1))
    sure[200:] = sure[200:, [1, 0, 2]]  # Half of the answers are wrong.
    found = reliability(PET, labels, sure)
    assert found.gap == pytest.approx(0.4)
    told = "pet is surer than it is right: it says 90.0% and it is right 50.0%"
    assert found.conclusion().startswith(told)
    assert reliability(PET, labels, np.tile([0.9, 0.05, 0.05], (400, 1))).conclusion().startswith("pet is less sure")
    rows = np.arange(400)
    fair = np.where(rows[:, None] % 10 == 0, [0.9, 0.1, 0.0], [0.9, 0.1, 0.0])
    assert reliability(PET, (rows % 10 == 0).astype("int32"), fair).conclusion() == ""
    assert reliability(PET, np.full(3, -1), sure[:3]) is None
    assert reliability(AGE, np.ones(3), np.ones((3, 1))) is None
    quantiles = kmtl.QuantileRegression("price", quantiles=(0.05, 0.5, 0.95))
    told = reliability(quantiles, np.arange(100.0), np.tile([-1.0, 10.0, 49.0], (100, 1)))
    assert (told.said.tolist(), told.found.tolist()) == ([0.9], [0.5])
    assert "its intervals hold 50.0%" in told.conclusion()
    assert len(reliability_picture([found, told]).figure.axes) == 2


def test_errors_of_examples_are_likelihoods_of_classes_and_distances_of_values():
    outputs = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    np.testing.assert_allclose(PET.example_errors(np.array([1, -1]), outputs), [np.log(4), np.nan])
    np.testing.assert_allclose(
        kmtl.Regression("place", shape=(2,)).example_errors(np.array([[1.0, np.nan], [0.0, 4.0]]), np.ones((2, 2))),
        [0.0, 2.0],
    )


@pytest.mark.parametrize("size", [1, 7, 40])
def test_extremes_are_those_of_a_sort_however_the_data_is_cut(size):
    generator = np.random.default_rng(0)
    labels, outputs = generator.normal(size=40), generator.normal(size=(40, 1))
    labels[::5] = np.nan
    kept = Extremes({"age": AGE}, ["x"], 3)
    for start in range(0, 40, size):
        part = slice(start, start + size)
        kept(np.arange(40)[part], {"age": labels[part]}, {"age": outputs[part]})
    errors = np.abs(outputs[:, 0] - labels)
    order = np.argsort(errors)[:32]
    assert [int(sample[0]["x"]) for _, sample in kept.best("age")] == order[:3].tolist()
    assert [int(sample[0]["x"]) for _, sample in kept.worst("age")] == order[:-4:-1].tolist()
    assert [error for error, _ in kept.worst("age")] == errors[order[:-4:-1]].tolist()


def toy(tasks=(PET, AGE)):
    keras.utils.set_random_seed(1)
    row = keras.Input((4,), name="row")
    first = keras.layers.Dense(5, activation="tanh", name="first")(row)
    features = keras.layers.Dense(3, activation="tanh", name="second")(first)
    model = kmtl.MultiTaskModel.from_features(row, features, list(tasks))
    model.compile("adam", run_eagerly=True)
    return model


GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(24, 4)).astype("float32")
Y = {"pet": GENERATOR.integers(-1, 3, 24).astype("int32"), "age": GENERATOR.normal(40, 9, 24).astype("float32")}


def test_the_gramians_of_the_layers_add_up_to_that_of_the_trunk():
    model = toy()
    with pages.eagerly():
        found = layer_gramians(model, X, Y)
        whole = model.gramians(X, Y, batches=4)
    assert list(found) == ["first", "second"]
    np.testing.assert_allclose(sum(one.grams for one in found.values()), whole.grams, rtol=1e-5)
    cosines = layer_cosines(found)
    assert list(cosines) == [("pet", "age")]
    np.testing.assert_allclose(cosines["pet", "age"][1], found["second"].cosines[:, 0, 1].mean(), rtol=1e-6)
    assert "of pet and age in layer" in layer_picture(found).description


def test_a_model_on_data_has_its_pictures_and_sentences():
    model = toy()
    model.adapt(X, Y)
    with pages.eagerly():
        made = report(model=model, data=(X, Y), samples=2)
    titles = [picture.title for picture in made.pictures()]
    assert titles == [
        "Confusion of pet",
        "Worst predictions of pet",
        "Best predictions of pet",
        "Residuals of age",
        "Worst predictions of age",
        "Best predictions of age",
        "Reliability",
        "Conflict by layer",
    ]
    pet, age = made.conclusions()[:2]
    assert pet.startswith("pet is right for ")
    assert age.startswith("age is off by ")
    frame = made.sections[-1].parts[0].frame
    assert frame["task"].tolist() == ["pet", "age"]
    assert frame["labels"].tolist() == [int((Y["pet"] >= 0).sum()), 24]
    assert "rows of the data  24" in str(made)
    # Two routes to one number.
    scores = model.evaluate(X, Y, verbose=0, return_dict=True)
    assert frame["right"][0] == pytest.approx(scores["pet_accuracy"])
    assert frame["mean absolute error"][1] == pytest.approx(scores["age_mae"], rel=1e-4)


def test_what_is_not_drawn_is_told_why():
    def notes(model, data):
        return str(report(model=model, data=data, samples=0))

    assert "one task conflicts with none" in notes(toy([AGE]), (X, {"age": Y["age"]}))
    model = toy()
    assert "an iterator, which is read once" in notes(model, iter([(X, Y)]))
    bare = kmtl.MultiTaskModel.from_features(model.inputs[0], model.inputs[0], [PET, AGE])
    assert "the model is not compiled" in notes(bare, (X, Y))
    bare.compile("adam")
    assert "share no weights" in notes(bare, (X, Y))


@pytest.mark.long
def test_every_kind_of_task_is_reported(tmp_path):
    tasks = {name: kind.make(f"{name}_task") for name, kind in KINDS.items() if name not in ("relation",)}
    generator = np.random.default_rng(0)
    x = generator.random((8, 4, 4, 1), dtype="float32")
    labels = {task.name: KINDS[name].draw(generator, 8) for name, task in tasks.items()}
    image = keras.Input((4, 4, 1), name="image")
    fine = keras.layers.Conv2D(3, 3, padding="same", activation="tanh")(image)
    features = keras.layers.Conv2D(3, 3, strides=2, padding="same", activation="tanh")(fine)
    every = {
        "map": [fine, features],
        "sequence": keras.layers.Reshape((4, -1))(features),
        "vector": keras.layers.GlobalAveragePooling2D()(features),
    }
    model = kmtl.MultiTaskModel.from_features(image, every, list(tasks.values()))
    made = report(model=model, data=(x, labels), samples=1)
    rows = made.sections[-1].parts[0].frame["task"].str.replace(r"[\[:].*", "", regex=True)
    # A list of boxes has neither one class nor one value; what is drawn of it is chosen by its mistakes.
    assert set(rows) == {task.name for task in tasks.values()} - {"detection_task"}
    titles = {picture.title for picture in made.pictures()}
    assert titles >= {f"Worst predictions of {task.name}" for task in tasks.values()}
    assert made.save(tmp_path / "page.html").stat().st_size > 100_000
