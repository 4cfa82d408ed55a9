"""The BIO scheme of tags: B-x begins an entity of type x, I-x goes on with it, O is outside of any."""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np


class Span(NamedTuple):
    """An entity of a sequence.

    Attributes:
        type: Its type, as `"artist"`.
        start: Its first token, from 0.
        stop: The token behind its last one.
    """

    type: str
    start: int
    stop: int


class BioTags(NamedTuple):
    """What each tag of a task is, one value a tag.

    Attributes:
        types: Number of its entity's type; -1 for O.
        begins: Whether it is a B-x.
        inside: Whether it is an I-x.
        begin: For an I-x the place of its B-x, else its own.
    """

    types: tuple[int, ...]
    begins: tuple[bool, ...]
    inside: tuple[bool, ...]
    begin: tuple[int, ...]


def parts(tag: str) -> tuple[str, str]:
    """The letter and the type of a tag; what is none of BIO is outside.

    >>> parts("B-artist"), parts("O"), parts("NOUN")
    (('B', 'artist'), ('O', ''), ('O', ''))
    """
    letter, dash, kind = tag.partition("-")
    return (letter, kind) if dash and kind and letter in ("B", "I") else ("O", "")


def is_bio(names: Iterable[str]) -> bool:
    """Whether names are those of BIO: O, B-x and I-x, each I-x with its B-x.

    >>> is_bio(["O", "B-artist", "I-artist"]), is_bio(["NOUN", "VERB"]), is_bio(["O", "I-artist"])
    (True, False, False)
    """
    split = {parts(name) for name in names if name != "O"}
    return bool(split) and ("O", "") not in split and all(("B", kind) in split for _, kind in split)


def bio_tags(names: Sequence[str]) -> BioTags:
    """Tells what each tag is.

    Args:
        names: Names of BIO.

    >>> bio_tags(["O", "B-artist", "I-artist"])
    BioTags(types=(-1, 0, 0), begins=(False, True, False), inside=(False, False, True), begin=(0, 1, 1))
    """
    split = [parts(name) for name in names]
    kinds = list(dict.fromkeys(kind for letter, kind in split if letter != "O"))
    letters = [letter for letter, _ in split]
    begin = [split.index(("B", kind)) if letter == "I" else place for place, (letter, kind) in enumerate(split)]
    types = [-1 if letter == "O" else kinds.index(kind) for letter, kind in split]
    return BioTags(
        tuple(types),
        tuple(letter == "B" for letter in letters),
        tuple(letter == "I" for letter in letters),
        tuple(begin),
    )


def spans(tags: Sequence[str]) -> list[Span]:
    """Reads the entities of one sequence of tags, as the CoNLL evaluation does: an I-x that follows no x begins one.

    Args:
        tags: Names of BIO; what is none of them is outside.

    >>> spans(["B-artist", "I-artist", "O", "I-album", "B-album"])
    [Span(type='artist', start=0, stop=2), Span(type='album', start=3, stop=4), Span(type='album', start=4, stop=5)]
    """
    found: list[Span] = []
    before = ""
    for place, tag in enumerate(tags):
        letter, kind = parts(tag)
        if letter == "I" and kind == before:
            found[-1] = found[-1]._replace(stop=place + 1)
        elif kind:
            found.append(Span(kind, place, place + 1))
        before = kind
    return found


def misplaced(tags: BioTags, labels: Any) -> Any:
    """Tells which labels are an I-x at the begin of a sequence or right behind a tag that is neither B-x nor I-x.

    Behind a position without a label nobody can tell.

    Args:
        tags: Of the task.
        labels: Numbers of tags `(sequences, tokens)`, negative where there are none.

    >>> misplaced(bio_tags(["O", "B-artist", "I-artist"]), np.array([[1, 2, 0, 2], [2, -1, 2, 2]])).astype(int)
    array([[0, 0, 0, 1],
           [1, 0, 0, 0]])
    """
    known = (labels >= 0) & (labels < len(tags.types))
    numbers = np.where(known, labels, 0)
    types = np.where(known, np.asarray(tags.types)[numbers], -1)
    before = np.concatenate([np.full_like(types[:, :1], -1), types[:, :-1]], axis=1)
    judged = np.concatenate([np.ones_like(known[:, :1]), known[:, :-1]], axis=1)
    return known & judged & np.asarray(tags.inside)[numbers] & (before != types)
