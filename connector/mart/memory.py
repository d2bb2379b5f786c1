"""Memory that is let go of goes back to the system at once.

There are three allocators in a process. The C library's keeps an arena for each thread, and large blocks; Arrow's own keeps as
much again, so it is not used. The engine's (a jemalloc in its wheel) hands pages back a second after they were let go of, and then
so lazily that they count as the process's until the system runs short: up to 300 MB in a recompute.
"""

from __future__ import annotations

import ctypes
import os
import sys

import pyarrow as pa

#: Parameters of glibc's mallopt (malloc.h), and what they are set to: one arena; what is larger is mapped of its own, which costs
#: a fault for each page of it (with a limit of 128 KB a tenth of what a pull costs).
_GLIBC = {"M_ARENA_MAX": (-8, 1), "M_MMAP_THRESHOLD": (-3, 4 << 20), "M_TRIM_THRESHOLD": (-1, 1 << 20)}

#: Read once, when the engine is loaded. Pages go back for good after half a second; at once would cost a fifth more of CPU.
os.environ.setdefault("DUCKDB_JE_MALLOC_CONF", "dirty_decay_ms:500,muzzy_decay_ms:0")


def give_back() -> None:
    """For the whole process, from now on; where the C library is not glibc, only what is Arrow's."""
    pa.set_memory_pool(pa.system_memory_pool())
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            for parameter, value in _GLIBC.values():
                mallopt(parameter, value)
