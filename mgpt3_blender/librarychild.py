"""A background Blender that describes .blend files, one at a time, for a run over a library.

It reads requests from stdin and answers on stdout, one JSON object a line as in `wire`:

    {"id": 1, "method": "describe", "params": {"path", "name", "write", "overwrite", "mark", "alternatives", "fast",
                                               "actions", "open"}}
    {"method": "progress", "params": {"id": 1, "fraction": 0.5, "message": "3 of 6 actions"}}
    {"id": 1, "result": {"rows": [...], "stamp": "..."}}
    {"id": 1, "error": {"message": "...", "data": {"code": "...", "remedy": "..."}}}    what every file would run into

It ends when stdin does, at once: what it was writing is a part-file, and the next run removes that. Its own worker
(the core) stays warm from file to file. Started as `blender -b --command mgpt3 describe-child`, or, where Blender is a
Python module, as `python -m mgpt3_blender.librarychild`.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import bpy

from . import blendfiles, describing, finding, jobs, openfiles, preferences, program, rows
from .described import Options, chosen
from .errors import UserError
from .motionindex import file_name, stamp_of
from .wire import parse_line

OPEN_FILE = "It is open in Blender."


def describe_file(
    path: Path,
    name: str,
    options: Options,
    *,
    only: Sequence[str] | None = None,
    opened: Sequence[str] = (),
    progress: Callable[[float, str], None] | None = None,
) -> list[rows.Row]:
    """Open a file, describe its actions and, where asked for, replace it by one that holds the descriptions.

    Args:
        name: as the rows name the file.
        only: names of rows whose actions to describe; None for all.
        opened: files that are open in another program, beside those that are noted (`openfiles`).
        progress: told (fraction, message).

    What is wrong with the file becomes a row. Raises UserError for what every file would run into, e.g. no model.
    """
    path = Path(os.path.abspath(path))
    try:
        header = blendfiles.read_header(path)
        blendfiles.check_version(header, bpy.app.version)
    except UserError as error:
        return [rows.error_row(name, error, status=_status(error))]
    blendfiles.clean(path.parent)
    try:
        _check_free(path, opened)
        with blendfiles.held(path) as let_go:
            return _described(path, name, header, options, only, progress, let_go)
    except UserError as error:
        if error.code != "file_locked":
            raise
        if options.write:
            return [rows.error_row(name, error, status=rows.SKIPPED)]
        # A dry run says what writing would come to, and what it would be about.
        told = _described(path, name, header, options, only, progress, None)
        words = f"{error.message} {error.remedy}".strip()
        skip = {"status": rows.SKIPPED, "message": words}
        return [entry | skip if entry["status"] != rows.FAILED else entry for entry in told]


def _described(
    path: Path,
    name: str,
    header: blendfiles.Header,
    options: Options,
    only: Sequence[str] | None,
    progress: Callable[[float, str], None] | None,
    let_go: Callable[[], None] | None,
) -> list[rows.Row]:
    stamp = blendfiles.Stamp.of(path)
    try:
        # With the windows that are in the file: it is saved again, and they are the user's.
        bpy.ops.wm.open_mainfile(filepath=str(path), load_ui=True, use_scripts=False)
    except RuntimeError as error:
        reason = str(error).strip().rpartition("': ")[2].rpartition(", ")[2].rstrip(".")  # without the path, twice
        broken = UserError("file_broken", f"Blender cannot open this file ({reason}).", "Open it in Blender to see.")
        return [rows.error_row(name, broken)]
    version = tuple(bpy.data.version[:2])
    try:
        blendfiles.check_version(blendfiles.Header((version[0], version[1]), header.compressed), bpy.app.version)
    except UserError as error:  # a compressed file whose header could not be read before
        return [rows.error_row(name, error, status=_status(error))]
    wanted = None if only is None else chosen(bpy.data.actions, only)
    index = finding.index()
    run = describing.Run(wanted, options, file=name, index=index)
    told = run.finish(progress)
    if not told:
        return [rows.row(name, "", rows.SKIPPED, "There is no action in this file.")]
    if version < tuple(bpy.app.version[:2]) and (run.changed or not options.write):
        told = [_noting_version(entry, version) for entry in told]
    if run.changed:
        try:
            blendfiles.replace(path, lambda part: _save(part, header.compressed), stamp, let_go)
        except UserError as error:
            status = rows.SKIPPED if error.code == "file_changed" else rows.FAILED
            words = f"{error.message} {error.remedy}".strip()
            return [entry | {"status": status, "message": words} for entry in told]
    if only is None:
        index.look(path, stamp_of(path), run.places)
    return told


def _save(part: Path, compressed: bool) -> None:
    bpy.ops.wm.save_as_mainfile(
        filepath=str(part), copy=True, compress=compressed, check_existing=False, relative_remap=False
    )


def _noting_version(entry: rows.Row, version: tuple[int, ...]) -> rows.Row:
    """The row with a word on what saving does to a file of an earlier Blender."""
    if entry["status"] not in (rows.DESCRIBED, rows.KEPT):
        return entry
    was, becomes = (".".join(map(str, v)) for v in (version, bpy.app.version[:2]))
    return entry | {
        "message": f"{entry['message']} The file was of Blender {was} and becomes one of {becomes}.".strip()
    }


def _check_free(path: Path, opened: Sequence[str]) -> None:
    """Raises UserError("file_locked") where the file is open somewhere, or must not be written to."""
    blendfiles.check_writable(path)
    known = {*openfiles.opened(preferences.user_folder()), *(file_name(other) for other in opened)}
    if file_name(path) in known:
        raise UserError("file_locked", OPEN_FILE, "Describe its actions there, or close it.")


def _status(error: UserError) -> str:
    return rows.SKIPPED if error.code in ("file_newer", "file_locked") else rows.FAILED


# ---- the conversation


def serve() -> int:
    """Answer requests until stdin ends; the exit code."""
    openfiles.pause()
    incoming = os.fdopen(os.dup(0), "rb")
    outgoing = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what Blender prints goes to the log, and into no answer
    sys.stdout = sys.stderr
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(incoming, lines), name="mgpt3 requests", daemon=True).start()

    def say(message: dict[str, Any]) -> None:
        outgoing.write(json.dumps(message, ensure_ascii=False).encode() + b"\n")
        outgoing.flush()

    while True:
        request = parse_line(lines.get()) or {}
        if request.get("method") == "describe":
            _answer(request, say)
        elif request.get("method") == "shutdown":
            jobs.stop_worker()
            return 0


def _listen(incoming: Any, lines: queue.SimpleQueue[bytes]) -> None:
    for line in incoming:
        lines.put(line)
    os._exit(0)  # whoever asked is gone, and nobody waits for the file under way; the core ends with its stdin


def _answer(request: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> None:
    number, params = request.get("id"), request.get("params") or {}

    def progress(fraction: float, message: str) -> None:
        say({"method": "progress", "params": {"id": number, "fraction": fraction, "message": message}})

    try:
        path = Path(params["path"])
        options = Options(**{k: params[k] for k in ("write", "overwrite", "mark", "alternatives", "fast")})
        told = describe_file(
            path, params["name"], options, only=params.get("actions"), opened=params["open"], progress=progress
        )
        say({"id": number, "result": {"rows": told, "stamp": stamp_of(path)}})
    except UserError as error:
        say({"id": number, "error": {"message": error.message, "data": {"code": error.code, "remedy": error.remedy}}})
    except Exception as error:  # of this file alone, as far as anybody knows
        import traceback

        traceback.print_exc()
        name = str(params.get("name", ""))
        words = f"It could not be described ({type(error).__name__}: {error})."
        trouble = UserError("internal_error", words, "Please report this with the log.")
        say({"id": number, "result": {"rows": [rows.error_row(name, trouble)], "stamp": ""}})


def main(arguments: Sequence[str]) -> int:
    """Without arguments: serve. With some: what `blender --command mgpt3` would do with them."""
    if not arguments:
        return serve()
    from . import cli

    return cli.main(arguments)


if __name__ == "__main__":
    program.leave(main(sys.argv[1:]))
