"""A report as Markdown, with its pictures as files beside it."""

from collections.abc import Iterator, Sequence

from kmtl._table import markdown_text
from kmtl.evidence.reports.report_page import rendering
from kmtl.evidence.reports.report_page.sections import Block, Section, blocks, conclusions, picture_names


def markdown_files(title: str, sections: Sequence[Section], made_by: str, name: str) -> dict[str, bytes]:
    """Lays out a report as Markdown.

    Args:
        title: Its heading.
        sections: What it says.
        made_by: What stands at its foot.
        name: Of the file, without its suffix: pictures lie in the folder `<name>_files`.

    Returns:
        `{path: content}`, the page last.
    """
    folder = f"{name}_files"
    names = picture_names(sections)
    told = [f"# {markdown_text(title)}"]
    follows = conclusions(sections)
    if follows:
        told += ["## What follows", "\n".join(f"- {markdown_text(line)}" for line in follows)]
    for row, section in enumerate(sections):
        told += [f"## {markdown_text(section.heading)}"]
        told += [text for block in blocks(section) for text in _block(block)]
        for place, picture in enumerate(section.pictures):
            heading, text = markdown_text(picture.title), markdown_text(picture.description)
            told += [f"![{heading}](<{folder}/{names[row, place]}>)", f"*{heading}.* {text}"]
    page = "\n\n".join([*told, "---", markdown_text(made_by)]) + "\n"
    files = {
        f"{folder}/{name}": rendering.png(sections[row].pictures[place].figure) for (row, place), name in names.items()
    }
    return {**files, f"{name}.md": page.encode("utf-8")}


def _block(block: Block) -> Iterator[str]:
    """What stands between two empty lines."""
    if block.lines:
        yield "  \n".join(map(markdown_text, block.lines))
    if block.pairs:
        yield "\n".join(f"- {markdown_text(name)}: {markdown_text(value)}" for name, value in block.pairs)
    if block.table is not None:
        yield f"**{markdown_text(block.caption)}**"
        yield block.table.markdown()
