"""What was found out about motions, on disk: descriptions and vectors by content, and where each content was seen.

One SQLite file serves every Blender, background process and command line of a user at once. Two kinds of rows:

described  by content key and model: the description as the worker gave it, the matcher's vector of the motion and the
           sentence encoder's vector of the sentence. The key is a hash of what the motion is made of (`key_of`), so a
           copied, renamed or moved action is known already, and one that was changed is not.
placed     by file, action and slot: which content is there. A file that was looked at is noted with its stamp (size
           and time), also where it holds no motion.

It is a cache: everything in it can be made again. So a damaged file is put aside and begun anew, with a note.
Knows nothing of Blender; needs NumPy.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from .errors import UserError
from .ranking import Entries

SCHEMA = 2
"""Part of the file's name: versions of the add-on that store differently leave each other's file alone."""
REFUSED = ""
"""In place of a model's name: no model can describe this."""
WAIT = 30.0
"""Seconds to wait for another process that is writing."""
CHUNK = 500
"""Values in one statement; SQLite may refuse more than 999."""

_TABLES = """
CREATE TABLE IF NOT EXISTS described (
    key TEXT NOT NULL, model TEXT NOT NULL, description TEXT NOT NULL, sentence TEXT NOT NULL, tags TEXT NOT NULL,
    embedder TEXT NOT NULL, vector BLOB NOT NULL, meaning BLOB NOT NULL, PRIMARY KEY (key, model)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS placed (
    file TEXT NOT NULL, action TEXT NOT NULL, slot TEXT NOT NULL, key TEXT NOT NULL,
    PRIMARY KEY (file, action, slot)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (file TEXT PRIMARY KEY, stamp TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS placed_key ON placed (key);
"""

T = TypeVar("T")


@dataclass(frozen=True)
class Stored:
    """What is known of a motion.

    Attributes:
        description: the worker's description, as a dict.
        vector: (128,) float32 of length one, the matcher's; empty where it was not asked for.
        meaning: (384,) float32 of length one, of the sentence; empty likewise.
    """

    description: dict[str, Any]
    vector: np.ndarray
    meaning: np.ndarray


@dataclass(frozen=True)
class Place:
    """Where a motion is. file: as `file_name` gives it; action, slot: their names, slot "" where there is none."""

    file: str
    action: str
    slot: str
    key: str


def key_of(parts: Iterable[bytes | str | np.ndarray]) -> str:
    """A content key: 32 hexadecimal digits that depend on every part and on where it ends."""
    made = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode() if isinstance(part, str) else part if isinstance(part, bytes) else _bytes(part)
        made.update(len(data).to_bytes(8, "little"))
        made.update(data)
    return made.hexdigest()


def file_name(path: str | Path) -> str:
    """The one name under which a file is kept, however it was written: absolute, links followed."""
    return os.path.normcase(os.path.realpath(path))


def stamp_of(path: str | Path) -> str:
    """Size and time of a file; another stamp means another content. "" where there is no file."""
    try:
        found = os.stat(path)
    except OSError:
        return ""
    return f"{found.st_size}.{found.st_mtime_ns}"


class Index:
    """The index in a file, made where there is none. May be used from several threads and processes at once.

    Args:
        path: of the file; its folder is made.
    Attributes:
        note: what the user should know of the index itself, "" if nothing.
    Raises:
        UserError: "index_unusable" from any method, where the disk does not let it be read or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.note = ""
        self._lock = threading.RLock()
        self._opened: sqlite3.Connection | None = None

    # ---- descriptions

    def get(self, key: str, model: str) -> Stored | None:
        """What is known of a content, as that model described it."""
        row = self._do(
            lambda db: db.execute(
                "SELECT description, vector, meaning FROM described WHERE key = ? AND model = ?", (key, model)
            ).fetchone()
        )
        return None if row is None else Stored(json.loads(row[0]), _array(row[1]), _array(row[2]))

    def put(
        self,
        key: str,
        model: str,
        description: dict[str, Any],
        vector: Sequence[float] | np.ndarray = (),
        meaning: Sequence[float] | np.ndarray = (),
    ) -> None:
        """Note a description. The vectors may come apart from it; a long list in the description is not stored twice:
        its "embedding" is left out and is the vector where none is given."""
        if len(vector) == 0:
            vector = description.get("embedding") or ()
        kept = {name: value for name, value in description.items() if name != "embedding"}
        row = (
            *(key, model, json.dumps(kept, ensure_ascii=False, sort_keys=True)),
            *(str(kept.get("sentence", "")), "\n".join(kept.get("tags") or ()), str(kept.get("embedder", ""))),
            *(_blob(vector), _blob(meaning)),
        )  # sentence and tags again as columns: a search reads them of thousands, and nothing else
        marks = ",".join("?" * len(row))
        self._do(lambda db: db.execute(f"INSERT OR REPLACE INTO described VALUES ({marks})", row), write=True)

    def refuse(self, key: str, code: str) -> None:
        """Note that a content cannot be described at all: a single pose, too short. It is not asked for again."""
        row = (key, REFUSED, json.dumps({"refused": code}), "", "", "", b"", b"")
        self._do(lambda db: db.execute("INSERT OR IGNORE INTO described VALUES (?,?,?,?,?,?,?,?)", row), write=True)

    # ---- places

    def place(self, file: str | Path, stamp: str, action: str, slot: str, key: str) -> None:
        """Note that an action of a file has this content. `look` replaces all of a file at once."""
        name = file_name(file)

        def work(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR REPLACE INTO placed VALUES (?, ?, ?, ?)", (name, action, slot, key))
            db.execute("INSERT OR REPLACE INTO seen VALUES (?, ?)", (name, stamp))

        self._do(work, write=True)

    def look(self, file: str | Path, stamp: str, found: Iterable[tuple[str, str, str]]) -> None:
        """Note all that a file holds, (action, slot, key) each, in place of what was noted of it before."""
        name = file_name(file)
        rows = [(name, action, slot, key) for action, slot, key in found]

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM placed WHERE file = ?", (name,))
            db.executemany("INSERT OR REPLACE INTO placed VALUES (?, ?, ?, ?)", rows)
            db.execute("INSERT OR REPLACE INTO seen VALUES (?, ?)", (name, stamp))

        self._do(work, write=True)

    def forget(self, file: str | Path) -> None:
        """Drop what was noted of a file's actions; descriptions stay, they belong to contents."""
        name = file_name(file)

        def work(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM placed WHERE file = ?", (name,))
            db.execute("DELETE FROM seen WHERE file = ?", (name,))

        self._do(work, write=True)

    def stamp(self, file: str | Path) -> str | None:
        """The stamp under which a file was looked at last; None where it never was."""
        row = self._do(lambda db: db.execute("SELECT stamp FROM seen WHERE file = ?", (file_name(file),)).fetchone())
        return None if row is None else str(row[0])

    def stamps(self) -> dict[str, str]:
        """All files that were looked at: name -> stamp."""
        return dict(self._do(lambda db: db.execute("SELECT file, stamp FROM seen").fetchall()))

    def places(self, files: Iterable[str | Path] | None = None) -> list[Place]:
        """Where motions are, by file, action and slot.

        Args:
            files: files, and folders for all that lies in them; None: everywhere.
        """
        rows = self._do(lambda db: db.execute("SELECT * FROM placed ORDER BY file, action, slot").fetchall())
        if files is not None:
            names = {file_name(path) for path in files}
            inside = {file: _inside(file, names) for file in {row[0] for row in rows}}
            rows = [row for row in rows if inside[row[0]]]
        return [Place(*row) for row in rows]

    def undescribed(self, files: Iterable[str | Path]) -> set[str]:
        """The files (as in `places`) with a motion of which nothing is known."""
        statement = "SELECT DISTINCT file FROM placed WHERE key NOT IN (SELECT key FROM described)"
        names = {file_name(path) for path in files}
        return {row[0] for row in self._do(lambda db: db.execute(statement).fetchall()) if _inside(row[0], names)}

    def entries(self, files: Iterable[str | Path] | None = None, *, embedder: str = "") -> Entries:
        """What can be searched in these files (None: everywhere): each place whose content has a vector. `gather`."""
        return self.gather(self.places(files), embedder=embedder)

    def gather(self, places: Sequence[Place], *, embedder: str = "") -> Entries:
        """What can be searched of these places. Vectors of another matcher cannot be compared with the query's.

        Args:
            embedder: name of the matcher that read the query; "" takes vectors of any.
        """
        wanted = sorted({place.key for place in places})
        statement = "SELECT key, model, sentence, tags, vector, meaning, embedder FROM described WHERE key IN"
        found = self._do(lambda db: list(_chunked(db, statement, wanted)))
        known = {
            row[0]: row
            for row in sorted(found, key=lambda row: str(row[1]))  # of several models always the same one
            if row[4] and (not embedder or row[6] == embedder)
        }
        there = [(place, known[place.key]) for place in places if place.key in known]
        settled = {row[0] for row in found if row[1] == REFUSED} | set(known)
        return Entries(
            names=[place.action for place, _ in there],
            slots=[place.slot for place, _ in there],
            files=[place.file for place, _ in there],
            keys=[place.key for place, _ in there],
            sentences=[row[2] for _, row in there],
            tags=[tuple(row[3].split("\n")) if row[3] else () for _, row in there],
            vectors=_rows([row[4] for _, row in there]),
            meanings=_rows([row[5] for _, row in there]),
            missing=sum(place.key not in settled for place in places),
        )

    def version(self) -> tuple[str, int, int]:
        """Changes whenever the index was changed, by whomever: what was read before is stale then."""
        return self._do(
            lambda db: (str(id(db)), int(db.execute("PRAGMA data_version").fetchone()[0]), db.total_changes)
        )

    def close(self) -> None:
        """Let go of the file. The next call opens it again."""
        with self._lock:
            if self._opened is not None:
                self._opened.close()
                self._opened = None

    # ---- the file

    def _do(self, work: Callable[[sqlite3.Connection], T], *, write: bool = False) -> T:
        """Run a piece of work; once more on a new file where this one turns out damaged."""
        with self._lock:
            try:
                return self._run(work, write)
            except sqlite3.OperationalError as error:
                raise self._unusable(error) from error
            except sqlite3.DatabaseError as error:
                self._begin_anew(error)
            try:
                return self._run(work, write)
            except sqlite3.Error as error:
                raise self._unusable(error) from error

    def _run(self, work: Callable[[sqlite3.Connection], T], write: bool) -> T:
        db = self._open()
        if not write:
            return work(db)
        db.execute("BEGIN IMMEDIATE")  # waits for other writers here, not in the middle
        try:
            out = work(db)
            db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            raise
        return out

    def _open(self) -> sqlite3.Connection:
        if self._opened is None:
            try:
                self.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise self._unusable(error) from error
            db = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None, check_same_thread=False)
            try:
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = NORMAL")  # a power cut may cost the last entries, never the file
                db.executescript(_TABLES)
            except BaseException:
                db.close()
                raise
            self._opened = db
        return self._opened

    def _begin_anew(self, error: Exception) -> None:
        """Put a damaged file aside, unless another process did so already."""
        self.close()
        if _sound(self.path):
            return
        aside = self.path.with_name(f"{self.path.name}.damaged")
        try:
            os.replace(self.path, aside)
            for ending in ("-wal", "-shm"):
                self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
        except OSError as trouble:
            raise self._unusable(trouble) from error
        self.note = f"The search index was damaged and is begun anew ({aside.name} is the old one)."

    def _unusable(self, error: Exception) -> UserError:
        return UserError(
            "index_unusable",
            f"The search index '{self.path}' cannot be used ({error}).",
            "Check that the folder can be written and the disk is not full, or delete the file.",
        )


def _sound(path: Path) -> bool:
    """Whether the file can be read through."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=WAIT)) as db:
            return bool(db.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok")
    except sqlite3.Error:
        return False


def _inside(file: str, names: set[str]) -> bool:
    """Whether a file, or a folder that it lies in, is among the names."""
    return file in names or any(str(parent) in names for parent in Path(file).parents)


def _chunked(db: sqlite3.Connection, statement: str, values: Sequence[str]) -> Iterator[Any]:
    for start in range(0, len(values), CHUNK):
        part = values[start : start + CHUNK]
        yield from db.execute(f"{statement} ({','.join('?' * len(part))})", part)


def _bytes(part: np.ndarray) -> bytes:
    return f"{part.dtype.str}{part.shape}".encode() + np.ascontiguousarray(part).tobytes()


def _blob(values: Sequence[float] | np.ndarray) -> bytes:
    return np.asarray(values, "<f4").tobytes()


def _array(blob: bytes) -> np.ndarray:
    return np.frombuffer(blob, "<f4").astype(np.float32)


def _rows(blobs: list[bytes]) -> np.ndarray:
    """(N, D) float32; rows of zeros where a vector is missing or of another length than most."""
    width = max((len(b) for b in blobs), default=0)
    whole = b"".join(b if len(b) == width else bytes(width) for b in blobs)
    return np.frombuffer(whole, "<f4").reshape(len(blobs), width // 4).astype(np.float32)
