"""Several background processes that describe files, one file each at a time. Knows nothing of Blender.

A process that crashes, or says nothing for too long, takes only its file with it: that is tried once more in a new one,
and then reported. `poll` never blocks.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .child import Child, LogFile, describe_exit
from .errors import UserError
from .wire import parse_line, request_line

SILENCE = 600.0  # seconds: the model is loaded, a large file is opened, without a word
TRIES = 2


@dataclass(frozen=True)
class Fleet:
    """How the processes are started.

    Args:
        command, cwd, env: as for subprocess. log: where what they print goes.
    """

    command: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    log: Path


@dataclass(frozen=True)
class Told:
    """How far a file is."""

    name: str
    fraction: float
    message: str


@dataclass(frozen=True)
class Done:
    """A file is done with. rows: what came of it, None where no process lived to say; stamp: the file's then."""

    name: str
    rows: list[dict[str, Any]] | None
    stamp: str = ""
    error: UserError | None = None


Event = Told | Done


@dataclass
class _Task:
    name: str
    params: dict[str, Any]
    tries: int = 0


@dataclass
class _Desk:
    """A process and what it is busy with."""

    child: Child
    number: int = 0
    task: _Task | None = None
    heard: float = 0.0


class Pool:
    """Up to `jobs` processes, started when there is work for them.

    Args:
        silence: seconds without a word after which a process counts as hung and is ended.
    """

    def __init__(self, fleet: Fleet, jobs: int, *, silence: float = SILENCE) -> None:
        self.fleet = fleet
        self.jobs = max(jobs, 1)
        self.silence = silence
        self._tasks: deque[_Task] = deque()
        self._desks: list[_Desk] = []
        self._inbox: queue.SimpleQueue[tuple[Child, dict[str, Any] | None]] = queue.SimpleQueue()
        self._log = LogFile(fleet.log)
        self._trouble: UserError | None = None  # what ends the run, as soon as what was finished is told

    @property
    def idle(self) -> bool:
        """Whether there is nothing left to do."""
        return self._trouble is None and not self._tasks and all(desk.task is None for desk in self._desks)

    @property
    def processes(self) -> list[int]:
        """Ids of the processes that live."""
        return [desk.child.process.pid for desk in self._desks if not desk.child.ended]

    def submit(self, name: str, params: dict[str, Any]) -> None:
        """Have a file described; `name` is what the events call it."""
        self._tasks.append(_Task(name, params))

    def poll(self) -> list[Event]:
        """Give out work and take in what was said since the last call.

        Raises UserError where a process reports what every file would run into, or none can be started: once all that
        others finished by then was told.
        """
        events: list[Event] = []
        with contextlib.suppress(queue.Empty):
            while True:
                child, message = self._inbox.get_nowait()
                desk = next((desk for desk in self._desks if desk.child is child), None)
                if desk is None:
                    continue
                try:
                    events += self._ended(desk) if message is None else self._received(desk, message)
                except UserError as error:
                    self._trouble = error
        now = time.monotonic()
        for desk in self._desks:
            if desk.task is not None and now - desk.heard > self.silence:
                desk.child.log.note(f"no word for {self.silence:.0f} s: the process is ended")
                desk.child.kill()  # and reported as any other that ended
                desk.heard = now
        try:
            if self._trouble is None:
                self._give_out()
        except UserError as error:
            self._trouble = error
        if self._trouble is not None and not events:
            raise self._trouble
        return events

    def stop(self) -> None:
        """End all processes at once. A file is whole whenever that is: it is replaced in one step."""
        self._tasks.clear()
        self._trouble = None
        desks, self._desks = self._desks, []
        for desk in desks:
            if desk.task is None and not desk.child.ended:
                desk.child.send(request_line(0, "shutdown", {}))
            else:
                desk.child.kill()
        for desk in desks:
            desk.child.close(3.0)

    def _give_out(self) -> None:
        while self._tasks:
            desk = next((desk for desk in self._desks if desk.task is None and not desk.child.ended), None)
            if desk is None:
                if len(self._desks) >= self.jobs:
                    return
                desk = self._start()
            task = self._tasks.popleft()
            task.tries += 1
            desk.number += 1
            desk.task, desk.heard = task, time.monotonic()
            desk.child.send(request_line(desk.number, "describe", task.params))

    def _start(self) -> _Desk:
        fleet = self.fleet
        try:
            child = Child(fleet.command, fleet.cwd, fleet.env, self._log, self._on_line)
        except OSError as error:
            raise UserError(
                "blender_missing",
                f"A background Blender cannot be started ({error.strerror or error}).",
                "Start Blender anew; if it happens again, install it again.",
            ) from error
        desk = _Desk(child)
        self._desks.append(desk)
        return desk

    def _on_line(self, child: Child, line: bytes | None) -> None:
        """In a reader's thread."""
        if line is None:
            self._inbox.put((child, None))
        elif (message := parse_line(line)) is not None:
            self._inbox.put((child, message))

    def _received(self, desk: _Desk, message: dict[str, Any]) -> list[Event]:
        task = desk.task
        if task is None:
            return []
        desk.heard = time.monotonic()
        params = message.get("params")
        if message.get("method") == "progress" and isinstance(params, dict):
            if params.get("id") != desk.number:
                return []
            return [Told(task.name, float(params.get("fraction") or 0.0), str(params.get("message") or ""))]
        if message.get("id") != desk.number:
            return []
        desk.task = None
        result, error = message.get("result"), message.get("error")
        if isinstance(result, dict) and isinstance(result.get("rows"), list):
            return [Done(task.name, result["rows"], str(result.get("stamp") or ""))]
        said: dict[str, Any] = error if isinstance(error, dict) else {}
        data = said.get("data") if isinstance(said.get("data"), dict) else {}
        assert isinstance(data, dict)
        raise UserError(
            str(data.get("code") or "bad_answer"),
            str(said.get("message") or "A background Blender's answer cannot be read."),
            str(data.get("remedy") or "Open the log."),
        )

    def _ended(self, desk: _Desk) -> list[Event]:
        self._desks.remove(desk)
        task = desk.task
        if task is None:
            return []
        if task.tries < TRIES:
            self._tasks.appendleft(task)
            return []
        how = describe_exit(desk.child.returncode)
        words = next((line for line in reversed(desk.child.tail) if line.strip()), "")
        last = f" Its last words: {words.strip()[:200]}" if words else ""
        return [
            Done(
                task.name,
                None,
                error=UserError(
                    "blender_crashed",
                    f"The Blender that described it ended unexpectedly, {TRIES} times: {how}.{last}",
                    "Open the file in Blender to see whether it is sound.",
                ),
            )
        ]
