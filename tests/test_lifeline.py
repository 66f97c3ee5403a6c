"""lifeline.py, winjob.py: a worker that hears nothing any more does not outlive the Blender that is gone."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mgpt3_blender import winjob

SPINNER = Path(__file__).with_name("spinner.py")
SOON = 30.0  # seconds; the guard looks every second and gives the worker two

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at processes in /proc")


class Started:
    """A stand-in for Blender and its worker, which spins."""

    def __init__(self, where: str, how: str, log: Path) -> None:
        command = [sys.executable, str(SPINNER), "parent", where, how, str(log)]
        self.parent = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert self.parent.stdout is not None
        self.worker = int(self.parent.stdout.readline())
        self.log = log

    def processes(self) -> set[int]:
        """Those of the worker that live: the one that works and, where there is one, the guard."""
        return {process for process in session_of(self.worker) if alive(process)}


def session_of(process: int) -> set[int]:
    """Every process of a session, by its id: the add-on gives each worker one of its own."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getsid(int(entry.name)) == process:
                    found.add(int(entry.name))
            except ProcessLookupError:
                continue
    return found


def alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone_after(started: Started, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while started.processes():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def start(tmp_path: Path) -> Iterator:
    made: list[Started] = []

    def make(where: str = "main", how: str = "kernel") -> Started:
        made.append(Started(where, how, tmp_path / "worker.log"))
        return made[-1]

    yield make
    for started in made:
        started.parent.kill()
        started.parent.wait()
        for process in started.processes():
            os.kill(process, signal.SIGKILL)


@pytest.mark.parametrize(("where", "how", "tied"), [
    ("main", "kernel", "kernel"),
    ("main", "guard", "guard"),  # as on macOS
    ("thread", "kernel", "guard"),  # the kernel would kill it as soon as that thread ended
])  # fmt: skip
@pytest.mark.parametrize("state", ["spins", "is stopped"])
def test_a_worker_that_hears_nothing_ends_soon_after_blender_was_killed(
    start, where: str, how: str, tied: str, state: str
) -> None:
    started = start(where, how)
    assert f"tied by {tied}" in started.log.read_text(encoding="utf-8")
    assert len(started.processes()) == (2 if tied == "guard" else 1)
    if state == "is stopped":
        os.kill(started.worker, signal.SIGSTOP)
    started.parent.kill()
    assert gone_after(started, SOON)


def test_the_guard_ends_with_a_worker_that_was_killed_and_holds_up_nobody(start) -> None:
    started = start("main", "guard")
    os.kill(started.worker, signal.SIGKILL)
    assert gone_after(started, SOON)
    assert started.parent.poll() is None
    deadline = time.monotonic() + SOON
    while "worker ended" not in started.log.read_text(encoding="utf-8"):  # the add-on saw the end of its answers
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_while_blender_lives_a_worker_that_hears_nothing_is_left_alone(start) -> None:
    started = start("main", "guard")
    assert not gone_after(started, 4.0)  # the add-on's own time limits are the ones that count


def test_what_windows_is_told_has_the_size_it_expects() -> None:
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        pytest.skip("the sizes are those of 64-bit Windows")
    assert ctypes.sizeof(winjob.Limits) == 144  # winnt.h; the call itself needs Windows and is not tested here
    assert winjob._Basic.limit_flags.offset == 16
    assert winjob.tie(object()) is False
