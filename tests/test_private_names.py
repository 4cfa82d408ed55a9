"""Private names of other packages stand in the files named `_<package>_private` alone."""

import ast
import importlib
import inspect
import pathlib
import pkgutil

import keras
import pytest

import kmtl
from kmtl import _keras_private

ROOT = pathlib.Path(kmtl.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}
#: A named tuple's public methods begin with an underscore.
PUBLIC = {"_replace", "_asdict", "_fields"}
#: Ends of the names under which an export answers.
ENDS = {"_label", "_probability"}
#: Calls that name an attribute or a keyword as text.
BY_TEXT = {"getattr", "hasattr", "setattr", "delattr", "__setattr__", "__getattribute__", "get", "pop", "setdefault"}
#: Calls by which an object sets an attribute of its own past Keras.
OF_ITSELF = ("self.attach(", "object.__setattr__(self, ", "self.__dict__.setdefault(")


def is_private(name):
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__") and name.isidentifier()


def is_home(path):
    """Whether private names may stand in a file, or in one of its folder."""
    return any(part.startswith("_") and part.endswith("_private") for part in path.with_suffix("").parts)


def defined(tree):
    """Private names that a file defines: functions, classes, variables, own attributes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.alias):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if isinstance(node.value, ast.Name) and node.value.id == "self":
                yield node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node).startswith(OF_ITSELF):
            yield from (part.value for part in node.args if isinstance(part, ast.Constant))


def texts(node):
    """Constants by which a node names an attribute, a key or a keyword."""
    if isinstance(node, ast.Call):
        function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        return [*(node.args if function in BY_TEXT else ()), *(ast.Constant(word.arg) for word in node.keywords)]
    if isinstance(node, ast.Dict):
        return node.keys
    if isinstance(node, ast.Set | ast.Tuple | ast.List):
        return node.elts
    return [node.slice] if isinstance(node, ast.Subscript) else []


def used(tree):
    """Private names that a file reads, sets or calls, with their lines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr):
            yield node.attr, node.lineno
        yield from ((text.value, node.lineno) for text in texts(node) if is_private(getattr(text, "value", None)))


APART = [path for path in FILES if not is_home(path.relative_to(ROOT))]
OWN = {name for path in APART for name in defined(TREES[path])} | PUBLIC | ENDS


def foreign(tree):
    return sorted({(name, line) for name, line in used(tree) if name not in OWN})


@pytest.mark.parametrize("path", APART, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_uses_no_private_name_of_another_package(path):
    assert foreign(TREES[path]) == []


def test_the_walk_finds_every_way_to_name_one():
    source = """
x._their_attribute
getattr(x, "_their_text", None)
x.__dict__.update({"_their_entry": 1})
options.get("_their_option")
x["_their_key"]
run(_their_keyword=1)
object.__setattr__(x, "_their_setting", 1)
SKIPPED = {"_their_member", "nine"}
"""
    words = ["attribute", "text", "entry", "option", "key", "keyword", "setting", "member"]
    assert {name for name, _ in foreign(ast.parse(source))} == {f"_their_{word}" for word in words}


def test_the_walk_sees_the_names_where_they_may_stand():
    found = {path.relative_to(ROOT).as_posix(): {name for name, _ in foreign(TREES[path])} for path in FILES}
    assert {"_keras_history", "_nodes_by_depth"} <= found["_keras_private/graph.py"]
    assert "_context_handle" in found["distribution/_tensorflow_private.py"]


def classes():
    """Every class of kmtl."""
    for module in pkgutil.walk_packages(kmtl.__path__, "kmtl."):
        own = importlib.import_module(module.name)
        yield from (kind for kind in vars(own).values() if inspect.isclass(kind) and kind.__module__ == module.name)


def private_names_of_keras():
    """Of every class of Keras that kmtl extends, the private names of an object that is ready for use."""
    row = keras.Input((2,))
    model = keras.Model(row, {"x": keras.layers.Dense(1)(row)})
    model.compile("sgd", "mse")
    kinds = (keras.layers.Layer, keras.metrics.Metric, keras.callbacks.Callback, keras.losses.Loss)
    objects = {keras.Model: model, **{kind: kind() for kind in (*kinds, keras.utils.PyDataset)}}
    return {kind: set(filter(is_private, dir(thing))) for kind, thing in objects.items()}


def test_no_class_hides_a_private_name_of_keras_but_those_overridden_on_purpose():
    theirs, hidden = private_names_of_keras(), set()
    for kind in classes():
        names = set().union(*(known for base, known in theirs.items() if issubclass(kind, base)))
        hidden |= names & set(defined(ast.parse(inspect.getsource(kind))))
    assert hidden == set(_keras_private.OVERRIDDEN)


def test_a_name_that_keras_has_too_is_only_asked_of_an_object_itself():
    theirs = set().union(*private_names_of_keras().values())
    for path in APART:
        attributes = [node for node in ast.walk(TREES[path]) if isinstance(node, ast.Attribute) and node.attr in theirs]
        assert {ast.unparse(node.value) for node in attributes} <= {"self", "super()"}, path
