"""Models and `compile` arguments that a user gets wrong, as a table: refused in one form, all offenders at once."""

import keras
import numpy as np
import pytest
from keras import ops
from mistakes import Case, check_refused, parameters
from toys import build, compiled, network, tasks

import kmtl


def outputs(widths):
    """A model for `species` and `age` on outputs of these names and widths."""
    image, features = network()
    made = {name: keras.layers.Dense(width, "softmax", name=f"{name}_out")(features) for name, width in widths.items()}
    return kmtl.MultiTaskModel(image, made, tasks=[kmtl.Classification("species", 4), kmtl.Regression("age")])


def unconnected():
    image, features = network()
    elsewhere = keras.layers.Dense(4, "softmax")(keras.Input((2,), name="elsewhere"))
    made = {"species": elsewhere, "age": keras.layers.Dense(1)(features)}
    return kmtl.MultiTaskModel(image, made, tasks=[kmtl.Classification("species", 4), kmtl.Regression("age")])


def logits_of_every_kind():
    image, features = network()
    inner = keras.Input((5,), name="inner")
    pixels = keras.layers.Reshape((2, 2, 1))(keras.layers.Dense(4)(features))
    made = {
        "zoo": keras.Model(inner, keras.layers.Dense(3)(inner))(features),
        "yes": keras.Sequential([keras.layers.Dense(3), keras.layers.Dense(1, "tanh")])(features),
        "marks": keras.layers.Reshape((2,))(keras.layers.Dense(2)(features)),
        "rank": keras.layers.BatchNormalization()(keras.layers.Dense(3)(features)),
        "mask": keras.layers.UpSampling2D(2)(keras.layers.Conv2D(2, 1)(pixels)),
    }
    given = [kmtl.Classification("zoo", 3), kmtl.BinaryClassification("yes"), kmtl.MultiLabel("marks", 2)]
    given += [kmtl.OrdinalRegression("rank", 3), kmtl.Segmentation("mask", 2, shape=(4, 4))]
    return kmtl.MultiTaskModel(image, made, tasks=given)


def told_of_logits(activation):
    image, features = network()
    head = keras.layers.Dense(4, activation)(features)
    species = kmtl.Classification("species", 4)
    return kmtl.MultiTaskModel.from_model(keras.Model(image, head), [species], from_logits=True)


def adopted(head, given=None):
    """A plain model with this head, as a MultiTaskModel."""
    image, features = network()
    return kmtl.MultiTaskModel.from_model(keras.Model(image, head(features)), given or tasks())


def from_features(*names):
    """A case's act: the features under these names."""

    def act(_):
        image, features = network()
        return kmtl.MultiTaskModel.from_features(image, dict.fromkeys(names, features), tasks())

    return act


def at_input(shape, name=None):
    """Heads right on an input."""
    return kmtl.MultiTaskModel.from_features(*[keras.Input(shape, name=name)] * 2, tasks())


def apart(**options):
    row = keras.Input((6,))
    kmtl.MultiTaskModel.from_features(row, row, tasks()).compile(**options)


def clone(model):
    keras.models.clone_model(model).compile("sgd")


def setting(**options):
    """A case's act: compiles a fresh model."""
    return lambda _: compiled(**options)


def names(*given):
    """A case's act: makes a regression of that name."""
    return lambda _: kmtl.Regression(*given)


class NoRate(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that forgets to return its rate."""

    def __call__(self, step):
        del step


AGE = kmtl.Regression("age")
EMPTY = keras.Sequential([keras.layers.Dense(1)])

BUILDING = [
    Case("twin tasks", lambda _: build([*tasks(), AGE]), "`tasks` | different names | 'age'"),
    Case("illegal name", names("my age"), "Regression: `name` | 'my age' | letters, digits"),
    Case("name with a slash", names("a/b"), "`name` | 'a/b' | letters, digits"),
    Case("reserved name", names("loss"), "`name` | reserved | 'loss'"),
    Case("empty name", names(""), "`name` | '' | Start with a letter"),
    Case("number for a name", names(3), "`name` | got 3 | Start with a letter"),
    Case("no tasks", lambda _: build([]), "MultiTaskModel: `tasks` | must not be empty"),
    Case("tasks in a dict", lambda _: build({"age": AGE}), "`tasks` | list of tasks | dict", TypeError),
    Case("a bare task", lambda _: build(AGE), "`tasks` | list of tasks | Regression", TypeError),
    Case("names for tasks", lambda _: build(["species"]), "`tasks` | 'species' | kmtl.Classification"),
    Case("one class", lambda _: kmtl.Classification("sex", 1), "Classification('sex'): `classes` | at least 2 | got 1"),
    Case(
        "output without task", lambda _: outputs({"species": 4, "age": 1, "mass": 1}), "`outputs` | 'mass' | 'species'"
    ),
    Case(
        "task without output",
        lambda _: outputs({"species": 4}),
        "`tasks` must each have an output; none for, got 'age'",
    ),
    Case(
        "they do not meet", lambda _: outputs({"agee": 1, "species": 4}), "`outputs` | 'agee' | mean 'age'? | got 'age'"
    ),
    Case("output too wide", lambda _: outputs({"species": 7, "age": 1}), "'species' | (batch, 4) | (None, 7) | Dense"),
    Case(
        "logits",
        lambda _: adopted(keras.layers.Dense(4), [kmtl.Classification("species", 4)]),
        "MultiTaskModel: `outputs` of 'species' must be a probability for each class | softmax | from_logits=True",
    ),
    Case(
        "logits of every kind, opened models included",
        lambda _: logits_of_every_kind(),
        "'zoo' | 'yes' | 'marks' | 'rank' | 'mask' | sigmoid | softmax",
    ),
    Case("no logits", lambda _: told_of_logits("softmax"), "from_model: `from_logits` must be left out"),
    Case("unconnected head", lambda _: unconnected(), "`outputs` must depend on the inputs | species"),
    Case(
        "outputs in a list",
        lambda _: adopted(lambda x: [x, x]),
        "`outputs` | dict keyed by task name, got list | Pass {",
    ),
    Case(
        "one output, four tasks",
        lambda _: adopted(keras.layers.Dense(4)),
        "`outputs` | dict keyed by task name | Pass {",
    ),
    Case(
        "array for an output",
        lambda _: kmtl.MultiTaskModel(network()[0], {"age": np.ones((4, 1))}, tasks=[AGE]),
        "KerasTensor",
    ),
    Case(
        "adopted by a dict", lambda _: adopted(keras.layers.Dense(1), {"age": AGE}), "`tasks` | list | dict", TypeError
    ),
    Case(
        "adopted unbuilt",
        lambda _: kmtl.MultiTaskModel.from_model(EMPTY, [AGE]),
        "from_model: `model` | built | keras.Input",
    ),
    Case(
        "features of an image", lambda _: at_input((4, 4, 1)), "`features` | (batch, width) | (None, 4, 4, 1) | Pool or"
    ),
    Case("features of no task", from_features("spec"), "from_features: `features` | 'spec'. Did you mean 'species'?"),
    Case(
        "features of a misspelt task",
        from_features("species", "alive", "box", "agee"),
        "from_features: `features` | 'agee'. Did you mean 'age'? | those of task 'age', a 'vector', got",
    ),
    Case("features of no kind", from_features("vector", "mapp"), "from_features: `features` | 'mapp' | mean 'map'?"),
    Case("features of another kind", from_features("map"), "from_features: `features` | task 'age' | Add 'vector'"),
    Case(
        "misspelt tasks",
        lambda _: kmtl.MultiTaskModel(*network(), task=[AGE]),
        "MultiTaskModel: `task` | Did you mean 'tasks'?",
        TypeError,
    ),
    Case(
        "misspelt option of a task",
        lambda _: kmtl.Regression("age", standardise=False),
        "Regression: `standardise` | got False | mean 'standardize'?",
        TypeError,
    ),
    Case(
        "misspelt option of every task",
        lambda _: kmtl.Classification("species", 4, metric="auc"),
        "Classification: `metric` | got 'auc' | mean 'metrics'?",
        TypeError,
    ),
    Case("input named as a task", lambda _: at_input((4,), "age"), 'MultiTaskModel: `outputs` | "age" is used 2 times'),
]

COMPILING = [
    Case("losses in a list", setting(loss=["mse"]), "compile: `loss` | dict keyed by task name | {'species'"),
    Case("loss of no task", setting(loss={"agee": "mse"}), "`loss` | 'agee' | Did you mean 'age'?"),
    Case("unknown loss", setting(loss={"age": "hubber"}), "`loss` of 'age' | 'hubber' | Did you mean 'huber'?"),
    Case("number for a loss", setting(loss={"box": 3}), "`loss` of 'box' must be a Keras loss | got 3"),
    Case("unknown loss of a task", lambda _: kmtl.Regression("age", loss="msee"), "Regression('age'): `loss` | 'msee'"),
    Case(
        "distance of classes",
        setting(loss="mse"),
        "`loss` of 'species' | integer labels (batch) | (batch, 4) | squared",
    ),
    Case(
        "broadcasting loss", setting(given=[kmtl.Classification("sex", 2, loss="mae")]), "`loss` of 'sex' | (batch, 2)"
    ),
    Case(
        "loss of the batch",
        setting(loss={"age": lambda a, b: ops.mean(a - b)}),
        "`loss` of 'age' | one value an example",
    ),
    Case(
        "loss not reduced", setting(loss={"box": lambda a, b: ops.abs(a - b)}), "`loss` of 'box' | (3, 2) | batch axis"
    ),
    Case(
        "loss in NumPy",
        setting(loss={"age": lambda a, b: np.abs(a - b)}),
        "`loss` of 'age' | float labels (batch) | NumPy",
    ),
    Case("loss of one argument", setting(loss={"age": ops.abs}), "`loss` of 'age' | float labels (batch) | argument"),
    Case(
        "loss that sums",
        setting(loss={"age": keras.losses.MeanSquaredError(reduction="sum")}),
        "`loss` of 'age' | reduction of its own, got 'sum' | `loss_weights`",
    ),
    Case(
        "task's loss that sums",
        lambda _: kmtl.Regression("age", loss=keras.losses.Huber(reduction="sum")),
        "Regression('age'): `loss` | reduction of its own, got 'sum'",
    ),
    Case(
        "one of several losses that sums",
        setting(loss={"age": {"far": keras.losses.MeanSquaredError(reduction="sum"), "near": "mae"}}),
        "`loss` of 'age' | ['far', 'near'] | reduction of its own, got 'sum'",
    ),
    Case(
        "part of a weight beyond float32",
        setting(loss={"age": {"far": "mse", "near": "mae"}}, loss_weights={"age": {"far": 1e300}}),
        "`loss_weights` of 'far' of 'age' | float32 | 1e+300",
    ),
    Case(
        "weight of a joint loss beyond float32",
        lambda _: kmtl.JointLoss("law", ops.abs, ["age", "box"], weight=1e300),
        "JointLoss('law'): `weight` | float32 | 1e+300",
    ),
    Case("metrics in a list", setting(metrics=["mae"]), "`metrics` | dict keyed by task name | ['mae']"),
    Case("metric of no task", setting(metrics={"bos": "mae"}), "`metrics` | 'bos' | Did you mean 'box'?"),
    Case("unknown metric", setting(metrics={"alive": "acuracy"}), "`metrics` of 'alive' | Did you mean 'accuracy'?"),
    Case("metric of another kind", setting(metrics={"species": "mae"}), "`metrics` of 'species' | (batch, 4) | 'mae'"),
    Case(
        "task's bad metric",
        setting(given=[kmtl.Classification("sex", 2, metrics=["mse"])]),
        "`metrics` of 'sex' | 'mse'",
    ),
    Case("twin metrics", setting(metrics={"age": ["mae", "mae"]}), "`metrics` | 'age_mae' | another `name`"),
    Case(
        "weighted metrics in a list", setting(weighted_metrics=["mae"]), "`weighted_metrics` | dict keyed by task name"
    ),
    Case("loss weights in a list", setting(loss_weights=[1, 2]), "`loss_weights` | dict keyed by task name | [1, 2]"),
    Case("one weight for all", setting(loss_weights=0.5), "`loss_weights` | dict keyed by task name | 0.5"),
    Case("misspelt weight", setting(loss_weights={"spices": 2}), "`loss_weights` | 'spices' | Did you mean 'species'?"),
    Case("negative weight", setting(loss_weights={"age": -1}), "`loss_weights` of 'age' | at least 0 | -1"),
    Case("weight of NaN", setting(loss_weights={"age": np.nan}), "`loss_weights` of 'age' | finite | nan"),
    Case("weight beyond float32", setting(loss_weights={"age": 1e300}), "`loss_weights` of 'age' | float32 | 1e+300"),
    Case("misspelt option", setting(loss_weigths={}), "compile: `loss_weigths` | mean 'loss_weights'?", TypeError),
    Case("no step", setting(steps_per_execution=0), "compile: `steps_per_execution` | at least 1, got 0"),
    Case("steps backwards", setting(steps_per_execution=-1), "compile: `steps_per_execution` | at least 1, got -1"),
    Case("no optimizer", setting(optimizer=None), "compile: `optimizer` must be a Keras optimizer, got None | 'adam'"),
    Case("misspelt optimizer", setting(optimizer="adan"), "`optimizer` | 'adan' | Did you mean 'adam'?"),
    Case("class of optimizer", setting(optimizer=keras.optimizers.Adam), "`optimizer` | Make an object: Adam(...)"),
    Case(
        "optimizer of another model",
        lambda model: compiled(optimizer=model.optimizer),
        "`optimizer` | another model | 'trunk/kernel' | SGD.from_config(optimizer.get_config())",
    ),
    Case("rate of NaN", setting(optimizer=keras.optimizers.SGD(np.nan)), "`optimizer.learning_rate` | finite | nan"),
    Case(
        "schedule of no rate",
        setting(optimizer=keras.optimizers.SGD(NoRate())),
        "`optimizer.learning_rate` | finite | None | A schedule must return a number",
    ),
    Case(
        "bad parts of an optimizer",
        setting(optimizer={"shared": "sgdd", "age": keras.optimizers.SGD(np.inf)}),
        "of 'shared' must be | mean 'sgd'? | `optimizer['age'].learning_rate` | inf",
    ),
    Case("true for a weight", setting(loss_weights={"age": True}), "`loss_weights` of 'age' | True"),
    Case(
        "no weight left", setting(loss_weights={task.name: 0 for task in tasks()}), "`loss_weights` | one task above 0"
    ),
    Case(
        "variable for a weight",
        setting(loss_weights={"age": keras.Variable(1.0)}),
        "'age' | number | LossWeightScheduler",
    ),
    Case("unknown balancer", setting(balancer="pcgard"), "`balancer` | 'pcgard' | Did you mean 'pcgrad'?"),
    Case("class of balancer", setting(balancer=kmtl.balancers.PCGrad), "`balancer` | PCGrad()", TypeError),
    Case("nothing to balance", lambda _: apart(balancer="pcgrad"), "`balancer` | tasks share | start from one trunk"),
    Case("clone without tasks", clone, "compile: `tasks` | from_model(clone, tasks)"),
    Case(
        "moved weight of no task",
        lambda model: model.set_loss_weights({"agee": 1}),
        "set_loss_weights: | 'agee' | 'age'",
    ),
    Case("moved weight below 0", lambda model: model.set_loss_weights({"age": -2}), "set_loss_weights: | 'age' | -2"),
    Case("weights before compile", lambda _: build().loss_weights, "loss_weights: `model` | model.compile"),
    Case(
        "many at once",
        setting(loss={"ag": "mse", "box": "hub"}, loss_weights={"alive": -1, "age": 2}, metrics=["mae"]),
        "'ag'. Did you mean 'age'? | got 'hub' | of 'alive' | got -1 | `metrics` must be a dict",
    ),
]


@pytest.fixture(scope="module")
def model():
    return compiled()


@pytest.mark.parametrize("case", parameters(building=BUILDING, compiling=COMPILING))
def test_refused(case, model):
    check_refused(case, model)


def test_left_out_loss_weights_are_one():
    assert compiled(loss_weights={"box": 0.25}).loss_weights == {"species": 1.0, "alive": 1.0, "box": 0.25, "age": 1.0}


def test_a_refused_compile_leaves_the_old_one(model):
    with pytest.raises(ValueError, match="age_mae"):
        model.compile("adam", metrics={"age": ["mae", "mae"]}, loss_weights={"age": 3.0})
    assert model.loss_weights["age"] == 1.0
    assert isinstance(model.optimizer, keras.optimizers.SGD)
