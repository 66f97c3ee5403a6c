"""One step of a set-up: a program that is watched, logged, and never outlives Blender. Knows nothing of Blender."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .child import LogFile, child_environment, popen_options
from .errors import UserError
from .setupbuild import gigabytes
from .setuperrors import failure

SILENCE = 900.0  # seconds in which nothing is said and nothing grows on the disk
LOOK = 5.0  # seconds without a line after which it is looked whether anything grows

ProgressFunction = Callable[[float, str], None]
CancelFunction = Callable[[], bool]

# Runs a command and ends it, with all that it started, as soon as stdin closes: which is when Blender ends, even by
# SIGKILL. A pip that went on would write into an environment that the next set-up is making anew.
_GUARD = """
import os, subprocess, sys, threading
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
def watch():
    while os.read(0, 1):
        pass
    if os.name == "nt":  # which has no groups of processes to kill: taskkill goes by who started whom
        program = os.path.join(os.environ.get("SYSTEMROOT", "C:/Windows"), "System32", "taskkill.exe")
        try:
            subprocess.run([program, "/F", "/T", "/PID", str(child.pid)], stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=4)
        except (OSError, subprocess.SubprocessError):
            pass
        child.kill()
        os._exit(75)
    os.killpg(0, 9)
threading.Thread(target=watch, daemon=True).start()
code = child.wait()
os._exit(code if code >= 0 else 128 - code)
"""

# Settings of the user's pip that send packages elsewhere than into the environment that is being made.
_ELSEWHERE = ("PIP_USER", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_PYTHON", "PIP_REQUIRE_VIRTUALENV", "PIP_DRY_RUN",
              "PIP_NO_DEPS", "PIP_NO_BINARY", "PIP_LOG", "VIRTUAL_ENV", "CONDA_PREFIX", "UV_PROJECT_ENVIRONMENT",
              "UV_TARGET", "UV_PREFIX", "UV_TORCH_BACKEND", "UV_NO_BINARY", "UV_OFFLINE")  # fmt: skip


@dataclass
class Runner:
    """Where the steps of a set-up run.

    Args:
        python: the interpreter that watches over each step.
        folder: the environment.
        downloads: what was fetched is kept there, and what is being fetched lies there: not in the system's folder for
            temporary files, which is often a small one in memory.
        log: what the programs say goes there.
        stop: whether the set-up is to end.
        tell: is told how far it is.
    """

    python: Path
    folder: Path
    downloads: Path
    log: LogFile
    stop: CancelFunction
    tell: ProgressFunction
    fraction: float = 0.0
    message: str = ""

    def say(self, fraction: float, message: str) -> None:
        self.fraction, self.message = max(fraction, self.fraction), message
        self.tell(self.fraction, message)

    def environment(self) -> dict[str, str]:
        """The variables that a step gets: proxies and certificates of the user's, but our places."""
        env = {name: value for name, value in child_environment(os.environ).items() if name not in _ELSEWHERE}
        temporary = self.downloads / "unfinished"
        temporary.mkdir(parents=True, exist_ok=True)
        places = {name: str(temporary) for name in ("TMPDIR", "TEMP", "TMP")}
        caches = {"PIP_CACHE_DIR": str(self.downloads / "pip"), "UV_CACHE_DIR": str(self.downloads / "uv")}
        return {**env, **places, **caches, "UV_PYTHON_DOWNLOADS": "never", "NO_COLOR": "1"}

    def run(self, command: Sequence[str], heard: Callable[[str], None] = lambda line: None) -> None:
        """Run a program to its end. Raises UserError: "cancelled", or why it failed, from its last words."""
        guarded = [str(self.python), "-I", "-c", _GUARD, *command]
        try:
            process = subprocess.Popen(
                guarded,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self.environment(),
                **popen_options(),
            )
        except OSError as error:
            raise UserError(
                "python_broken",
                f"{self.python} cannot be started ({error.strerror or error}).",
                "Press the button again: another Python is looked for.",
            ) from error
        assert process.stdin is not None
        assert process.stdout is not None
        lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        pipe = process.stdout

        def read() -> None:
            for line in pipe:
                lines.put(line)

        thread = threading.Thread(target=read, name="mgpt3 set-up", daemon=True)
        thread.start()
        last: list[str] = []
        try:
            growth = _Growth(self)
            while thread.is_alive() or not lines.empty():
                if self.stop():
                    raise UserError("cancelled", "The set-up was stopped.", "Press the button to go on where it was.")
                try:
                    raw = lines.get(timeout=0.1)
                except queue.Empty:
                    growth.silent()
                    continue
                growth.heard()
                self.log.write(_without_password(raw))
                text = raw.decode("utf-8", "replace").strip()
                if text:
                    last = [*last[-60:], text]
                    heard(text)
            code = process.wait()
        finally:
            process.stdin.close()  # the guard ends what is left
            try:
                process.wait(5.0)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            thread.join(2.0)
        if code != 0:
            raise failure([_without_password(line.encode()).decode("utf-8", "replace") for line in last])


class _Growth:
    """Whether anything happens in silence: a large file is fetched or unpacked without a word."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.alive = self.looked = time.monotonic()
        self.begun = self.size = self._size()

    def heard(self) -> None:
        self.alive = self.looked = time.monotonic()

    def silent(self) -> None:
        """Raises UserError("setup_stalled") where nothing was said and nothing has grown for long."""
        now = time.monotonic()
        if now - self.looked < LOOK:
            return
        self.looked, size = now, self._size()
        if size != self.size:
            self.alive, self.size = now, size
            message = self.runner.message.split(": ")[0]
            if size - self.begun > 1 << 20:
                note = f"{gigabytes(size - self.begun)} written so far"
                self.runner.tell(self.runner.fraction, f"{message}: {note}")
        elif now - self.alive > SILENCE:
            raise UserError(
                "setup_stalled",
                f"Nothing has moved for {SILENCE / 60:.0f} minutes.",
                "Check the network and the disk, then press the button to go on where it was.",
            )

    def _size(self) -> int:
        return size(self.runner.downloads) + size(self.runner.folder)


def size(folder: Path) -> int:
    """Bytes on disk below a folder, each file once however many names it has. Takes seconds: not for drawing code."""
    seen: set[tuple[int, int]] = set()
    total, folders = 0, [str(folder)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                        continue
                    about = os.lstat(entry.path)  # entry.stat() has no identity of the file on Windows
                    if about.st_nlink > 1:
                        if (about.st_dev, about.st_ino) in seen:
                            continue
                        seen.add((about.st_dev, about.st_ino))
                    total += about.st_size
        except OSError:  # it went away in between
            continue
    return total


def _without_password(line: bytes) -> bytes:
    """A line without the name and the password that an address of a proxy or an index may hold."""
    return re.sub(rb"//[^/\s@]+@", b"//<login>@", line)
