"""The report of what was found: one page that needs nothing else, Markdown with pictures, or a folder of files."""

import importlib.metadata
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kmtl._checks import Refusals, known_keywords, plain_text, whole, words
from kmtl._figures import Picture
from kmtl._shown_path import ShownPath
from kmtl._table import Result, Table
from kmtl.evidence.reports.history_section import history_section
from kmtl.evidence.reports.model_section import ModelOnData, model_section
from kmtl.evidence.reports.report_page import Section, folder_files, heading_of, html_page, markdown_files, section_of
from kmtl.evidence.reports.report_page.sections import facts_text
from kmtl.export import placing
from kmtl.tasks import Task

_OWNER = "report"
_RULE = "must be a result of kmtl, a list of them, or {heading: result}"
_FORMS = "Write .html, .md, or a folder without a suffix."


class Report(Result):
    """What `report` put together: print it, or `save` it.

    Args:
        title: Its heading.
        sections: What it says.
    """

    def __init__(self, title: str, sections: Sequence[Section]) -> None:
        self.title = title
        self.sections = list(sections)

    def parts(self) -> list[str | Table]:
        """The title, what follows, and the parts of every section under its heading."""
        found: list[str | Table] = [self.title, *self.conclusions()]
        for section in self.sections:
            found += ["", section.heading, *section.parts]
        return found

    def pictures(self) -> list[Picture]:
        """Those of all sections."""
        return [picture for section in self.sections for picture in section.pictures]

    def conclusions(self) -> list[str]:
        """Those of all sections."""
        return [line for section in self.sections for line in section.conclusions]

    def save(self, path: Any) -> Any:
        """Writes the report; the suffix says the form.

        `.html` is one file for any browser, screen, printer or screen reader: its pictures are in it, and it asks for
        nothing from a network and runs nothing. `.md` has its pictures beside it, in the folder `<name>_files`. A path
        without a suffix is a folder: a PNG a picture, a CSV a table, and `report.json` with all figures.

        The same report gives the same bytes. Each file comes to lie in its place when it is whole, the page after its
        pictures; one that is there is replaced, others are left alone.

        Args:
            path: Where it goes; folders that are not there are made.

        Returns:
            The path.

        Raises:
            ValueError: If the suffix is none of these, or the place cannot be written to.
        """
        target = ShownPath(os.path.expanduser(_checked_path(path)))
        made_by = f"Made by kmtl {importlib.metadata.version('kmtl')}."
        if target.suffix == ".html":
            files = {target.name: html_page(self.title, self.sections, made_by).encode("utf-8")}
        elif target.suffix == ".md":
            files = markdown_files(self.title, self.sections, made_by, target.stem)
        else:
            files = folder_files(self.title, self.sections, made_by)
        _write(files, target.parent if target.suffix else target)
        return target


def _checked_path(path: Any) -> str:
    """The path, or a refusal of what a report cannot be written to."""
    with Refusals("save") as refusals:
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            refusals.add("path", "must be a path", path, _FORMS)
            refusals.check()
        target = Path(os.path.expanduser(path))
        if target.suffix not in (".html", ".md", ""):
            refusals.add("path", "must end in a form that a report has", str(target), _FORMS)
        elif target.suffix and target.is_dir():
            refusals.add("path", "must be a file", str(target), "That is a folder: name a file inside it.")
        elif not target.suffix and target.exists() and not target.is_dir():
            refusals.add("path", "must be a folder where it has no suffix", str(target), _FORMS)
        placing.refuse_folder(refusals, "path", target.parent)
    return os.fspath(path)


def _write(files: Mapping[str, bytes], folder: Path) -> None:
    """Writes files beside, and gives them their names one after another."""
    with placing.beside(folder) as scratch:
        for number, (name, content) in enumerate(files.items()):
            made = scratch / str(number)
            made.write_bytes(content)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            made.replace(folder / name)


@known_keywords
def report(
    result: Any = (),
    *,
    model: Any = None,
    data: Any = None,
    y: Any = None,
    history: Any = None,
    title: str = "Report",
    facts: Mapping[str, Any] | None = None,
    samples: int = 6,
) -> Report:
    """Puts what was found on one page: what was run, what follows, tables and pictures.

    Of a result it takes what that prints and draws: a comparison has its table, its forest plot and its learning
    curves, an affinity its heat map. With a model and labelled data it adds how the model does on them, task by task:

    - confusion matrices, or predictions beside labels with their residuals, as the task is one of classes or of values;
    - reliability: how often it is right by how sure it is, and how many labels lie inside of intervals that it tells;
    - the best and the worst predictions, drawn or written, by the likelihood of the label or the size of the miss;
    - conflict by layer: how the tasks' gradients lie to each other in each layer that they share.

    With the history of a training it adds its learning curves and the weights of its tasks by epoch.

    Pictures are drawn in colours that colour-blind people tell apart, with a marker and a dash beside each; each is
    described in words with its figures.

    Args:
        result: A result of kmtl, such as a comparison; a list of them, or `{heading: result}`. None is needed where a
            model or a history is given.
        model: A trained `MultiTaskModel`.
        data: Labelled data that it was not trained on: arrays with `y`, `(x, {task: labels})`, or a stream of such
            batches that ends. It is read twice; of an iterator, which is read once, conflict by layer is left out.
        y: `{task: labels}`, where `data` holds none.
        history: What `fit` returned, or its dict of logs by epoch.
        title: Its heading.
        facts: What else was run with, `{name: value}`: shown where the tasks, the data and the versions are.
        samples: How many of the best and of the worst predictions of each task are shown; 0 shows none.

    Returns:
        A `Report`: print it, or `save("report.html")`.

    Raises:
        ValueError: If there is nothing to report, a result is none of kmtl's, or data and model do not come together.
        TypeError: If the history holds no logs.

    Sources: Okabe and Ito, "Color Universal Design", 2008 (colours); W3C, "Web Content Accessibility Guidelines 2.2",
    2023 (contrast, text beside pictures, tables with headers).

    >>> from kmtl.evidence.comparisons.conflict_gap import conflict_gap
    >>> gap = conflict_gap({"left": 1.0, "right": 1.0}, {"left": 0.0, "right": 0.0})
    >>> found = report(gap, title="Two tasks")
    >>> [section.heading for section in found.sections]
    ['What was run', 'Conflict gap']
    >>> found.save("/dev/null/report.pdf")
    Traceback (most recent call last):
    ...
    ValueError: save: `path` must end in a form that a report has, got '/dev/null/report.pdf'. Write .html, .md, or ...
    """
    results = _checked_results(result, model, data, y, history)
    plain_text(_OWNER, "title", title)
    whole(_OWNER, "samples", samples, 0)
    sections = [section_of(heading, one) for heading, one in results.items()]
    seen = None if model is None or data is None else ModelOnData.of(model, data, y, samples)
    if history is not None:
        sections.append(history_section(history, getattr(model, "tasks", {})))
    if seen is not None:
        sections.append(model_section(seen))
    return Report(title, [_what_was_run(results, model, seen, facts or {}), *sections])


def _checked_results(result: Any, model: Any, data: Any, y: Any, history: Any) -> dict[str, Result]:
    """The results by heading; refuses what is none, and data that there is no model for."""
    with Refusals(_OWNER) as refusals:
        pairs = _pairs(refusals, result)
        if not pairs and model is None and history is None and not refusals.messages:
            refusals.add("result", _RULE, words("none"), "Or give `model` and `data`, or `history`.")
        if model is not None and data is None and history is None:
            refusals.add("data", "must be given with `model`", data, "Pass labels that it was not trained on.")
        if data is not None and model is None:
            refusals.add("model", "must be given with `data`", model, "Pass a trained kmtl.MultiTaskModel.")
        if y is not None and data is None:
            refusals.add("y", "must be left out without `data`", words(type(y).__name__))
    return dict(pairs)


def _pairs(refusals: Refusals, result: Any) -> list[tuple[str, Any]]:
    """Results with their headings; records what is none."""
    listed = [result] if isinstance(result, Result) else result
    if not isinstance(listed, list | tuple | Mapping):
        refusals.add("result", _RULE, words(type(result).__name__))
        return []
    pairs = list(listed.items()) if isinstance(listed, Mapping) else _headed(listed)
    for heading, one in pairs:
        if not isinstance(one, Result):
            refusals.add("result", _RULE, words(f"a {type(one).__name__} under {heading!r}"))
        elif not isinstance(heading, str) or not heading.strip():
            refusals.add("result", "must have headings of text", heading)
    return pairs


def _headed(results: Sequence[Any]) -> list[tuple[str, Any]]:
    """Results with headings, each once: a second of a kind has a number."""
    pairs: list[tuple[str, Any]] = []
    seen: dict[str, int] = {}
    for one in results:
        word = heading_of(one)
        seen[word] = seen.get(word, 0) + 1
        pairs.append((word if seen[word] == 1 else f"{word} {seen[word]}", one))
    return pairs


def _what_was_run(results: Mapping[str, Result], model: Any, seen: Any, given: Mapping[str, Any]) -> Section:
    """Tasks, data, what the results stand on, versions."""
    tasks = list(getattr(model, "tasks", {}).values()) or _tasks_of(results)
    known = [(heading, key, value) for heading, one in results.items() for key, value in one.facts().items()]
    keys = [*given, *(key for _, key, _ in known)]
    # A name that two results use says of which it is.
    told = {key if keys.count(key) == 1 else f"{heading}: {key}": value for heading, key, value in known}
    packages = ("kmtl", "keras", "tensorflow", "numpy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    facts = {
        **given,
        **told,
        **({"rows of the data": seen.rows} if seen is not None else {}),
        "versions": f"Python {platform.python_version()}, {versions}",
    }
    parts: list[str | Table] = ["Tasks:", Table(_rows(tasks))] if tasks else []
    return Section("What was run", [*parts, facts_text(facts)])


def _tasks_of(results: Mapping[str, Result]) -> list[Task]:
    """The tasks of the first result that knows them."""
    for one in results.values():
        tasks = getattr(one, "tasks", None)
        listed = list(tasks.values()) if isinstance(tasks, Mapping) else tasks
        if isinstance(listed, list | tuple) and listed and all(isinstance(task, Task) for task in listed):
            return list(listed)
    return []


def _rows(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """What there is to say of tasks."""
    return [
        {
            "task": task.name,
            "output": task.meaning or None,
            "classes": task.classes or None,
            "unit": task.unit or None,
            "metrics": ", ".join(task.metric_names()) or None,
        }
        for task in tasks
    ]
