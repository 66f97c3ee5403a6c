"""Running checks and tests under a time limit, and the closing table: what `build.py test` is made of.

Standard library only, as build.py; the environments are its own.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEST_MINUTES = 30  # for the core's tests, or for files that are named; what hangs must not hang CI
FILE_MINUTES = 15  # for one file in one Blender: they hang at exit now and then
LANES = 2  # processes at a time: each keeps one core of a processor busy, and CI has two
LONG = ("test_soak", "test_library_folder", "test_pauses")  # first: begun last, one of them would keep a lane waiting


@dataclass
class Outcome:
    """One row of the closing table."""

    name: str
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    note: str = ""

    def add(self, part: Outcome) -> None:
        """Take in a part of the same environment's tests."""
        for key in ("seconds", "passed", "failed", "skipped"):
            setattr(self, key, getattr(self, key) + getattr(part, key))
        if part.note:
            self.note += f"{part.name} {part.note}; "


@dataclass
class Part:
    """What one process of pytest runs: all of an environment's tests, or one file's."""

    environment: str
    python: Path
    arguments: list[str] = field(default_factory=list)
    file: str = ""


RUNNING: set[subprocess.Popen] = set()
"""What is under way, for Ctrl C to end all of it."""


def run_limited(command: list[str], minutes: float, environment: dict[str, str], log: Path | None = None) -> int | None:
    """Run a command in the project's root; its exit code, or None when it was killed at its time limit.

    Args:
        log: what it prints goes there instead of to the terminal.
    """
    out = log.open("wb") if log else None
    others = subprocess.STDOUT if out else None
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, start_new_session=os.name != "nt", stdout=out, stderr=others
    )
    if out:
        out.close()
    RUNNING.add(process)
    try:
        return process.wait(minutes * 60)
    except subprocess.TimeoutExpired:
        return None
    finally:
        kill(process)
        RUNNING.discard(process)


def kill(process: subprocess.Popen) -> None:
    """End a process where it has not ended, and with it the workers it started."""
    if process.poll() is None:
        if os.name == "nt":
            process.kill()
        else:
            with contextlib.suppress(ProcessLookupError):  # another thread has just seen its end
                os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_check(name: str, command: list[str]) -> Outcome:
    started = time.monotonic()
    print(f"\n--- {name}", flush=True)
    code = run_limited(command, TEST_MINUTES, dict(os.environ))
    return Outcome(name, time.monotonic() - started, passed=int(code == 0), failed=int(code != 0))


def run_pytest(
    name: str,
    python: Path,
    environment: dict[str, str],
    arguments: list[str],
    minutes: float = TEST_MINUTES,
    beside: bool = False,
) -> Outcome:
    """Tests in one process. A run that crashes or hangs before it can report counts as one failure.

    Args:
        beside: something else is printing meanwhile: what these tests say is shown in one piece at their end.
    """
    head = f"\n--- tests in {name}"
    if not beside:
        print(head, flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mgpt3-test-") as folder:
        report = Path(folder) / "report.xml"
        user = Path(folder) / "blender-user"  # tests never see or touch the settings of whoever runs them
        command = [str(python), "-m", "pytest", f"--junitxml={report}", *arguments]
        log = Path(folder) / "log.txt" if beside else None
        code = run_limited(command, minutes, {**environment, "BLENDER_USER_RESOURCES": str(user)}, log)
        if log:
            print(f"{head}\n{log.read_text(encoding='utf-8', errors='replace')}", flush=True)
        outcome = Outcome(name, time.monotonic() - started)
        if report.is_file():
            suites = list(ElementTree.parse(report).getroot().iter("testsuite"))
            total, failures, errors, outcome.skipped = (
                sum(int(suite.get(key, 0)) for suite in suites) for key in ("tests", "failures", "errors", "skipped")
            )
            outcome.failed = failures + errors
            outcome.passed = max(0, total - outcome.failed - outcome.skipped)
    if code not in (0, 5) and not outcome.failed:  # 5: this environment has none of the tests that were asked for
        outcome.failed = 1
        outcome.note = f"killed after {minutes} minutes" if code is None else f"ended with exit code {code}"
    return outcome


def named(arguments: Sequence[str]) -> set[Path]:
    """The test files that pytest's arguments name, or the folder of all of them; `-k core` names none."""
    paths = [(ROOT / word.partition("::")[0]).resolve() for word in arguments if not word.startswith("-")]
    return {path for path in paths if (path.suffix == ".py" and path.is_file()) or path == ROOT / "tests"}


def parts(core: Path, blenders: dict[str, Path], files: Sequence[Path], arguments: list[str]) -> list[Part]:
    """What is to be run, in this order: the core's tests, then each Blender's, a process a file.

    An add-on with property callbacks that was switched off damages Blender 4.2's memory, and what is then run in the
    same process crashes now and then. Files that are named run together, where they belong.

    Args:
        core: the core's Python.
        blenders: a Blender's name -> its Python.
        files: those that run in Blender.
        arguments: for pytest.
    """
    if wanted := named(arguments):
        here = {} if wanted <= set(files) else {"core": core}
        there = {} if wanted.isdisjoint([*files, ROOT / "tests"]) else blenders
        return [Part(name, python, arguments) for name, python in {**here, **there}.items()]
    order = sorted(files, key=lambda file: (file.stem not in LONG, -file.stat().st_size))
    apart = [
        Part(name, python, [*arguments, f"tests/{file.name}"], file.name)
        for file in order
        for name, python in blenders.items()
    ]
    return [Part("core", core, arguments), *apart]


def run_parts(queue: list[Part], environment: dict[str, str], first: bool = False, lanes: int = LANES) -> list[Outcome]:
    """Run them, as many at a time as there are lanes; a row for each environment. Ctrl C ends all of it.

    Args:
        first: after a failure none is begun any more; what is under way is not ended.
    """
    rows = {part.environment: Outcome(part.environment, 0.0) for part in queue}
    stopped = threading.Event()

    def run(part: Part) -> Outcome | None:
        if stopped.is_set():
            return None
        name = ", ".join(filter(None, (part.environment, part.file)))
        minutes = FILE_MINUTES if part.file else TEST_MINUTES
        outcome = run_pytest(name, part.python, environment, part.arguments, minutes, beside=len(queue) > 1)
        if first and outcome.failed:
            stopped.set()
        return outcome

    if len(queue) > 1:
        print(f"\n--- tests: {len(queue)} parts, {lanes} at a time; what each says is shown at its end", flush=True)
    with ThreadPoolExecutor(lanes) as pool:
        begun = {pool.submit(run, part): rows[part.environment] for part in queue}
        try:
            for future in as_completed(begun):
                outcome = future.result()
                if outcome is not None:
                    begun[future].add(outcome)
                else:
                    begun[future].note = "not all of it was run"
        finally:
            stopped.set()
            while not all(future.done() for future in begun):  # a lane may be about to begin another one
                for process in list(RUNNING):
                    kill(process)
                time.sleep(0.05)
    return list(rows.values())


def closing(outcomes: list[Outcome]) -> int:
    """Print the closing table; the exit code: 1 where something failed or nothing ran."""
    print("\n" + "-" * 72)
    for row in outcomes:
        counts = f"{row.passed} passed, {row.failed} failed, {row.skipped} skipped"
        print(f"{row.name:<14}{counts:<40}{row.seconds:6.1f} s  {row.note}")
    passed, failed, skipped = (sum(getattr(row, key) for row in outcomes) for key in ("passed", "failed", "skipped"))
    if not passed + failed:
        print("No test matches.")
    print(f"{passed} passed, {failed} failed, {skipped} skipped", flush=True)
    return int(failed > 0 or not passed + failed)
