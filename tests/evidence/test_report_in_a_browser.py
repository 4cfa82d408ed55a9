"""A report in headless Chromium, on a desk and on a phone, in light and in dark: measured from the page around it."""

import html
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from matplotlib.figure import Figure

from kmtl._figures import Picture
from kmtl._table import Table
from kmtl.evidence.reports.report_page import Section
from kmtl.evidence.reports.result_report import Report

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDTHS, SCHEMES = (1280, 390), ("light", "dark")
# What it reads off each frame: the colour scheme that holds, what sticks out, what is missing, the lowest contrast.
SCRIPT = """
const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
const luminance = c => 0.2126 * channel(c[0]) + 0.7152 * channel(c[1]) + 0.0722 * channel(c[2]);
const numbers = text => text.match(/[\\d.]+/g).map(Number);
const over = (front, back) => {
  const share = front.length > 3 ? front[3] : 1;
  return [0, 1, 2].map(i => share * front[i] + (1 - share) * back[i]);
};
const behind = (view, element) => {
  const layers = [];
  for (let one = element; one; one = one.parentElement)
    layers.push(numbers(view.getComputedStyle(one).backgroundColor));
  return layers.reverse().reduce((back, front) => over(front, back), [255, 255, 255]);
};
const contrast = (view, element) => {
  const back = behind(view, element);
  const pair = [over(numbers(view.getComputedStyle(element).color), back), back].map(luminance).sort((a, b) => b - a);
  return (pair[0] + 0.05) / (pair[1] + 0.05);
};
const loads = address => new Promise(done => {
  const image = new Image();
  image.onload = () => done(image.naturalWidth > 0);
  image.onerror = () => done(false);
  image.src = address;
});
const measure = async frame => {
  const view = frame.contentWindow, page = frame.contentDocument, root = page.documentElement;
  const words = [...page.body.querySelectorAll("*")].filter(one => !one.closest("svg") &&
    [...one.childNodes].some(node => node.nodeType === 3 && node.textContent.trim()));
  const images = [...page.querySelectorAll("image")].map(one => one.getAttribute("xlink:href"));
  const wide = [...page.body.querySelectorAll("*")].filter(one => !one.closest("svg *") && !one.closest(".wide > *") &&
    !one.closest(".card > *") && !one.matches(".skip") && one.getBoundingClientRect().right > root.clientWidth + 0.5);
  return {
    width: root.clientWidth, scrolled: root.scrollWidth, dark: view.matchMedia("(prefers-color-scheme: dark)").matches,
    wide: wide.map(one => one.outerHTML.slice(0, 80)), words: words.length,
    faint: words.map(one => [contrast(view, one), one.outerHTML.slice(0, 80)]).filter(pair => !(pair[0] >= 4.5)),
    ink: Math.min(...[...page.querySelectorAll(".card")].map(one => luminance(behind(view, one)))),
    drawn: [...page.querySelectorAll("svg")].map(one => one.getBoundingClientRect().width),
    images: images.length, missing: (await Promise.all(images.map(loads))).filter(good => !good).length,
  };
};
addEventListener("load", async () => {
  const found = await Promise.all([...document.querySelectorAll("iframe")].map(measure));
  document.getElementById("found").textContent = JSON.stringify(found);
});
"""


def sample():
    figure = Figure(figsize=(12, 3))
    for axis in figure.subplots(1, 3):
        axis.imshow(np.eye(4))
        axis.set_title("a panel")
    table = Table(
        [
            {"task": f"task {row}", **{f"a rather long column {place}": place / 7 for place in range(12)}}
            for row in range(4)
        ]
    )
    word = "unbreakable" * 12
    parts = ["A sentence of some length. " * 9, word, f"name    {word}\nseeds   0, 1", "Means:", table]
    pictures = [Picture("Panels", figure, "Three panels."), Picture("Again", figure, word)]
    sections = [
        Section(f"Section {place}: {word[:30]}", parts, pictures, [f"So much for {place}, {word}."])
        for place in range(2)
    ]
    return Report(f"Title {word}", sections)


def dump(page, folder):
    """The measures of each frame, and what the browser complains of."""
    frames = "".join(
        f'<iframe style="border: 0; width: {width}px; height: 900px; color-scheme: {scheme}" '
        f'srcdoc="{html.escape(page)}"></iframe>'
        for width in WIDTHS
        for scheme in SCHEMES
    )
    around = folder / "around.html"
    around.write_text(
        f'<!doctype html><meta charset="utf-8"><pre id="found"></pre>{frames}<script>{SCRIPT}</script>', "utf-8"
    )
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--disable-dev-shm-usage",
        f"--user-data-dir={folder / 'profile'}",
    ]
    options += ["--enable-logging=stderr", "--v=0", "--virtual-time-budget=20000", "--dump-dom", around.as_uri()]
    done = subprocess.run([BROWSER, *options], capture_output=True, text=True, timeout=300, check=True)
    text = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)[1]
    return json.loads(html.unescape(text)), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.long
@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_a_page_fits_is_complete_and_is_to_be_read_everywhere(tmp_path):
    page = sample().save(tmp_path / "page.html").read_text("utf-8")
    found, complaints = dump(page, tmp_path)
    assert complaints == []
    assert [(one["width"], one["dark"]) for one in found] == [
        (width, scheme == "dark") for width in WIDTHS for scheme in SCHEMES
    ]
    for one in found:
        assert one["scrolled"] <= one["width"]
        assert one["wide"] == []
        assert one["faint"] == []
        assert one["words"] > 100
        assert (one["images"], one["missing"]) == (12, 0)
        # Figures are drawn in black: on their card a contrast of 15 and more.
        assert (one["ink"] + 0.05) / 0.05 > 15
        assert min(one["drawn"]) > 300


@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_the_browser_that_is_found_runs():
    done = subprocess.run([BROWSER, "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip()


@pytest.mark.long
@pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
def test_the_measures_find_what_is_wrong(tmp_path):
    broken = {
        "--text: #1c1e21": "--text: #999999",
        "overflow-x: auto": "overflow-x: visible",
        "data:image/png;base64,": "data:image/png;base64,AAAA",
    }
    page = sample().save(tmp_path / "page.html").read_text("utf-8")
    for good, bad in broken.items():
        assert good in page
        page = page.replace(good, bad)
    found, complaints = dump(page.replace("<main", "<script>oops()</script><main"), tmp_path)
    # The page lets no script run, and the browser says so.
    assert complaints
    light, phone = found[0], found[2]
    assert light["faint"]
    assert light["missing"] == 12
    assert phone["scrolled"] > phone["width"]
