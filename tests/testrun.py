"""Running checks and tests under a time limit, and the closing table: what `build.py test` is made of.

Standard library only, as build.py; the environments are its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEST_MINUTES = 35  # for one environment, beside another; a Blender that hangs at exit must not hang CI


@dataclass
class Outcome:
    """One row of the closing table."""

    name: str
    seconds: float
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    note: str = ""


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
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def run_check(name: str, command: list[str]) -> Outcome:
    started = time.monotonic()
    print(f"\n--- {name}", flush=True)
    code = run_limited(command, TEST_MINUTES, dict(os.environ))
    return Outcome(name, time.monotonic() - started, passed=int(code == 0), failed=int(code != 0))


def run_pytest(
    name: str, python: Path, environment: dict[str, str], arguments: list[str], beside: bool = False
) -> Outcome:
    """The tests of one environment. A run that crashes or hangs before it can report counts as one failure.

    Args:
        beside: something else is printing meanwhile: what these tests say is shown in one piece at their end.
    """
    head = f"\n--- tests in {name}"
    print(f"{head}, beside what follows" if beside else head, flush=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="mgpt3-test-") as folder:
        report = Path(folder) / "report.xml"
        user = Path(folder) / "blender-user"  # tests never see or touch the settings of whoever runs them
        command = [str(python), "-m", "pytest", f"--junitxml={report}", *arguments]
        log = Path(folder) / "log.txt" if beside else None
        code = run_limited(command, TEST_MINUTES, {**environment, "BLENDER_USER_RESOURCES": str(user)}, log)
        if log:
            print(f"{head}:\n{log.read_text(encoding='utf-8', errors='replace')}", flush=True)
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
        outcome.note = f"killed after {TEST_MINUTES} minutes" if code is None else f"ended with exit code {code}"
    return outcome


def run_apart(name: str, python: Path, environment: dict[str, str], files: list[Path], arguments: list[str]) -> Outcome:
    """The tests of one Blender, a process a file: an add-on with property callbacks that was switched off damages
    Blender 4.2's memory, and what is then run beside it crashes now and then. Files that are named run together."""
    if any(not word.startswith("-") and (ROOT / word.split("::")[0]).exists() for word in arguments):
        return run_pytest(name, python, environment, arguments)
    total = Outcome(name, 0.0)
    for file in files:
        part = run_pytest(f"{name}, {file.stem}", python, environment, [*arguments, f"tests/{file.name}"])
        for key in ("seconds", "passed", "failed", "skipped"):
            setattr(total, key, getattr(total, key) + getattr(part, key))
        if part.note:
            total.note += f"{file.name} {part.note}; "
    return total


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
