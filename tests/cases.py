"""Which cases of a table run by default: those named, each of which shows what the others do not."""

import pytest


def cases(table, *default):
    """The keys of a table as parameters; those that are not named are long.

    Args:
        table: The cases by name, or their names.
        *default: Names of those that run by default.
    """
    unknown = set(default) - set(table)
    assert not unknown, f"no such cases: {unknown}"
    return [name if name in default else pytest.param(name, marks=pytest.mark.long) for name in table]
