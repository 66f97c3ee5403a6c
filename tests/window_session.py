"""One Blender with its windows on a screen of its own: started, asked, looked at, ended with all it started."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from window_place import Place
from window_screen import SIZE, Box, Screen, ScreenError

INSIDE = Path(__file__).with_name("window_inside.py")


class Session:
    """A running Blender.

    Args:
        folder: for its home, its questions and answers, its log; the chroot sees it at the same path.
        seen: folders outside the chroot that it may read.
        pictures: where `shot` saves.
    """

    def __init__(self, place: Place, screen: Screen, folder: Path, seen: tuple[Path, ...], pictures: Path) -> None:
        self.place, self.screen, self.folder, self.seen, self.pictures = place, screen, folder, seen, pictures
        self.shots = 0
        self._asked = 0
        self._process: subprocess.Popen | None = None
        self.phases: list[tuple[str, float]] = []

    # -- its life

    def command(self, *arguments: str, minutes: float = 3) -> str:
        """Run Blender for one command, without a window; what it printed. Raises ScreenError where it fails."""
        command = self.place.command(list(arguments), self.folder, self.screen.display, self.seen)
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=minutes * 60)
        if done.returncode:
            raise ScreenError(f"blender {' '.join(arguments)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done.stdout

    def start(self, *files: str) -> None:
        """Start it with a window as large as the screen, and wait until it answers."""
        inside = self.folder / INSIDE.name
        inside.write_bytes(INSIDE.read_bytes())
        for old in (*self.folder.glob("ask-*"), *self.folder.glob("answer-*")):
            old.unlink()
        size = ["0", "0", *(str(length) for length in SIZE)]
        arguments = ["--window-geometry", *size, *files, "--python", str(inside), "--", str(self.folder)]
        command = self.place.command(arguments, self.folder, self.screen.display, self.seen)
        with (self.folder / "blender.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        self.wait("True", seconds=90)
        self.screen.settle = self.settle

    def settle(self) -> None:
        """Let Blender take in what was done, and draw it."""
        time.sleep(0.1)
        if self.running:
            self.ask("True")
            self.ask("True")

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def blender(self) -> int:
        """Blender's process id: `unshare`, `sh`, `chroot` and `env` become it, one after the other."""
        assert self._process is not None
        return self._process.pid

    def workers(self) -> list[int]:
        """The processes that Blender started, and theirs, which run the core."""
        found, newly = [], [self.blender]
        while newly:
            newly = [pid for pid, parent in _parents().items() if parent in newly]
            found += newly
        return found

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile the worker does not get on: a request takes as long as it takes to look at it."""
        stopped = self.workers()
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    @contextlib.contextmanager
    def slowed(self) -> Iterator[None]:
        """Meanwhile the worker gets a thirtieth of the time, as on a slow computer: its progress can be watched."""
        over = threading.Event()

        def hold() -> None:
            while not over.is_set():
                with self.held():
                    over.wait(0.3)
                time.sleep(0.01)

        thread = threading.Thread(target=hold, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def end(self) -> None:
        """End Blender and what it started, if anything of it is left."""
        if self._process is None:
            return
        left = self.workers() if self.running else []
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.running:
            self._process.kill()
        self._process.wait(20)
        self._process = None

    # -- asking

    def ask(self, expression: str, *, seconds: float = 60.0) -> Any:
        """The value of a Python expression inside Blender (window_inside.py names what is there).

        Raises ScreenError where it raises, or where Blender does not answer.
        """
        self._asked += 1
        answer = self.folder / f"answer-{self._asked}.json"
        part = self.folder / f"question-{self._asked}.part"
        part.write_text(expression, encoding="utf-8")
        part.rename(self.folder / f"ask-{self._asked}.py")
        end = time.monotonic() + seconds
        while not answer.exists():
            if not self.running:
                raise ScreenError(f"Blender ended. Its last words:\n{self.log()[-3000:]}")
            if time.monotonic() > end:
                raise ScreenError(f"Blender did not answer {expression!r} within {seconds:g} s.\n{self.log()[-1500:]}")
            time.sleep(0.02)
        told = json.loads(answer.read_text(encoding="utf-8"))
        answer.unlink()
        if "error" in told:
            raise ScreenError(f"{expression!r} inside Blender:\n{told['error']}")
        return told["value"]

    def wait(self, expression: str, *, seconds: float = 60.0, every: float = 0.1) -> Any:
        """Ask until the answer is true; the answer. Raises ScreenError, with a picture taken, where it never is."""
        end = time.monotonic() + seconds
        while not (value := self.ask(expression, seconds=max(seconds, 30))):
            if time.monotonic() > end:
                self.shot("not_so")
                raise ScreenError(f"{expression!r} was not so within {seconds:g} s: {value!r}")
            time.sleep(every)
        return value

    def log(self) -> str:
        file = self.folder / "blender.log"
        return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""

    def region(self, area: str = "VIEW_3D", kind: str = "UI") -> Box:
        """Where a region of the first window is on the screen, on which that window lies at the top left."""
        return Box(*self.ask(f"region({area!r}, {kind!r})"))

    # -- for people

    def shot(self, name: str, box: Box | None = None) -> Path:
        self.shots += 1
        return self.screen.capture(self.pictures / f"{self.shots:02d}_{name}.png", box)

    def phase(self, name: str) -> None:
        """From here on pauses count as this part of the session's."""
        self.phases.append((name, time.monotonic()))

    def pauses(self) -> dict[str, float]:
        """The window's longest pause in each phase so far, in seconds; 0 where none was noticeable."""
        noted = self.ask("pauses")
        ends = [start for _, start in self.phases[1:]] + [float("inf")]
        longest: dict[str, float] = {}
        for (name, start), end in zip(self.phases, ends, strict=True):
            inside = [length for when, length in noted if start <= when < end]
            longest[name] = max([longest.get(name, 0.0), *inside])
        return longest


@contextlib.contextmanager
def opened(place: Place, seen: tuple[Path, ...], pictures: Path) -> Iterator[Session]:
    """A screen and a session on it, in a folder of its own; all of it is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="mgpt3-window-") as name:
        screen = Screen()
        session = Session(place, screen, Path(name), seen, pictures)
        try:
            yield session
        finally:
            session.end()
            screen.close()


def _parents() -> dict[int, int]:
    """The parent of every process."""
    found: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                status = (entry / "stat").read_text(encoding="utf-8", errors="replace")
                found[int(entry.name)] = int(status.rpartition(")")[2].split()[1])
    return found
