"""The model card: what a person must know before using a model."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

FILE = "model_card.md"
_SHOWN = 20
# What Markdown would read as markup.
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~<>&])")


def card(told: Mapping[str, Any], folder: Path) -> str:
    """Writes the model card of a SavedModel in Markdown.

    Args:
        told: The artifact's description, `signatures` included.
        folder: The artifact, for the sizes.

    Returns:
        The text. Names are escaped; what `about` says is Markdown itself.
    """
    sections = {
        "Tasks": _table(("task", "kind", "output", "unit", "labels"), map(_task, told["tasks"].items())),
        "Metrics": _metrics(told["metrics"]),
        "Signatures": _table(("signature", "takes", "gives"), map(_signature, told["signatures"].items())),
        "Size": _size(told, folder),
        "How it was made": _made(told),
    }
    given = dict(told["about"])
    given.setdefault("Data", "Not told. Pass `about={'Data': ...}` to the export.")
    opening = given.pop("", "")
    return _document(told["name"], opening, {**sections, **given})


def _document(name: str, opening: str, sections: Mapping[str, str]) -> str:
    """A title, an opening, sections."""
    parts = [f"# {plain(name)}", opening.strip()]
    parts += [f"## {plain(heading)}\n\n{body.strip()}" for heading, body in sections.items()]
    return "\n\n".join(part for part in parts if part) + "\n"


def plain(text: str) -> str:
    r"""Escapes text for a line of Markdown.

    >>> print(plain("a|b <script>\n# *c*"))
    a\|b \<script\> \# \*c\*
    """
    printable = "".join(letter if letter.isprintable() else " " for letter in text)
    return _MARKUP.sub(r"\\\1", printable.strip())


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table of cells that are escaped already."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _task(item: tuple[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """One task's row."""
    name, task = item
    output = f"{_shape(task['shape'])}: {task['meaning'] or 'as the model gives it'}"
    return plain(name), plain(task["kind"] or "-"), output, plain(task["unit"]) or "-", _labels(task)


def _labels(task: Mapping[str, Any]) -> str:
    """The first label names, and how many more there are."""
    names = task["label_names"] or []
    more = [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return ", ".join([*map(plain, names[:_SHOWN]), *more]) or "-"


def _metrics(metrics: Mapping[str, Any]) -> str:
    """What was measured, or that nothing was told."""
    if not metrics:
        return "Not told. Pass `metrics=model.evaluate(test, return_dict=True)` to the export."
    rows = [(plain(name), "-" if value is None else f"{value:.4g}") for name, value in metrics.items()]
    return _table(("metric", "value"), rows)


def _signature(item: tuple[str, Mapping[str, Any]]) -> tuple[str, ...]:
    """One signature's row."""
    name, form = item
    return plain(name), _forms(form["inputs"]), _forms(form["outputs"])


def _forms(forms: Mapping[str, Mapping[str, Any]]) -> str:
    """Names with shape and type."""
    return ", ".join(f"{plain(name)} {form['dtype']} {_shape(form['shape'])}" for name, form in forms.items())


def _shape(sizes: Sequence[int | None]) -> str:
    """A shape, a size that varies as `any`."""
    return f"({', '.join('any' if size is None else str(size) for size in sizes)})"


def _size(told: Mapping[str, Any], folder: Path) -> str:
    """Parameters and bytes."""
    held = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    weights = sum(path.stat().st_size for path in (folder / "variables").glob("*.data*"))
    return f"{told['parameters']:,} parameters; {held:,} bytes, of them {weights:,} for the weights."


def _made(told: Mapping[str, Any]) -> str:
    """Versions, time, balancer and loss weights."""
    made = dict(told["made"])
    time = made.pop("time")
    lines = [f"Exported {time} with " + ", ".join(f"{name} {version}" for name, version in made.items()) + "."]
    if told["balancer"]:
        weights = ", ".join(f"{plain(task)} {weight:g}" for task, weight in told["loss_weights"].items())
        lines.append(f"Trained jointly with the balancer {told['balancer']} on the loss weights {weights}.")
    return " ".join(lines)
