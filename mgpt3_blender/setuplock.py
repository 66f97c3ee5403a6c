"""One set-up at a time: a file that the system locks, and frees by itself when its Blender is killed."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path

TAKEN = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK}
"""How a system says that another has the lock; whatever else it says is that it cannot lock here at all."""

if sys.platform == "win32":
    import msvcrt

    LOOKING = 0.1  # seconds: this system has no shared lock, so two who look are in each other's way for a moment

    def _take(handle: int, shared: bool) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    LOOKING = 0.0

    def _take(handle: int, shared: bool) -> None:
        fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)


class Lock:
    """Held from `take` to `free`, or to the end of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = -1

    def take(self, patience: float = 1.0) -> bool:
        """Whether it could be had within `patience` seconds (somebody may just be looking). Raises OSError."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _taken(handle, patience):
            return False
        self._handle = handle
        return True

    def free(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)  # which unlocks it; the file stays: whoever deleted it could delete another's
            self._handle = -1


def held(path: Path) -> bool:
    """Whether anybody has the lock now. Nothing is made where there is no file."""
    if not path.exists():
        return False
    try:
        handle = os.open(path, os.O_RDWR)
        free = _taken(handle, LOOKING, shared=True)
    except OSError:  # somebody else's file, or a place where nothing can be locked: the set-up itself will say so
        return False
    if free:
        os.close(handle)
    return not free


def _taken(handle: int, patience: float, *, shared: bool = False) -> bool:
    """Lock an open file; it is closed where that fails. Raises OSError where the system cannot lock it.

    Args:
        shared: as one of those who only look, and do not keep each other out.
    """
    deadline = time.monotonic() + patience
    while True:
        try:
            _take(handle, shared)
        except OSError as error:
            if error.errno in TAKEN and time.monotonic() < deadline:
                time.sleep(0.05)
                continue
            os.close(handle)
            if error.errno in TAKEN:
                return False
            raise
        return True
