"""One tag a token."""

import functools
import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from kinds import TAGS
from kinds_model import entities

import kmtl
from kmtl._checks import Refusals
from kmtl.losses import group_tasks
from kmtl.metrics import SpanF1, TaskMetrics, reported
from kmtl.tasks.bio import bio_tags
from kmtl.tasks.bio_decoding import likeliest_bio
from kmtl.tasks.logits import logits_layer
from kmtl.tasks.span_f1 import entities as spans_in
from kmtl.tasks.span_f1 import same_entities

SONG = ["O", "B-artist", "I-artist", "B-album", "I-album"]


def keeps_the_rule(tags):
    """Whether every I-x of tag numbers follows B-x or I-x; these are 2k - 1 and 2k, O is 0."""
    return all(tag == 0 or tag % 2 or before in (tag, tag - 1) for before, tag in itertools.pairwise((0, *tags)))


@pytest.mark.parametrize("tokens", [1, 2, 4])
def test_constrained_decoding_is_the_best_of_all_sequences_that_keep_the_rule(tokens):
    generator = np.random.default_rng(tokens)
    outputs = generator.dirichlet(np.full(5, 0.4), (20, tokens)).astype("float32")
    outputs[0, :, 1::2] = 0.0
    found = keras.ops.convert_to_numpy(likeliest_bio(bio_tags(TAGS), outputs))
    paths = np.array([path for path in itertools.product(range(5), repeat=tokens) if keeps_the_rule(path)])
    logs = np.log(np.maximum(outputs, 1e-30).astype("float64"))
    scores = logs[:, np.arange(tokens), paths].sum(axis=-1)
    assert all(keeps_the_rule(path) for path in found)
    own = np.take_along_axis(logs, found[..., None], axis=-1)[..., 0].sum(axis=-1)
    np.testing.assert_allclose(own, scores.max(axis=1), rtol=1e-5)
    free = outputs.argmax(axis=-1)
    legal = np.array([keeps_the_rule(path) for path in free])
    assert tokens == 1 or 0 < legal.sum() < len(legal)
    np.testing.assert_array_equal(found[legal], free[legal])
    if tokens == 4:
        # A graph for any length has a loop in place of a step a token.
        graph = tf.function(functools.partial(likeliest_bio, bio_tags(TAGS)), [tf.TensorSpec((None, None, 5))])
        np.testing.assert_array_equal(graph(outputs), found)


def set_f1(rows):
    """F1 of entities as sets."""
    sets = [[entities(tags) for tags in pair] for pair in rows]
    total = sum(len(true) + len(guess) for true, guess in sets)
    return 2 * sum(len(true & guess) for true, guess in sets) / total if total else 0.0


def batches_of(rows, tokens):
    """Labels, outputs and weights of a few sequences, in two batches."""
    numbers = np.full((2, len(rows), tokens), -1)
    for place, pair in enumerate(rows):
        for side, tags in enumerate(pair):
            numbers[side, place, : len(tags)] = [TAGS.index(tag) for tag in tags]
    return [(part[0], np.eye(5, dtype="float32")[part[1]]) for part in (numbers[:, :1], numbers[:, 1:])]


ROWS = st.lists(
    st.integers(1, 7).flatmap(
        lambda size: st.tuples(*[st.lists(st.sampled_from(TAGS), min_size=size, max_size=size)] * 2)
    ),
    min_size=10,
    max_size=10,
)


def test_entities_are_counted_right_in_every_pair_of_sequences_of_three_tags():
    """15,625 pairs, those too that break the rule: I-x begins an entity where no x goes before."""
    every = list(itertools.product(range(5), repeat=3))
    true, guess = (np.repeat(every, 125, axis=0), np.tile(every, (125, 1)))
    there, tags = keras.ops.ones(true.shape, "bool"), bio_tags(TAGS)
    found = [spans_in(tags, numbers, there) for numbers in (true, guess)]
    sets = [entities([TAGS[tag] for tag in row]) for row in every]
    expected = np.array([len(one & two) for one in sets for two in sets])
    same = np.asarray(same_entities(*found)).sum(axis=1)
    np.testing.assert_array_equal(same, expected)
    np.testing.assert_array_equal(np.asarray(found[0].starts).sum(axis=1), np.repeat([len(one) for one in sets], 125))


@settings(max_examples=8, deadline=None)
@given(ROWS)
def test_span_f1_is_that_of_sets_of_entities_and_of_seqeval(rows):
    """However sequences of unlike lengths come in batches."""
    metric = SpanF1(TAGS, constrained=False)
    for labels, outputs in batches_of(rows, 7):
        metric.update_state(labels, outputs)
    assert float(metric.result()) == pytest.approx(set_f1(rows), abs=1e-6)
    try:
        from seqeval.metrics import f1_score
    except ImportError:
        return
    true, guess = (list(map(list, side)) for side in zip(*rows, strict=True))
    assert float(metric.result()) == pytest.approx(f1_score(true, guess, zero_division=0), abs=1e-6)


def test_tokens_without_a_label_are_not_there_and_an_entity_goes_on_over_them():
    """As sub-words: B-a ## I-a is one entity, whatever was guessed at the mark; its first token tells its weight."""
    labels = np.array([[1, -1, 2, 0], [-1, 3, -1, -1]])
    outputs = np.eye(5, dtype="float32")[[[1, 3, 2, 0], [1, 0, 3, 3]]]
    metric = SpanF1(TAGS, constrained=False)
    weights = np.array([[3.0, 7.0, 5.0, 1.0], [9.0, 2.0, 9.0, 9.0]])
    metric.update_state(labels, outputs, sample_weight=weights)
    assert [float(one) for one in (metric.found, metric.true, metric.guessed)] == [3.0, 5.0, 3.0]


def test_the_metric_of_a_task_sees_whole_sequences_with_what_is_missing():
    """Masked metrics merge places; this one is kept apart by an attribute, and a weight of 0 is no missing label."""
    task = kmtl.Tagging("slots", SONG, tokens=4)
    seen = []

    class Whole(keras.metrics.Metric):
        whole_examples = True

        def update_state(self, y_true, y_pred, sample_weight=None):
            seen.append([np.asarray(one) for one in (y_true, y_pred, sample_weight)])

        def result(self):
            return 0.0

    (group,) = group_tasks([task], {"slots": task.resolved_loss()}, {})
    metrics = TaskMetrics([group], reported([task], {}, {"slots": [Whole(name="seen")]}))
    labels, outputs = np.array([[1, 2, -1, 0], [-1] * 4]), np.full((2, 4, 5), 0.2, "float32")
    weights = np.array([[1.0, 0.0, 2.0, 3.0], [1.0] * 4])
    seen.clear()
    metrics.update_state([group.examples({"slots": labels}, {"slots": outputs}, {"slots": weights})])
    for found, expected in zip(seen[0], (labels, outputs, np.where(labels >= 0, weights, 0.0)), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_metrics_and_options_survive_the_file():
    for options in ({}, {"scheme": None}, {"constrained": False, "tokens": 3, "class_weight": {1: 2.0}}):
        task = kmtl.Tagging("slots", SONG, metrics=[SpanF1(SONG)], **options)
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(task))
        assert (again, again.scheme, again.bio) == (task, task.scheme, task.bio)
        assert again.metrics[0].labels == SONG
    assert kmtl.Tagging("words", ["NOUN", "VERB"]).metric_names() == ["accuracy"]
    assert (kmtl.Tagging("words", 7).classes, kmtl.Tagging("words", 7).scheme) == (7, None)


def test_behind_the_end_of_a_text_stands_o_for_certain_and_tells_nothing_back():
    keras.utils.set_random_seed(3)
    words = keras.Input((None,), dtype="int32", name="words")
    rows = keras.layers.Embedding(9, 6, mask_zero=True)(words)
    task = kmtl.Tagging("slots", ["B-a", "I-a", "O"])
    vector = keras.layers.GlobalAveragePooling1D()(rows)
    model = kmtl.MultiTaskModel.from_features(
        words, {"sequence": rows, "vector": vector}, [task, kmtl.Classification("intent", 2)]
    )
    # A temperature goes into these weights.
    assert logits_layer(model.output["slots"]).name == "slots_logits"
    given = np.array([[3, 4, 0, 0], [5, 6, 7, 8]])
    found = model(given)["slots"]
    np.testing.assert_allclose(found[0, 2:], [[0, 0, 1]] * 2, atol=1e-7)
    assert float(keras.ops.max(found[1])) < 0.99
    # What stands there changes no decision before it.
    np.testing.assert_array_equal(task.decide(found)[:1, :2], task.decide(model(given[:1, :2])["slots"]))
    assert task.read(found)["label"][0, 2].numpy() == b"O"


def test_labels_are_made_of_names_numbers_and_parts_of_words():
    task = kmtl.Tagging("slots", SONG)
    assert task.labels([["B-artist", 2], ["O"]]).tolist() == [[1, 2], [0, -1]]
    # "play", "ste", "##vie", "wonder" between two marks of a tokenizer.
    ids = [[None, 0, 1, 1, 2, None]]
    made = task.labels([["O", "B-artist", "I-artist"]], word_ids=ids, tokens=8)
    assert made.tolist() == [[-1, 0, 1, -1, 2, -1, -1, -1]]
    assert task.spans(made[0][made[0] >= 0]) == [("artist", 1, 3)]
    assert task.spans([b"I-album", b"B-album"]) == [("album", 0, 1), ("album", 1, 2)]
    assert task.labels([["I-artist", "I-artist", "I-album"]], repair=True).tolist() == [[1, 2, 3]]
    assert task.labels([["O", "B-album", "O"]], tokens=2, truncate=True).tolist() == [[0, 3]]


@pytest.mark.parametrize(
    ("tags", "options", "words"),
    [
        ([["O", "B-artits"], ["X"]], {}, r"(?s)got 'B-artits' in sequence 0\. Did you mean 'B-artist'\?.*'X' in seq"),
        ([["O"] * 3, ["O"] * 5], {"tokens": 4}, r"must be at most 4, .* got 5 in sequence 1; .* Give .* tokens=5"),
        ([["O"], ["O", "I-artist"]], {}, r"rule of BIO.* 'I-artist' at token 1 of example 1, behind 'O'; 1 such"),
        ("O O", {}, "must be a list of lists of tags, got text. Split"),
        (["O O"], {}, "must be a list of lists of tags, got text. Split"),
        ([["O"]], {"word_ids": [[0, 1]]}, "`word_ids` must number the words .* got word 1 of 1 tags in sequence 0"),
        ([["O"]], {"word_ids": []}, "`word_ids` must be one list a sequence, 1, got 0"),
    ],
)
def test_tags_that_cannot_be_labels_are_refused(tags, options, words):
    with pytest.raises(ValueError, match=words):
        kmtl.Tagging("slots", SONG).labels(tags, **options)


def test_a_look_at_the_labels_finds_what_breaks_the_rule_before_training():
    task = kmtl.Tagging("slots", SONG, tokens=3)
    broken = np.array([[1, -1, 2], [0, 0, 0], [3, 2, -1], [2, 2, 2]])
    for scheme in ("BIO", None):
        statistics = kmtl.Tagging("slots", SONG, tokens=3, scheme=scheme).statistics()
        statistics.update(np.zeros((4, 3), "int32"))
        statistics.update(broken)
        refusals = Refusals("fit")
        statistics.refuse(refusals, "y['slots']")
        assert len(refusals.messages) == (scheme == "BIO")
        if scheme:
            assert "got 'I-artist' at token 1 of example 6, behind 'B-album'; 2 such sequences" in refusals.messages[0]
    rows = keras.Input((3, 2), name="rows")
    model = kmtl.MultiTaskModel.from_features(rows, {"sequence": rows}, [task])
    model.compile("sgd", run_eagerly=True)
    with pytest.raises(ValueError, match=r"`y\['slots'\]` must have shape \(batch, 3\), got \(4, 5\)"):
        model.fit(np.zeros((4, 3, 2)), {"slots": np.zeros((4, 5), "int32")}, verbose=0)
    with pytest.raises(ValueError, match="must have a label somewhere, got none in 4 examples"):
        model.fit(np.zeros((4, 3, 2)), {"slots": np.full((4, 3), -1)}, verbose=0)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"labels": 1}, "`labels` must be a whole number of at least 2, got 1"),
        ({"labels": ["O", "O"]}, "`labels` must be a list of two or more different names"),
        ({"labels": "OBI"}, "`labels` must be a list of two or more different names"),
        ({"labels": ["O", "I-artist"], "scheme": "BIO"}, "`scheme` must be None unless .* each I-x with its B-x"),
        ({"scheme": "IOB"}, "`scheme` must be 'auto', 'BIO' or None, got 'IOB'"),
        ({"tokens": 0}, "`tokens` must be a whole number of at least 1"),
        ({"class_weight": {9: 1.0}}, r"`class_weight` must map classes 0\.\.4"),
    ],
)
def test_bad_options_are_refused(options, rule):
    with pytest.raises(ValueError, match=rf"^Tagging\('slots'\): {rule}"):
        kmtl.Tagging("slots", **{"labels": SONG, **options})


def test_a_trunk_of_another_length_is_refused_with_the_way_out():
    task = kmtl.Tagging("slots", SONG, tokens=4)
    with pytest.raises(ValueError, match=r"must have 4 tokens for task 'slots'.* Give the trunk tokens=4"):
        task.check_features(keras.Input((5, 8)), "from_features")


def test_a_line_shows_wrong_tags_beside_right_ones():
    task = kmtl.Tagging("slots", SONG)
    outputs = np.eye(5)[[1, 2, 0, 3]]
    assert task.describe(np.array([1, 2, 3, -1]), outputs) == "slots B-artist I-artist O✗B-album"
    assert task.describe(None, outputs) == "slots ? B-artist I-artist O B-album"
    assert task.describe(None, np.eye(5)[[0] * 15]).endswith("O (+3)")
