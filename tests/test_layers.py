"""The import order of the house: a file imports only from rooms above its own."""

import ast
import functools
import pathlib

import kmtl

ROOT = pathlib.Path(kmtl.__file__).parent
# The path of a batch. A room is a file or a folder; files of one folder may import each other, without a cycle.
ORDER = [
    "_backend",
    "_checks",
    "_extras",
    "_shown_path",
    "_table",
    "_figures",
    "_types",
    "_interrupts",
    "_replicas",
    "_keras_private",
    "tasks",
    "trunks",
    "losses",
    "joint_terms",
    "metrics",
    "balancers",
    "gradients",
    "sharing",
    "feeding",
    "callbacks",
    "data",
    "distribution",
    "model",
    "export",
    "training",
    "evidence",
    "front",
    "search",
    "_user_script",
    "cli",
]
# Rooms, and single files: what splits text has no other backend, and event files no other writer.
TENSORFLOW = {
    *(
        "_replicas",
        "_keras_private",
        "gradients",
        "feeding",
        "data",
        "distribution",
        "model",
        "export",
        "front",
        "training",
        "callbacks.event_files",
        "trunks.subwords",
        "trunks.tokenization",
    ),
}
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


def dotted(path):
    """The module's name below kmtl, as parts."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


@functools.cache
def imported(path):
    """Every absolute module that a file imports, those inside functions included; `from a import b` gives `a.b` too."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def rooms(path):
    """The rooms of kmtl that a file imports from."""
    for name in imported(path):
        parts = name.split(".")
        if parts[0] == "kmtl" and len(parts) > 1:
            yield parts[1]


def test_every_file_has_a_room():
    assert {dotted(path)[0] for path in FILES} <= set(ORDER)


def test_imports_point_up():
    for path in FILES:
        own = dotted(path)[0]
        for room in rooms(path):
            assert room == own or ORDER.index(room) < ORDER.index(own), f"{path} imports kmtl.{room}"


def test_nothing_imports_the_package_itself():
    for path in FILES:
        names = {name for name in imported(path) if name == "kmtl"}
        with_submodules = {name for name in imported(path) if name.startswith("kmtl.")}
        assert not names or with_submodules, f"{path} imports kmtl whole"


def test_tensorflow_is_named_only_where_the_house_allows():
    for path in FILES:
        names = {name.split(".")[0] for name in imported(path)}
        assert "tensorflow" not in names or {dotted(path)[0], ".".join(dotted(path))} & TENSORFLOW, path


def test_no_cycle_between_files():
    modules = {".".join(("kmtl", *dotted(path))): path for path in FILES}
    edges = {}
    for name, path in modules.items():
        found = {m for m in imported(path) if m in modules} - {name}
        # `from kmtl.export import placing` gives the folder too; what it imports is the file.
        edges[name] = {m for m in found if not any(other.startswith(f"{m}.") for other in found)}
    done = set()

    def visit(name, trail):
        assert name not in trail, " -> ".join([*trail, name])
        if name not in done:
            for target in edges[name]:
                visit(target, [*trail, name])
            done.add(name)

    for name in modules:
        visit(name, [])


def test_folders_only_reexport():
    for path in ROOT.rglob("__init__.py"):
        kinds = {type(node) for node in ast.parse(path.read_text()).body}
        assert kinds <= {ast.Expr, ast.ImportFrom, ast.Import, ast.Assign}, path
