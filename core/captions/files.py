"""The motion files of a folder, as tasks of one file each, and the motions in one of them.

.bvh         anybody's
.npz         ours (core/motionfile.py), AMASS or SMPL-X (core/body/amass.py), or a bundle of many clips in the layout of
             core/train/sources/bundle.py, whose captions file is not needed here
.json        ours
.blend       Blender's; described by a Blender of the caller's, not by the core
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.errors import CoreError

ENDINGS = (".bvh", ".npz", ".json", ".blend")
PART = 256
"""Clips of a bundle that are one task: some seconds of work, so that little is lost and several processes share it."""

_BUNDLE = {"local", "root_xz", "offsets", "ids"}
_MOTION = {"joints", "poses", "pose_body"}
"""Names of which an .npz has one if it holds a motion; AMASS folders also hold files of a body's shape alone."""


@dataclass(frozen=True)
class Task:
    """A file to describe, or a part of a bundle.

    Files are not described together, although that would be quicker: the last bits of a product depend on what else is
    in it, and a report must not depend on who did what, or on where an earlier run was stopped.

    Args:
        path: absolute, for whichever process opens it.
        file: as the report names it: below the path that was given.
        first, last: the clips of a bundle that this task has, the last excluded; 0, 0 for any other file.
    """

    path: str
    file: str
    first: int = 0
    last: int = 0

    @property
    def name(self) -> str:
        """What tells tasks apart: the file and, of a bundle, the part."""
        return f"{self.file}[{self.first}:{self.last}]" if self.last else self.file

    @property
    def is_blend(self) -> bool:
        return self.path.lower().endswith(".blend")


@dataclass(frozen=True)
class Found:
    """What lies at the paths that were given: tasks in the report's order, and folders that could not be read."""

    tasks: tuple[Task, ...]
    unreadable: tuple[tuple[str, str], ...]  # (folder, what the system says)


def find(paths: Iterable[Path], leave_out: Iterable[Path] = ()) -> Found:
    """Every file of a known kind at or below the paths; hidden ones and those of `leave_out` (reports) excepted.

    Raises:
        CoreError: file_missing, file_type_unknown, motions_missing.
    """
    given = list(paths)
    unreadable: list[tuple[str, str]] = []
    files: dict[str, str] = {}  # absolute path -> the report's name for it; the first name of a file counts
    for path in given:
        if path.is_dir():
            for file in _below(path, unreadable):
                files.setdefault(os.path.abspath(file), _shown(file))
        elif not path.exists():
            raise CoreError("file_missing", f"'{path}' cannot be read: there is nothing.", "Check the path.")
        elif path.suffix.lower() not in ENDINGS:
            raise CoreError(
                "file_type_unknown",
                f"'{path.name}' is not a kind of motion file known here.",
                f"Use {', '.join(ENDINGS)}, or a folder.",
            )
        else:
            files.setdefault(os.path.abspath(path), _shown(path))
    for path in leave_out:
        files.pop(os.path.abspath(path), None)
    if not files and not unreadable:
        named = ", ".join(f"'{path}'" for path in given)
        raise CoreError("motions_missing", f"There are no motion files in {named}.", f"Use {', '.join(ENDINGS)}.")
    tasks = [task for path, file in files.items() for task in _tasks(path, file)]
    return Found(tuple(sorted(tasks, key=lambda t: (t.file, t.first))), tuple(sorted(unreadable)))


def _below(folder: Path, unreadable: list[tuple[str, str]]) -> Iterator[Path]:
    def note(error: OSError) -> None:
        unreadable.append((_shown(Path(str(error.filename))), str(error.strerror)))

    for where, folders, names in os.walk(folder, onerror=note):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in ENDINGS:
                yield Path(where) / name


def _shown(path: Path) -> str:
    """The path with forward slashes; bytes that are no UTF-8 are spelled out, for a report is UTF-8."""
    return path.as_posix().encode("utf-8", "backslashreplace").decode("utf-8")


def _tasks(path: str, file: str) -> Iterator[Task]:
    count = clips_in(Path(path))
    if not count:
        yield Task(path, file)
    for first in range(0, count, PART):
        yield Task(path, file, first, min(first + PART, count))


def clips_in(path: Path) -> int:
    """How many clips a bundle has; 0 if the file is none, or cannot be read: whoever describes it will say why."""
    if path.suffix.lower() != ".npz" or not _names(path) >= _BUNDLE:
        return 0
    try:
        with np.load(path, allow_pickle=False) as content:
            return int(content["ids"].size)
    except Exception:  # a damaged archive can fail in any way: zip, header, numbers
        return 0


def _names(path: Path) -> set[str]:
    """What an .npz holds; nothing where it is no archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {name.removesuffix(".npy") for name in archive.namelist()}
    except (OSError, zipfile.BadZipFile, ValueError):
        return set()


def read(task: Task, body_model: Path | None = None) -> list[tuple[str, np.ndarray]]:
    """The motions of a task: each one's name and its joints (T, 22, 3) float32, metres, Y up, 20 fps.

    Of a file with one motion the name is the file's own; a bundle's clips have their ids.

    Raises:
        CoreError: motion_missing (a file of this type that holds something else), data_broken, and what
            `core.motionfile.read_motion` raises.
    """
    path = Path(task.path)
    if task.last:
        return _read_clips(path, task.first, task.last)
    from core.motionfile import read_motion

    try:
        return [(_shown(Path(path.stem)), read_motion(path, uniform=True, body_model=body_model))]
    except CoreError as error:
        if error.code in ("file_broken", "body_motion_broken") and _holds_something_else(path):
            raise CoreError("motion_missing", f"'{path.name}' holds something else than a motion.") from error
        raise


def _read_clips(path: Path, first: int, last: int) -> list[tuple[str, np.ndarray]]:
    from core.train.sources.bundle import bundle_arrays, bundle_joints

    local, root, offsets, ids = bundle_arrays(path)
    return [(ids[i], bundle_joints(local, root, offsets, i)) for i in range(first, min(last, len(ids)))]


def _holds_something_else(path: Path) -> bool:
    """Whether a file is whole but was never meant to be a motion: any program's .json, a body's shape, statistics."""
    if path.suffix.lower() == ".npz":
        names = _names(path)
        return bool(names) and not names & _MOTION
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return not (isinstance(content, dict) and "joints" in content)
