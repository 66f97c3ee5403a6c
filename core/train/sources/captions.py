"""The captions file of a folder of motion files: captions.csv, .tsv, .jsonl or .txt.

    .csv, .tsv   columns file, caption and, where wanted, split, start, end; the first row may name them, in any order
    .txt         a line: file, tab, caption
    .jsonl       a line: {"file": …, "caption": …, "split": …, "start": …, "end": …}, or "captions": [several]

A file may have several lines. `split` is train, val or test; without it, nine files in ten are for training and the
rest for validation and test, always the same ones. `start` and `end` are seconds within the file; without them, or
with 0 and 0, the caption is that of the whole file.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import CoreError
from core.train.sources.checks import broken, check_split, read_lines

NAMES = ("captions.csv", "captions.tsv", "captions.jsonl", "captions.txt")
_COLUMNS = ("file", "caption", "split", "start", "end")
_ALSO = {"path": "file", "filename": "file", "name": "file", "text": "caption", "description": "caption"}


@dataclass(frozen=True)
class Caption:
    """One line, `where` it stands. `file` is relative to the folder; `start`, `end` seconds, 0 and 0 for all of it."""

    file: str
    text: str
    split: str | None
    start: float
    end: float
    where: str


def find_captions(folder: Path) -> Path:
    """The folder's captions file. Raises CoreError("data_broken") where there is none, or more than one."""
    found = [folder / name for name in NAMES if (folder / name).is_file()]
    if not found:
        raise CoreError(
            "data_broken",
            f"The folder '{folder}' has motion files, but no captions: one of {', '.join(NAMES)} is needed.",
            "Write one: a line for each caption, the file's name, a tab, what the motion shows (captions.txt).",
        )
    if len(found) > 1:
        raise broken(str(folder), f"there are {' and '.join(f.name for f in found)}", "Keep the one that counts.")
    return found[0]


def read_captions(path: Path) -> list[Caption]:
    """All lines, checked. Raises CoreError("data_broken") naming the line."""
    rows = _objects(path) if path.suffix == ".jsonl" else _table(path)
    captions = [_caption(row, where) for where, row in rows]
    if not captions:
        raise broken(path.name, "there is no caption in it")
    splits: dict[str, str | None] = {}
    for c in captions:
        if splits.setdefault(c.file, c.split) != c.split:
            raise broken(c.where, f"'{c.file}' is in the split {splits[c.file]} further up, and here in {c.split}",
                         "All captions of a file belong to one split.")  # fmt: skip
    return captions


def split_of(name: str) -> str:
    """Train, val or test (90, 5, 5 in a hundred) for a file that says nothing, by its name alone."""
    share = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2**64
    return "train" if share < 0.9 else "val" if share < 0.95 else "test"


def _table(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows of .csv (commas, quotes), .tsv and .txt (tabs, no quotes)."""
    lines = read_lines(path)
    if path.suffix == ".csv":
        reader = csv.reader((line + "\n" for line in lines), strict=True)
    else:
        reader = csv.reader((line + "\n" for line in lines), delimiter="\t", quoting=csv.QUOTE_NONE)
    columns: list[str] = list(_COLUMNS[:2] if path.suffix == ".txt" else _COLUMNS)
    first = True
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise broken(f"{path.name}, line {reader.line_num}", f"it cannot be read ({error})") from error
        where = f"{path.name}, line {reader.line_num}"
        if not any(cell.strip() for cell in cells):
            continue
        named = [_ALSO.get(cell.strip().lower(), cell.strip().lower()) for cell in cells]
        if first and "file" in named and "caption" in named:
            columns, first = named, False
            continue
        first = False
        if len(cells) > len(columns) or len(cells) < 2:
            raise broken(where, f"there are {len(cells)} columns where {', '.join(columns)} are meant",
                         "Put captions with commas in quotes." if path.suffix == ".csv" else
                         "Separate the columns by one tab each.")  # fmt: skip
        yield where, dict(zip(columns, cells, strict=False))


def _objects(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for n, line in enumerate(read_lines(path), 1):
        if not line.strip():
            continue
        where = f"{path.name}, line {n}"
        try:
            entry = json.loads(line)
        except ValueError as error:
            raise broken(where, f"it is not JSON ({error})") from error
        if not isinstance(entry, dict):
            raise broken(where, 'it is not an object {"file": …, "caption": …}')
        row = {_ALSO.get(key.lower(), key.lower()): value for key, value in entry.items()}
        texts = row.pop("captions", None) or [row.get("caption")]
        if not isinstance(texts, list):
            raise broken(where, "'captions' is not a list")
        for text in texts:
            yield where, row | {"caption": text["text"] if isinstance(text, dict) and "text" in text else text}


def _caption(row: dict[str, Any], where: str) -> Caption:
    file, text = row.get("file"), row.get("caption")
    for name, value in (("file", file), ("caption", text)):
        if not isinstance(value, str) or not value.strip():
            raise broken(where, f"there is no {name}")
    file, text = str(file), str(text)
    file = file.strip().replace("\\", "/")
    if file.startswith("/") or ":" in file or ".." in file.split("/"):
        raise broken(where, f"'{file}' is not in this folder", "Give paths relative to the captions file.")
    split = str(row.get("split") or "").strip().lower() or None
    check_split(split, where)
    start, end = _seconds(row.get("start"), "start", where), _seconds(row.get("end"), "end", where)
    if (start or end) and end <= start:
        raise broken(where, f"the time span from {start:g} to {end:g} seconds is empty")
    return Caption(file, " ".join(text.split()), split, start, end, where)


def _seconds(value: Any, name: str, where: str) -> float:
    try:
        seconds = 0.0 if value is None or str(value).strip() == "" else float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds >= 0):
        raise broken(where, f"the {name} '{value}' is not a time in seconds")
    return seconds
