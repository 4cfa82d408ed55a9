"""Paths of what was written, as a notebook shows them."""

import html
import pathlib

from kmtl._checks import printable


# Python 3.11 makes subclasses of the system's own kind of path only.
class ShownPath(type(pathlib.Path())):  # type: ignore[misc]
    """A `pathlib.Path` in everything; a notebook shows where it leads and not how it is made.

    >>> path = ShownPath("saved_models", "digits")
    >>> path == pathlib.Path("saved_models/digits"), path._repr_html_()
    (True, '<code>saved_models/digits</code>')
    """

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return f"<code>{html.escape(printable(str(self)))}</code>"
