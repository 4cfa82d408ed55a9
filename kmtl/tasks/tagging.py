"""One tag a token."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from kmtl._checks import is_whole, plain_text, refusal, require, whole, words
from kmtl.tasks.base import Task
from kmtl.tasks.bio import Span, bio_tags, is_bio, spans
from kmtl.tasks.bio_decoding import likeliest_bio
from kmtl.tasks.class_names import named_classes
from kmtl.tasks.class_options import checked_class_weight, likeliest
from kmtl.tasks.masked_logits import MaskedLogits
from kmtl.tasks.span_f1 import SpanF1
from kmtl.tasks.statistics import LabelStatistics
from kmtl.tasks.tag_labels import TagCounts, TagRows

# Tags of a line of text.
_SHOWN = 12


@keras.saving.register_keras_serializable(package="kmtl")
class Tagging(Task):
    """One tag out of several for every token of a sequence; the output is a probability a token and tag.

    The label holds the number of each token's tag, -1 where there is none: padding, and all but the first token of a
    word. `labels` makes it of names. The head is one dense layer on the sequence of a trunk (`pooling=None`). Loss:
    sparse categorical cross-entropy, the mean over the labelled tokens of the global batch; class weights weigh
    tokens, a sample weight is one an example or one a token.

    Names of the BIO scheme (B-x begins an entity of type x, I-x goes on with it, O is outside) make `decide`, `read`
    and exported files give the likeliest sequence in which I-x follows B-x or I-x alone, and add the metric
    `span_f1`: see `kmtl.metrics.SpanF1`. `accuracy` is the share of labelled tokens whose likeliest tag is right, by
    itself.

    Behind the end of a text, as Keras's mask tells it, an output is certain of O (without one of the first tag).

    Args:
        name: Key of the task in outputs, labels, weights and logs.
        labels: Names of the tags, or their number.
        tokens: Length of a label and of the trunk's sequence; None where it varies between batches.
        scheme: `"BIO"`; None lets any tag follow any; `"auto"` is BIO where the names are O, B-x and I-x.
        constrained: Whether decisions keep the rule of the scheme; False takes each token's likeliest tag, as a
            sequence of sub-words wants it, whose untrained outputs between two words would count too.
        class_weight: Weight of each tag's tokens in training: a dict by number or `"balanced"`.
        **options: `loss`, `losses`, `metrics`, `hidden`, `dropout`, `l1`, `l2`, `where`: see `Task`.

    Source: Ramshaw and Marcus, "Text Chunking using Transformation-Based Learning", 1995.

    >>> task = Tagging("slots", ["O", "B-artist", "I-artist"], tokens=5)
    >>> task.scheme, task.output_shape, task.features, task.metric_names()
    ('BIO', (5, 3), 'sequence', ['span_f1', 'accuracy'])
    >>> task.labels([["B-artist", "I-artist", "O"], ["O"]]).tolist()
    [[1, 2, 0, -1, -1], [0, -1, -1, -1, -1]]
    """

    kind: ClassVar[str] = "tagging"
    meaning: ClassVar[str] = "a probability for each token and tag"
    label_dtype: ClassVar[str] = "int32"
    features: ClassVar[str] = "sequence"
    decides: ClassVar[bool] = True
    chooses: ClassVar[bool] = True
    mean_metrics: ClassVar[Mapping[str, Callable[[Any, Any], Any]]] = dict.fromkeys(
        ("accuracy", "acc"), keras.metrics.sparse_categorical_accuracy
    )

    def __init__(
        self,
        name: str,
        labels: Sequence[str] | int,
        *,
        tokens: int | None = None,
        scheme: str | None = "auto",
        constrained: bool = True,
        class_weight: Mapping[int, float] | str | None = None,
        metrics: Sequence[Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(name, metrics=() if metrics is None else metrics, **options)
        self.label_names = self._checked_labels(labels)
        self.classes = whole(self.owner, "labels", labels, 2) if self.label_names is None else len(self.label_names)
        self.tokens = None if tokens is None else whole(self.owner, "tokens", tokens, 1)
        self.scheme = self._checked_scheme(scheme)
        self.bio = None if self.scheme is None else bio_tags(self.label_names or ())
        self.keeps_rule = bool(constrained)
        self.class_weight = checked_class_weight(self, class_weight, self.classes)
        if metrics is None:
            self.metrics = list(self.default_metrics)

    @property
    def default_metrics(self) -> tuple[str, ...]:  # type: ignore[override]
        """F1 of entities where tags have a scheme, and the share of tokens that are right."""
        return ("accuracy",) if self.scheme is None else ("span_f1", "accuracy")

    def _checked_labels(self, labels: Any) -> tuple[str, ...] | None:
        """Returns the names, or None of a number; refuses names twice, or fewer than two."""
        if is_whole(labels):
            return None
        listed = isinstance(labels, Sequence | np.ndarray) and not isinstance(labels, str | bytes)
        names = tuple(plain_text(self.owner, "labels", name) for name in labels) if listed else ()
        rule = "must be a list of two or more different names, or their number"
        require(len(names) > 1 and len(set(names)) == len(names), self.owner, "labels", rule, labels)
        return tuple(map(str, names))

    def _checked_scheme(self, scheme: Any) -> str | None:
        """Returns the scheme, or refuses one that the names are not of."""
        require(scheme in ("auto", "BIO", None), self.owner, "scheme", "must be 'auto', 'BIO' or None", scheme)
        fits = self.label_names is not None and is_bio(self.label_names)
        if scheme == "auto":
            return "BIO" if fits else None
        rule = "must be None unless `labels` are O, B-x and I-x, each I-x with its B-x"
        got = words(f"'BIO' with {list(self.label_names or ())[:8] or f'{self.classes} tags'}")
        require(scheme is None or fits, self.owner, "scheme", rule, got)
        return None if scheme is None else str(scheme)

    @property
    def label_shape(self) -> tuple[int | None, ...]:
        """Number of tokens."""
        return (self.tokens,)

    @property
    def loss_shape(self) -> tuple[int | None, ...]:
        """The loss takes the number of each token's tag."""
        return self.label_shape

    @property
    def units(self) -> int:
        """Width of the output: one probability a tag."""
        return self.classes

    @property
    def final_activation(self) -> str:
        """An output is a probability a tag, whatever the head has in front."""
        return "softmax"

    @property
    def default_loss(self) -> str:
        """Sparse categorical cross-entropy."""
        return "sparse_categorical_crossentropy"

    def check_features(self, features: Any, owner: str) -> None:
        """Refuses what is no sequence, or one of another length than labels have."""
        super().check_features(features, owner)
        given = features.shape[1]
        if None not in (given, self.tokens) and given != self.tokens:
            rule = f"must have {self.tokens} tokens for task {self.name!r}, as its labels"
            fix = f"Give the trunk tokens={self.tokens}, or the task tokens={given}."
            raise ValueError(refusal(owner, "features", rule, tuple(features.shape), fix))

    def output(self, features: Any) -> Any:
        """Builds the tags' logits and turns them into probabilities."""
        logits = keras.layers.Dense(
            self.classes, kernel_regularizer=self.regularizer(), dtype="float32", name=f"{self.name}_logits"
        )(features)
        outside = self.label_names.index("O") if self.label_names and "O" in self.label_names else 0
        logits = MaskedLogits(outside, dtype="float32", name=f"{self.name}_masked")(logits)
        return keras.layers.Softmax(dtype="float32", name=self.name)(logits)

    def own_metric(self, name: str) -> Any:
        """F1 of entities, besides the share of tokens that are right."""
        if name == "span_f1" and self.scheme is not None:
            return SpanF1(self.label_names or (), constrained=self.keeps_rule)
        return super().own_metric(name)

    def statistics(self) -> LabelStatistics:
        """Counts tags, and looks for sequences that break the rule of the scheme."""
        return TagCounts(self, self.bio)

    def labels(
        self,
        tags: Sequence[Sequence[str | int]],
        *,
        tokens: int | None = None,
        word_ids: Sequence[Sequence[int | None]] | None = None,
        repair: bool = False,
        truncate: bool = False,
    ) -> Any:
        """Makes labels of the tags of sequences.

        Args:
            tags: A list of tags a sequence, by name or number.
            tokens: Length of the labels; None is the task's, or that of the longest sequence.
            word_ids: Where tokens are parts of words, the word of each token, counted from 0, and None for a token
                that is of none, as tokenizers tell it; the first token of a word bears its tag.
            repair: Whether an I-x that follows no x becomes a B-x; else it is refused under BIO.
            truncate: Whether longer sequences are cut; else they are refused.

        Returns:
            int32 `(sequences, tokens)`, -1 where a token has no tag.

        Raises:
            ValueError: If a tag is unknown, or a sequence too long or against the rule; all at once.
        """
        length = self.tokens if tokens is None else whole(self.owner, "tokens", tokens, 1)
        return TagRows(self, length, repair=repair, truncate=truncate).labels(tags, word_ids)

    def spans(self, tags: Sequence[Any]) -> list[Span]:
        """Reads the entities of one sequence, as `read` or `labels` gives it.

        Args:
            tags: Names (text, or bytes as a served model gives them) or numbers, negative where there is none.

        >>> Tagging("slots", ["O", "B-artist", "I-artist"]).spans([0, 1, 2])
        [Span(type='artist', start=1, stop=3)]
        """
        listed = tags.tolist() if hasattr(tags, "tolist") else list(tags)
        named = [self.class_name(tag) if is_whole(tag) and tag >= 0 else tag for tag in listed]
        return spans([tag.decode() if isinstance(tag, bytes) else str(tag) for tag in named])

    def class_probabilities(self, outputs: Any) -> Any:
        """The outputs, `(batch, tokens, classes)`."""
        return outputs

    def decide(self, outputs: Any) -> Any:
        """The tag of each token, `(batch, tokens)`: the likeliest sequence that the scheme allows."""
        return likeliest_bio(self.bio, outputs) if self.bio is not None and self.keeps_rule else likeliest(outputs)

    def read(self, outputs: Any) -> dict[str, Any]:
        """The tag of each token, by its name if tags have names, and its probability, `(batch, tokens)` each."""
        best = self.decide(outputs)
        probability = ops.take_along_axis(outputs, ops.expand_dims(best, -1), axis=-1)
        return {"label": named_classes(self.label_names, best), "probability": ops.squeeze(probability, -1)}

    def describe(self, label: Any, output: Any) -> str:
        """The decided tags of the labelled tokens, a wrong one with the right one: `slots B-x I-x✗O`."""
        decided = ops.convert_to_numpy(self.decide(np.asarray(output)[None]))[0]
        truth = np.full(decided.shape, -1) if label is None else np.asarray(label)
        places = np.flatnonzero(self.present(truth))
        known = places.size > 0
        places = places if known else np.arange(len(decided))
        shown = [self.class_name(int(decided[place])) for place in places[:_SHOWN]]
        if known:
            wrong = [f"✗{self.class_name(int(truth[p]))}" if truth[p] != decided[p] else "" for p in places[:_SHOWN]]
            shown = [tag + mark for tag, mark in zip(shown, wrong, strict=True)]
        more = [f"(+{len(places) - _SHOWN})"] if len(places) > _SHOWN else []
        return " ".join([self.name, *([] if known else ["?"]), *shown, *more])

    def get_config(self) -> dict[str, Any]:
        """Returns what the constructor needs."""
        labels = self.classes if self.label_names is None else list(self.label_names)
        own = {"labels": labels, "tokens": self.tokens, "scheme": self.scheme, "constrained": self.keeps_rule}
        return {**super().get_config(), **own, "class_weight": self.class_weight}
