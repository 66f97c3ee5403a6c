"""What the panel Library does: which actions or files are meant, the run under way, and the table it leaves behind.

The table lies on the window manager: it belongs to the window, not to the file, and is gone with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

from . import finding, rows
from .described import Options, chosen
from .describing import Run
from .errors import UserError
from .libraryrun import LibraryRun, made_with
from .motionindex import file_name, stamp_of

SELECTED, FILE, LIBRARY, FOLDER = "SELECTED", "FILE", "LIBRARY", "FOLDER"
MOST_ROWS = 5000
"""Rows in the table: a panel with more is of use to nobody, and the report has all."""
WORDS = 1000  # letters of a text in the table


@dataclass
class View:
    """What the panel shows beside the table.

    Attributes:
        run: the one under way, None where there is none. writes: it writes.
        line, error: how the last one ended.
        previewed: what the table is a preview of (`key`); None where it is none.
    """

    run: Run | LibraryRun | None = None
    writes: bool = False
    line: str = ""
    error: UserError | None = None
    previewed: tuple[Any, ...] | None = None


view = View()


def busy() -> bool:
    """Whether a run is under way."""
    return view.run is not None and not view.run.ended


def key(settings: bpy.types.PropertyGroup, context: bpy.types.Context) -> tuple[Any, ...]:
    """What a preview depends on: where another one is chosen, the table is no longer what would be written."""
    where = {LIBRARY: settings.library, FOLDER: settings.folder}.get(settings.scope, bpy.data.filepath)
    return (settings.scope, where, settings.recursive, settings.overwrite, settings.mark)


def start(context: bpy.types.Context, *, write: bool, resume: bool = False, scope: str = "") -> Run | LibraryRun:
    """Begin a run over what the panel says: a preview of everything, or writing what is ticked in the table.

    Args:
        scope: instead of the panel's.

    Raises UserError: busy, nothing_selected, no_actions, not_previewed, nothing_ticked, no_library, and those of the
    runs.
    """
    settings = context.scene.mgpt3_library
    scope = scope or settings.scope
    if busy():
        raise UserError("busy", "A library is being described.", "Wait for it, or cancel it.")
    if write and view.previewed != key(settings, context):
        raise UserError("not_previewed", "What is chosen now was not previewed yet.", "Press Preview first.")
    ticked = [(row.file, row.action) for row in context.window_manager.mgpt3_library_rows if row.use] if write else []
    if write and not ticked:
        raise UserError("nothing_ticked", "No description is ticked.", "Tick the ones to write.")
    options = Options(write, settings.overwrite, settings.mark)
    if scope in (LIBRARY, FOLDER):
        run: Run | LibraryRun = _over_files(context, options, scope, ticked, resume)
    else:
        run = _here(context, options, scope, [action for _, action in ticked] if write else None)
    view.run, view.writes, view.line, view.error = run, write, "", None
    if not write:
        context.window_manager.mgpt3_library_rows.clear()
        view.previewed = None
    return run


def conclude(context: bpy.types.Context) -> UserError | None:
    """Take in the end of a run: the table, the report, the line that says how it went. -> its error, if it had one."""
    run = view.run
    assert run is not None
    view.run = None
    settings = context.scene.mgpt3_library
    if run.error is not None and not (isinstance(run, LibraryRun) and run.rows):
        view.error = None if run.error.code == "cancelled" else run.error
        view.line = str(run.error) if run.error.code == "cancelled" else ""
        return run.error
    if view.writes and run.error is not None:  # what is ticked stays: Resume goes on with it
        view.line, view.error = "", run.error
        return run.error
    fill(context.window_manager, run.rows, ticked=not view.writes)
    view.previewed = key(settings, context) if run.error is None and not view.writes else None
    view.line = f"{'Written' if view.writes else 'Preview'}: {rows.counted(run.rows)}."
    view.error = run.error
    try:
        if isinstance(run, Run) and settings.report:
            rows.write_report(Path(bpy.path.abspath(settings.report)), run.rows, made_with())
        if isinstance(run, Run) and bpy.data.filepath and not bpy.data.is_dirty:
            _note_places(run)
    except UserError as error:
        view.error = error
    return view.error


def stop() -> None:
    """Cancel the run under way, if there is one."""
    if view.run is not None:
        view.run.cancel()


def reset() -> None:
    """Forget everything: another file is being loaded, or the add-on goes."""
    stop()
    view.run, view.line, view.error, view.previewed = None, "", None, None


def fill(manager: bpy.types.WindowManager, table: Sequence[rows.Row], *, ticked: bool) -> None:
    """Show rows in the table. ticked: those that would change something are chosen for writing."""
    shown = manager.mgpt3_library_rows
    shown.clear()
    for entry in table[:MOST_ROWS]:
        row = shown.add()
        row.name = f"{entry['action']} {entry['sentence']}"[:WORDS]  # what the list's own filter looks at
        row.file, row.action, row.status = str(entry["file"]), str(entry["action"]), str(entry["status"])
        row.before, row.after = entry["description_before"][:WORDS], entry["description_after"][:WORDS]
        row.sentence, row.message = entry["sentence"][:WORDS], entry["message"][:WORDS]
        row.tags_before, row.tags_after = ", ".join(entry["tags_before"]), ", ".join(entry["tags_after"])
        row.use = ticked and entry["status"] in (rows.DESCRIBED, rows.KEPT)
    first = next((n for n, row in enumerate(shown) if row.use), 0)
    manager.mgpt3_library_active = first


def selected_actions(context: bpy.types.Context) -> list[bpy.types.Action]:
    """The actions that are selected in an outliner or asset browser, and the one that the active object plays."""
    found: dict[int, bpy.types.Action] = {}

    def take(data: Any) -> None:
        if isinstance(data, bpy.types.Action):
            found[data.session_uid] = data

    for window in context.window_manager.windows:
        for area in window.screen.areas:
            if area.type not in ("OUTLINER", "FILE_BROWSER"):
                continue
            with context.temp_override(window=window, area=area):
                for data in getattr(context, "selected_ids", None) or ():
                    take(data)
                for asset in getattr(context, "selected_assets", None) or ():
                    take(asset.local_id)
    for data in getattr(context, "selected_ids", None) or ():
        take(data)
    active = context.view_layer.objects.active
    if active is not None and active.animation_data is not None:
        take(active.animation_data.action)
    return list(found.values())


def folder_of(context: bpy.types.Context, scope: str) -> Path:
    """The folder that is chosen. Raises UserError("no_library")."""
    settings = context.scene.mgpt3_library
    if scope == FOLDER:
        path = bpy.path.abspath(settings.folder) if settings.folder else ""
    else:
        libraries = context.preferences.filepaths.asset_libraries
        library = libraries.get(settings.library) if settings.library else None
        path = library.path if library is not None else ""
    if not path or not Path(path).is_dir():
        where = "asset library" if scope == LIBRARY else "folder"
        raise UserError("no_library", f"No {where} is chosen, or it is not there.", f"Choose the {where}.")
    return Path(path)


def _here(context: bpy.types.Context, options: Options, scope: str, names: Sequence[str] | None) -> Run:
    actions = list(bpy.data.actions) if scope == FILE else selected_actions(context)
    if names is not None:
        actions = chosen(bpy.data.actions, names)
    if not actions:
        if scope == FILE:
            raise UserError("no_actions", "This file has no actions.", "Describe a library, or open another file.")
        raise UserError(
            "nothing_selected",
            "No action is selected.",
            "Select some in an outliner or asset browser, or a character that plays one.",
        )
    return Run(actions, options, file=bpy.data.filepath or "unsaved", index=finding.index())


def _over_files(
    context: bpy.types.Context, options: Options, scope: str, ticked: Sequence[tuple[str, str]], resume: bool
) -> LibraryRun:
    settings = context.scene.mgpt3_library
    only: dict[str, list[str]] | None = None
    table = context.window_manager.mgpt3_library_rows
    if options.write and not all(row.use or row.status not in (rows.DESCRIBED, rows.KEPT) for row in table):
        only = {}
        for file, action in ticked:
            only.setdefault(file, []).append(action)
    return LibraryRun(
        [folder_of(context, scope)],
        options,
        jobs=settings.jobs,
        report=Path(bpy.path.abspath(settings.report)) if settings.report else None,
        resume=resume,
        recursive=settings.recursive,
        only=only,
    )


def _note_places(run: Run) -> None:
    """Let the search know where this file's motions are, where the whole file was looked at."""
    if len(run.places) and {place[0] for place in run.places} >= {a.name for a in bpy.data.actions if not a.library}:
        finding.index().look(file_name(bpy.data.filepath), stamp_of(bpy.data.filepath), run.places)
