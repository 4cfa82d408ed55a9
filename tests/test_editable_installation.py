"""An editable installation is a plain path: type checkers follow no other."""

import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.mark.long
def test_it_is_a_path_that_type_checkers_follow(tmp_path):
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for package in ("kmtl", "kmtl_command"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").touch()
    code = "from setuptools import build_meta; build_meta.build_editable('wheel')"
    (tmp_path / "wheel").mkdir()
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as built:
        (path,) = [name for name in built.namelist() if name.endswith(".pth")]
        assert pathlib.Path(built.read(path).decode().strip()) == tmp_path
    assert (ROOT / "kmtl" / "py.typed").is_file()
