"""Whether oneDNN, TensorFlow's fast kernels for x86 processors, is off where it would help; `docs/speed.md`."""

import os
import pathlib
import re

import tensorflow as tf

SETTING = "TF_ENABLE_ONEDNN_OPTS"
# TensorFlow turns oneDNN on by itself where the processor has one of these.
_ON_BY_DEFAULT = {"avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"}
# It was measured to help from here on.
_GAINS = "avx2"
_told = False


def hint(cpuinfo: str, setting: str | None) -> str:
    """Tells what to set where oneDNN is off and the processor would gain by it.

    Args:
        cpuinfo: The text of Linux's `/proc/cpuinfo`; without x86 flags nothing is known, and nothing is told.
        setting: The environment variable `TF_ENABLE_ONEDNN_OPTS`; None if it is not set.

    Returns:
        A sentence, or nothing.

    >>> hint("flags : fpu sse4_2 avx avx2 fma", None)[:53]
    'oneDNN is off, as by default on processors without AV'
    >>> hint("flags : fpu sse4_2 avx avx2 fma", "1"), hint("flags : fpu avx2 avx512f avx512_vnni", None)
    ('', '')
    """
    line = re.search(r"^flags\s*:(.*)$", cpuinfo, flags=re.MULTILINE)
    flags = set(line.group(1).split()) if line else set()
    if _GAINS not in flags or setting == "1":
        return ""
    if setting in (None, ""):
        if flags & _ON_BY_DEFAULT:
            return ""
        why = "as by default on processors without AVX-512 VNNI"
    else:
        why = f"by {SETTING}={setting}"
    return f"oneDNN is off, {why}. Convolutions gain by it: set {SETTING}=1 before TensorFlow is imported."


def tell_once(verbose: object) -> None:
    """Prints the hint in the first training of a process that prints anything and has no GPU.

    Args:
        verbose: As in `fit`.
    """
    global _told
    if _told or not verbose or tf.config.list_physical_devices("GPU"):
        return
    _told = True
    try:
        cpuinfo = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    told = hint(cpuinfo, os.environ.get(SETTING))
    if told:
        print(told)
