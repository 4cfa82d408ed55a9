"""Pairs of inputs: distances and their gradients, the contrastive loss, the joint head, the threshold."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import kmtl
from kmtl.evidence.trust import calibration_fits
from kmtl.sharing import Contrastive, PairFeatures, PairSimilarity, SiamesePair, pair_distance

RANDOM = np.random.default_rng(5)
A, B = RANDOM.normal(size=(2, 7, 5)).astype("float32")
MEASURES = ["l2", "l1", "cosine"]
CLOSED = {
    "l2": np.linalg.norm(A - B, axis=1),
    "l1": np.abs(A - B).sum(axis=1),
    "cosine": 1 - (A * B).sum(1) / np.linalg.norm(A, axis=1) / np.linalg.norm(B, axis=1),
}
SIDES = {"left_kind": "first", "right_kind": "second"}


def tasks(loss=None):
    return [kmtl.BinaryClassification("same", loss=loss), *(kmtl.Classification(name, 3) for name in SIDES)]


def build(given=None, two=False, measure="l2", **options):
    """A pair of small extractors with the given tasks."""
    keras.utils.set_random_seed(2)
    left, right = keras.Input((5,), name="left"), keras.Input((5,), name="right")

    def extractor(x):
        return keras.layers.Dense(4, activation="tanh")(x)

    given = tasks() if given is None else given
    pair = SiamesePair(extractor, extractor if two else None, measure=measure)
    made = kmtl.MultiTaskModel([left, right], pair.outputs(left, right, given, SIDES), tasks=given)
    made.compile(keras.optimizers.SGD(0.1), run_eagerly=True, **options)
    return made


@pytest.mark.parametrize("measure", MEASURES)
def test_a_distance_is_its_closed_form_symmetric_and_0_at_itself_with_a_finite_slope(measure):
    np.testing.assert_allclose(pair_distance(A, B, measure).numpy()[:, 0], CLOSED[measure], rtol=1e-5)
    np.testing.assert_array_equal(pair_distance(A, B, measure), pair_distance(B, A, measure))
    given = tf.Variable(A)
    with tf.GradientTape() as tape:
        own = pair_distance(given, tf.identity(A), measure)
    np.testing.assert_array_equal(own, np.zeros((7, 1)))
    np.testing.assert_array_equal(tape.gradient(own, given), np.zeros_like(A))


def test_the_joint_head_reads_a_similarity_of_the_cosine_and_distances_else():
    for measure, closed in CLOSED.items():
        read = PairFeatures(measure)([A, B]).numpy()
        np.testing.assert_allclose(read[:, 0], 1 - closed if measure == "cosine" else closed, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(read[:, 1:], np.concatenate([np.abs(A - B), A * B], axis=1), rtol=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
def test_the_contrastive_loss_of_the_output_is_that_of_the_distance_and_so_are_its_slopes(measure):
    margin, same = 1.1 * np.median(CLOSED[measure]), np.array([1, 0, 1, 0, 0, 1, 0], "float32")[:, None]
    loss, layer = Contrastive(margin), PairSimilarity(measure, margin)
    given = tf.Variable(A)
    with tf.GradientTape(persistent=True) as tape:
        found = tf.reduce_sum(loss.call(same, layer([given, B])))
        d = pair_distance(given, B, measure)
        direct = tf.reduce_sum(same * d**2 + (1 - same) * tf.maximum(0.0, margin - d) ** 2)
    assert float(found) == pytest.approx(float(direct), rel=1e-5)
    slopes = [tape.gradient(value, given) for value in (found, direct)]
    np.testing.assert_allclose(*slopes, rtol=1e-4, atol=1e-5)


def test_recall_never_falls_as_the_threshold_of_the_distance_grows():
    d, same = np.sort(RANDOM.gamma(2.0, size=200)), RANDOM.random(200) < 0.4
    loss = Contrastive(margin=1.5)
    recalls = []
    for most in np.linspace(0.1, 6, 25):
        cut = loss.similarity(most)
        assert loss.distance(cut) == pytest.approx(most)
        task = kmtl.BinaryClassification("same", loss=loss, threshold=cut)
        said = task.decide(loss.similarity(d)[:, None]).numpy() == 1
        np.testing.assert_array_equal(said, d < most)
        recalls.append((said & same).sum() / same.sum())
    assert (np.diff(recalls) >= 0).all()
    assert recalls[0] < 0.2 < 0.9 < recalls[-1]


@pytest.mark.parametrize("loss", [None, Contrastive(0.5)])
def test_one_extractor_makes_a_pair_symmetric_and_two_do_not(loss):
    for two in (False, True):
        model = build(tasks(loss), two=two)
        forth, back = model.predict_on_batch([A, B]), model.predict_on_batch([B, A])
        assert np.array_equal(forth["same"], back["same"]) is not two
    assert model.task_variables("left_kind")


def test_the_contrastive_output_of_equal_inputs_is_1_and_training_draws_the_same_together():
    model = build(tasks(Contrastive(0.5)), two=False)
    np.testing.assert_array_equal(model.predict_on_batch([A, A])["same"], np.ones((7, 1)))
    before = model.predict_on_batch([A, B])["same"]
    labels = {"same": np.array([1, 1, 1, 0, -1, -1, 1]), "left_kind": np.full(7, -1), "right_kind": np.arange(7) % 3}
    for _ in range(5):
        logs = model.train_on_batch([A, B], labels, return_dict=True)
    d = Contrastive(0.5).distance(before[:, 0])
    first = (d[[0, 1, 2, 6]] ** 2).sum() + max(0.5 - d[3], 0) ** 2
    assert logs["same_loss"] < first / 5
    after = model.predict_on_batch([A, B])["same"]
    assert after[[0, 1, 2, 6]].mean() > before[[0, 1, 2, 6]].mean()


@pytest.mark.parametrize("loss", [None, Contrastive(0.5)])
def test_the_threshold_is_chosen_on_validation_and_kept_in_the_file(loss, tmp_path):
    model = build(tasks(loss))
    x = RANDOM.normal(size=(2, 60, 5)).astype("float32")
    scores = model.predict_on_batch(list(x))["same"][:, 0]
    same = (scores + 0.05 * RANDOM.normal(size=60) > np.quantile(scores, 0.7)).astype("int32")
    labels = {"same": same, **{name: np.arange(60) % 3 for name in SIDES}}
    found = kmtl.evidence.calibrate(model, list(x), labels, tasks=["same"], thresholds="f1")
    threshold = model.tasks["same"].threshold
    assert threshold == found.rows[0].threshold != 0.5
    assert (found.rows[0].temperature == 1.0) is (loss is not None)
    scores = model.predict_on_batch(list(x))["same"][:, 0]
    f1 = []
    for cut in [threshold, *scores]:
        hits = same[scores > cut].sum()
        f1.append(calibration_fits.f1(hits, (scores > cut).sum() - hits, same.sum(), 0))
    assert f1[0] == pytest.approx(max(f1))
    model.save(tmp_path / "pair.keras")
    again = keras.saving.load_model(tmp_path / "pair.keras")
    assert again.tasks["same"] == model.tasks["same"]
    assert again.tasks["same"].threshold == threshold
    for name, output in model.predict_on_batch(list(x)).items():
        np.testing.assert_array_equal(again.predict_on_batch(list(x))[name], output)


def test_a_constant_score_refuses_a_threshold():
    model = build(tasks(Contrastive()))
    for variable in model.trainable_variables:
        variable.assign(np.zeros(variable.shape))
    labels = {"same": np.array([1, 0, 1, 0, 1, 0, 1]), **{name: np.arange(7) % 3 for name in SIDES}}
    message = r"calibrate: `thresholds` need a score of 'same' that differs between rows, got 1 for every row"
    with pytest.raises(ValueError, match=message):
        kmtl.evidence.calibrate(model, [A, B], labels, thresholds="youden")
    assert model.tasks["same"].threshold == 0.5


def test_what_is_no_pair_is_refused():
    with pytest.raises(
        ValueError, match=r"SiamesePair: `measure` must be a measure, got 'cosin'. Did you mean 'cosine'"
    ):
        SiamesePair(len, measure="cosin")
    with pytest.raises(ValueError, match=r"SiamesePair: `first` must be a Keras model or a function"):
        SiamesePair("vgg")
    left, right = keras.Input((5,)), keras.Input((3,))
    pair = SiamesePair(keras.layers.Dense(2), keras.layers.Dense(3))
    with pytest.raises(
        ValueError, match=r"must give vectors \(batch, width\) of one width, got \[\(None, 2\), \(None, 3"
    ):
        pair.outputs(left, right, tasks())
    pair = SiamesePair(keras.layers.Dense(2))
    with pytest.raises(ValueError, match=r"`sides` of 'left_kind' must be a side, got 'frist'. Did you mean 'first'"):
        pair.outputs(left, left, tasks(), {"left_kind": "frist"})
    with pytest.raises(ValueError, match=r"`sides` must not name a task of the pair, got 'same', contrastive"):
        pair.outputs(left, left, tasks(Contrastive()), {"same": "first"})
    with pytest.raises(ValueError, match=r"Contrastive: `margin` must be a finite number above 0, got 0"):
        Contrastive(margin=0)
