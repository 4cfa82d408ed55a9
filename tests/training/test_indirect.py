"""Trunks trained apart, fused, and tuned together."""

import keras
import numpy as np
import pytest
from recipe_rows import TASKS, build, rows, train

import kmtl
from kmtl import training
from kmtl.model.compile_like import compile_like
from kmtl.training.trunk_branches import labels_where_present, trunks_by_input


class Snapshots(keras.callbacks.Callback):
    """Notes all weights at the beginning and the end of each stage."""

    def __init__(self, notes):
        super().__init__()
        self.notes = notes

    def weights(self):
        return {item.path: np.array(item) for layer in self.model.layers for item in layer.weights}

    def on_train_begin(self, logs=None):
        del logs
        self.notes.append({"begin": self.weights()})

    def on_train_end(self, logs=None):
        del logs
        self.notes[-1]["end"] = self.weights()


def moved(stage, part):
    """Weights of a stage whose path holds a text, and whether each moved."""
    return {key: not np.array_equal(stage["begin"][key], stage["end"][key]) for key in stage["begin"] if part in key}


@pytest.fixture(scope="module")
def stages():
    """Weights by stage: each task alone, frozen, tuned."""
    notes = []
    train(training.Indirect("gated", units=3), callbacks=lambda: [Snapshots(notes)])
    return dict(zip(("kind alone", "speed alone", "frozen", "tuned"), notes, strict=True))


def test_frozen_trunks_keep_weights_and_statistics_bit_for_bit(stages):
    norm, dense = moved(stages["frozen"], "batch_normalization"), moved(stages["frozen"], "dense")
    assert len(norm) == 2 * 4
    assert not any(norm.values())
    trunks = {key: value for key, value in dense.items() if "feature_fusion" not in key}
    assert len(trunks) == 2 * 2
    assert not any(trunks.values())
    others = {key: value for key, value in moved(stages["frozen"], "").items() if key not in norm | trunks}
    assert sum(others.values()) == 2 * 2 + 2 + 2 * 2
    assert {key for key, value in others.items() if not value} == {"speed/mean", "speed/scale", "speed/learned"}


def test_the_trunks_that_are_fused_are_those_that_were_trained(stages):
    begin = stages["frozen"]["begin"].values()
    for name in ("kind alone", "speed alone"):
        ended = [value for key, value in stages[name]["end"].items() if "dense" in key or "batch_norm" in key]
        assert len(ended) == 6
        assert all(any(np.array_equal(value, one) for one in begin) for value in ended)


def test_tuning_moves_the_trunks_and_leaves_the_statistics(stages):
    assert not any(moved(stages["tuned"], "batch_normalization").values())
    assert all(moved(stages["tuned"], "dense").values())


def test_a_rate_multiplies_the_update_of_every_weight():
    x, y = rows()
    moves = []
    for rate in (1.0, 0.1):
        keras.utils.set_random_seed(0)
        model = build(TASKS)
        model.compile(keras.optimizers.SGD(0.5), run_eagerly=True)
        tuned = compile_like(build(TASKS), model, rates=dict.fromkeys(("shared", "kind", "speed"), rate))
        tuned.set_weights(model.get_weights())
        tuned.adapt(x, y)
        before = [np.array(item) for item in tuned.trainable_variables]
        tuned.train_on_batch(x, y)
        moves.append([np.array(item) - old for item, old in zip(tuned.trainable_variables, before, strict=True)])
    for whole, tenth in zip(*moves, strict=True):
        np.testing.assert_allclose(tenth, 0.1 * whole, rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fusion": "average"}, "`fusion` must be one of"),
        ({"by": "tasks"}, "`by` must be one of .* Did you mean 'task'"),
        ({"fusion": "cross_stitch", "by": "input"}, "`fusion` must make one tensor with by='input'"),
        ({"fusion": "cross_stitch", "units": 4}, "`units` must be left out"),
        ({"input_dropout": 0.1}, "`input_dropout` must be 0 with by='task'"),
        ({"input_dropout": 1.0, "by": "input"}, "`input_dropout` must be a probability"),
        ({"rate": 0}, "`rate` must be a finite number above 0"),
        ({"units": 0}, "FeatureFusion: `units` must be a whole number of at least 1"),
    ],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        training.Indirect(**options)


def test_what_has_nothing_to_fuse_is_refused():
    x, y = rows()
    with pytest.raises(ValueError, match=r"Indirect: `tasks` must be two or more with by='task', got .* by='input'"):
        training.Indirect().train(build, TASKS[:1], (x, {"kind": y["kind"]}), epochs=1, verbose=0)
    with pytest.raises(ValueError, match="`build` must make a model of two inputs or more"):
        train(training.Indirect(by="input"))


# An image tells one half of what a page is about, its text the other.
PAGE = kmtl.Classification("page", 4)


def pages(count, seed):
    """Bright or dark images, texts with token 1 or 2; a quarter of the rows has no image, another none of the text."""
    random = np.random.default_rng(seed)
    page = random.integers(0, 4, count).astype("int32")
    image = (0.2 * random.random((count, 4, 4, 1)) + 0.1 + 0.6 * (page // 2)[:, None, None, None]).astype("float32")
    text = random.integers(3, 10, (count, 5)).astype("int32")
    text[np.arange(count), random.integers(0, 5, count)] = 1 + page % 2
    image[::4], text[2::4] = 0, 0
    return {"image": image, "text": text}, {"page": page}


def build_pages(tasks, *, mixed=False):
    image, text = keras.Input((4, 4, 1), name="image"), keras.Input((5,), dtype="int32", name="text")
    seen = keras.layers.Dense(4, activation="relu")(keras.layers.Flatten()(image))
    read = keras.layers.GlobalMaxPooling1D()(keras.layers.Embedding(10, 8)(text))
    features = [keras.layers.Add()([keras.layers.Dense(8)(seen), read]), seen] if mixed else [seen, read]
    features = kmtl.sharing.FeatureFusion()(features)
    model = kmtl.MultiTaskModel.from_features({"image": image, "text": text}, features, tasks)
    model.compile(keras.optimizers.Adam(0.05), run_eagerly=True)
    return model


@pytest.fixture(scope="module")
def reader():
    """A model of pages."""
    recipe = training.Indirect("gated", by="input", units=8, input_dropout=0.2, rate=0.5)
    return recipe.train(build_pages, [PAGE], pages(200, 0), epochs=10, batch_size=50, verbose=0)


def test_an_image_and_a_text_tell_together_what_each_tells_half_of(reader):
    x, y = pages(200, 1)
    found = reader.model.predict(x, verbose=0)["page"].argmax(-1)
    right = found == y["page"]
    assert right[1::2].mean() > 0.9
    # What the other half is nobody can know; the half that is there is read.
    assert (found % 2 == y["page"] % 2)[::4].mean() > 0.9
    assert (found // 2 == y["page"] // 2)[2::4].mean() > 0.9
    assert 0.3 < right[::4].mean() < 0.7


def test_trunks_of_inputs_together_cost_one_trunk(reader):
    assert [stage.name for stage in reader.stages] == ["image alone", "text alone", "frozen", "tuned"]
    assert [stage.cost for stage in reader.stages] == pytest.approx([0.5, 0.5, 0.5 / 3, 0.5])


def test_the_trunk_of_an_input_that_is_missing_takes_no_part(reader):
    model, (x, _) = reader.model, pages(40, 2)
    trunk = next(layer for layer in model.layers if layer.name == "text_trunk")
    kept, before = trunk.get_weights(), model.predict(x, verbose=0)["page"]
    trunk.set_weights([value + 3.0 for value in kept])
    after = model.predict(x, verbose=0)["page"]
    trunk.set_weights(kept)
    np.testing.assert_array_equal(after[2::4], before[2::4])
    assert (np.abs(after[1::2] - before[1::2]).max(-1) > 1e-4).all()


def test_labels_count_for_an_input_where_it_is_there():
    x, y = pages(8, 0)
    data = kmtl.data.from_arrays(x, y, [PAGE], batch_size=8)
    ((_, labels),) = labels_where_present(data, "text", ["image", "text"], [PAGE])
    np.testing.assert_array_equal(labels["page"], np.where(np.arange(8) % 4 == 2, -1, y["page"]))


def test_trunks_of_inputs_end_before_these_meet():
    trunks = trunks_by_input("Indirect", build_pages([PAGE]))
    assert {name: trunk.output.shape for name, trunk in trunks.items()} == {"image": (None, 4), "text": (None, 8)}
    with pytest.raises(ValueError, match=r"`build` must make a trunk of the input 'image' alone.* got 2 such tensors"):
        trunks_by_input("Indirect", build_pages([PAGE], mixed=True))


def test_an_input_without_a_labelled_row_is_refused():
    x, y = pages(16, 0)
    x["text"][:] = 0
    with pytest.raises(ValueError, match="`train` must have labels in rows where the input 'text' is there, got none"):
        training.Indirect(by="input").train(build_pages, [PAGE], (x, y), epochs=1, verbose=0)
