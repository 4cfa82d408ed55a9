"""How tasks share a model."""

from kmtl.sharing.fork import Fork

__all__ = ["Fork"]
