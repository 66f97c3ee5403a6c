"""Sees to it that a worker does not outlive whoever speaks to it, whatever the worker is doing at the time.

The end of stdin ends a worker, but hearing it takes Python: native code that never comes back, or a process that is
stopped, hears nothing, and would go on for ever after Blender was killed. What can still be done to it is done from
outside: on Linux by the kernel itself, elsewhere by a second process that only watches, on Windows by the add-on's job
object (`mgpt3_blender/winjob.py`).
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import select
import signal
import stat
import sys
from pathlib import Path

log = logging.getLogger("core.lifeline")

LOOK = 1.0  # seconds between two looks at whether anybody still speaks to the worker
PATIENCE = 2.0  # seconds that a worker has to end by itself
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def tie(incoming: int) -> str:
    """Tie this process's life to that of whoever writes to a pipe. To be called once, before there are threads.

    Args:
        incoming: the pipe's reading end.
    Returns:
        How: "kernel", "guard", or "" where only the end of stdin will end the process.
    """
    if os.name != "posix":
        return ""
    if sys.platform.startswith("linux") and _by_kernel():
        return "kernel"
    return "guard" if _by_guard(incoming) else ""


def _by_kernel() -> bool:
    """Have the kernel kill this process when its parent ends. False where that cannot be had.

    The kernel means the parent's thread that started us, which may end long before its process: so only where that is
    the main one.
    """
    parent = os.getpid(), os.getppid()
    try:
        started_by_main = Path(f"/proc/{parent[1]}/task/{parent[1]}/children").read_text(encoding="ascii").split()
        if str(parent[0]) not in started_by_main:
            return False
        if ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
            return False
    except (OSError, AttributeError, ValueError):  # a kernel without that file, a system without that function
        return False
    if os.getppid() != parent[1]:  # it ended in between, and no signal will come
        os._exit(0)
    return True


def _by_guard(incoming: int) -> bool:
    """Start a process that kills this one when nobody can write to the pipe any more; it ends with this one."""
    if not stat.S_ISFIFO(os.fstat(incoming).st_mode):
        return False
    worker = os.getpid()
    ours, theirs = os.pipe()
    try:
        child = os.fork()
    except OSError as error:
        log.warning("no guard could be started: %s", error)
        os.close(ours)
        os.close(theirs)
        return False
    if child:
        os.close(ours)
        return True  # the other end stays open for as long as this process lives
    try:
        for name in os.listdir("/dev/fd"):  # whoever reads the worker's answers must see the end of them
            if int(name) not in (incoming, ours):
                with contextlib.suppress(OSError):
                    os.close(int(name))
        _watch(incoming, ours, worker)
    finally:
        os._exit(0)


def _watch(incoming: int, worker_lives: int, worker: int) -> None:
    """Return when the worker has ended, having killed it where nobody speaks to it any more."""
    speaker = select.poll()
    speaker.register(incoming, select.POLLIN)

    def ended(seconds: float) -> bool:
        return bool(select.select([worker_lives], [], [], seconds)[0])

    while not ended(LOOK):
        if any(flags & ~select.POLLIN for _, flags in speaker.poll(0)):  # no writer is left
            if not ended(PATIENCE) and os.getppid() == worker:
                os.kill(worker, signal.SIGKILL)
            return
