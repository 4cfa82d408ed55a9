"""Rows without labels: what they get, what they never tell, and the teacher's weights."""

import keras
import numpy as np
import pytest
import recipe_rows
import tensorflow as tf

import kmtl
from kmtl.model.step import Step
from kmtl.training import Joint, SemiSupervised
from kmtl.training.pseudo_labels import pseudo_labels
from kmtl.training.semi_supervised_step import FixMatchStep, MeanTeacherStep
from kmtl.training.views import Views
from kmtl.training.work import Given, Work

X, Y = recipe_rows.rows(8)
VIEWS = {"augment": 0.3, "seed": 1}


def model_with(step, balancer="equal", **options):
    keras.utils.set_random_seed(0)
    model = recipe_rows.build(recipe_rows.TASKS)
    model.compile(keras.optimizers.SGD(0.1), balancer=balancer, run_eagerly=True)
    model.adapt(X, Y)
    model.step = step(model, model.setup, **options)
    return model


@pytest.mark.parametrize(
    "balancer",
    ["equal", "upgrad", kmtl.balancers.get("mgda", level="features"), kmtl.balancers.get("mgda", gram_fraction=0.5)],
)
def test_without_a_pseudo_label_the_step_is_the_plain_one_bit_for_bit(balancer):
    again = type(balancer).from_config(balancer.get_config()) if not isinstance(balancer, str) else balancer
    plain = model_with(Step, balancer)
    added = model_with(FixMatchStep, again, views=Views(None, 1), threshold=1.01)
    for model in (plain, added):
        for _ in range(2):
            model.train_on_batch(X, Y)
    for one, other in zip(plain.get_weights(), added.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_recipe_without_pseudo_labels_is_joint_training_of_the_same_batches():
    class Plain(SemiSupervised):
        def take_step(self, work, model, views, steps):
            del work, model, views, steps

    found = [
        recipe_rows.train(kind(unlabelled=recipe_rows.UNLABELLED, threshold=2.0), epochs=1).model.get_weights()
        for kind in (SemiSupervised, Plain)
    ]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_labels_of_unlabelled_rows_are_never_read():
    x = recipe_rows.UNLABELLED
    garbage = {"kind": np.full(len(x), 77), "speed": np.full(len(x), np.inf, "float32")}
    kinds = [x, (x, garbage), tf.data.Dataset.from_tensor_slices((x, garbage))]
    found = []
    for unlabelled in kinds:
        recipe = SemiSupervised(unlabelled=unlabelled, threshold=0.3)
        given = Given(recipe_rows.build, recipe_rows.TASKS, recipe_rows.rows(), None, 1, 0, 8)
        found.append([(x, y) for (x, y), _ in zip(recipe.data(Work(recipe, given))[0], range(2), strict=False)])
    for (one_x, one_y), (other_x, other_y) in zip(found[0], found[1], strict=True):
        np.testing.assert_array_equal(one_x, other_x)
        np.testing.assert_array_equal(one_y["speed"], other_y["speed"])
    for x, y in [*found[0], *found[2]]:
        assert x.shape[0] == 16
        # Of sixteen rows the eight of the labelled batch alone may have a label, and a third of those has none.
        assert np.sum(y["kind"] != -1) < 8
        assert not np.isinf(y["speed"]).any()


def test_the_loss_on_pseudo_labels_by_hand():
    views = Views((None, lambda x: x), 0)
    model = model_with(FixMatchStep, views=views, threshold=0.4, weight={"kind": 0.5})
    model.set_loss_weights({"kind": 3.0})
    # Every row is alike to batch normalisation in both passes.
    outputs = model(X, training=True)
    found = model.step.extra_losses((X, Y, None), outputs)["fixmatch"]
    probabilities = outputs["kind"].numpy().max(1)
    free = Y["kind"] == -1
    wanted = np.where(free & (probabilities >= 0.4), -np.log(probabilities), 0.0)
    assert np.sum(wanted > 0) > 0
    np.testing.assert_allclose(found, 3.0 * 0.5 * wanted.sum() / free.sum(), rtol=1e-5)


def test_pseudo_labels_of_every_kind_of_class_stay_in_their_task_space():
    tasks = {
        task.name: task
        for task in (
            kmtl.BinaryClassification("face"),
            kmtl.Classification("mood", 3, where={"face": 1}),
            kmtl.MultiLabel("signs", 2),
            kmtl.Regression("age"),
        )
    }
    labels = {
        "face": tf.constant([1, 0, -1, -1]),
        "mood": tf.constant([-1, -1, -1, -1]),
        "signs": tf.constant([[1, -1], [-1, -1], [-1, 0], [0, 0]]),
        "age": tf.constant([np.nan, 3.0, np.nan, np.nan]),
    }
    sure = tf.constant([[0.05, 0.9, 0.05]] * 4)
    outputs = {
        "face": tf.constant([[0.1], [0.9], [0.95], [0.6]]),
        "mood": sure,
        "signs": tf.constant([[0.0, 0.99], [0.5, 0.02], [1.0, 1.0], [1.0, 1.0]]),
        "age": tf.zeros((4, 1)),
    }
    found, counts = pseudo_labels(tasks, labels, outputs, 0.8, tf.constant([True] * 4))
    assert found["face"].numpy().ravel().tolist() == [-1, -1, 1, -1]
    # Where there is a face, or surely one; not where nobody knows.
    assert found["mood"].numpy().tolist() == [1, -1, 1, -1]
    assert found["signs"].numpy().tolist() == [[-1, 1], [-1, 0], [1, -1], [-1, -1]]
    assert np.isnan(found["age"]).all()
    np.testing.assert_array_equal(counts, [2, 4, 3, 3])


def test_the_teacher_is_the_mean_of_the_students_weights_first_plain_then_exponential():
    model = model_with(MeanTeacherStep, views=Views(**VIEWS), decay=0.6, weight=2.0)
    seen = []
    for _ in range(3):
        model.train_on_batch(X, Y)
        seen.append([variable.numpy() for variable in model.trainable_variables])
    statistics = [own.numpy() for _, own in model.step.statistics]
    model.step.use_teacher()
    for variable, one, two, three in zip(model.trainable_variables, *seen, strict=True):
        wanted = 0.6 * (one + two) / 2 + 0.4 * three
        np.testing.assert_allclose(variable, wanted, rtol=1e-5, atol=1e-6)
    # Its moving statistics are of passes under its own weights.
    for (student, _), own in zip(model.step.statistics, statistics, strict=True):
        np.testing.assert_array_equal(student, own)
        assert np.abs(own - (student.name == "moving_variance")).max() > 1e-4


def test_the_consistency_by_hand_and_its_ramp():
    model = model_with(MeanTeacherStep, views=Views((None, lambda x: x + 0.5 * x**2), 0), ramp_up=4.0)
    step = model.step
    strong, weak = (model(x, training=True) for x in (X + 0.5 * X**2, X))
    kind = np.sum((strong["kind"] - weak["kind"]).numpy() ** 2, 1).mean()
    speed = np.mean(((strong["speed"] - weak["speed"]).numpy() / model.scalers["speed"].scale.numpy()) ** 2)
    for taken, ramp in ((0, np.exp(-5.0)), (2, np.exp(-1.25)), (9, 1.0)):
        step.taken.assign(taken)
        found = step.extra_losses((X, Y, None), None)["consistency"]
        np.testing.assert_allclose(found, ramp * (kind + speed), rtol=1e-4)


def test_views_are_drawn_by_seed_and_step_and_leave_a_missing_image_alone():
    x = np.random.default_rng(0).random((4, 16, 16, 1)).astype("float32")
    x[2] = 0.0
    views = Views(None, 5)
    (weak, strong), (again, strong_again) = views(x, 3), Views(None, 5)(x, 3)
    np.testing.assert_array_equal(weak, again)
    np.testing.assert_array_equal(strong, strong_again)
    assert np.abs(views(x, 4)[0] - weak).max() > 0
    assert not np.any(weak[2])
    assert not np.any(strong[2])
    # A shift by up to two pixels: the middle of the one is somewhere near the middle of the other.
    for row in (0, 1, 3):
        found = [
            np.array_equal(weak[row, 4:12, 4:12], x[row, 4 + down : 12 + down, 4 + right : 12 + right])
            for down in range(-2, 3)
            for right in range(-2, 3)
        ]
        assert sum(found) == 1
    # In measures of the image itself: 0..255 is seen as 0..1 is.
    np.testing.assert_allclose(views(255 * x, 3)[1], 255 * strong, rtol=1e-3, atol=1e-2)


def test_layers_as_views_draw_anew_for_each_training():
    layers = (keras.layers.RandomTranslation(0.2, 0.2), keras.layers.RandomContrast(0.5))
    found = [Views(layers, 1)(X, 0)[1].numpy() for _ in range(2)]
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (SemiSupervised(augment=(None, lambda x: x)), "`unlabelled` must be given where no label is missing"),
        (SemiSupervised(unlabelled=np.zeros((3, 5, 4, 1))), "`unlabelled` must be inputs as those of `train`, got"),
        (SemiSupervised(weight={"colour": 1.0}), "`weight` must use task names as keys, got 'colour'"),
    ],
)
def test_what_cannot_be_is_refused_before_training(recipe, said):
    x, y = recipe_rows.rows(6)
    y["kind"][:] = 1
    with pytest.raises(ValueError, match=said):
        recipe_rows.train(recipe, train=(x, y))


def test_vectors_need_views_and_fixmatch_needs_classes():
    tasks, data = [kmtl.Regression("speed")], (np.ones((4, 2), "float32"), {"speed": [1.0, 2.0, 3.0, np.nan]})
    with pytest.raises(ValueError, match="`augment` must be given for what is no image") as refused:
        SemiSupervised().train(recipe_rows.build, tasks, data, epochs=1)
    assert "`tasks` must have one with probabilities of classes for FixMatch" in str(refused.value)
    with pytest.raises(ValueError, match=r"`method` must be one of .* Did you mean 'mean_teacher'"):
        SemiSupervised("meanteacher", threshold=np.nan)


def test_rows_without_any_label_come_from_frames_arrays_and_mixes():
    pandas = pytest.importorskip("pandas")
    tasks = [kmtl.Classification("kind", 2), kmtl.Regression("speed")]
    frame = pandas.DataFrame({"a": [0.0, 1.0, 2.0], "kind": [1, None, None], "speed": [2.0, None, 5.0]})
    framed = kmtl.data.from_frame(frame, tasks, features=["a"], batch_size=3)
    labels = next(iter(framed))[1]
    assert labels["kind"].numpy().tolist() == [1, -1, -1]
    alone = tf.data.Dataset.from_tensor_slices(np.float32([[7.0], [8.0]]))
    sources = {("kind", "speed"): framed.unbatch(), (): alone}
    x, labels = next(iter(kmtl.data.mix(sources, tasks=tasks, batch_size=20, sampling="uniform")))
    bare = x.numpy().ravel() >= 7
    assert 0 < bare.sum() < 20
    assert (labels["kind"].numpy()[bare] == -1).all()
    assert np.isnan(labels["speed"].numpy()[bare]).all()
    bare = {"kind": np.array([-1, -1]), "speed": np.array([1.0, 2.0])}
    with pytest.raises(ValueError, match=r"`y\['kind'\]` must have"):
        Joint().train(recipe_rows.build, tasks, (np.ones((2, 4, 4, 1)), bare), epochs=1)
