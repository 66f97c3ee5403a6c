"""Copy the report for a bug: what is read for it, and where it goes."""

from __future__ import annotations

import contextlib
import getpass
import os
import platform
import socket
from pathlib import Path

import bpy

from .. import VERSION, bugreport, jobs, library, preferences, runtime, search, upkeep
from ..errors import UserError
from ..modelfolder import short_licence


def facts() -> dict[str, str]:
    """What the add-on says of itself and of the machine. Nothing is started to know it."""
    chosen, model = preferences.settings(), upkeep.view.model
    python = ".".join(str(number) for number in platform.python_version_tuple())
    build = getattr(bpy.app, "build_hash", b"").decode("ascii", "replace")
    found = {
        "Add-on": VERSION,
        "Blender": f"{bpy.app.version_string} ({build}), Python {python}",
        "System": f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} processors",
        "Motion model's Python": _environment(),
    }
    hello = jobs._worker.info if jobs._worker is not None else None  # asking for the worker would make one
    if hello is None:
        found["Core"] = "not running"
    else:
        found["Core"] = f"{hello.get('core')}, Python {hello.get('python')}, torch {hello.get('torch')}"
        found["Device"] = f"{hello.get('device')}"
    found["Device chosen"] = chosen.device
    if model is None:
        found["Model"] = "none"
    else:  # a model that was added may be called after whom it was made for
        found["Model"] = model.name if model.bundled else f"one that was added: {short_licence(model.licence)}"
    found["Environment variables"] = ", ".join(upkeep.view.overrides) or "none"
    views = {"": jobs.view, " of set-up or models": upkeep.view, " of Library": library.view, " of Search": search.view}
    for where, view in views.items():
        if view.error is not None or not where:
            found[f"Last error{where}"] = view.error.code if view.error is not None else "none"
    return found


def _environment() -> str:
    chosen = preferences.settings()
    if chosen.source == "EXISTING":
        state = "chosen by the user"
    else:
        state = f"{runtime.state(preferences.environment_folder(), preferences.requirements()).line}, {chosen.build}"
    missing = upkeep.view.missing
    return state if missing is None else f"{state}; {missing.code}"


def privacy() -> bugreport.Privacy:
    """What is known of who sits here."""
    home = Path.home()
    names = {home.name, platform.node(), platform.node().split(".")[0], socket.gethostname()}
    names |= {os.environ.get(name, "") for name in ("USER", "LOGNAME", "USERNAME", "COMPUTERNAME")}
    with contextlib.suppress(OSError, KeyError):  # a user without a name: there is nothing to take out
        names.add(getpass.getuser())
    if bpy.data.filepath:
        names |= {Path(bpy.data.filepath).stem, Path(bpy.data.filepath).parent.name}
    own = {"core": runtime.core_parent(preferences.PACKAGE) / "core", "mgpt3_blender": preferences.PACKAGE}
    return bugreport.Privacy(home, own, tuple(sorted(names - {""})), bugreport.secrets_of(os.environ))


def text() -> str:
    """The whole report."""
    logs = {
        "Log of the motion model": preferences.worker_log(),
        "Log of the set-up": preferences.setup_log(),
        "Log of the models": preferences.models_log(),
    }
    ends = {title: bugreport.tail(path) for title, path in logs.items() if path.is_file()}
    return bugreport.compose(facts(), ends, privacy())


class MGPT3_OT_copy_report(bpy.types.Operator):
    """Copy what a bug report needs: versions, device, model, the last error and the end of the log. Names, paths and \
tokens are taken out, and nothing is sent anywhere"""

    bl_idname = "mgpt3.copy_report"
    bl_label = "Copy MotionGPT3 Report for a Bug"

    def execute(self, context: bpy.types.Context) -> set[str]:
        try:
            report = text()
        except UserError as error:
            self.report({"ERROR"}, str(error))
            return {"CANCELLED"}
        if bpy.app.background:  # there is no clipboard
            print(report)
            self.report({"INFO"}, "The report is printed above")
        else:
            context.window_manager.clipboard = report
            self.report({"INFO"}, "The report is in the clipboard. Paste it into your bug report")
        return {"FINISHED"}


classes = (MGPT3_OT_copy_report,)
