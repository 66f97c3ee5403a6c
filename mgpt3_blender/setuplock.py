"""One set-up at a time: a file that the system locks, and frees by itself when its Blender is killed."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

if sys.platform == "win32":
    import msvcrt

    def _take(handle: int) -> None:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _take(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Lock:
    """Held from `take` to `free`, or to the end of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = -1

    def take(self, patience: float = 1.0) -> bool:
        """Whether it could be had within `patience` seconds (somebody may just be looking). Raises OSError."""
        deadline = time.monotonic() + patience
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        while True:
            try:
                _take(handle)
            except OSError:
                if time.monotonic() < deadline:
                    time.sleep(0.05)
                    continue
                os.close(handle)
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
    lock = Lock(path)
    try:
        free = lock.take(0.0)
    except OSError:  # a file of somebody else's, or a folder that cannot be read: the set-up itself will say so
        return False
    lock.free()
    return not free
