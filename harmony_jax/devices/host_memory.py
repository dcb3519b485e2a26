"""How the process allocates memory on the host."""

import ctypes
import platform

# From <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def keep_freed_memory() -> bool:
    """Tells glibc to keep freed memory for the next step instead of returning it to the system.

    A step on a CPU allocates and frees hundreds of megabytes. By default each large block is
    mapped anew and every page of it cleared by the kernel on first use, which takes a quarter of
    the step (docs/performance.md). Call it before the first large allocation.

    Returns:
        Whether the allocator took the settings; other platforms are left as they are.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    # One arena: the others cannot hold blocks of this size without mapping them.
    settings = ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_ARENA_MAX, 1))
    return all(mallopt(name, value) == 1 for name, value in settings)
