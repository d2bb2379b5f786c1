"""Memory that is let go of goes back to the system at once.

The engine allocates as the C library does. Left alone, that one keeps an arena for each thread, and blocks of the size that the
engine deals in: some 150 MB after a back-fill, and Arrow's own allocator as much again.
"""

from __future__ import annotations

import ctypes
import sys

import pyarrow as pa

#: Parameters of glibc's mallopt (malloc.h), and what they are set to: one arena; what is larger is mapped of its own.
_GLIBC = {"M_ARENA_MAX": (-8, 1), "M_MMAP_THRESHOLD": (-3, 128 * 1024), "M_TRIM_THRESHOLD": (-1, 1024 * 1024)}


def give_back() -> None:
    """For the whole process, from now on; where the C library is not glibc, only what is Arrow's."""
    pa.set_memory_pool(pa.system_memory_pool())
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            for parameter, value in _GLIBC.values():
                mallopt(parameter, value)
