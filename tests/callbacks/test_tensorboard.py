"""What TensorBoard reads is what the training logged, in a section a task."""

import copy
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmtl
from kmtl.callbacks import TensorBoard, tensorboard
from kmtl.callbacks.tensorboard import chart_name

ROWS = 24


def tasks():
    return [
        kmtl.Classification("digit", classes=3, label_names=["low", "mid", "high"]),
        kmtl.Regression("digit_angle", unit="deg"),
        kmtl.BinaryClassification("even"),
        kmtl.MultiLabel("marks", labels=2),
    ]


def data(seed=0):
    """Rows with labels, and with seed 1 those of a validation that has none of one task."""
    generator = np.random.default_rng(seed)
    y = {
        "digit": np.where(np.arange(ROWS) % 4 == 0, -1, generator.integers(0, 3, ROWS)),
        "digit_angle": generator.normal(size=ROWS).astype("float32"),
        "even": generator.integers(0, 2, ROWS) if seed == 0 else np.full(ROWS, -1),
        "marks": generator.integers(0, 2, (ROWS, 2)),
    }
    return generator.random((ROWS, 4, 4, 1)).astype("float32"), y


def model(**options):
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 1), name="image")
    features = keras.layers.Dense(5, name="trunk", activation="relu")(keras.layers.Flatten()(image))
    made = kmtl.MultiTaskModel.from_features(image, features, tasks())
    made.compile(keras.optimizers.Adam(0.01), run_eagerly=True, **options)
    return made


def events(folder, run):
    """`{tag: {step: value}}` and `{tag: plugin}` of a run."""
    values, plugins = {}, {}
    for path in sorted((folder / run).iterdir()):
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(record)
            for value in event.summary.value:
                values.setdefault(value.tag, {})[event.step] = tf.make_ndarray(value.tensor)
                plugins.setdefault(value.tag, value.metadata.plugin_data.plugin_name)
    return values, plugins


def of_plugin(found, name):
    values, plugins = found
    return {tag: steps for tag, steps in values.items() if plugins[tag] == name}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A model, its history and its two runs, after three epochs with everything on."""
    folder, made = tmp_path_factory.mktemp("logs"), model(track_conflicts=True, balancer="uncertainty")
    board = TensorBoard(folder, data=data(1), image_freq=2, samples=5, histogram_freq=2)
    history = made.fit(*data(), validation_data=data(1), epochs=3, verbose=0, callbacks=[board]).history
    return made, history, {run: events(folder, run) for run in ("train", "validation")}


def test_every_log_of_every_epoch_is_in_its_runs_file(trained):
    made, history, runs = trained
    for key, logged in history.items():
        values = of_plugin(runs["validation" if key.startswith("val_") else "train"], "scalars")
        steps = values[chart_name(key, made.tasks)]
        assert list(steps) == [0, 1, 2]
        np.testing.assert_array_equal(list(map(float, steps.values())), np.float32(logged))


def test_training_and_validation_share_a_chart_in_their_tasks_section(trained):
    made, history, runs = trained
    train, validation = (of_plugin(runs[run], "scalars") for run in ("train", "validation"))
    assert set(validation) < set(train)
    sections = {tag: tag.partition("/")[0] for tag in train}
    assert set(sections.values()) == {*made.tasks, "all tasks", "task conflicts"}
    for name in made.tasks:
        assert {f"{name}/{end}" for end in ("loss", "weight", "gradient_norm")} <= set(train)
    assert train["all tasks/learning_rate"][2] == np.float32(0.01)
    assert {"digit/accuracy", "digit_angle/mae", "task conflicts/digit_digit_angle_cosine"} <= set(train)
    # No two keys share a chart.
    assert len(train) == len([key for key in history if not key.startswith("val_")]) + 1


def test_the_settings_are_a_table(trained):
    made, _, runs = trained
    (text,) = of_plugin(runs["train"], "text")["all tasks/settings"].values()
    rows = dict(line.strip("| ").split(" | ") for line in text.item().decode().splitlines()[2:])
    settings = made.hyperparameters()
    assert list(rows) == list(settings)
    assert rows["balancer"] == "Uncertainty"
    assert float(rows["loss_weight_even"]) == 1.0


def test_histograms_hold_each_weight_once_under_what_it_belongs_to(trained):
    made, _, runs = trained
    found = of_plugin(runs["train"], "histograms")
    belonging = [("shared weights", variable) for variable in made.shared_variables]
    belonging += [(f"{name}/weights", variable) for name in made.tasks for variable in made.task_variables(name)]
    assert len(belonging) == len(made.trainable_variables)
    assert set(found) == {f"{group}/{variable.path}" for group, variable in belonging}
    for group, variable in belonging:
        steps = found[f"{group}/{variable.path}"]
        assert list(steps) == [0, 2]
        assert steps[2][:, 2].sum() == math.prod(variable.shape)
        assert steps[2][0, 0] == pytest.approx(variable.numpy().min())


def test_pictures_come_every_so_many_epochs(trained):
    _, _, runs = trained
    assert not of_plugin(runs["train"], "images")
    found = of_plugin(runs["validation"], "images")
    # Of `even` no label is there, and a number has no classes.
    assert set(found) == {"all tasks/samples", "digit/confusion matrix", "marks/confusion matrix"}
    for steps in found.values():
        assert list(steps) == [0, 2]
        width, height, picture = steps[2]
        assert tf.image.decode_png(picture).shape == (int(height), int(width), 4)
        assert np.ptp(tf.image.decode_png(picture).numpy()) == 255


def test_a_dataset_is_drawn_like_arrays_and_the_folder_may_move_until_the_training_begins(tmp_path):
    # As KerasTuner does: a copy of the callback, in the trial's folder, found by the name of its class.
    board = copy.deepcopy(TensorBoard("elsewhere", data=data(1), samples=2))
    assert type(board).__name__ == "TensorBoard"
    board.log_dir = str(tmp_path / "trial")
    board.data = kmtl.data.from_arrays(*data(1), tasks(), batch_size=7)
    model().fit(*data(), epochs=1, verbose=0, callbacks=[board])
    found = of_plugin(events(tmp_path / "trial", "validation"), "images")
    assert set(found) == {"all tasks/samples", "digit/confusion matrix", "marks/confusion matrix"}


def test_an_optimizer_of_its_own_has_a_rate_of_its_own(tmp_path):
    keras.utils.set_random_seed(0)
    made = model()
    made.compile({"shared": keras.optimizers.SGD(0.5), "even": keras.optimizers.SGD(0.25)}, run_eagerly=True)
    made.fit(*data(), epochs=1, verbose=0, callbacks=[TensorBoard(tmp_path)])
    found = of_plugin(events(tmp_path, "train"), "scalars")
    assert {tag: float(steps[0]) for tag, steps in found.items() if tag.endswith("learning_rate")} == {
        "all tasks/learning_rate": 0.5,
        "even/learning_rate": 0.25,
    }
    assert not (tmp_path / "validation").exists()


def test_one_machine_of_many_writes(tmp_path, monkeypatch):
    monkeypatch.setattr(tensorboard, "is_first_machine", lambda _: False)
    predicted = []
    made = model()
    monkeypatch.setattr(made, "predict_on_batch", lambda x: predicted.append(len(x)) or made(x))
    made.fit(*data(), epochs=1, verbose=0, callbacks=[TensorBoard(tmp_path, data=data(1))])
    assert sum(predicted) == ROWS
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_refused_before_a_step(tmp_path):
    with pytest.raises(ValueError, match=r"(?s)`log_dir` must name.*`samples` must be.*`histogram_freq` must be"):
        TensorBoard("", samples=0, histogram_freq=-1)
    plain = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    plain.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"TensorBoard: `model` must know its tasks, got Sequential\. Adopt it"):
        plain.fit(np.zeros((2, 4)), np.zeros((2, 1)), verbose=0, callbacks=[TensorBoard(tmp_path)])
    endless = kmtl.data.from_arrays(*data(1), tasks(), batch_size=4).repeat()
    with pytest.raises(ValueError, match="TensorBoard: `data` must end, got a stream without end"):
        model().fit(*data(), verbose=0, callbacks=[TensorBoard(tmp_path, data=endless)])
    assert not list(tmp_path.iterdir())


def test_without_tensorboard_the_line_that_installs_it_is_told(monkeypatch):
    def absent(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(ImportError, match=r"TensorBoard: needs the package 'tensorboard'.*pip install 'kmtl\["):
        TensorBoard()
