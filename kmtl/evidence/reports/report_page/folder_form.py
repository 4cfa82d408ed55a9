"""A report as a folder: pictures as PNG, tables as CSV, and all figures as JSON."""

import json
from collections.abc import Sequence
from typing import Any

from kmtl._figures import Picture
from kmtl._table import Table
from kmtl.evidence.reports.report_page import rendering
from kmtl.evidence.reports.report_page.sections import Block, Section, blocks, file_name, picture_names

JSON_FILE = "report.json"


def folder_files(title: str, sections: Sequence[Section], made_by: str) -> dict[str, bytes]:
    """Lays out a report as files.

    Args:
        title: Its heading.
        sections: What it says.
        made_by: What made it.

    Returns:
        `{name: content}`: a PNG a picture, a CSV a table, and `report.json` last, which names them all and has the
        numbers of the tables; a number that there is none of is null.
    """
    pictures, files = picture_names(sections), {}
    for (row, place), name in pictures.items():
        files[name] = rendering.png(sections[row].pictures[place].figure)
    told, number = [], 0
    for row, section in enumerate(sections):
        laid, shown = blocks(section), []
        for block in laid:
            if block.table is not None:
                number += 1
                name = file_name(number, block.caption, ".csv")
                files[name] = block.table.frame.to_csv(index=False).encode("utf-8")
                shown.append({"caption": block.caption, "file": name, "rows": _rows(block.table)})
        drawn = [_told(picture, pictures[row, place]) for place, picture in enumerate(section.pictures)]
        told.append({**_words(section, laid), "tables": shown, "pictures": drawn})
    whole = {"title": title, "made_by": made_by, "sections": told}
    return {**files, JSON_FILE: json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False).encode("utf-8")}


def _words(section: Section, laid: Sequence[Block]) -> dict[str, Any]:
    """What a section says in words."""
    return {
        "heading": section.heading,
        "conclusions": list(section.conclusions),
        "lines": [line for block in laid for line in block.lines],
        "values": {key: value for block in laid for key, value in block.pairs},
    }


def _told(picture: Picture, name: str) -> dict[str, str]:
    """A picture in words, and its file."""
    return {"title": picture.title, "description": picture.description, "file": name}


def _rows(table: Table) -> Any:
    """The numbers of a table, a dict a row."""
    return json.loads(table.frame.to_json(orient="records", double_precision=15))
