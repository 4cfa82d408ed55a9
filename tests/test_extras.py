"""The one door to optional packages."""

import json
import sys

import pytest

from kmtl import _extras


def test_a_package_that_is_there_is_returned():
    assert _extras.load("json", "demo") is json


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("keras_hub.models", "pip install 'kmtl[hub]'"),
        ("pycocotools.coco", "pip install 'kmtl[detection]'"),
        ("tf2onnx", "pip install 'kmtl[onnx]'"),
        ("tensorflow_serving.apis", "pip install 'kmtl[serving]'"),
        ("no_such_package.part", "pip install no_such_package"),
    ],
)
def test_a_missing_package_says_who_needs_it_and_how_to_get_it(monkeypatch, module, line):
    package = module.partition(".")[0]
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)  # another test may have imported it
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError) as caught:
        _extras.load(module, "demo")
    assert str(caught.value) == f"demo: needs the package {module!r}, which is not installed. Run: {line}"


def test_a_package_that_breaks_while_it_loads_is_not_called_missing(monkeypatch, tmp_path):
    (tmp_path / "broken_package.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match="No module named 'no_such_package'"):
        _extras.load("broken_package", "demo")
