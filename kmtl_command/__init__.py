"""The command `kmtl`, which answers `--help` and slips of the pen before TensorFlow is imported."""

from kmtl_command.arguments import main, parser

__all__ = ["main", "parser"]
