"""How commands speak that the add-on runs: lines for people, or one JSON object a line for it."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from core.errors import CoreError

INTERVAL = 0.1
"""Seconds between two lines of progress of the same stage: of messages that are equal up to a colon."""


class Reporter:
    """Progress, then a result or an error.

    Args:
        as_json: one JSON object a line on stdout; else the result's lines on stdout and progress on stderr.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._stage = ""
        self._when = 0.0
        self._shown = False

    def progress(self, fraction: float, message: str) -> None:
        """How much is done, 0 to 1, and what is being done."""
        fraction = round(min(max(fraction, 0.0), 1.0), 4)
        now, stage = time.monotonic(), message.partition(":")[0]
        if stage == self._stage and now - self._when < INTERVAL:
            return
        self._stage, self._when = stage, now
        if self.as_json:
            self._line({"progress": fraction, "message": message})
        elif sys.stderr.isatty():
            self._shown = True
            print(f"\r\033[K{100 * fraction:3.0f} %  {message}", end="", file=sys.stderr, flush=True)

    def result(self, result: dict[str, Any]) -> None:
        """The end of work that came to something; `result["lines"]` is for people."""
        self._end()
        if self.as_json:
            self._line({"result": result})
        else:
            print("\n".join(result["lines"]), flush=True)

    def error(self, error: CoreError) -> None:
        """The end of work that did not."""
        self._end()
        if self.as_json:
            self._line({"error": {"code": error.code, "message": error.message, "remedy": error.remedy}})
        else:
            print(f"error: {error}", file=sys.stderr, flush=True)

    def _end(self) -> None:
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
            self._shown = False

    @staticmethod
    def _line(message: dict[str, Any]) -> None:
        print(json.dumps(message), flush=True)  # ASCII: no locale can spoil it


def report(as_json: bool, work: Callable[[Callable[[float, str], None]], dict[str, Any]]) -> int:
    """Do work that is told where to report progress, and say what came of it; returns the exit code.

    A missing package and Ctrl-C are left to whoever started the command.
    """
    reporter = Reporter(as_json)
    try:
        reporter.result(work(reporter.progress))
    except CoreError as error:
        reporter.error(error)
        return 2
    except ImportError:
        raise
    except Exception as error:
        if not as_json:
            raise
        traceback.print_exc()
        what = f"The core failed: {type(error).__name__}: {error}."
        reporter.error(CoreError("core_failed", what, "Try again; if it happens again, report it with the log."))
        return 2
    return 0
