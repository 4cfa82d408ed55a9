"""How a model is made, what of it is shared, and that it is a Keras model like any other."""

import keras
import numpy as np
import pytest
from toys import build, compiled, examples, network, tasks

import kmtl

ORDER = ["species", "alive", "box", "age"]
WIDTHS = {"species": 4, "alive": 1, "box": 2, "age": 1}


def plain(order=ORDER):
    """A plain Keras model, its layers named unlike the tasks and its outputs in any order."""
    image, features = network()
    activations = {"species": "softmax", "alive": "sigmoid"}
    ends = {
        name: keras.layers.Dense(WIDTHS[name], activations.get(name), name=f"{9 - ORDER.index(name)}_end")
        for name in order
    }
    return keras.Model(image, {name: layer(features) for name, layer in ends.items()}, name="plain")


def names(variables):
    return [variable.path for variable in variables]


def test_heads_bear_the_names_and_shapes_of_the_tasks():
    model = build()
    assert {name: output.shape[1] for name, output in model.output.items()} == WIDTHS
    assert [model.get_layer(name).output is model.output[name] for name in ORDER] == [True] * 4


@pytest.mark.parametrize(
    "make",
    [
        lambda old: kmtl.MultiTaskModel.from_model(old, tasks()),
        lambda old: kmtl.MultiTaskModel(old.input, old.output, tasks=tasks()),
        lambda old: kmtl.MultiTaskModel(inputs=old.input, outputs=old.output, tasks=tasks()),
    ],
    ids=["from_model", "by position", "by name"],
)
def test_a_plain_model_is_adopted_with_its_weights(make):
    old = plain(sorted(ORDER))
    model = make(old)
    x, _ = examples()
    assert list(model.output) == list(model.tasks) == ORDER
    assert {id(weight) for weight in model.weights} == {id(weight) for weight in old.weights}
    found, expected = model.predict(x, verbose=0), old.predict(x, verbose=0)
    for name in ORDER:
        np.testing.assert_array_equal(found[name], expected[name])


def test_the_single_output_of_one_task_may_stand_alone():
    image, features = network()
    old = keras.Model(image, keras.layers.Dense(1)(features))
    model = kmtl.MultiTaskModel.from_model(old, [kmtl.Regression("age")])
    assert list(model.output) == ["age"]


def test_what_has_an_order_has_that_of_the_tasks():
    model = compiled(metrics={name: [] for name in ORDER})
    losses = [f"{name}_loss" for name in ORDER]
    assert list(model.output) == list(model.loss_weights) == ORDER
    assert model.metrics_names == ["loss", *losses]
    assert list(model.get_metrics_result()) == ["loss", *losses, *(f"{name}_weight" for name in ORDER)]


def test_predict_returns_what_the_submodels_return():
    model = build()
    x, _ = examples()
    found = model.predict(x, verbose=0)
    assert set(found) == set(ORDER)
    for name, output in model.output.items():
        np.testing.assert_array_equal(found[name], keras.Model(model.input, output).predict(x, verbose=0))
    np.testing.assert_allclose(found["species"].sum(axis=1), 1.0, rtol=1e-6)


def test_the_trunk_is_shared_and_a_head_is_its_tasks_own():
    model = build()
    assert names(model.shared_variables) == ["trunk/kernel", "trunk/bias"]
    assert names(model.task_variables("species")) == ["species/kernel", "species/bias"]
    assert names(model.task_variables("age")) == ["age_standardized/kernel", "age_standardized/bias"]


def test_a_layer_of_two_tasks_among_three_is_shared():
    image, features = network()
    between = keras.layers.Dense(3, name="between")(features)
    ends = {
        "species": keras.layers.Dense(4, "softmax", name="one")(between),
        "box": keras.layers.Dense(2, name="two")(between),
        "age": keras.layers.Dense(1, name="three")(features),
    }
    model = kmtl.MultiTaskModel(image, ends, tasks=[task for task in tasks() if task.name in ends])
    assert names(model.shared_variables) == ["trunk/kernel", "trunk/bias", "between/kernel", "between/bias"]
    assert names(model.task_variables("age")) == ["three/kernel", "three/bias"]


def test_one_head_layer_of_two_tasks_is_shared():
    image, features = network()
    tied = keras.layers.Dense(1, name="tied")
    ends = {"far": tied(features), "near": tied(keras.layers.Dense(5, name="own")(features))}
    model = kmtl.MultiTaskModel(image, ends, tasks=[kmtl.Regression("near"), kmtl.Regression("far")])
    assert names(model.shared_variables) == ["trunk/kernel", "trunk/bias", "tied/kernel", "tied/bias"]
    assert model.task_variables("far") == []


def test_fused_heads_are_their_tasks_own():
    given = [kmtl.Regression(name) for name in ("zinc", "iron", "lead", "gold")]
    model = build(given)
    assert names(model.shared_variables) == ["trunk/kernel", "trunk/bias"]
    assert names(model.task_variables("iron")) == ["zinc_and_3_more/kernel_0", "zinc_and_3_more/bias_0"]


def test_what_is_frozen_is_not_shared():
    model = build()
    model.get_layer("trunk").trainable = False
    assert model.shared_variables == []


def test_variables_of_an_unknown_task_are_refused():
    with pytest.raises(ValueError, match=r"task_variables: `task` must be a task, got 'agee'. Did you mean 'age'"):
        build().task_variables("agee")


def counted(model):
    """The lines of the summary that count parameters."""
    lines = []
    model.summary(print_fn=lines.append)
    return [line.strip() for line in "\n".join(lines).splitlines() if "params:" in line]


def test_the_training_state_is_no_weight_of_the_model():
    model = build()
    twin = keras.Model(model.input, model.output)
    model.compile("adam", balancer="uncertainty")
    twin.compile("adam", loss=dict.fromkeys(ORDER, "mse"))
    twin.optimizer.build(twin.trainable_variables)
    assert names(model.weights) == names(twin.weights)
    assert model.count_params() == twin.count_params()
    assert counted(model) == counted(twin)


def test_a_clone_gets_its_tasks_back():
    clone = keras.models.clone_model(compiled())
    assert not clone.compiled
    model = kmtl.MultiTaskModel.from_model(clone, tasks())
    model.compile("sgd")
    model.fit(*examples(), verbose=0)
    assert set(model.scalers) == {"box", "age"}
    assert type(clone).from_config(clone.get_config()).tasks == {}


def test_the_config_makes_the_model_again():
    model = build()
    twin = kmtl.MultiTaskModel.from_config(model.get_config())
    assert twin.tasks == model.tasks
    assert list(twin.tasks) == list(twin.output) == ORDER
    assert [weight.shape for weight in twin.weights] == [weight.shape for weight in model.weights]


def test_features_of_a_submodel_feed_another_model():
    model = build()
    inner = keras.Model(model.input, model.get_layer("trunk").output)
    image = keras.Input((6,))
    outer = kmtl.MultiTaskModel.from_features(image, inner(image), [kmtl.Regression("mass"), kmtl.Regression("age")])
    assert {id(variable) for variable in outer.shared_variables} == {id(v) for v in model.shared_variables}


def test_a_loss_sees_float_labels_as_keras_gives_them():
    inputs = keras.Input((3,))
    task = kmtl.BinaryClassification("sick", loss=lambda y, p: keras.ops.mean((p - y) ** 2, axis=-1))
    model = kmtl.MultiTaskModel.from_features(inputs, keras.layers.Dense(4)(inputs), [task])
    model.compile("sgd")
    x, y = np.ones((4, 3), "float32"), np.array([0, 1, -1, 1])
    expected = np.mean((model.predict(x, verbose=0)["sick"][y >= 0, 0] - y[y >= 0]) ** 2)
    assert model.evaluate(x, {"sick": y}, verbose=0, return_dict=True)["sick_loss"] == pytest.approx(expected)
