"""Runs a command that ends with the process that started it, also when that is killed.

Started by its path, it imports nothing of kmtl: `python die_with_parent.py PARENT COMMAND ...`.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(parent: str, *command: str) -> None:
    """Ties this process to its parent, then becomes the command. Only Linux has such a tie; elsewhere there is none."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # A parent that died before the tie was made is another process by now.
        if os.getppid() != int(parent):
            sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
