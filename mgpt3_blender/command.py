"""A command of the core that runs once, as a child process: converting and downloading models.

The child says on stdout, one JSON object a line, how far it is ({"progress": 0..1, "message": str}) and at its end
either {"result": {...}} or {"error": {"code", "message", "remedy"}}. Cancelling is killing: the core works in a folder
beside the one it was asked for and renames it last. Knows nothing of Blender.
"""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .child import Child, LogFile, child_environment, describe_exit
from .errors import UserError
from .failure import WorkerError, crash_error
from .wire import parse_line

SILENCE = 300.0  # seconds without a word: a slow disk writes a gigabyte in less


@dataclass(frozen=True)
class Core:
    """Where the core is and what runs it.

    Args:
        python: the interpreter that has torch.
        core_parent: the folder that contains `core/`.
        log: file for what the command logs.
        cache: folder for Python's bytecode, None for beside the sources.
        parts: folder for what conversions need and downloads bring, None for the core's own choice.
    """

    python: Path
    core_parent: Path
    log: Path
    cache: Path | None = None
    parts: Path | None = None


def run(
    core: Core,
    arguments: Sequence[str],
    *,
    online: bool = False,
    progress: Callable[[float, str], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    silence: float = SILENCE,
) -> dict:
    """Run `python -m core ARGUMENTS --json` to its end. Blocks for minutes: run it in a thread.

    Args:
        arguments: the command and its own arguments, e.g. ["convert", "motiongpt3.ckpt", "--out", "folder"].
        online: whether it may use the network.
        silence: seconds without a line after which it counts as hung.

    Returns its result. Raises UserError: what the command reported; "cancelled"; or how it ended where it said nothing.
    """
    stop = cancelled or (lambda: False)
    lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    log = LogFile(core.log)
    log.note(" ".join(arguments))
    command = [str(core.python), "-u", "-m", "core", *arguments, "--json"]
    env = child_environment(os.environ, core.cache, online=online)
    if core.parts is not None:
        env.setdefault("MGPT3_CACHE", str(core.parts))
    try:
        child = Child(command, core.core_parent, env, log, lambda child, line: lines.put(line))
    except OSError as error:
        raise WorkerError(
            "python_missing",
            f"The Python for the motion model cannot be started ({error.strerror or error}).",
            "Press Set Up in the add-on's preferences, or choose another Python there.",
            log=core.log,
        ) from error
    last: dict = {}
    heard = time.monotonic()
    try:
        while True:
            if stop():
                raise UserError("cancelled", "Stopped.", "")
            try:
                line = lines.get(timeout=0.1)
            except queue.Empty:
                if time.monotonic() - heard > silence:
                    raise WorkerError(
                        "command_stalled",
                        f"Nothing has moved for {silence:.0f} seconds.",
                        "Check the network and the disk, and try again.",
                        log=core.log,
                    ) from None
                continue
            heard = time.monotonic()
            if line is None:
                return _outcome(child, last, core.log)
            message = parse_line(line) or {}
            if "result" in message or "error" in message:
                last = message
            elif progress is not None and "progress" in message:
                with contextlib.suppress(TypeError, ValueError):
                    progress(min(max(float(message["progress"]), 0.0), 1.0), str(message.get("message", "")))
    finally:
        if not child.ended:
            log.note("the command is stopped")
            child.kill()
        child.close()


def _outcome(child: Child, last: dict, log: Path) -> dict:
    """What a command that ended came to. Raises UserError where that is not a result."""
    result, error = last.get("result"), last.get("error")
    if isinstance(result, dict) and child.returncode == 0:
        return result
    details = "\n".join(child.tail)
    if isinstance(error, dict):
        raise WorkerError(
            str(error.get("code") or "core_error"),
            str(error.get("message") or "The motion model's program reported an error."),
            str(error.get("remedy") or ""),
            details,
            log,
        )
    crash = crash_error(child.returncode, child.tail, log)
    if crash.code == "packages_missing":
        raise crash
    said = next((text.strip() for text in reversed(child.tail) if text.strip()), "")
    words = f" Its last words: {said[:200]}" if said else ""
    raise WorkerError(
        "command_crashed",
        f"It stopped unexpectedly: {describe_exit(child.returncode)}.{words}",
        "Try again. If it happens again, open the log.",
        details,
        log,
    )
