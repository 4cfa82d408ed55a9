"""A path that was written is a path in everything, and a notebook shows it as text."""

import os
import pathlib
import pickle

from kmtl._shown_path import ShownPath


def test_it_is_a_path_in_everything(tmp_path):
    path, plain = ShownPath(tmp_path / "a.txt"), tmp_path / "a.txt"
    path.write_text("written")
    assert isinstance(path, pathlib.Path)
    assert (path, hash(path), os.fspath(path)) == (plain, hash(plain), str(plain))
    assert (path.parent / "a.txt").read_text() == pathlib.Path(path).read_text() == "written"
    assert pickle.loads(pickle.dumps(path)) == plain
    assert [pathlib.Path(one) for one in path.parent.iterdir()] == [plain]


def test_a_notebook_shows_where_it_leads_and_nothing_acts():
    assert ShownPath("<b>", "c\x1b[31m")._repr_html_() == r"<code>&lt;b&gt;/c\x1b[31m</code>"
