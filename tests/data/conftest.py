"""What the tests of several data modules share."""

import pytest

from kmtl.data.built_in.preparing import SHIPPED, prepare


@pytest.fixture(scope="session")
def prepared(tmp_path_factory):
    """A directory in which the sets that kmtl ships are prepared."""
    directory = tmp_path_factory.mktemp("prepared")
    for name in SHIPPED:
        prepare(name, directory)
    return directory
