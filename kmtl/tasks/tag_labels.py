"""Labels of sequences: made of the names of tags, and looked at before training."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kmtl._checks import Refusals, is_whole, near_match, words
from kmtl.tasks.bio import BioTags, misplaced, parts
from kmtl.tasks.statistics import ClassCounts


class TagCounts(ClassCounts):
    """How often each tag occurs, and where a sequence breaks the rule of BIO.

    Attributes:
        broken: How many sequences do.
        first: Of the first of them the example, the token, and the tags there and before; None without any.
    """

    def __init__(self, task: Any, tags: BioTags | None) -> None:
        super().__init__(task)
        self.tags = tags
        self.broken = 0
        self.first: tuple[int, int, str, str | None] | None = None

    def update(self, labels: Any, weights: Any = None) -> None:
        """Adds a batch, `(batch, tokens)`."""
        values = np.asarray(labels)
        if self.tags is not None and values.ndim == 2 and values.size:
            wrong = misplaced(self.tags, values)
            self.broken += int(wrong.any(axis=1).sum())
            if self.first is None and wrong.any():
                row, place = (int(one) for one in np.argwhere(wrong)[0])
                before = self.task.class_name(int(values[row, place - 1])) if place else None
                self.first = (self.examples + row, place, self.task.class_name(int(values[row, place])), before)
        super().update(labels, weights)

    def refuse_values(self, refusals: Refusals, argument: str) -> None:
        """Records tags that the task does not have, and sequences that break the rule."""
        super().refuse_values(refusals, argument)
        if self.first is None:
            return
        example, place, tag, before = self.first
        where = f"at token {place} of example {example}, {'at the begin' if before is None else f'behind {before!r}'}"
        got = words(f"{tag!r} {where}; {self.broken} such sequences")
        fix = "Make them by `labels(..., repair=True)`, which lets an entity begin there; or pass `scheme=None`."
        refusals.add(argument, "must keep the rule of BIO, in which I-x follows B-x or I-x", got, fix)


def repaired(tags: Sequence[Any]) -> list[Any]:
    """Lets an entity begin with B-x where I-x follows no x: older data sets mark them so, and it is how CoNLL reads it.

    >>> repaired(["I-artist", "I-artist", "O", "I-album"])
    ['B-artist', 'I-artist', 'O', 'B-album']
    """
    before = ""
    result = []
    for tag in tags:
        letter, kind = parts(tag) if isinstance(tag, str) else ("O", "")
        result.append(f"B-{kind}" if letter == "I" and kind != before else tag)
        before = kind
    return result


class TagRows:
    """Turns tags of sequences into labels.

    Args:
        task: A `Tagging`.
        tokens: Length of a label; None is that of the longest sequence.
        repair: Whether an I-x that follows no x becomes a B-x.
        truncate: Whether sequences are cut at `tokens`; else longer ones are refused.
    """

    def __init__(self, task: Any, tokens: int | None, *, repair: bool, truncate: bool) -> None:
        self.task = task
        self.tokens = tokens
        self.repair = repair
        self.truncate = truncate
        self.numbers = {name: place for place, name in enumerate(task.label_names or ())}
        self.argument = "tags"

    def labels(self, rows: Any, word_ids: Any) -> Any:
        """Makes the labels, or refuses all that is wrong with the tags.

        Args:
            rows: Sequences of tags.
            word_ids: Of each sequence the word of every token; None where tokens are words.
        """
        with Refusals(f"{self.task.owner}.labels") as refusals:
            if isinstance(rows, str) or any(isinstance(row, str) for row in rows):
                fix = "Split each sentence's tags: tags.split()."
                refusals.add(self.argument, "must be a list of lists of tags", words("text"), fix)
                refusals.check()
            known = [repaired(row) if self.repair else list(row) for row in rows]
            self._refuse_unknown(refusals, known)
            numbered = [[self.numbers.get(tag, tag) for tag in row] for row in known]
            refusals.check()
            aligned = numbered if word_ids is None else self._aligned(refusals, numbered, list(word_ids))
            made = self._padded(refusals, aligned)
            refusals.check()
            if self.task.bio is not None:
                self._refuse_broken(refusals, self._matrix(numbered, max(map(len, numbered), default=0)))
        return made

    def _refuse_unknown(self, refusals: Refusals, rows: list[list[Any]]) -> None:
        """Records tags that the task does not have, each once, with the row that has it first."""
        first: dict[Any, int] = {}
        for place, row in enumerate(rows):
            for tag in row:
                if not self._is_known(tag):
                    first.setdefault(tag, place)
        shown = list(first.items())[:5]
        for tag, place in shown:
            fix = near_match(tag, self.numbers) or f"Tags: {', '.join(list(self.numbers)[:5]) or self.task.classes}."
            more = f", and {len(first) - len(shown)} more such tags" if len(first) > len(shown) else ""
            got = words(f"{tag!r} in sequence {place}{more}")
            refusals.add(self.argument, "must be tags of the task", got, fix)

    def _is_known(self, tag: Any) -> bool:
        """Whether it is a tag's name, or its number, -1 where there is none."""
        return tag in self.numbers or (is_whole(tag) and -1 <= tag < self.task.classes)

    def _aligned(self, refusals: Refusals, rows: list[list[int]], word_ids: list[Any]) -> list[list[int]]:
        """Gives the first token of each word its tag, all others none."""
        if len(word_ids) != len(rows):
            refusals.add("word_ids", f"must be one list a sequence, {len(rows)}", words(f"{len(word_ids)}"))
            refusals.check()
        aligned = []
        for place, (row, ids) in enumerate(zip(rows, word_ids, strict=True)):
            listed = list(ids)
            beyond = [word for word in listed if word is not None and not (is_whole(word) and 0 <= word < len(row))]
            if beyond:
                rule = "must number the words that have a tag, None for other tokens"
                got = words(f"word {beyond[0]} of {len(row)} tags in sequence {place}")
                refusals.add("word_ids", rule, got)
                refusals.check()
            starts = [word is not None and (not at or listed[at - 1] != word) for at, word in enumerate(listed)]
            aligned.append([row[word] if start else -1 for word, start in zip(listed, starts, strict=True)])
        return aligned

    def _padded(self, refusals: Refusals, rows: list[list[int]]) -> Any:
        """Gives all rows one length."""
        longest = max(map(len, rows), default=0)
        tokens = longest if self.tokens is None else self.tokens
        if longest > tokens and not self.truncate:
            place = next(place for place, row in enumerate(rows) if len(row) > tokens)
            got = words(f"{len(rows[place])} in sequence {place}; the longest has {longest}")
            fix = f"Give task and trunk tokens={longest}, or pass truncate=True."
            refusals.add(self.argument, f"must be at most {tokens}, as many as tokens", got, fix)
        return self._matrix(rows, tokens)

    def _matrix(self, rows: list[list[int]], tokens: int) -> Any:
        """Labels `(rows, tokens)`, -1 behind the end of a row."""
        made = np.full((len(rows), tokens), -1, "int32")
        for place, row in enumerate(rows):
            made[place, : len(row)] = row[:tokens]
        return made

    def _refuse_broken(self, refusals: Refusals, labels: Any) -> None:
        """Records sequences that break the rule of BIO."""
        statistics = TagCounts(self.task, self.task.bio)
        statistics.update(labels)
        statistics.refuse_values(refusals, self.argument)
