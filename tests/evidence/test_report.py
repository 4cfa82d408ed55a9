"""A report says all of its results in every form, escapes what stands in them, and is written whole or not at all."""

import html.parser
import json
import pathlib
import re

import numpy as np
import pandas as pd
import pytest

import kmtl
from kmtl import _figures
from kmtl._figures import Picture
from kmtl._table import Table
from kmtl.evidence import ConflictGap, report
from kmtl.evidence.reports.report_page import Section, rendering
from kmtl.evidence.reports.report_page.sections import blocks
from kmtl.evidence.reports.result_report import Report
from kmtl.gradients import Gramians

BAD = "<script>alert('x')</script> & \"y\" --> $\\frac$ *z*"


def figure_of(words="words", points=5):
    figure, (axis,) = _figures.panels(1, columns=1, width=4, height=3)
    axis.scatter(np.arange(points), np.arange(points))
    axis.plot([0, points], [0, points], label=words)
    axis.set_title(words)
    axis.set_xticks([0, 1], ["a", words])
    axis.legend()
    return figure


def sample(words="plain", title="Report"):
    table = Table([{words: words, "mae": 0.5}, {words: "b", "mae": float("nan")}])
    picture = Picture(words, figure_of(words), f"There is {words}.")
    twin = Picture("Twin", figure_of(words), "The same again.")
    return Report(title, [Section(words, [words, "Means:", table], [picture, twin], [f"So {words}."])])


class Page(html.parser.HTMLParser):
    """Elements with their attributes, and the text."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text.append(data)

    def named(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def page_of(made, folder):
    return Page(made.save(folder / "page.html").read_text("utf-8"))


def test_words_of_users_are_words_in_every_form(tmp_path):
    made = sample(BAD, BAD)
    page = page_of(made, tmp_path)
    assert not {"script", "b", "i"} & {tag for tag, _ in page.elements}
    text = "".join(page.text)
    # Title and heading of the page, the section in contents and text, paragraph, two cells, caption, ...
    assert text.count(BAD) >= 8
    assert page.named("svg")[0]["aria-label"] == BAD
    markdown = made.save(tmp_path / "page.md").read_text("utf-8")
    assert "<script" not in markdown
    assert "&lt;script&gt;" in markdown
    assert "\\*z\\*" in markdown
    made.save(tmp_path / "folder")
    told = json.loads((tmp_path / "folder" / "report.json").read_text("utf-8"))
    assert told["sections"][0]["lines"] == [BAD]


def test_the_page_stands_alone_and_tells_a_screen_reader_what_it_shows(tmp_path):
    made = sample()
    text = made.save(tmp_path / "page.html").read_text("utf-8")
    page = Page(text)
    assert page.named("html") == [{"lang": "en"}]
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.named("meta")
    # Nothing is fetched, nothing runs; a name of a format is no address.
    spaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\"' ]+", text)) <= spaces
    assert "default-src 'none'" in text
    assert not page.named("link")
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels == [1, 2, 2]
    assert "Table 1: Means" in page.text
    scopes = [cell.get("scope") for cell in page.named("th")]
    assert scopes == ["col", "col", "row", "row"]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    used = re.findall(r'(?:href|xlink:href)="#([^"]+)"|url\(#([^)]+)\)|aria-(?:describedby|labelledby)="([^"]+)"', text)
    assert {name for found in used for name in found if name} <= set(ids)
    for drawn in page.named("svg"):
        assert drawn["role"] == "img"
        assert drawn["aria-label"] in ("plain", "Twin")
        assert drawn["aria-describedby"] in ids
    assert all(one["tabindex"] == "0" for one in page.named("div") if one.get("class") in ("wide", "card"))
    assert "There is plain." in page.text


def test_the_same_report_gives_the_same_bytes(tmp_path):
    made, again = sample(), sample()
    for name in ("page.html", "page.md"):
        first, second = made.save(tmp_path / "one" / name), again.save(tmp_path / "other" / name)
        assert first.read_bytes() == second.read_bytes()
        assert made.save(tmp_path / "one" / name).read_bytes() == second.read_bytes()
    one, other = (files(made.save(tmp_path / name)) for name in ("a", "b"))
    assert one == other


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_folder_has_every_table_picture_and_number(tmp_path):
    folder = sample().save(tmp_path / "new" / "folder")
    told = json.loads((folder / "report.json").read_text("utf-8"))
    (section,) = told["sections"]
    (table,) = section["tables"]
    frame = pd.read_csv(folder / table["file"])
    assert frame["mae"].tolist()[0] == 0.5
    assert [row["mae"] for row in table["rows"]] == [0.5, None]
    assert section["conclusions"] == ["So plain."]
    drawn = [picture["file"] for picture in section["pictures"]]
    assert all((folder / name).read_bytes().startswith(b"\x89PNG") for name in drawn)
    assert set(files(folder)) == {*drawn, table["file"], "report.json"}


def test_markdown_names_the_files_that_lie_beside_it(tmp_path):
    text = sample().save(tmp_path / "my page.md").read_text("utf-8")
    named = re.findall(r"!\[[^\]]*\]\(<([^>]+)>\)", text)
    assert len(named) == 2
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png")} == set(named)
    assert "| plain | mae |" in text
    assert text.startswith("# Report\n")


@pytest.mark.parametrize("name", ["page.html", "page.md", "folder"])
def test_what_fails_leaves_the_old_files_and_nothing_half_written(tmp_path, monkeypatch, name):
    made = sample()
    made.save(tmp_path / name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    whole = pathlib.Path.write_bytes

    def half(path, content):
        whole(path, content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", half)
    with pytest.raises(OSError, match="No space"):
        sample("other").save(tmp_path / name)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_other_files_of_a_folder_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    sample().save(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_what_is_dense_is_drawn_as_an_image_and_what_is_not_as_lines():
    few, many = (Picture("Points", figure_of(points=count), "") for count in (50, 20_000))
    light, heavy = (rendering.svg(picture, "f", "d") for picture in (few, many))
    assert "<image" not in light
    assert "<image" in heavy
    assert len(heavy) < 150_000
    # For the time of the drawing alone.
    assert not any(one.get_rasterized() for one in many.figure.axes[0].collections)


def test_a_second_look_moves_nothing():
    figure, (axis,) = _figures.panels(1, columns=1, width=2, height=1.5)
    axis.imshow(np.eye(3))
    axis.set_title("a title")
    axis.set_yticks([0, 1], ["a", "long label"])
    picture = Picture("Image", figure, "")
    assert rendering.svg(picture, "f", "d") == rendering.svg(picture, "f", "d")


def test_dollars_are_letters_and_exponents_stay():
    figure = figure_of("5 $ to $7$ and $\\broken{$")
    figure.axes[0].set_yscale("log")
    rendering.png(figure)
    axis = figure.axes[0]
    assert not axis.title.get_parse_math()
    assert not axis.get_xticklabels()[1].get_parse_math()
    assert all(label.get_parse_math() for label in axis.get_yticklabels())
    assert any("mathdefault" in label.get_text() for label in axis.get_yticklabels())


def test_parts_are_laid_out_as_paragraphs_names_and_captions():
    table = Table([{"mae": 0.5}])
    told = blocks(
        Section("Test", ["\ncost     2\nseeds    1", "One line.", "Another.", table, "", "Means:", table, table])
    )
    assert [(block.lines, block.pairs, block.caption) for block in told] == [
        ([], [("cost", "2"), ("seeds", "1")], ""),
        (["One line.", "Another."], [], ""),
        ([], [], "Test"),
        ([], [], "Means"),
        ([], [], "Test, table 2"),
    ]


GRAMIANS = Gramians(["zoo", "ant"], np.ones((2, 2)), np.ones((2, 2), bool), np.ones((2, 2, 2)))
GAP = ConflictGap(
    {"zoo": [1.0, 1.25], "ant": [2.0, 2.25]}, {"zoo": [0.5, 0.75], "ant": [1.875, 2.125]}, {"zoo": 1.0, "ant": 1.0}
)


def test_results_stand_under_their_headings_and_what_follows_comes_first():
    made = report([GRAMIANS, GAP, GRAMIANS], title="All", facts={"seeds": "0, 1"})
    headings = [section.heading for section in made.sections]
    assert headings == ["What was run", "Gramians", "Conflict gap", "Gramians 2"]
    assert made.conclusions() == ["The tasks cost each other 0.625 ± 0 of loss, most of it zoo."]
    text = str(made)
    assert text.startswith("All\nThe tasks cost each other")
    assert "seeds     0, 1" in text
    assert f"kmtl {kmtl.__version__}" in text
    assert [section.heading for section in report({"Mine": GAP}).sections][1:] == ["Mine"]
    # One seed decides nothing.
    assert report(ConflictGap({"zoo": [1.0]}, {"zoo": [0.5]}, {"zoo": 1.0})).conclusions() == []


def test_what_cannot_be_reported_is_refused_together():
    for wrong in (3, "text", None):
        with pytest.raises(ValueError, match="report: `result` must be a result of kmtl, a list of them, or "):
            report(wrong)
    with pytest.raises(ValueError, match=r"report: `result` .* got none\. Or give `model` and `data`, or `history`"):
        report([])
    with pytest.raises(ValueError, match=r"`result` .* got a dict under 'Dict'") as told:
        report([{}], data=[1], y={"a": 1})
    assert "`model` must be given with `data`" in str(told.value)
    with pytest.raises(ValueError, match="`data` must be given with `model`"):
        report(GAP, model=object())
    with pytest.raises(ValueError, match="`y` must be left out without `data`"):
        report(GAP, y={"zoo": [1]})
    with pytest.raises(ValueError, match="`result` must have headings of text, got 3"):
        report({3: GAP})
    with pytest.raises(ValueError, match="`samples` must be a whole number of at least 0, got -1"):
        report(GAP, samples=-1)
    with pytest.raises(ValueError, match="`model` must know its tasks"):
        report(GAP, model=object(), data=[1])
    with pytest.raises(TypeError, match="report: `history` must be what fit"):
        report(history=3)
    with pytest.raises(TypeError, match="report: `history` must hold one epoch or more"):
        report(history={"loss": []})


def test_places_that_a_report_cannot_be_written_to_are_refused(tmp_path):
    made = report(GAP)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.html").mkdir()
    cases = {
        "page.pdf": "must end in a form that a report has, got .*page.pdf'. Write .html, .md, or a folder",
        "folder.html": "must be a file",
        "file": "must be a folder where it has no suffix",
        "file/page.html": "must lie in a folder",
    }
    for name, rule in cases.items():
        with pytest.raises(ValueError, match=f"save: `path` {rule}"):
            made.save(tmp_path / name)
    for wrong in (None, "", 3):
        with pytest.raises(ValueError, match="save: `path` must be a path"):
            made.save(wrong)


HISTORY = {
    "loss": [2.0, 1.0],
    "zoo_loss": [1.0, 0.5],
    "val_zoo_loss": [1.0, 0.75],
    "zoo_weight": [1.0, 1.75],
    "ant_weight": [1.0, 0.25],
    "stage": ["joint", "joint"],
}


def test_a_history_gives_curves_weights_and_who_is_starved():
    made = report(history=HISTORY)
    curves, weights = made.pictures()
    assert "zoo_loss 1 to 0.5 (validation 1 to 0.75)" in curves.description
    assert [axis.get_title() for axis in curves.figure.axes if axis.get_visible()] == ["loss", "zoo_loss"]
    lines = weights.figure.axes[0].lines
    assert [line.get_ydata().tolist() for line in lines] == [[1.0, 1.75], [1.0, 0.25]]
    # Told by more than a colour.
    looks = {(line.get_marker(), line.get_linestyle()) for line in lines}
    assert len(looks) == 2
    assert made.conclusions() == [
        "The balancer gives ant little weight: 0.25 in the last epoch, where an even share is 1.00."
    ]
    still = {key: [1.0, 1.0] for key in HISTORY if key.endswith("weight")}
    assert report(history={**HISTORY, **still}).conclusions() == []
    assert len(report(history={**HISTORY, **still}).pictures()) == 1
