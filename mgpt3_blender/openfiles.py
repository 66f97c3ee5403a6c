"""Which .blend files are open in a Blender of this user: no run over a library writes to them.

Each Blender with the add-on keeps one small note in the add-on's folder, written when a file is loaded or saved and
removed at its end. The note of a process that is gone counts for nothing. Importing this imports nothing of Blender.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
from pathlib import Path
from typing import Any

from .blendfiles import alive, started
from .motionindex import file_name

FOLDER = "open"

_on = False


def note(folder: Path, path: str) -> None:
    """Note what this process has open; "" for an unsaved file."""
    target = _note(folder)
    with contextlib.suppress(OSError):  # a folder that cannot be written to is no reason to disturb anybody's work
        if not path:
            target.unlink(missing_ok=True)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        process = os.getpid()
        said = {"pid": process, "started": started(process), "file": file_name(path)}
        scratch = target.with_suffix(".part")
        scratch.write_text(json.dumps(said), encoding="utf-8")
        scratch.replace(target)


def forget(folder: Path) -> None:
    """This process has nothing open any more."""
    note(folder, "")


def opened(folder: Path) -> dict[str, int]:
    """Files that are open elsewhere: name as `motionindex.file_name` gives it -> process."""
    out: dict[str, int] = {}
    for entry in sorted((folder / FOLDER).glob("*.json")):
        try:
            said = json.loads(entry.read_text(encoding="utf-8"))
            process, file, since = int(said["pid"]), str(said["file"]), str(said.get("started") or "")
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if process == os.getpid():
            continue
        if alive(process) and since == started(process):
            out[file] = process
        else:
            with contextlib.suppress(OSError):
                entry.unlink()
    return out


def _note(folder: Path) -> Path:
    return folder / FOLDER / f"{os.getpid()}.json"


def pause() -> None:
    """Note nothing from now on: this process opens files on behalf of a run that keeps account itself."""
    global _on
    if _on:
        _on = False
        _forget_all()


def _forget_all() -> None:
    from . import preferences

    with contextlib.suppress(Exception):  # at exit Blender's own parts may be gone
        forget(preferences.user_folder())


def _tell(*_: Any) -> None:
    import bpy

    from . import preferences

    if _on:
        note(preferences.user_folder(), bpy.data.filepath)


def register() -> None:
    global _on
    import bpy

    bpy.app.handlers.persistent(_tell)
    bpy.app.handlers.load_post.append(_tell)
    bpy.app.handlers.save_post.append(_tell)
    _on = True
    atexit.register(_forget_all)


def unregister() -> None:
    global _on
    import bpy

    for handlers in (bpy.app.handlers.load_post, bpy.app.handlers.save_post):
        if _tell in handlers:
            handlers.remove(_tell)
    _on = False
    atexit.unregister(_forget_all)
    _forget_all()
