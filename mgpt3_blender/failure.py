"""How the worker fails, in words: what the core reported, or how its process ended."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from .child import describe_exit
from .errors import UserError

_MISSING_MODULE = re.compile(r"No module named ['\"]?([\w.]+\w)")
_FULL = re.compile(  # as Python, C++, the loader of libraries and Windows put it
    r"(?:Cannot|can't) allocate memory|failed to map segment|bad_alloc|MemoryError|not enough memory|paging file", re.I
)


class WorkerError(UserError):
    """An error of the worker or reported by the core.

    Attributes: code, message, remedy as UserError; details (the log's tail or the core's traceback); log (its path).
    """

    def __init__(self, code: str, message: str, remedy: str = "", details: str = "", log: Path | None = None) -> None:
        super().__init__(code, message, remedy)
        self.details = details
        self.log = log


def crash_error(returncode: int | None, tail: Sequence[str], log: Path) -> WorkerError:
    """The error for a process that ended while it was needed: what happened, from its exit code and its last words."""
    details = "\n".join(tail)
    if any(_FULL.search(line) for line in tail):
        return WorkerError(
            "out_of_memory",
            "The memory is full: the motion model had to stop. Nothing was changed.",
            "Close other programs, or ask for fewer variations, and try again: it starts anew.",
            details,
            log,
        )
    for line in reversed(tail):
        if missing := _MISSING_MODULE.search(line):
            return WorkerError(
                "packages_missing",
                f"The Python chosen for the motion model lacks the package {missing.group(1)}.",
                "Press Set Up in the add-on's preferences.",
                details,
                log,
            )
    last = next((line.strip() for line in reversed(tail) if line.strip()), "")
    words = f" Its last words: {last[:200]}" if last and (returncode or 0) > 0 else ""
    return WorkerError(
        "worker_crashed",
        f"The motion model stopped unexpectedly: {describe_exit(returncode)}. Nothing was changed.{words}",
        "Generate again: it starts anew. If it happens again, open the log.",
        details,
        log,
    )
