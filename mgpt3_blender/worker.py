"""The conversation with the core: requests with ids, progress, cancel, time-outs, restart. Knows nothing of Blender.

Nothing here blocks except `wait` and `stop`. Answers are matched by id and by process, so that what a
cancelled request or a process that is gone still sends can never arrive as a result.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .child import Child, LogFile, child_environment
from .failure import WorkerError, crash_error
from .wire import CANCELLED, PROTOCOL, parse_line, request_line

HELLO_SILENCE = 300.0  # seconds: importing torch for the first time on a slow disk takes minutes
REQUEST_SILENCE = 120.0  # seconds without a word: a request tells its progress every sampling step
STOP_PATIENCE = 0.3  # seconds an idle core has to end by itself; it takes less than a tenth
CANCEL_GRACE = 3.0  # seconds a cancelled request has to answer before its process is killed


@dataclass(frozen=True)
class Launch:
    """How the core is started. Two equal ones mean the same worker can go on.

    Args:
        python: the interpreter that has torch.
        core_parent: the folder that contains `core/`.
        log: file for what the core logs.
        model: folder of a model, None for the bundled one.
        device: "auto", "cpu" or "cuda".
        cache: folder for Python's bytecode, None for beside the sources.
        command: the whole command instead of `python -m core serve`; for tests.
    """

    python: Path
    core_parent: Path
    log: Path
    model: Path | None = None
    device: str = "auto"
    cache: Path | None = None
    command: tuple[str, ...] | None = None

    def arguments(self) -> list[str]:
        if self.command is not None:
            return list(self.command)
        arguments = [str(self.python), "-u", "-m", "core", "serve", "--device", self.device]
        return arguments + (["--model", str(self.model)] if self.model else [])


@dataclass(frozen=True)
class Progress:
    """How far a request is: fraction 0..1 and a line for the user."""

    id: int
    fraction: float
    message: str


@dataclass(frozen=True)
class Result:
    """The answer to a request."""

    id: int
    value: object


@dataclass(frozen=True)
class Failure:
    """A request that ended without an answer; error.code is "cancelled" where it was asked to."""

    id: int
    error: WorkerError


Event = Progress | Result | Failure


@dataclass
class _Pending:
    line: bytes
    silence: float
    hello: bool = False
    since: float = field(default_factory=time.monotonic)


class Worker:
    """One warm core process, started at the first request and again after it ended."""

    def __init__(self, launch: Launch, *, grace: float = CANCEL_GRACE) -> None:
        self.launch = launch
        self.grace = grace
        self.info: dict | None = None  # the core's hello: versions, device, model, joints
        self.log = LogFile(launch.log)
        self._child: Child | None = None
        self._inbox: queue.SimpleQueue[tuple[Child, dict | None]] = queue.SimpleQueue()
        self._pending: dict[int, _Pending] = {}  # in the order they were sent, which is the order of the answers
        self._cancelled: dict[int, Child] = {}  # asked to stop, not yet answered
        self._lock = threading.Lock()  # guards _cancelled, _killed and _heard, which the threads also touch
        self._killed: Child | None = None  # the child we ended because it did not answer a cancel
        self._heard = time.monotonic()
        self._next_id = 1
        self._stray = 0

    @property
    def alive(self) -> bool:
        return self._child is not None and not self._child.ended

    @property
    def process_id(self) -> int | None:
        return self._child.process.pid if self._child is not None and self.alive else None

    # -- asking ---------------------------------------------------------------------------------------------------

    def request(self, method: str, params: dict | None = None, *, silence: float = REQUEST_SILENCE) -> int:
        """Send a request, starting the core where it does not run; returns its id at once.

        Args:
            silence: seconds without any word from the core after which it counts as hung and is ended.

        Raises WorkerError where the core cannot be started.
        """
        if not self.alive:
            self._start()
        if self.info is None and not any(p.hello for p in self._pending.values()):
            self._send("hello", {}, HELLO_SILENCE, hello=True)
        return self._send(method, params or {}, silence, hello=method == "hello")

    def cancel(self, request_id: int) -> None:
        """Stop a request: its result will never be reported. The core has `grace` seconds to say that it stopped."""
        if self._pending.pop(request_id, None) is None:
            return
        child = self._child
        if child is None or child.ended:
            return
        with self._lock:
            self._cancelled[request_id] = child
        child.send(request_line(self._take_id(), "cancel", {"id": request_id}))
        self._watch(request_id, child, time.monotonic())

    def poll(self) -> list[Event]:
        """What happened since the last call. Never blocks; restarts the core where a cancel had to end it."""
        events: list[Event] = []
        with contextlib.suppress(queue.Empty):
            for _ in range(256):  # a flood must not hold up the window
                child, message = self._inbox.get_nowait()
                if child is self._child:
                    events += self._ended(child) if message is None else self._received(message)
        return events + self._overdue()

    def wait(
        self,
        request_id: int,
        *,
        progress: Callable[[float, str], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> object:
        """Block until a request is answered and return its result; for background mode, tests and the CLI.

        Raises WorkerError; code "cancelled" where `cancelled()` turned true or Ctrl-C was pressed.
        """
        try:
            while True:
                for event in self.poll():
                    if event.id != request_id:
                        continue
                    if isinstance(event, Result):
                        return event.value
                    if isinstance(event, Failure):
                        raise event.error
                    if progress is not None:
                        progress(event.fraction, event.message)
                if cancelled is not None and cancelled():
                    raise KeyboardInterrupt
                time.sleep(0.02)
        except KeyboardInterrupt:
            self.cancel(request_id)
            raise WorkerError("cancelled", "Cancelled.") from None

    def stop(self, timeout: float = STOP_PATIENCE) -> None:
        """End the core: it is asked to, and killed where it does not within `timeout` seconds. Forgets everything.

        One that is at work is killed at once: what it does is not wanted any more, and Blender's window waits here.
        """
        child, self._child = self._child, None
        if self._pending or self._cancelled:
            timeout = 0.0
        self._pending.clear()
        with self._lock:
            self._cancelled.clear()
        self.info = None
        if child is not None:
            child.send(request_line(self._take_id(), "shutdown", {}))
            child.close(timeout)

    # -- the process ----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        launch = self.launch
        if launch.command is None and not (launch.core_parent / "core" / "__main__.py").is_file():
            raise WorkerError(
                "core_missing",
                "The add-on's motion model program is not in its folder.",
                "Install the add-on again from its zip file.",
            )
        env = child_environment(os.environ, launch.cache)
        self.info = None
        self._stray = 0
        try:
            self._child = Child(launch.arguments(), launch.core_parent, env, self.log, self._on_line)
        except OSError as error:
            raise WorkerError(
                "python_missing",
                f"The Python for the motion model cannot be started ({error.strerror or error}).",
                "Press Set Up in the add-on's preferences, or choose another Python there.",
                log=launch.log,
            ) from error
        self._heard = time.monotonic()

    def _send(self, method: str, params: dict, silence: float, hello: bool = False) -> int:
        request_id = self._take_id()
        line = request_line(request_id, method, params)
        self._pending[request_id] = _Pending(line, silence, hello)
        assert self._child is not None
        self._child.send(line)
        return request_id

    def _take_id(self) -> int:
        self._next_id += 1
        return self._next_id - 1

    def _on_line(self, child: Child, line: bytes | None) -> None:
        """In the reader's thread: note the time, drop what nobody waits for, queue the rest."""
        with self._lock:
            self._heard = time.monotonic()
        if line is None:
            self._inbox.put((child, None))
            return
        message = parse_line(line)
        if message is None:
            self._stray += 1
            if self._stray <= 20:
                child.log.note(f"not a message, ignored: {line[:200]!r}")
            return
        request_id = message.get("id")
        with self._lock:
            if "method" not in message and isinstance(request_id, int) and request_id in self._cancelled:
                del self._cancelled[request_id]
                return
        self._inbox.put((child, message))

    def _watch(self, request_id: int, child: Child, since: float) -> None:
        """End the child where a cancelled request has not answered in time; it may load its model first."""

        def enforce() -> None:
            with self._lock:
                if self._cancelled.get(request_id) is not child or child.ended:
                    return
                loading = self.info is None and time.monotonic() - since < HELLO_SILENCE
                if not loading:
                    self._killed = child
            if loading:
                self._watch(request_id, child, since)
            else:
                child.log.note("a cancelled request did not stop in time: the process is ended")
                child.kill()

        timer = threading.Timer(self.grace, enforce)
        timer.daemon = True
        timer.start()

    # -- answers --------------------------------------------------------------------------------------------------

    def _received(self, message: dict) -> list[Event]:
        if "method" in message:
            params = message.get("params")
            if message["method"] != "progress" or not isinstance(params, dict) or params.get("id") not in self._pending:
                return []
            try:
                fraction = min(max(float(params.get("fraction", 0.0)), 0.0), 1.0)
            except (TypeError, ValueError):
                return []
            return [Progress(params["id"], fraction, str(params.get("message", "")))]
        request_id = message.get("id")
        pending = self._pending.pop(request_id, None) if isinstance(request_id, int) else None
        if pending is None:
            return []
        error = message.get("error")
        if error is None and pending.hello:
            error = self._greeted(message.get("result"))
        if error is None:
            return [Result(request_id, message.get("result"))]  # type: ignore[arg-type]
        failure = self._reported(error)
        events: list[Event] = [Failure(request_id, failure)]  # type: ignore[arg-type]
        if pending.hello:  # no model, no request: what waits behind the hello fails for the hello's reason
            events += self._fail_all(failure)
        if failure.code == "out_of_memory":  # what it holds is given back, and no library stays half loaded
            events += self._retired()
        return events

    def _greeted(self, info: object) -> dict | None:
        """Take the core's hello; an error object where it is none we can work with."""
        if isinstance(info, dict) and info.get("protocol") == PROTOCOL:
            self.info = info
            return None
        return {
            "message": "The motion model's program is of another version than the add-on.",
            "data": {"code": "protocol_mismatch", "remedy": "Install the add-on again from its zip file."},
        }

    def _reported(self, error: object) -> WorkerError:
        said: dict = error if isinstance(error, dict) else {}
        data = said.get("data")
        data = data if isinstance(data, dict) else {}
        code = "cancelled" if said.get("code") == CANCELLED else str(data.get("code") or "core_error")
        message = str(said.get("message") or "The motion model reported an error.")
        details = str(data.get("traceback") or "")
        return WorkerError(code, message, str(data.get("remedy") or ""), details, self.launch.log)

    def _ended(self, child: Child) -> list[Event]:
        self._child = None
        self.info = None
        with self._lock:
            self._cancelled = {key: value for key, value in self._cancelled.items() if value is not child}
            killed = self._killed is child
        if not self._pending:
            return []
        if killed:  # we ended it for a cancelled request: those sent after that one go to a new process
            return self._resend()
        return self._fail_all(crash_error(child.returncode, child.tail, self.launch.log))

    def _retired(self) -> list[Event]:
        """End a process that is of no more use; what waits goes to a new one."""
        child, self._child = self._child, None
        self.info = None
        if child is not None:
            child.kill()
        return self._resend() if self._pending else []

    def _resend(self) -> list[Event]:
        waiting, self._pending = self._pending, {}
        try:
            self._start()
        except WorkerError as error:
            return [Failure(key, error) for key in waiting]
        assert self._child is not None
        if not any(pending.hello for pending in waiting.values()):
            self._send("hello", {}, HELLO_SILENCE, hello=True)
        self._pending.update(waiting)
        for pending in waiting.values():
            self._child.send(pending.line)
        return []

    def _overdue(self) -> list[Event]:
        if not self._pending or self._child is None:
            return []
        first = next(iter(self._pending.values()))
        with self._lock:
            quiet = time.monotonic() - max(self._heard, first.since)
        if quiet < first.silence:
            return []
        child, self._child = self._child, None
        self.info = None
        child.log.note(f"no word for {quiet:.0f} s: the process is ended")
        child.kill()
        return self._fail_all(
            WorkerError(
                "worker_silent",
                f"The motion model has not said a word for {quiet:.0f} seconds and was stopped.",
                "Generate again: it starts anew. If it happens again, open the log.",
                "\n".join(child.tail),
                self.launch.log,
            )
        )

    def _fail_all(self, error: WorkerError) -> list[Event]:
        ids = list(self._pending)
        if self._child is not None:  # it lives and will answer: those answers are to be dropped, not awaited
            for key in ids:
                self.cancel(key)
        self._pending.clear()
        return [Failure(key, error) for key in ids]
