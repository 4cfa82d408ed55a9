"""No room but `tasks/` asks what kind a task is: a task owns all that is particular to its kind."""

import ast
from pathlib import Path

import kmtl
from kmtl import tasks

ROOT = Path(kmtl.__file__).parent
CLASSES = {name for name in dir(tasks) if isinstance(getattr(tasks, name), type)}
CLASSES = {name for name in CLASSES if issubclass(getattr(tasks, name), tasks.Task)} - {"Task"}
WORDS = {getattr(tasks, name).kind for name in CLASSES}


def names_in(node):
    """Every plain or dotted name in an expression."""
    for part in ast.walk(node):
        if isinstance(part, ast.Name):
            yield part.id
        elif isinstance(part, ast.Attribute):
            yield part.attr


def words_in(node):
    """Every text in an expression."""
    return {part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)}


def is_dispatch(node):
    """Whether a node asks what kind a task is."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("isinstance", "issubclass"):
        return bool(CLASSES & set(names_in(node.args[1])))
    if isinstance(node, ast.Compare):
        sides = [node.left, *node.comparators]
        asks = any(isinstance(side, ast.Attribute) and side.attr == "kind" for side in sides)
        types = any(isinstance(side, ast.Call) and ast.unparse(side.func) == "type" for side in sides)
        return (asks and bool(WORDS & words_in(node))) or (types and bool(CLASSES & set(names_in(node))))
    if isinstance(node, ast.Dict):
        keys = [key for key in node.keys if key is not None]
        return bool(CLASSES & {name for key in keys for name in names_in(key)}) or bool(
            WORDS & {word for key in keys for word in words_in(key)}
        )
    if isinstance(node, ast.Set | ast.Tuple):
        return len(WORDS & {part.value for part in node.elts if isinstance(part, ast.Constant)}) > 1
    return False


def dispatches(code):
    """The lines that ask."""
    return sorted({node.lineno for node in ast.walk(ast.parse(code)) if is_dispatch(node)})


def test_no_other_room_asks_what_kind_a_task_is():
    found = {}
    for path in ROOT.rglob("*.py"):
        name = str(path.relative_to(ROOT))
        if not name.startswith("tasks/") and (lines := dispatches(path.read_text())):
            found[name] = lines
    assert found == {}


def test_the_walk_sees_every_form():
    forms = [
        "isinstance(task, kmtl.Classification)",
        "isinstance(task, (Regression, MultiLabel))",
        "isinstance(task, Regression | MultiLabel)",
        "type(task) is Regression",
        "task.kind == 'regression'",
        "task.kind in ('classification', 'binary')",
        "TABLE = {'multilabel': 1}",
        "TABLE = {Segmentation: 1}",
        "DECIDING = frozenset({'binary', 'multilabel'})",
    ]
    assert [form for form in forms if not dispatches(form)] == []
    innocent = ["isinstance(task, Task)", "array.dtype.kind == 'f'", "task.decides", "{'image': 1}", "x in ('a', 'b')"]
    assert [form for form in innocent if dispatches(form)] == []
