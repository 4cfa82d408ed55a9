"""F1 of whole entities in sequences of tags."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from kmtl._checks import require
from kmtl.tasks.bio import BioTags, bio_tags, is_bio
from kmtl.tasks.bio_decoding import likeliest_bio
from kmtl.tasks.class_options import likeliest


class Entities(NamedTuple):
    """Where the entities of sequences are, `(batch, tokens)` each.

    Attributes:
        types: Number of each token's type; -1 outside.
        starts: Whether one starts here.
        ends: Whether one ends here.
    """

    types: Any
    starts: Any
    ends: Any


def entities(tags: BioTags, numbers: Any, there: Any) -> Entities:
    """Finds the entities as the CoNLL evaluation does: an I-x that follows no x starts one.

    Args:
        tags: Of the task.
        numbers: Of each token's tag, `(batch, tokens)`, any number where none is there.
        there: Which tokens there are.
    """
    numbers = ops.where(there, ops.cast(numbers, "int32"), 0)
    types = ops.where(there, ops.take(np.asarray(tags.types, "int32"), numbers), -1)
    begins = there & ops.take(np.asarray(tags.begins), numbers)
    before = ops.pad(types[:, :-1], [(0, 0), (1, 0)], constant_values=-1)
    after = ops.pad(types[:, 1:], [(0, 0), (0, 1)], constant_values=-1)
    begins_after = ops.cast(ops.pad(ops.cast(begins[:, 1:], "int32"), [(0, 0), (0, 1)]), "bool")
    return Entities(
        types, (types >= 0) & (begins | (types != before)), (types >= 0) & (begins_after | (types != after))
    )


def same_entities(true: Entities, guess: Entities) -> Any:
    """Tells at the start of which true entities the same one was guessed: type, start and end agree.

    That is so where the two agree in everything at every token of it.
    """
    agree = (true.types == guess.types) & (true.starts == guess.starts) & (true.ends == guess.ends)
    batch, tokens = ops.shape(true.types)[0], ops.shape(true.types)[1]
    # Entity 0 of each row is what lies outside of all.
    entity = ops.where(true.types >= 0, ops.cumsum(ops.cast(true.starts, "int32"), axis=1), 0)
    row = ops.cumsum(ops.ones_like(entity[:, :1]), axis=0) - 1
    entity = ops.reshape(row * (tokens + 1) + entity, (-1,))
    faults = ops.segment_sum(ops.reshape(ops.cast(~agree, "int32"), (-1,)), entity, batch * (tokens + 1))
    return true.starts & (ops.reshape(ops.take(faults, entity), (batch, tokens)) == 0)


@keras.saving.register_keras_serializable(package="kmtl")
class SpanF1(keras.metrics.Metric):
    """F1 of entities: one counts as found if its type, its first and its last token are all right.

    `2 * found / (true + guessed)` over all entities of an epoch (the micro average), exact however they come in
    batches; 0 where there are none. Entities are read as the CoNLL evaluation reads them, among the tokens that have a
    label. An entity weighs what its first token does.

    Args:
        labels: Names of the tags, of BIO, in order.
        constrained: Whether the guess is the likeliest sequence that keeps the rule of BIO; else the likeliest tag of
            each token.
        name: Keras name.
        dtype: Keras dtype.

    Source: Tjong Kim Sang and De Meulder, "Introduction to the CoNLL-2003 Shared Task", CoNLL 2003.

    >>> metric = SpanF1(["O", "B-artist", "I-artist"])
    >>> metric.update_state([[1, 2, 0, 1]], ops.one_hot([[1, 2, 0, 0]], 3))
    >>> round(float(metric.result()), 4)
    0.6667
    """

    # It is given sequences, not single tokens: see `kmtl.metrics.TaskMetrics`.
    whole_examples = True

    def __init__(
        self, labels: Sequence[str], constrained: bool = True, name: str = "span_f1", dtype: Any = "float32"
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.labels, self.constrained = list(labels), bool(constrained)
        require(is_bio(self.labels), "SpanF1", "labels", "must be O, B-x and I-x, each I-x with its B-x", self.labels)
        self.tags = bio_tags(self.labels)
        self.found = self.add_variable((), initializer="zeros", name="found")
        self.true = self.add_variable((), initializer="zeros", name="true")
        self.guessed = self.add_variable((), initializer="zeros", name="guessed")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Adds a batch.

        Args:
            y_true: Numbers of tags, `(batch, tokens)`, -1 where a token has none.
            y_pred: Probabilities `(batch, tokens, classes)`.
            sample_weight: `(batch, tokens)`; None where all weigh 1.
        """
        labels = ops.cast(ops.convert_to_tensor(y_true), "int32")
        guess = likeliest_bio(self.tags, y_pred) if self.constrained else likeliest(y_pred)
        weights = (
            ops.ones_like(labels, dtype="float32") if sample_weight is None else ops.cast(sample_weight, "float32")
        )
        # Tokens that have a label come first, in their order: an entity goes on over those that have none.
        place = ops.cumsum(ops.ones_like(labels), axis=1)
        order = ops.argsort(ops.where(labels >= 0, place, place + ops.shape(labels)[1]), axis=1)
        labels, guess, weights = (ops.take_along_axis(one, order, axis=1) for one in (labels, guess, weights))
        true, guessed = (entities(self.tags, numbers, labels >= 0) for numbers in (labels, guess))
        found = same_entities(true, guessed)
        for variable, starts in ((self.found, found), (self.true, true.starts), (self.guessed, guessed.starts)):
            variable.assign_add(ops.sum(ops.where(starts, weights, 0.0)))

    def result(self) -> Any:
        """F1 so far."""
        both = self.true + self.guessed
        return ops.where(both > 0, 2.0 * self.found / ops.where(both > 0, both, 1.0), 0.0)

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        return {**super().get_config(), "labels": self.labels, "constrained": self.constrained}
