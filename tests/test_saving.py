"""What is saved goes on where it stopped: weights, optimizer, balancer, loss weights, random numbers, tasks."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from toys import assert_same_weights, build, examples, tasks

import kmtl

X, Y = examples(40, hidden=0.3)
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(0.02),
}


def model(optimizer="adam", **options):
    """A compiled model with dropout and a penalty."""
    made = build(dropout=0.3, penalty=0.01)
    made.compile(OPTIMIZERS[optimizer](), **options)
    return made


def steps(made, epochs=2):
    """Ten steps, in the order of the data."""
    return made.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.keras"


def saved(folder, balancer, optimizer="adam"):
    """A trained model's files, and what it comes to ten steps later."""
    first = model(optimizer, balancer=balancer)
    steps(first, 1)
    first.set_loss_weights({"box": 0.25})
    found = {"model": folder / "model.keras", "weights": folder / "a.weights.h5", "before": first.get_weights()}
    first.save(found["model"])
    first.save_weights(found["weights"])
    return {**found, "history": steps(first).history, "after": first.get_weights(), "balancer": first.balancer}


def assert_same(expected, made):
    """Compares all weights bit by bit."""
    for one, other in zip(expected, made.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.fixture(scope="module")
def pcgrad(tmp_path_factory):
    keras.utils.set_random_seed(0)
    return saved(tmp_path_factory.mktemp("pcgrad"), "pcgrad")


LOSS_WEIGHTS = {"species": 1.0, "alive": 1.0, "box": 0.25, "age": 1.0}


@pytest.mark.parametrize(
    ("balancer", "optimizer"),
    [
        ("uncertainty", "adam"),
        pytest.param("pcgrad", "adam", marks=pytest.mark.long),
        # It has no state, and SGD but one slot where Adam has two.
        pytest.param("equal", "sgd", marks=pytest.mark.slow),
    ],
)
def test_ten_more_steps_are_the_same_after_a_reload(balancer, optimizer, request, tmp_path):
    expected = request.getfixturevalue("pcgrad") if balancer == "pcgrad" else saved(tmp_path, balancer, optimizer)
    loaded = keras.saving.load_model(expected["model"])
    assert loaded.loss_weights == LOSS_WEIGHTS
    assert type(loaded.balancer) is type(expected["balancer"])
    assert_same(expected["before"], loaded)
    assert steps(loaded).history == expected["history"]
    assert_same(expected["after"], loaded)


@pytest.mark.long
@pytest.mark.parametrize("balancer", [pytest.param("uncertainty", marks=pytest.mark.slow), "pcgrad"])
def test_ten_more_steps_are_the_same_after_a_file_of_weights(balancer, request, tmp_path):
    expected = request.getfixturevalue("pcgrad") if balancer == "pcgrad" else saved(tmp_path, balancer)
    loaded = model(balancer=balancer)
    loaded.load_weights(expected["weights"])
    assert loaded.loss_weights == LOSS_WEIGHTS
    steps(loaded)
    assert_same(expected["after"], loaded)


@pytest.mark.long
def test_a_fresh_process_goes_on_with_nothing_but_kmtl(pcgrad, tmp_path):
    np.savez(tmp_path / "data.npz", x=X, **Y)
    code = f"""
import kmtl
import keras
import numpy as np
loaded = keras.saving.load_model({str(pcgrad["model"])!r})
data = np.load({str(tmp_path / "data.npz")!r})
x, y = data["x"], {{name: data[name] for name in loaded.tasks}}
loaded.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
np.savez({str(tmp_path / "end.npz")!r}, *loaded.get_weights())
print(list(loaded.tasks.values()), loaded.balancer.name, type(loaded).__name__)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split("\n")[-2] == f"{tasks()} {pcgrad['balancer'].name} MultiTaskModel"
    with np.load(tmp_path / "end.npz") as end:
        for place, weight in enumerate(pcgrad["after"]):
            np.testing.assert_array_equal(end[f"arr_{place}"], weight)


@pytest.mark.long
def test_everything_compiled_is_restored(path):
    metrics = {"species": [keras.metrics.SparseTopKCategoricalAccuracy(2, name="top2")], "age": ["mse", "mae"]}
    first = model(
        loss={"age": keras.losses.Huber(delta=0.2), "box": "mae"},
        metrics=metrics,
        weighted_metrics={"age": ["mae"]},
        balancer=kmtl.balancers.Uncertainty(learning_rate=0.2, scale="paper"),
        steps_per_execution=2,
        jit_compile=False,
        auto_scale_loss=False,
    )
    steps(first, 1)
    first.save(path)
    second = keras.saving.load_model(path)
    assert second.tasks == first.tasks
    assert list(second.tasks) == list(first.tasks)
    assert second.metrics_names == first.metrics_names
    assert second.balancer.get_config() == first.balancer.get_config()
    old, new = first.get_compile_config(), second.get_compile_config()
    assert {**new, "balancer": None} == {**old, "balancer": None}
    found = second.evaluate(X, Y, verbose=0, return_dict=True)
    assert found == first.evaluate(X, Y, verbose=0, return_dict=True)
    assert {"species_top2", "age_mse", "age_weighted_mae"} < set(found)


def test_the_options_of_tasks_are_restored(path):
    given = [
        kmtl.MultiLabel("tags", 3, label_names=["red", "old", "wet"]),
        kmtl.Classification("species", 4, class_weight={0: 0.5, 3: 2.0}, hidden=(5, 4), dropout=0.2, l2=0.01),
        kmtl.BinaryClassification("alive", class_weight="balanced", metrics=["accuracy", keras.metrics.AUC()]),
        kmtl.Regression("box", shape=2, unit="px", loss="huber", standardize=False),
    ]
    first = build(given)
    first.save(path)
    second = keras.saving.load_model(path)
    assert [task.get_config() for task in second.tasks.values()] == [task.get_config() for task in given]
    assert not second.compiled


def test_the_statistics_of_the_labels_are_restored(path):
    first = model()
    first.adapt(X, Y)
    first.save(path)
    second = keras.saving.load_model(path)
    np.testing.assert_allclose(np.ravel(second.scalers["age"].mean), np.nanmean(Y["age"]), rtol=1e-6)
    steps(second, 1)
    np.testing.assert_array_equal(second.scalers["age"].mean, first.scalers["age"].mean)


def test_plain_weights_fit_and_leave_the_rest(tmp_path):
    first = model(balancer="uncertainty")
    first.set_loss_weights({"age": 0.5})
    twin = keras.Model(first.input, first.output)
    other = model(balancer="uncertainty")
    steps(other, 1)
    keras.Model(other.input, other.output).save_weights(tmp_path / "plain.weights.h5")
    with pytest.warns(UserWarning, match="Skipping variable loading for optimizer"):
        first.load_weights(tmp_path / "plain.weights.h5")
    assert_same_weights(first, other)
    assert first.loss_weights["age"] == 0.5
    other.save_weights(tmp_path / "ours.weights.h5")
    twin.load_weights(tmp_path / "ours.weights.h5")
    assert_same_weights(twin, other)


@pytest.mark.long
def test_weights_fit_another_balancer_and_other_metrics(tmp_path):
    first = model(balancer="uncertainty")
    steps(first, 1)
    first.save_weights(tmp_path / "a.weights.h5")
    for options in ({"balancer": "equal"}, {"balancer": "pcgrad"}, {"metrics": {"age": ["mse", "mae"]}}):
        second = model(**options)
        second.load_weights(tmp_path / "a.weights.h5")
        assert_same_weights(first, second)


class Break(keras.callbacks.Callback):
    """Breaks off in the middle of an epoch."""

    def on_train_batch_end(self, batch, logs=None):
        del batch, logs
        if self.model.optimizer.iterations == 13:
            raise KeyboardInterrupt


@pytest.mark.long
def test_a_backup_goes_on_where_training_broke(tmp_path):
    whole = model(balancer="uncertainty")
    steps(whole, 4)
    broken = model(balancer="uncertainty")
    options = {"batch_size": 8, "epochs": 4, "shuffle": False, "verbose": 0}
    with pytest.raises(KeyboardInterrupt):
        broken.fit(X, Y, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup"), Break()], **options)
    resumed = model(balancer="uncertainty")
    resumed.fit(X, Y, callbacks=[keras.callbacks.BackupAndRestore(tmp_path / "backup")], **options)
    assert resumed.optimizer.iterations == 20
    assert_same_weights(whole, resumed)


@pytest.mark.long
def test_mixed_precision_is_restored_with_its_loss_scale(path):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        first = model(balancer="equal")
    finally:
        keras.config.set_dtype_policy("float32")
    first.optimizer.dynamic_scale.assign(2.0**7)
    steps(first, 1)
    first.save(path)
    second = keras.saving.load_model(path)
    assert isinstance(second.optimizer, keras.optimizers.LossScaleOptimizer)
    assert not isinstance(second.optimizer.inner_optimizer, keras.optimizers.LossScaleOptimizer)
    assert second.optimizer.dynamic_scale == 2.0**7
    steps(first)
    steps(second)
    assert_same_weights(first, second)


def test_a_file_of_an_older_form_is_told_and_one_of_a_newer_form_refused():
    model = build()
    config = model.get_config()
    assert "format" not in keras.Model.get_config(model)
    older = {key: value for key, value in config.items() if key != "format"}
    with pytest.warns(UserWarning, match=r"loss weights that moved, .* begin anew"):
        again = kmtl.MultiTaskModel.from_config(older)
    assert list(again.tasks) == list(model.tasks)
    with pytest.raises(ValueError, match=r"^load_model: `file` must be of form 2 or older, got 3"):
        kmtl.MultiTaskModel.from_config({**config, "format": 3})
