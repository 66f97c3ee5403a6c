"""What the panel Search does: the search under way, its list, and describing what is not described yet.

The list lies on the window manager: it belongs to the window, not to the file, and no undo touches it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import bpy

from . import blendfiles, finding, library, rows
from .described import Options
from .describing import Run
from .errors import UserError
from .libraryrun import LibraryRun
from .motionindex import Index, Place, file_name, stamp_of
from .searching import Answer, Found, Query, Search, forget
from .thisfile import census


@dataclass
class View:
    """What the panel shows beside the list.

    Attributes:
        run: the search or indexing under way, None where there is none.
        answer: what was found last. error: how the last one ended, where it failed. line: what indexing did.
    """

    run: Search | Indexing | None = None
    answer: Answer | None = None
    error: UserError | None = None
    line: str = ""


view = View()


def busy() -> bool:
    """Whether a search or indexing is under way."""
    return view.run is not None and not view.run.ended


class Indexing:
    """Describing what the index does not know, without writing anything: this file's actions, then library files.

    Has the face of `describing.Run`. Only one run at a time describes, and none while a library is described.

    Args:
        here: this file's actions. files: library files.

    Raises UserError (busy, nothing_to_index) and those of the runs.
    """

    def __init__(self, here: bool, files: Sequence[Path], *, jobs: int = 2) -> None:
        if library.busy():
            raise UserError("busy", "A library is being described.", "Wait for it, or cancel it.")
        self._todo: list[Callable[[], Run | LibraryRun]] = []
        if here and len(bpy.data.actions):
            own = [action for action in bpy.data.actions if action.library is None]
            name = bpy.data.filepath or "unsaved"
            self._todo.append(lambda: Run(own, Options(), file=name, index=finding.index()))
        if files:
            self._todo.append(lambda: LibraryRun(list(files), Options(), jobs=jobs))
        if not self._todo:
            raise UserError("nothing_to_index", "There is nothing to describe here.", "Choose where to search.")
        self.rows: list[rows.Row] = []
        self.error: UserError | None = None
        self.ended = False
        self._parts = len(self._todo)
        self._files = [file_name(path) for path in files]
        self._run: Run | LibraryRun | None = self._todo.pop(0)()

    @property
    def fraction(self) -> float:
        done = self._parts - len(self._todo) - 1
        return 1.0 if self.ended or self._run is None else (done + self._run.fraction) / self._parts

    @property
    def message(self) -> str:
        return "" if self._run is None else self._run.message

    def step(self, seconds: float = 0.05) -> bool:
        """Go on for about so long; True when it is over."""
        run = self._run
        if self.ended or run is None:
            return True
        try:
            if not run.step(seconds):
                return False
            self._take_in(run)
            self._run = self._todo.pop(0)() if self._todo and run.error is None else None
            self.error = self.error or run.error
            self.ended = self._run is None
        except UserError as error:
            self.error, self.ended = error, True
        return self.ended

    def finish(
        self, progress: Callable[[float, str], None] | None = None, cancelled: Callable[[], bool] | None = None
    ) -> None:
        """Do it all, blocking. Raises UserError."""
        while not self.ended:
            run = self._run
            assert run is not None
            with contextlib.suppress(UserError):  # `step` has it
                run.finish(progress, cancelled)
            self.step()
        if self.error is not None:
            raise self.error

    def cancel(self) -> None:
        """Stop. What was described by then is known."""
        self._todo.clear()
        if self._run is not None:
            self._run.cancel()
            self.step()

    def _take_in(self, run: Run | LibraryRun) -> None:
        index = finding.index()
        self.rows += run.rows
        failed = {(file_name(str(row["file"])), str(row["action"])) for row in run.rows if row["status"] == rows.FAILED}
        if isinstance(run, Run):
            census.take(run.places)
            own = file_name(bpy.data.filepath or "unsaved")
            places = [Place(own, action, slot, key) for action, slot, key in run.places]
        else:
            stamps = index.stamps()
            for path in self._files:  # what cannot be opened is not asked for again either, until it changes
                if run.error is None and stamps.get(path) != stamp_of(path):
                    index.look(path, stamp_of(path), [])
            places = index.places(self._files)
        if run.error is None:
            _refuse(index, places, failed)


def _refuse(index: Index, places: Sequence[Place], failed: set[tuple[str, str]]) -> None:
    """Note what was looked at and cannot be described, a pose or a tenth of a second: nothing is missing there."""
    known = set(index.gather(places).keys)
    for place in places:
        names = {(place.file, place.action), (place.file, f"{place.action} / {place.slot}")}
        if place.key not in known and not names & failed:
            index.refuse(place.key, "not_describable")


def start(query: Query) -> Search:
    """Begin a search. Raises UserError."""
    _check_free()
    view.error, view.line = None, ""
    view.run = run = Search(query)
    return run


def start_indexing(here: bool, files: Sequence[Path], *, jobs: int = 2) -> Indexing:
    """Begin to describe what is not described. Raises UserError."""
    _check_free()
    view.error, view.line = None, ""
    view.run = run = Indexing(here, files, jobs=jobs)
    return run


def show(manager: bpy.types.WindowManager) -> None:
    """Put what a search knows by now into the list."""
    run = view.run
    if not isinstance(run, Search) or run.answer is None or run.answer is view.answer:
        return
    view.answer = run.answer
    table = manager.mgpt3_found
    table.clear()
    for one in run.answer.found:
        row = table.add()
        row.name = f"{one.action} {one.sentence}"  # what the list's own filter looks at
        row.action, row.slot, row.uid, row.file = one.action, one.slot, str(one.uid), one.file
        row.sentence, row.tags, row.score = one.sentence, ", ".join(one.tags), one.score
        row.key, row.others = one.key, one.others
    manager.mgpt3_found_active = 0


def conclude(manager: bpy.types.WindowManager) -> UserError | None:
    """Take in the end of what was under way. -> its error, if it had one."""
    run = view.run
    show(manager)
    view.run = None
    if run is None:
        return None
    cancelled = run.error is not None and run.error.code == "cancelled"
    view.error = None if cancelled else run.error
    if isinstance(run, Indexing):
        words = rows.counted(run.rows)
        view.line = f"{words[:1].upper()}{words[1:]}." if run.rows else ""
        failed = [row for row in run.rows if row["status"] == rows.FAILED]
        if failed:
            view.line += f" {Path(failed[0]['file']).name}: {failed[0]['message']}"
    return run.error


def chosen(manager: bpy.types.WindowManager) -> Found | None:
    """The motion that is chosen in the list."""
    table, active = manager.mgpt3_found, manager.mgpt3_found_active
    if not 0 <= active < len(table):
        return None
    row = table[active]
    tags = tuple(filter(None, row.tags.split(", ")))
    return Found(row.action, row.slot, int(row.uid or 0), row.file, row.sentence, tags, row.score, row.key, row.others)


def summary() -> str:
    """One line on how it ended."""
    return view.line or (view.answer.line if view.answer is not None else "")


def unseen(folders: Sequence[Path]) -> list[Path]:
    """The .blend files of folders that the index does not know as they are now, or not all motions of."""
    index = finding.index()
    stamps = index.stamps()
    undescribed = index.undescribed(folders)
    files = blendfiles.find([folder for folder in folders if folder.is_dir()])
    return [path for path in files if stamps.get(name := file_name(path)) != stamp_of(path) or name in undescribed]


def stop() -> None:
    """Cancel what is under way, if anything is."""
    if view.run is not None:
        view.run.cancel()


def abandon() -> None:
    """Cancel what is under way and forget it: nobody is there to take in its end."""
    stop()
    view.run = None


def reset() -> None:
    """Forget everything: another file is being loaded, or the add-on goes."""
    stop()
    forget()
    view.run, view.answer, view.error, view.line = None, None, None, ""


def _check_free() -> None:
    if busy():
        raise UserError("busy", "A search is under way.", "Wait for it, or cancel it.")
