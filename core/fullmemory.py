"""Whether an error means that the memory is full, whoever ran into it: Python, torch, oneDNN or the system's loader.

Torch has a class of its own only for graphics memory; on the CPU it raises a bare RuntimeError, and a library that
cannot be mapped is an ImportError. Those of Linux's CPU were seen with the address space limited
(tests/test_soak_core.py); those of Windows and of graphics cards are as their programs word them.
"""

from __future__ import annotations

import errno

SAID = (
    "can't allocate memory",  # torch's allocator on the CPU
    "cannot allocate memory",  # the system's ENOMEM
    "not enough memory",  # torch on Windows
    "out of memory",  # CUDA, ROCm and Metal
    "alloc_failed",  # cuBLAS and cuDNN
    "bad_alloc",  # C++
    "bad allocation",  # C++ on Windows
    "could not create a primitive",  # oneDNN without room for its code
    "failed to map segment",  # Linux, loading a library
    "paging file is too small",  # Windows, loading a library
)


def memory_is_full(error: BaseException | None) -> bool:
    """Whether the error, or one that led to it, is about memory."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # torch's own, not imported
            return True
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            return True
        if isinstance(error, RuntimeError | ImportError | OSError) and any(w in str(error).lower() for w in SAID):
            return True
        error = error.__cause__ or error.__context__
    return False
