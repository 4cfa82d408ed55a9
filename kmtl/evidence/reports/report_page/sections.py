"""The sections of a report, and the blocks that a section is made of."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from kmtl._checks import printable
from kmtl._figures import Picture
from kmtl._table import Result, Table

_PAIR = re.compile(r"(\S(?:.*?\S)?)\s{2,}(\S.*)")


class Section(NamedTuple):
    """What a report says under one heading.

    Attributes:
        heading: One line.
        parts: Lines of text and tables, as `Result.parts` gives them.
        pictures: What is drawn.
        conclusions: What follows, in plain sentences; they stand at the head of the report.
    """

    heading: str
    parts: Sequence[str | Table]
    pictures: Sequence[Picture] = ()
    conclusions: Sequence[str] = ()


class Block(NamedTuple):
    """What is laid out in one way; all but one of the three are empty.

    Attributes:
        lines: Of a paragraph.
        pairs: Names and values, which text lines up by spaces.
        table: A table.
        caption: Of the table.
    """

    lines: list[str]
    pairs: list[tuple[str, str]]
    table: Table | None = None
    caption: str = ""


def heading_of(result: Result) -> str:
    """The heading of a result that nobody gave one: the words of its class.

    >>> class ConflictGap(Result): ...
    >>> heading_of(ConflictGap())
    'Conflict gap'
    """
    first, *others = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", type(result).__name__) or ["Result"]
    return " ".join([first.capitalize(), *(word if word.isupper() else word.lower() for word in others)])


def section_of(heading: str, result: Result) -> Section:
    """What a result has to show, under a heading."""
    return Section(heading, list(result.parts()), list(result.pictures()), list(result.conclusions()))


def blocks(section: Section) -> list[Block]:
    """Lays out the parts of a section: paragraphs, names with values, tables with a caption.

    A line that ends in a colon before a table is its caption; other tables are called after the section.

    >>> told = blocks(Section("Test", ["seeds   2", "Means:", Table([{"mae": 0.5}])]))
    >>> [(block.lines, block.pairs, block.caption) for block in told]
    [([], [('seeds', '2')], ''), ([], [], 'Means')]
    """
    found: list[Block] = []
    unnamed = 0
    for part in section.parts:
        if isinstance(part, str):
            _add_text(found, printable(part).split("\n"))
            continue
        caption = _caption(found)
        unnamed += not caption
        number = f", table {unnamed}" if unnamed > 1 else ""
        found.append(Block([], [], part, caption or f"{section.heading}{number}"))
    return [block for block in found if block.lines or block.pairs or block.table is not None]


def _add_text(found: list[Block], lines: Sequence[str]) -> None:
    """Adds lines to the last paragraph or list, or begins a new one; an empty line ends it."""
    for line in lines:
        pair = _PAIR.fullmatch(line)
        last = found[-1] if found else None
        if not line.strip():
            found.append(Block([], []))
            continue
        if last is None or last.table is not None or (last.lines if pair else last.pairs):
            last = Block([], [])
            found.append(last)
        if pair:
            last.pairs.append((pair[1], pair[2]))
        else:
            last.lines.append(line)


def _caption(found: list[Block]) -> str:
    """Takes the caption of a table away from the end of the text before it; empty without one."""
    while found and found[-1].table is None and not found[-1].lines and not found[-1].pairs:
        found.pop()
    if not found or not found[-1].lines or not found[-1].lines[-1].endswith(":"):
        return ""
    return found[-1].lines.pop().removesuffix(":")


def tables(sections: Sequence[Section]) -> Iterator[tuple[Section, Table, str]]:
    """Every table with its section and its caption, in order."""
    for section in sections:
        for block in blocks(section):
            if block.table is not None:
                yield section, block.table, block.caption


def file_name(number: int, title: str, suffix: str) -> str:
    """Name of a file, by its number and its title.

    >>> file_name(3, "Cost & <delta_m>", ".png")
    '03_cost_delta_m.png'
    """
    word = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")[:40].rstrip("_")
    return f"{number:02}_{word or 'untitled'}{suffix}"


def picture_names(sections: Sequence[Section]) -> dict[tuple[int, int], str]:
    """The file of each picture, by the places of its section and of itself."""
    places = [(row, place) for row, section in enumerate(sections) for place in range(len(section.pictures))]
    return {
        (row, place): file_name(number, sections[row].pictures[place].title, ".png")
        for number, (row, place) in enumerate(places, start=1)
    }


def conclusions(sections: Sequence[Section]) -> list[str]:
    """What follows from all of them."""
    return [printable(text).replace("\n", " ") for section in sections for text in section.conclusions]


def facts_text(facts: Mapping[str, Any]) -> str:
    """Names and values as lines that `blocks` lays out as such.

    >>> print(facts_text({"seeds": "0, 1", "epochs": 2}))
    seeds   0, 1
    epochs  2
    """
    width = max(map(len, facts), default=0) + 2
    return "\n".join(f"{name.ljust(width)}{_one_line(value)}" for name, value in facts.items())


def _one_line(value: Any) -> str:
    """A value as one line of single spaces."""
    return " ".join(str(value).split()) or "-"
