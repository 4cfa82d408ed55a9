"""No class reaches for what only a class built on top of it defines."""

import ast
import importlib
import inspect
import pkgutil
import textwrap

import kmtl


def classes_of_kmtl():
    """Every class of the package that can be imported here."""
    found = {}
    for module in pkgutil.walk_packages(kmtl.__path__, "kmtl."):
        # Builders register themselves, and a main program would run.
        if not module.name.endswith(("__main__", "_dataset_builder")):
            for value in vars(importlib.import_module(module.name)).values():
                if inspect.isclass(value) and value.__module__.startswith("kmtl."):
                    found[value] = None
    return list(found)


def attributes_of(source):
    """What the methods of a class read of themselves, and what the class gives itself."""
    (tree,) = ast.parse(textwrap.dedent(source)).body
    read, given = set(), {node.target.id for node in tree.body if isinstance(node, ast.AnnAssign)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
            (read if isinstance(node.ctx, ast.Load) else given).add(node.attr)
        if isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("attach", "__setattr__"):
            given |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return read, given


def reaches(classes):
    """Pairs of a class and an attribute that a class built on it alone defines."""
    known = {kind: attributes_of(inspect.getsource(kind)) for kind in classes}
    for kind, (read, _) in known.items():
        held = set(dir(kind)).union(*(known[base][1] for base in kind.__mro__ if base in known))
        above = [other for other in classes if other is not kind and kind in other.__mro__]
        for name in sorted(read - held):
            if any(name in vars(other) or name in known[other][1] for other in above):
                yield kind.__name__, name


def test_no_class_reaches_for_what_is_built_on_it():
    classes = classes_of_kmtl()
    assert kmtl.MultiTaskModel in classes
    assert list(reaches(classes)) == []


def test_a_reach_is_seen():
    class Base:
        def total(self):
            return self.part

    class Built(Base):
        def __init__(self):
            self.part = 1

    assert Built().total() == 1
    assert list(reaches([Base, Built])) == [("Base", "part")]
