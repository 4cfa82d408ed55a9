"""Small disks, full disks, read-only disks."""

import contextlib
import os
import subprocess


@contextlib.contextmanager
def small_disk(folder, size, skip):
    """Mounts a file system of so many bytes in memory on a folder; calls `skip` with the reason where it cannot."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            skip(f"mount is not permitted here: {done.stderr.strip()}")
    except FileNotFoundError:
        skip("there is no mount command here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def make_read_only(folder):
    """Nothing can be written on a mounted disk any more, not by root either."""
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


def fill(folder, left):
    """Fills a disk up to so many bytes; returns the file that does."""
    ballast = folder / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    os.truncate(ballast, max(ballast.stat().st_size - left, 0))
    return ballast
