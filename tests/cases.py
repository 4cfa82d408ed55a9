"""Which cases of a table run by default, or in CI at all: those named, each of which shows what the others do not."""

import pytest


def cases(table, *default, others="long"):
    """The keys of a table as parameters; those that are not named are of another set.

    Args:
        table: The cases by name, or their names.
        *default: Names of those that run by default.
        others: `"long"` where each way is another one; `"slow"` where those named stand for all.
    """
    unknown = set(default) - set(table)
    assert not unknown, f"no such cases: {unknown}"
    mark = getattr(pytest.mark, others)
    return [name if name in default else pytest.param(name, marks=mark) for name in table]
