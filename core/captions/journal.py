"""The journal of a batch: each finished file's rows, one line of JSON, written as soon as it is finished.

A run that was killed goes on from it. A line counts only while its file is as it was then (size and time of the last
change) and the options that matter are the same; everything else is described again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, TextIO

from core.captions.report import COLUMNS, Row, write_whole
from core.errors import CoreError


class Journal:
    """A journal file, open for more lines.

    Args:
        path: NAME.journal.jsonl.
        resume: keep what is in it; otherwise it starts empty.
    Raises:
        CoreError: report_not_written.
    """

    def __init__(self, path: Path, *, resume: bool) -> None:
        self._entries = _read(path) if resume else {}
        # Written anew either way: a line that a kill cut off would swallow the next one.
        write_whole(path, "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in self._entries.values()))
        self._file: TextIO = path.open("a", encoding="utf-8", newline="")

    def close(self) -> None:
        self._file.close()

    def rows(self, name: str, key: str) -> list[Row] | None:
        """What was written of this file under this key, if it need not be tried again: no file-wide trouble, nothing
        that failed."""
        entry = self._entries.get(name)
        if entry is None or entry["key"] != key:
            return None
        again = any(row["status"] == "failed" or (row["status"] == "skipped" and not row["action"])
                    for row in entry["rows"])  # fmt: skip
        return None if again else entry["rows"]

    def add(self, name: str, key: str, rows: list[Row]) -> None:
        """Write one file's rows; on disk when this returns. Raises CoreError("report_not_written")."""
        try:
            self._file.write(json.dumps({"name": name, "key": key, "rows": rows}, ensure_ascii=False) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise CoreError(
                "report_not_written", f"'{self._file.name}' cannot be written: {error.strerror}.", "Make room on it."
            ) from error


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """Name -> its last whole line. A line that is not whole, or not ours, is passed over."""
    found: dict[str, dict[str, Any]] = {}
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return found
    except OSError as error:
        raise CoreError(
            "journal_unreadable", f"'{path}' cannot be read: {error.strerror}.", "Leave out --resume."
        ) from error
    for line in text.split("\n"):  # not splitlines: names may hold other separators
        try:
            entry = json.loads(line)
            whole = all(tuple(row) == COLUMNS for row in entry["rows"])
            if whole and isinstance(entry["name"], str) and isinstance(entry["key"], str):
                found[entry["name"]] = entry
        except (ValueError, KeyError, TypeError):
            continue
    return found
