"""A build function with a wider trunk, deeper heads and a longer training."""

import keras
import numpy as np
import pandas as pd
import pytest

import kmtl
from kmtl.training import stretched, widened, width_for

TASKS = [kmtl.Classification("kind", 3), kmtl.Regression("size")]


def build(tasks):
    image = keras.Input((8, 8, 1), name="image")
    features = kmtl.trunks.convnet(image, widths=(8, 16), units=16, dropout=0.1)
    model = kmtl.MultiTaskModel.from_features(image, features, tasks)
    rate = keras.optimizers.schedules.CosineDecay(0.01, 10)
    model.compile(keras.optimizers.Adam(rate), loss_weights={task.name: 2.0 for task in tasks}, balancer="unit")
    return model


def dense(tasks, *, units=16, width=1.0):
    row = keras.Input((4,), name="row")
    features = keras.layers.Dense(max(1, int(units * width)), activation="relu")(row)
    model = kmtl.MultiTaskModel.from_features(row, features, tasks)
    model.compile("adam")
    return model


def test_widths_of_the_trunk_are_multiplied_and_all_else_stays():
    model, wide = build(TASKS), widened(build, 1.5)(TASKS)
    widths = {
        key: [layer.get_config()[key] for layer in wide.layers if key in layer.get_config()]
        for key in ("filters", "units")
    }
    assert widths["filters"] == [12, 24]
    assert [layer.units for layer in wide.layers if layer.name == "kind"] == [3]
    assert wide.output["size"].shape == model.output["size"].shape
    assert wide.loss_weights == model.loss_weights
    assert type(wide.balancer) is type(model.balancer) is kmtl.balancers.Unit
    assert wide.optimizer.get_config()["learning_rate"] == model.optimizer.get_config()["learning_rate"]
    assert type(wide) is kmtl.MultiTaskModel
    assert [fork.names for fork in wide.forks] == [fork.names for fork in model.forks]


def test_it_trains_and_the_seed_rules_its_weights():
    models = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        models.append(widened(dense, 2.0)(TASKS))
    for one, other in zip(*(model.get_weights() for model in models), strict=True):
        np.testing.assert_array_equal(one, other)
    x = np.random.default_rng(0).normal(size=(16, 4)).astype("float32")
    labels = {"kind": np.arange(16) % 3, "size": x[:, 0]}
    assert np.isfinite(models[0].fit(x, labels, verbose=0).history["loss"][0])


def test_a_width_of_its_own_is_asked_for():
    def own(tasks, width=1.0):
        return dense(tasks, width=width)

    def counted(tasks, width=16):
        return dense(tasks, units=width)

    assert widened(own, 2.5)(TASKS).layers[1].units == 40
    assert widened(counted, 2.5)(TASKS).layers[1].units == 40


def test_heads_get_hidden_layers_unless_they_have_some():
    deep = [kmtl.Classification("kind", 3, hidden=5), kmtl.Regression("size")]
    made = widened(dense, hidden=7)(deep)
    assert {name: made.tasks[name].hidden for name in made.tasks} == {"kind": (5,), "size": (7,)}
    assert deep[1].hidden == ()
    assert sorted(layer.units for layer in made.layers if "_hidden_" in layer.name) == [5, 7]


@pytest.mark.parametrize("share", [0.5, 1.0, 3.0])
def test_the_width_of_a_number_of_weights_is_found(share):
    target = int(share * build(TASKS).count_params() * 2)
    factor = width_for(build, TASKS, target)
    count = widened(build, factor)(TASKS).count_params()
    assert count <= target
    # One step of the widths further it is too much.
    assert widened(build, factor * 1.5)(TASKS).count_params() > target
    assert count > 0.55 * target


def test_of_all_widths_that_are_looked_at_build_makes_one_model():
    made = []

    def counting(tasks):
        made.append(dense(tasks))
        return made[-1]

    factor = width_for(counting, TASKS, 250)
    # One more is made to see that its weights are drawn.
    assert len(made) == 2
    # 5 weights a unit of the trunk, and 4 a unit for both heads beside their 4 biases: 27 units, in steps of four.
    assert widened(counting, factor)(TASKS).layers[1].units == 24


def test_a_trunk_of_a_table_is_widened_though_its_categories_start_at_zero():
    frame = pd.DataFrame({"age": np.arange(8.0), "town": ["a", "b"] * 4})
    columns = kmtl.trunks.Columns.of(frame)

    def table(tasks):
        inputs = columns.inputs()
        features = kmtl.trunks.table(inputs, columns, widths=(16, 8))
        model = kmtl.MultiTaskModel.from_features(inputs, features, tasks)
        model.compile("adam")
        return model

    plain = table(TASKS).count_params()
    factor = width_for(table, TASKS, 3 * plain)
    assert 2 * plain < widened(table, factor)(TASKS).count_params() <= 3 * plain


@pytest.mark.parametrize(
    "encoder", [{"affixes": True}, {"depth": 1, "encoder": "transformer"}], ids=["convolution", "transformer"]
)
def test_a_trunk_of_text_is_widened_with_what_its_words_end_in(encoder):
    def text(tasks):
        given = keras.Input((), dtype="string", name="text")
        features = kmtl.trunks.text(given, ["red", "blue"], tokens=4, width=16, **encoder)
        model = kmtl.MultiTaskModel.from_features(given, features, tasks)
        model.compile("adam")
        return model

    plain = text(TASKS).count_params()
    factor = width_for(text, TASKS, 3 * plain)
    made = widened(text, factor)(TASKS)
    assert 2 * plain < made.count_params() <= 3 * plain
    assert np.isfinite(made(np.array(["red rose", "blue"]))["kind"]).all()


def test_trained_weights_and_fixed_sizes_are_refused_with_the_way_out():
    kernel = np.linspace(-1, 1, 64, dtype="float32").reshape(4, 16)

    def trained(tasks):
        row = keras.Input((4,), name="row")
        layer = keras.layers.Dense(16, kernel_initializer=keras.initializers.Constant(kernel), use_bias=False)
        model = kmtl.MultiTaskModel.from_features(row, layer(row), tasks)
        model.compile("adam")
        return model

    def fixed(tasks):
        row = keras.Input((4,), name="row")
        folded = keras.layers.Reshape((4, 4))(keras.layers.Dense(16)(row))
        model = kmtl.MultiTaskModel.from_features(row, keras.layers.Flatten()(folded), tasks)
        model.compile("adam")
        return model

    with pytest.raises(ValueError, match=r"must make a trunk that starts from drawn weights.*width=1.0"):
        width_for(trained, TASKS, 1000)
    with pytest.raises(ValueError, match=r"widened: `build` must make a trunk of any width.*width=1.0"):
        widened(fixed, 2.0)(TASKS)
    with pytest.raises(ValueError, match=r"width_for: `weights` must leave some for a trunk"):
        width_for(dense, TASKS, 20, hidden=64)


def test_bad_arguments_are_refused_at_once():
    with pytest.raises(ValueError, match=r"(?s)widened: `build` must be a function.*`factor` must be a finite number"):
        widened("build", 0.0)
    with pytest.raises(ValueError, match="stretched: `factor` must be a finite number above 0"):
        stretched(build, -1)
    with pytest.raises(ValueError, match="width_for: `weights` must be a whole number"):
        width_for(build, TASKS, 0)


def test_a_stretched_rate_falls_over_the_longer_training_and_is_saved(tmp_path):
    model = stretched(build, 2.0)(TASKS)
    rate, plain = model.optimizer._learning_rate, build(TASKS).optimizer._learning_rate
    for step in (0, 4, 10, 20):
        assert float(rate(step)) == pytest.approx(float(plain(step / 2)))
    assert float(rate(20)) == pytest.approx(0.0, abs=1e-9)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert float(again.optimizer._learning_rate(10)) == pytest.approx(float(plain(5)))


def test_a_rate_that_is_a_number_and_parts_of_an_optimizer():
    def parts(tasks):
        model = dense(tasks)
        decay = keras.optimizers.schedules.PolynomialDecay(1.0, 10, 0.0)
        model.compile({"shared": keras.optimizers.SGD(decay), "kind": keras.optimizers.SGD(0.5)})
        return model

    found = stretched(parts, 2.0)(TASKS).optimizer.parts
    assert float(found["shared"]._learning_rate(10)) == pytest.approx(0.5)
    assert float(found["kind"].learning_rate) == pytest.approx(0.5)
