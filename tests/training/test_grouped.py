"""A joint model a group: the two ends are `Joint` and `Separate`, helpers leave no head, and who serves is obeyed."""

import keras
import numpy as np
import pytest
import recipe_rows
from recipe_rows import TASKS, rows, train

import kmtl
from kmtl import evidence, training
from kmtl.training import Grouped

BOTH, KIND, SPEED = ["kind", "speed"], ["kind"], ["speed"]
X = rows(seed=1)[0]


def trained(recipe, **options):
    """Trains for an epoch of two batches."""
    return train(recipe, epochs=1, batch_size=16, **options)


def same(one, other, names=BOTH):
    said = [found.model.predict(X, verbose=0) for found in (one, other)]
    for name in names:
        np.testing.assert_array_equal(said[0][name], said[1][name])


@pytest.fixture(scope="module")
def joint():
    return trained(training.Joint())


@pytest.fixture(scope="module")
def separate():
    return trained(training.Separate())


def test_one_group_of_all_is_joint_training(joint):
    found = trained(Grouped([BOTH]))
    same(found, joint)
    assert found.cost == joint.cost
    assert type(found.model.optimizer) is type(joint.model.optimizer)


def test_groups_of_one_are_each_task_alone(separate):
    seen = []

    class Seen(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            del logs
            seen.append(list(self.model.tasks))

    found = trained(Grouped([SPEED, KIND]), callbacks=lambda: [Seen()])
    same(found, separate)
    assert found.cost == separate.cost
    assert list(found.model.tasks) == BOTH
    assert found.model.count_params() == separate.model.count_params()
    assert seen == [SPEED, KIND]
    assert [stage.name for stage in found.stages] == ["group 1, speed", "group 2, kind"]


def test_each_task_comes_from_the_group_that_serves_it(joint, separate):
    found = trained(Grouped([BOTH, SPEED], {"speed": 1}))
    same(found, joint, KIND)
    same(found, separate, SPEED)
    assert found.cost == pytest.approx(2.0)
    assert found.notes["groups"] == {"groups": (("kind", "speed"), ("speed",)), "serves": {"kind": 0, "speed": 1}}
    # The head of a task that only helped is left out.
    assert found.model.count_params() == separate.model.count_params()


def test_longer_groups_cost_more():
    assert trained(Grouped([SPEED, KIND], epochs=2.0)).cost == pytest.approx(4.0)


X3 = np.random.default_rng(0).random((24, 3)).astype("float32")


def build_rows(tasks):
    row = keras.Input((3,), name="row")
    model = kmtl.MultiTaskModel.from_features(row, keras.layers.Dense(4, activation="relu")(row), tasks)
    model.compile(keras.optimizers.Adam(0.01), run_eagerly=True)
    return model


def of_rows(recipe, tasks, labels, **options):
    return recipe.train(build_rows, tasks, (X3, labels), epochs=1, verbose=0, **options)


def test_a_condition_outside_of_the_group_is_left_to_the_data():
    labels = {"face": (X3[:, 0] > 0.5).astype("int32"), "age": X3[:, 1], "size": X3[:, 2]}
    tasks = [kmtl.BinaryClassification("face"), kmtl.Regression("age", where={"face": 1}), kmtl.Regression("size")]
    seen = {}

    class Seen(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            del logs
            seen.update({name: self.model.scalers["age"].mean.numpy() for name in self.model.tasks if name == "age"})

    for groups, where in (([["face"], ["age", "size"]], {}), ([["face", "age"], ["size"]], {"face": (1,)})):
        found = of_rows(Grouped(groups), tasks, labels, callbacks=lambda: [Seen()])
        assert found.model.tasks["age"].where == where
        assert np.isfinite(list(found.model.evaluate(X3, labels, verbose=0, return_dict=True).values())).all()
        # Either way it is trained on the rows that have a face.
        assert seen["age"] == pytest.approx(labels["age"][labels["face"] == 1].mean(), rel=1e-5)


def test_a_product_in_its_group_stays_one():
    click, bought = (X3[:, 0] > 0.3).astype("int32"), X3[:, 1] > 0.5
    labels = {"click": click, "buy": click * bought, "both": click * bought, "size": X3[:, 2]}
    tasks = [
        kmtl.BinaryClassification("click"),
        kmtl.BinaryClassification("buy", where={"click": 1}),
        kmtl.BinaryClassification("both", product_of=["click", "buy"]),
        kmtl.Regression("size"),
    ]
    found = of_rows(Grouped([["click", "buy", "both"], ["size"]]), tasks, labels)
    said = found.model.predict(X3, verbose=0)
    np.testing.assert_allclose(said["both"], said["click"] * said["buy"], rtol=1e-5)
    assert np.isfinite(list(found.model.evaluate(X3, labels, verbose=0, return_dict=True).values())).all()


def test_compare_takes_a_grouped_row():
    recipe = evidence.groups([[0.0, -0.5], [-0.4, 0.0]], names=BOTH).recipe()
    assert recipe.groups == (("kind",), ("speed",))
    options = {"epochs": 1, "seeds": 1, "batch_size": 24, "verbose": 0, "recipes": {"grouped": recipe}}
    found = evidence.compare(recipe_rows.build, TASKS, rows(), rows(seed=1), **options)
    assert found.runs["grouped"][0].cost == pytest.approx(2.0)
    assert found.runs["grouped"][0].scores == found.runs["separate"][0].scores


def test_many_tasks_have_a_stage_name_that_a_folder_can_bear(tmp_path):
    tasks = [kmtl.Regression(f"{'long_' * 12}{place}") for place in range(6)]
    labels = {task.name: X3[:, 0] for task in tasks}
    found = of_rows(Grouped([[task.name for task in tasks]]), tasks, labels, folder=tmp_path)
    assert found.stages[0].name.endswith(" and 3 more")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"groups": []}, "`groups` must be lists of names of tasks, got .."),
        ({"groups": "kind"}, "`groups` must be lists of names of tasks"),
        ({"groups": [["kind"], "speed"]}, "`groups` must be lists of names of tasks, got 'speed'"),
        ({"groups": [["kind"], []]}, r"`groups` must be lists of names of tasks, got \[\]. As"),
        ({"groups": [["kind", "kind"]]}, "`groups` must hold a task once each"),
        ({"groups": [["kind", "speed"], ["speed", "kind"]]}, "`groups` must differ from each other"),
        ({"groups": [BOTH, SPEED]}, "`groups` must serve a task each, got .*'speed'.* Leave them out"),
        ({"serves": ["kind"]}, "`serves` must be a dict"),
        ({"serves": {"spede": 1}}, "`serves` must name tasks of the groups, got 'spede'. Did you mean 'speed'"),
        ({"serves": {"speed": 2}}, "`serves` of 'speed' must be the place of a group, 0 to 1, got 2"),
        ({"serves": {"speed": 0}}, "`serves` of 'speed' must be a group that has it, got .'kind',."),
        ({"epochs": 0}, "`epochs` must be a finite number above 0"),
    ],
    ids=lambda given: "-".join(given) if isinstance(given, dict) else "",
)
def test_what_are_no_groups_is_refused(given, message):
    options = {"groups": [KIND, SPEED], **given}
    with pytest.raises(ValueError, match=f"^Grouped: {message}"):
        Grouped(options.pop("groups"), options.pop("serves", None), **options)


def test_groups_of_other_tasks_are_refused_before_anything_is_trained():
    began = []
    callbacks = lambda: began.append(1) or []  # noqa: E731
    with pytest.raises(
        ValueError, match=r"got 'spede'. Did you mean 'speed'.*\n.*must hold every task, got none with 's"
    ):
        trained(Grouped([["kind", "spede"]]), callbacks=callbacks)
    assert not began


def test_its_configuration_says_all():
    recipe = Grouped([BOTH, SPEED], {"speed": 1})
    assert recipe.configuration() == {
        "recipe": "Grouped",
        "groups": [BOTH, SPEED],
        "serves": {"speed": 1},
        "epochs": 1.0,
    }
    assert repr(recipe) == "Grouped(groups=(('kind', 'speed'), ('speed',)), serves={'speed': 1})"
    assert eval(repr(recipe), {"Grouped": Grouped}).configuration() == recipe.configuration()
