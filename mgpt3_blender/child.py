"""One run of a child process that speaks lines: stdin and stdout carry messages, stderr becomes a log.

Three threads stand between the pipes and the caller, so that nothing here ever blocks: a writer (a child that
hangs does not read, and a pipe holds only 64 KiB), a reader, and one that empties stderr (a child whose log
pipe is full hangs). Knows nothing of Blender, nor of what the lines mean.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from . import winjob
from .bugreport import secrets_of
from .wire import MAX_LINE

LOG_LIMIT = 1024 * 1024
TAIL_LINES = 40

# What another program's Python, or a Blender started from a terminal, left behind would make the child load the
# wrong packages: Blender's own NumPy, for one, does not have to be the one torch was built for.
_UNWANTED = ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP", "PYTHONEXECUTABLE", "PYTHONUSERBASE", "__PYVENV_LAUNCHER__")


def child_environment(base: Mapping[str, str], cache: Path | None = None, *, online: bool = False) -> dict[str, str]:
    """The environment variables a child Python gets: UTF-8 everywhere, nothing of Blender's Python, no network.

    Args:
        base: usually os.environ.
        cache: where compiled bytecode goes, so that the add-on's own folder is never written to. It is written to even
            where `base` forbids bytecode, as containers do: without it torch is compiled at each start, for seconds.
        online: it may ask the network for models: the user pressed a button for that.
    """
    env = {key: value for key, value in base.items() if key.upper() not in _UNWANTED}
    env.update(
        PYTHONUTF8="1",
        PYTHONIOENCODING="utf-8",
        HF_HUB_OFFLINE="0" if online else "1",
        TRANSFORMERS_OFFLINE="0" if online else "1",
        HF_HUB_DISABLE_TELEMETRY="1",
        TOKENIZERS_PARALLELISM="false",
    )
    if cache is not None:
        env["PYTHONPYCACHEPREFIX"] = env.get("PYTHONPYCACHEPREFIX") or str(cache)  # whoever set one knows why
        env.pop("PYTHONDONTWRITEBYTECODE", None)
    return env


def popen_options() -> dict:
    """Options for subprocess so that no console window flashes and Ctrl-C in a terminal reaches only Blender."""
    if os.name == "nt":
        flags = subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP  # type: ignore[attr-defined]
        return {"creationflags": flags}
    return {"start_new_session": True}


def _private() -> list[tuple[bytes, bytes]]:
    """What is written in other words: (text, what stands for it)."""
    found = [(value, "<secret>") for value in secrets_of(os.environ)]
    home = os.path.expanduser("~").rstrip("/\\")
    if len(home) > 1:  # as it is, and as a Windows path stands in a message or in quotes
        forms = dict.fromkeys((home, home.replace("\\", "\\\\"), home.replace("\\", "/")))
        found += [(form + end, "~" + end) for form in forms for end in ("/", "\\", "'", '"', "\n")]
    return [(text.encode("utf-8", "replace"), shown.encode()) for text, shown in found]


class LogFile:
    """A log that is never more than two files of `limit` bytes: when full it becomes NAME.1 and starts anew.

    The home folder and what the environment holds of secrets do not get into it: logs are shown to strangers. A log
    that cannot be written (full disk, read-only folder) is given up silently: the work goes on.
    """

    def __init__(self, path: Path, limit: int = LOG_LIMIT) -> None:
        self.path = path
        self.limit = limit
        self._lock = threading.Lock()
        self._private = _private()

    def write(self, data: bytes) -> None:
        for private, shown in self._private:
            data = data.replace(private, shown)
        with self._lock, contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and self.path.stat().st_size + len(data) > self.limit:
                self.path.replace(self.path.with_name(self.path.name + ".1"))
            with self.path.open("ab") as file:
                file.write(data)

    def note(self, text: str) -> None:
        """A line of our own, with the time."""
        self.write(f"[{time.strftime('%Y-%m-%d %H:%M:%S')}] {text}\n".encode())


class Child:
    """A started process.

    Args:
        command, cwd, env: as for subprocess.
        log: where stderr goes.
        on_line: called in the reader's thread with each line of stdout, and with None once at its end, by when
            `returncode` and the whole of stderr's tail are known.

    Raises OSError where the program cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path,
        env: Mapping[str, str],
        log: LogFile,
        on_line: Callable[[Child, bytes | None], None],
    ) -> None:
        self.log = log
        self.ended = False  # stdout is at its end and the process is gone
        self._on_line = on_line
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            list(command),
            cwd=str(cwd),
            env=dict(env),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **popen_options(),
        )
        winjob.tie(self.process)
        log.note(f"worker started, process {self.process.pid}")
        self._threads = [
            threading.Thread(target=target, name=f"mgpt3 {target.__name__.strip('_')}", daemon=True)
            for target in (self._write, self._read_errors, self._read)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def returncode(self) -> int | None:
        return self.process.poll()

    @property
    def tail(self) -> list[str]:
        """The last lines of the log that this process wrote."""
        return list(self._tail)

    def send(self, line: bytes) -> None:
        """Queue a line for stdin; returns at once."""
        self._outbox.put(line)

    def kill(self) -> None:
        """End the process at once; the reader sees the end and reports it."""
        with contextlib.suppress(OSError):
            self.process.kill()

    def close(self, timeout: float = 1.0) -> None:
        """Close stdin, which asks the process to end; kill it where it has not after `timeout` seconds."""
        self._outbox.put(None)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5.0)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(0.5)

    def _write(self) -> None:
        pipe = self.process.stdin
        assert pipe is not None
        while (line := self._outbox.get()) is not None:
            try:
                pipe.write(line)
                pipe.flush()
            except (OSError, ValueError):  # the process is gone: the reader reports that
                break
        with contextlib.suppress(OSError, ValueError):
            pipe.close()

    def _read_errors(self) -> None:
        pipe = self.process.stderr
        assert pipe is not None
        with pipe:
            while line := pipe.readline(8192):
                self._tail.append(line.decode("utf-8", "replace").rstrip())
                self.log.write(line)

    def _read(self) -> None:
        pipe = self.process.stdout
        assert pipe is not None
        with pipe:
            while line := pipe.readline(MAX_LINE):
                self._on_line(self, line)
        try:  # a process that closed its stdout but lives is of no more use
            self.process.wait(2.0)
        except subprocess.TimeoutExpired:
            self.kill()
            self.process.wait()
        self._threads[1].join(1.0)
        self._outbox.put(None)
        self.ended = True
        self.log.note(f"worker ended: {describe_exit(self.process.returncode)}")
        self._on_line(self, None)


def describe_exit(code: int | None) -> str:
    """How a process ended, in words: a signal's name, a crash on Windows, or the exit code."""
    if code is None:
        return "it is still running"
    if code < 0:
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = f"signal {-code}"
        hint = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        return f"it was ended by {name}{hint}"
    if code >= 0xC0000000:  # Windows reports a crash as an NTSTATUS
        return f"it crashed (0x{code:08X})"
    return f"exit code {code}"
