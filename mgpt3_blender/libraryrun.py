"""Describing the .blend files of folders: which files, in which processes, with a journal to go on from and a report.

A `LibraryRun` has the face of a `describing.Run`: `step` for a window, `finish` to block. The files are opened in
background Blenders (`librarychild`), never in this one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import bpy

from . import VERSION, blendfiles, preferences, rows
from .child import child_environment
from .described import Options
from .errors import UserError
from .librarypool import Done, Fleet, Pool, Told
from .motionindex import stamp_of
from .steps import see_through

JOBS, MAX_JOBS = 2, 64
COMMAND = "describe-child"


class LibraryRun:
    """Describing files of a library.

    Args:
        paths: .blend files and folders. recursive: folders in folders, too.
        options: how.
        jobs: how many background Blenders at once; each takes about 1 GB.
        report: NAME.csv or NAME.json: both are written when it is over; None: no report.
        resume: go on where a run with the same report, or without one over the same paths, was stopped.
        only: file as the rows name it -> names of the actions to describe; a file that is not named is left out. None:
            all.
        fleet: how the processes are started.

    Attributes:
        rows, error, warnings, ended, fraction, message: as of `describing.Run`.
        journal: the file to go on from.

    Raises UserError: path_missing, no_files, report_unwritable, and where the model is not set up or its licence not
    accepted.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        options: Options | None = None,
        *,
        jobs: int = JOBS,
        report: Path | None = None,
        resume: bool = False,
        recursive: bool = True,
        only: Mapping[str, Sequence[str]] | None = None,
        fleet: Fleet | None = None,
    ) -> None:
        preferences.check_licence()
        preferences.python()  # said now, not once by each process
        self.options = options or Options()
        self.report = report
        self.rows: list[rows.Row] = []
        self.error: UserError | None = None
        self.warnings: list[str] = []
        self.ended = False
        self._only = only
        files = {blendfiles.shown(path): path for path in blendfiles.find(paths, recursive=recursive)}
        self._files = {name: path for name, path in files.items() if only is None or name in only}
        if not self._files:
            raise UserError("no_files", "There is no .blend file to describe.", "Choose a folder that has some.")
        self.journal = rows.report_paths(report)[2] if report is not None else _own_journal(paths)
        self._journal = rows.Journal(self.journal, self._about(), resume=resume)
        self._under_way: dict[str, tuple[float, str]] = {}
        self._count = 0  # files that are done with
        workers = min(jobs, len(self._files), MAX_JOBS)
        self._pool = Pool(fleet or default_fleet(workers), workers)
        opened = [bpy.data.filepath] if bpy.data.filepath else []
        for name, path in self._files.items():
            known = self._journal.rows(name, stamp_of(path)) if only is None else None
            if known is not None:
                self._count += 1
                self.rows += known
            else:
                actions = None if only is None else list(only[name])
                options_given = {"path": os.path.abspath(path), "name": name, "actions": actions, "open": opened}
                self._pool.submit(name, options_given | asdict(self.options))

    @property
    def fraction(self) -> float:
        return (self._count + sum(part for part, _ in self._under_way.values())) / max(len(self._files), 1)

    @property
    def message(self) -> str:
        if self._count == 0 and not self._under_way:
            return "Starting Blender in the background"
        return f"{self._count} of {len(self._files)} files"

    @property
    def processes(self) -> list[int]:
        """Ids of the background Blenders."""
        return self._pool.processes

    def step(self, seconds: float = 0.0, *, may_write: bool = True) -> bool:
        """Take in what the processes said; True when it is over. Never blocks."""
        if self.ended:
            return True
        try:
            for event in self._pool.poll():
                if isinstance(event, Told):
                    self._under_way[event.name] = (event.fraction, event.message)
                else:
                    self._done(event)
            if self._pool.idle:
                self._conclude()
        except UserError as error:
            self._give_up(error)
        except BaseException:
            self.cancel()
            raise
        return self.ended

    def finish(
        self, progress: Callable[[float, str], None] | None = None, cancelled: Callable[[], bool] | None = None
    ) -> list[rows.Row]:
        """Do it all, blocking; returns the rows. Raises UserError; what is described by then stays described."""
        see_through(self, progress, cancelled, pause=0.05)
        return self.rows

    def cancel(self) -> None:
        """Stop. Files that are done stay done; the ones under way are as they were."""
        if not self.ended:
            words = f"Stopped after {self._count} of {len(self._files)} files."
            self._give_up(UserError("cancelled", words, "Resume goes on from there."))

    def _done(self, event: Done) -> None:
        self._under_way.pop(event.name, None)
        self._count += 1
        told = event.rows
        if told is None:
            assert event.error is not None
            told = [rows.error_row(event.name, event.error)]
        self.rows += told
        if self._only is None:
            self._journal.add(event.name, event.stamp, told)

    def _conclude(self) -> None:
        self.ended = True
        self._pool.stop()
        self._journal.close()
        self.rows = rows.ordered(self.rows)
        for folder in {path.resolve().parent for path in self._files.values()}:
            blendfiles.clean(folder)  # of processes that crashed
        if self.report is not None:
            rows.write_report(self.report, self.rows, made_with())

    def _give_up(self, error: UserError) -> None:
        self.error, self.ended = error, True
        self._pool.stop()
        self._journal.close()
        self.rows = rows.ordered(self.rows)

    def _about(self) -> dict[str, Any]:
        model = preferences.model_in_use()
        who = {"blender": list(bpy.app.version[:2]), "model": f"{model.name} {model.bytes}"}
        return asdict(self.options) | who


def made_with() -> dict[str, Any]:
    """What a report says of how it was made, beside the model in each row; no times, no machine, nor how the work was
    spread: the same files give the same report."""
    return {"program": f"MotionGPT3 for Blender {VERSION}"}


def default_fleet(workers: int) -> Fleet:
    """How a background Blender is started: as this one was, with this add-on and the Python that is set up here.

    Args:
        workers: how many there will be; they share the processor's cores.
    """
    folder = preferences.user_folder()
    env = child_environment(os.environ, folder / "bytecode")
    env["MGPT3_PYTHON"] = str(preferences.python())
    if workers > 1 and "OMP_NUM_THREADS" not in env:
        env["OMP_NUM_THREADS"] = str(max((os.cpu_count() or 1) // workers, 1))
    return Fleet(tuple(blender_command(COMMAND)), Path.home(), env, folder / "logs" / "library.log")


def blender_command(*arguments: str) -> list[str]:
    """The words that start a Blender like this one in the background and have it do `mgpt3 ARGUMENTS`."""
    package = __package__ or ""
    if bpy.app.binary_path:
        return [bpy.app.binary_path, "-b", "--addons", package, "--command", "mgpt3", *arguments]
    # Blender as a Python module: a Python that knows where this package is, whatever folder it is started in.
    start = (
        f"import os, runpy, sys; sys.path.insert(0, {str(preferences.PACKAGE.parent)!r}); "
        f"os.environ.setdefault('MGPT3_PYTHON', {str(preferences.python())!r}); "
        f"runpy.run_module({package + '.librarychild'!r}, run_name='__main__')"
    )
    return [sys.executable, "-c", start, *(() if arguments == (COMMAND,) else arguments)]


def _own_journal(paths: Sequence[Path]) -> Path:
    """The journal of runs without a report: in the add-on's folder, one for each choice of paths."""
    named = json.dumps(sorted(os.path.abspath(path) for path in paths))
    folder = preferences.user_folder() / "library"
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{hashlib.sha256(named.encode()).hexdigest()[:16]}.journal.jsonl"
