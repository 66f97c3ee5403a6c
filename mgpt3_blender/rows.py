"""The rows of a library's description: their columns, the report (CSV and JSON), and the journal to go on from.

Knows nothing of Blender. The core writes reports on motion files with the same columns (core/captions/report.py); the
two share no code, because the add-on never imports the core.
"""

from __future__ import annotations

import contextlib
import csv
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO, Any

from .errors import UserError

COLUMNS = (
    "file", "action", "status", "message", "frames", "seconds", "sentence", "alternatives", "tags", "facts", "segments",
    "corrections", "description_before", "tags_before", "description_after", "tags_after", "model", "licence",
)  # fmt: skip
LISTS = ("alternatives", "tags", "tags_before", "tags_after")
STRUCTURES = ("facts", "segments", "corrections")
DESCRIBED, UNCHANGED, KEPT, SKIPPED, FAILED = "described", "unchanged", "kept", "skipped", "failed"
STATUSES = (DESCRIBED, UNCHANGED, KEPT, SKIPPED, FAILED)
JOURNAL = 1
"""Version of the journal; another one is not gone on from."""

Row = dict[str, Any]


def row(file: str, action: str = "", status: str = FAILED, message: str = "", **more: Any) -> Row:
    """A row with all columns in their order."""
    given = {"file": file, "action": action, "status": status, "message": message, **more}
    if unknown := set(given) - set(COLUMNS):
        raise ValueError(f"no columns of a report: {sorted(unknown)}")
    empty: dict[str, Any] = {name: [] for name in (*LISTS, "segments", "corrections")}
    empty |= {"facts": {}, "frames": None, "seconds": None}
    return {name: given.get(name, empty.get(name, "")) for name in COLUMNS}


def error_row(file: str, error: UserError, action: str = "", status: str = FAILED) -> Row:
    """The row of what could not be described."""
    return row(file, action, status, f"{error.message} {error.remedy}".strip())


def ordered(rows: Iterable[Row]) -> list[Row]:
    """Rows in the order of a report: by file, then action; those of one name in the order in which they were made."""
    return sorted(rows, key=lambda r: (str(r["file"]), str(r["action"])))


def counted(rows: Iterable[Row]) -> str:
    """How it went, for people: "12 described, 3 kept, 1 failed"."""
    numbers = dict.fromkeys(STATUSES, 0)
    for entry in rows:
        numbers[entry["status"]] += 1
    return ", ".join(f"{count} {status}" for status, count in numbers.items() if count) or "nothing to describe"


def report_paths(report: Path) -> tuple[Path, Path, Path]:
    """The CSV, the JSON and the journal of a report, from either's name or a name without an ending."""
    stem = report.with_suffix("") if report.suffix.lower() in (".csv", ".json") else report
    return tuple(stem.with_name(stem.name + ending) for ending in (".csv", ".json", ".journal.jsonl"))  # type: ignore


def write_report(report: Path, rows: Iterable[Row], made_with: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write a report as CSV and as JSON; each is replaced whole. Raises UserError("report_unwritable")."""
    table = ordered(rows)
    as_csv, as_json, _ = report_paths(report)
    try:
        as_csv.parent.mkdir(parents=True, exist_ok=True)
        with _whole(as_csv, newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows([_cell(name, entry[name]) for name in COLUMNS] for entry in table)
        with _whole(as_json) as file:
            lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in table)
            file.write(f'{{"made_with": {json.dumps(dict(made_with), ensure_ascii=False)},\n"rows": [\n{lines}\n]}}\n')
    except OSError as error:
        raise UserError(
            "report_unwritable",
            f"The report {as_csv} cannot be written ({error.strerror}).",
            "Choose another place for it.",
        ) from error
    return as_csv, as_json


def _cell(name: str, value: Any) -> Any:
    if name in LISTS:
        return "; ".join(value)
    if name in STRUCTURES:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if value else ""
    return value


@contextlib.contextmanager
def _whole(path: Path, newline: str | None = None) -> Any:
    """A text file that appears when it is complete."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with scratch.open("w", encoding="utf-8", newline=newline) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        scratch.replace(path)
    finally:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)


class Journal:
    """What is done of a run, a line a file, so that a run that was killed goes on where it was.

    Args:
        path: of the journal. about: what the run is to do; a journal of another run is begun anew.
        resume: keep what is there.

    Attributes:
        done: file -> its stamp after it was done, and its rows.

    Raises UserError("report_unwritable").
    """

    def __init__(self, path: Path, about: Mapping[str, Any], *, resume: bool) -> None:
        self.path = path
        self.about = {"journal": JOURNAL, **about}
        self.done: dict[str, tuple[str, list[Row]]] = self._read() if resume else {}
        self._file: IO[str] | None = None

    def rows(self, file: str, stamp: str) -> list[Row] | None:
        """The rows of a file that is as the run left it; else None: it is to be done.

        What failed is tried again, and so is a file that was skipped as a whole: it may be locked no longer.
        """
        known = self.done.get(file)
        if known is None or known[0] != stamp:
            return None
        again = any(r["status"] == FAILED or (r["status"] == SKIPPED and not r["action"]) for r in known[1])
        return None if again else known[1]

    def add(self, file: str, stamp: str, rows: list[Row]) -> None:
        """Note that a file is done; it is on disk when this returns."""
        self.done.pop(file, None)  # the last one done is the last of the dictionary
        self.done[file] = (stamp, rows)
        try:
            if self._file is None:
                self._begin()
            assert self._file is not None
            self._line({"file": file, "stamp": stamp, "rows": rows})
        except OSError as error:
            raise UserError(
                "report_unwritable",
                f"The journal {self.path} cannot be written ({error.strerror}).",
                "Choose another place for the report.",
            ) from error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _begin(self) -> None:
        """Open the journal with what is known already; a half line of a killed run is gone then."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        known = list(self.done.items())
        with _whole(self.path) as file:
            for entry in (self.about, *({"file": f, "stamp": s, "rows": r} for f, (s, r) in known[:-1])):
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._file = self.path.open("a", encoding="utf-8")

    def _line(self, entry: Mapping[str, Any]) -> None:
        assert self._file is not None
        self._file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def _read(self) -> dict[str, tuple[str, list[Row]]]:
        done: dict[str, tuple[str, list[Row]]] = {}
        try:
            lines = self.path.read_text(encoding="utf-8", errors="replace").split(
                "\n"
            )  # names may hold other separators
            if json.loads(lines[0]) != self.about:
                return {}
        except (OSError, ValueError):
            return {}
        for line in lines[1:]:
            with contextlib.suppress(ValueError, KeyError, TypeError):  # the half line of a killed run
                entry = json.loads(line)
                rows = [{**row(str(r["file"])), **r} for r in entry["rows"]]
                done[str(entry["file"])] = (str(entry["stamp"]), rows)
        return done
