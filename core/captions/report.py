"""The report of a batch: one row a motion, as CSV for spreadsheets and as JSON for programs.

Motion files and the actions of .blend files share the columns. A report holds no times, machines or process counts: the
same files, model and options give the same bytes, however the work was spread.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from core.errors import CoreError

COLUMNS = (
    "file", "action", "status", "message", "frames", "seconds", "sentence", "alternatives", "tags", "facts", "segments",
    "corrections", "description_before", "tags_before", "description_after", "tags_after", "model", "licence",
)  # fmt: skip
STATUSES = ("described", "unchanged", "kept", "skipped", "failed")
"""unchanged: what was there says the same; kept: a person's text was there and stays; skipped: nothing to describe."""

_LISTS = ("alternatives", "tags", "segments", "corrections", "tags_before", "tags_after")
_JSON = ("facts", "segments", "corrections")
"""Columns that are JSON in a CSV too; the other lists are joined there."""
_NUMBERS = ("frames", "seconds")

Row = dict[str, Any]


def row(file: str, action: str, status: str, message: str = "", **values: Any) -> Row:
    """A row with every column in order. `values`: any of the columns; those that are not given are empty.

    Raises:
        ValueError: a column or status that does not exist.
    """
    if status not in STATUSES or not set(values) <= set(COLUMNS):
        raise ValueError(f"no such status or column: {status}, {sorted(set(values) - set(COLUMNS))}")
    given = {"file": file, "action": action, "status": status, "message": message, **values}
    return {name: given.get(name, _empty(name)) for name in COLUMNS}


def _empty(name: str) -> Any:
    return [] if name in _LISTS else {} if name == "facts" else None if name in _NUMBERS else ""


def in_order(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Rows sorted by file, then action; those of one name stay in the order in which they were made."""
    return [dict(r) for r in sorted(rows, key=lambda r: (str(r["file"]), str(r["action"])))]


def counts(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many rows there are of each status that occurs, in the order of STATUSES."""
    found = Counter(str(r["status"]) for r in rows)
    return {status: found[status] for status in STATUSES if found[status]}


def as_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows as CSV: lists joined by "; ", facts, segments and corrections as JSON."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for entry in rows:
        writer.writerow([_cell(name, entry[name]) for name in COLUMNS])
    return out.getvalue()


def _cell(name: str, value: Any) -> Any:
    if name in _JSON:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")) if value else ""
    return "; ".join(value) if isinstance(value, (list, tuple)) else value


def as_json(rows: Iterable[Mapping[str, Any]], made_with: Mapping[str, Any]) -> str:
    """{"made_with": {…}, "rows": […]}, one row a line."""
    lines = ",\n".join(json.dumps({name: r[name] for name in COLUMNS}, ensure_ascii=False) for r in rows)
    return f'{{"made_with": {json.dumps(dict(made_with), ensure_ascii=False)},\n"rows": [\n{lines}\n]}}\n'


def paths_of(report: Path) -> tuple[Path, Path, Path]:
    """The .csv, the .json and the journal that one name stands for.

    Raises:
        CoreError: report_type, report_not_written.
    """
    if report.suffix.lower() not in (".csv", ".json"):
        raise CoreError("report_type", f"'{report.name}' is not a report's name.", "Let it end in .csv or .json.")
    if not report.parent.is_dir():
        raise CoreError("report_not_written", f"There is no folder '{report.parent}'.", "Make it, or choose another.")
    return report.with_suffix(".csv"), report.with_suffix(".json"), report.with_suffix(".journal.jsonl")


def write_report(report: Path, rows: list[Row], made_with: Mapping[str, Any]) -> tuple[Path, Path]:
    """Write both files, each whole or not at all; returns them.

    Args:
        report: NAME.csv or NAME.json: both are written.
    Raises:
        CoreError: report_type, report_not_written.
    """
    as_table, as_object, _ = paths_of(report)
    for path, text in ((as_table, as_csv(rows)), (as_object, as_json(rows, made_with))):
        write_whole(path, text)
    return as_table, as_object


def write_whole(path: Path, text: str) -> None:
    """Write a text file under another name beside it and rename it. Raises CoreError("report_not_written")."""
    beside = path.with_name(path.name + ".part")
    try:
        with beside.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink()
        told, remedy = f"'{path}' cannot be written: {error.strerror}.", "Close it or choose another; --resume goes on."
        raise CoreError("report_not_written", told, remedy) from error
