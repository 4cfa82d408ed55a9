"""A user's script is run once, asked for names, and its errors are told with its own line."""

import itertools
import sys
import textwrap

import pytest

from kmtl._user_script import UserScript

COUNT = itertools.count()


def is_below(module, folder):
    return str(getattr(module, "__file__", None)).startswith(str(folder))


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Writes a script under a name of its own; what it leaves in Python goes again."""
    monkeypatch.setattr(sys, "path", [*sys.path])

    def written(text):
        path = tmp_path / f"script_{next(COUNT)}.py"
        path.write_text(textwrap.dedent(text))
        return path

    yield written
    for name in [name for name, module in sys.modules.items() if is_below(module, tmp_path)]:
        del sys.modules[name]


def refused(call, *words):
    with pytest.raises(ValueError, match=r"^compare: ") as caught:
        call()
    for word in words:
        assert word in str(caught.value)
    return str(caught.value)


def test_values_and_functions_without_arguments_are_the_same(write):
    path = write("""
        import sys
        import beside
        tasks = ["age"]
        calls = []
        def train(): calls.append(sys.argv); return beside.DATA
        def build(tasks): return tasks
        def wide(tasks): return tasks * 2
        if __name__ == "__main__":
            raise RuntimeError("this is no run of its own")
    """)
    (path.parent / "beside.py").write_text("DATA = [1, 2]")
    script = UserScript(f"{path}:wide,build", "compare")
    assert [function("a") for function in script.functions.values()] == ["aa", "a"]
    assert script.name == path.stem
    found = script.values(("tasks", "train"), ("validation", "calls"))
    assert found == {"tasks": ["age"], "train": [1, 2], "calls": [sys.argv]}
    assert list(UserScript(str(path), "compare").functions) == ["build"]


def test_arguments_of_the_command_line_are_not_the_scripts(write, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["kmtl", "compare", "--epochs", "3"])
    path = write("import sys\nargv = sys.argv\ndef build(tasks): pass")
    assert UserScript(str(path), "compare").values(("argv",)) == {"argv": [str(path)]}
    assert sys.argv == ["kmtl", "compare", "--epochs", "3"]


def test_what_is_not_there_is_told_all_at_once(write, tmp_path):
    refused(lambda: UserScript(f"{tmp_path}/gone.py:build", "compare"), "`script` must be a Python file", "gone.py")
    refused(lambda: UserScript(str(tmp_path), "compare"), "`script` must be a Python file")
    path = write("tasks = []\ntrian = 1\nwidth = 3\ndef build(tasks): pass\ndef test(split): pass")
    refused(
        lambda: UserScript(f"{path}:biuld,width", "compare"),
        f"`{path}:biuld` must be a function, got nothing by this name. Did you mean 'build'?",
        f"`{path}:width` must be a function, got int.",
    )
    refused(
        lambda: UserScript(str(path), "compare").values(("tasks", "train", "test")),
        "must define `train`, got nothing by this name. Did you mean 'trian'?",
        "test` must be a value or a function without arguments, got test(split)",
    )


BROKEN = {
    "a name": ("x = 1\ny = x + z\n", "line 2: NameError: name 'z' is not defined"),
    "syntax": ("x = 1\ndef build(tasks)\n", "line 2: SyntaxError: expected ':'"),
    "an exit": ("import sys\nsys.exit('no data')\n", "line 2: SystemExit: no data"),
    "a module": ("import no_such_module\n", "line 1: ModuleNotFoundError: No module named 'no_such_module'"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_script_that_breaks_is_told_by_its_line(write, case, monkeypatch):
    text, told = BROKEN[case]
    path = write(text)
    refused(lambda: UserScript(str(path), "compare"), f"`{path}` must run without an error, got {told}")
    monkeypatch.chdir(path.parent)
    refused(lambda: UserScript(path.name, "compare"), f"`{path.name}` must run without an error, got {told}")


def test_a_function_that_breaks_is_told_by_its_line_and_others_are_not(write):
    path = write("""
        def build(tasks): return {}[tasks]
        def train():
            return number("no number")
        def number(text):
            return int(text)
    """)
    script = UserScript(str(path), "compare")
    refused(lambda: script.values(("train",)), "line 6 in number: ValueError: invalid literal for int()")

    def called():
        with script.told():
            script.functions["build"]("age")

    refused(called, "line 2 in build: KeyError: 'age'")
    # What does not come from the script stays what it is.
    with pytest.raises(ZeroDivisionError), script.told():
        1 / 0  # noqa: B018
