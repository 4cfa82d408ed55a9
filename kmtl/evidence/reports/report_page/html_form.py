"""A report as one page of HTML that needs nothing else: no network, no script."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kmtl._checks import printable
from kmtl._figures import Picture
from kmtl.evidence.reports.report_page import rendering
from kmtl.evidence.reports.report_page.sections import Block, Section, blocks, conclusions


def html_page(title: str, sections: Sequence[Section], made_by: str) -> str:
    """Lays out a report as a page.

    Args:
        title: Its heading.
        sections: What it says.
        made_by: What stands at its foot.

    Returns:
        The page, the same for the same report. All text is escaped.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    folder = Path(__file__).parent
    numbers = (itertools.count(1), itertools.count(1))
    return environment.from_string((folder / "page.html.jinja").read_text("utf-8")).render(
        title=printable(title),
        style=Markup((folder / "page.css").read_text("utf-8")),
        conclusions=conclusions(sections),
        sections=[_section(section, place, numbers) for place, section in enumerate(sections, start=1)],
        made_by=made_by,
    )


def _section(section: Section, place: int, numbers: tuple[Iterator[int], ...]) -> dict[str, Any]:
    """What the template shows of a section; tables and figures are numbered through the page."""
    tables, figures = numbers

    return {
        "id": f"part-{place}",
        "heading": printable(section.heading),
        "blocks": [_block(block, tables) for block in blocks(section)],
        "figures": [_figure(picture, next(figures)) for picture in section.pictures],
    }


def _block(block: Block, numbers: Iterator[int]) -> dict[str, Any]:
    """What the template shows of a block."""
    from markupsafe import Markup

    if block.table is None:
        return {"lines": block.lines, "pairs": block.pairs, "table": ""}
    caption = f"Table {next(numbers)}: {block.caption}"
    return {"caption": caption, "table": Markup(block.table.html(caption))}


def _figure(picture: Picture, number: int) -> dict[str, Any]:
    """What the template shows of a picture."""
    from markupsafe import Markup

    name = f"figure-{number}"
    return {
        "id": name,
        "number": number,
        "title": printable(picture.title).rstrip("."),
        "description": printable(picture.description),
        "svg": Markup(rendering.svg(picture, f"f{number}", f"{name}-text")),
    }
