"""What the add-on does when Blender starts, loads a file or lets the add-on go."""

from __future__ import annotations

import bpy
from bpy.app.handlers import persistent

from . import jobs, preferences, upkeep
from .operators.running import remove_timer


@persistent
def _before_load(*_: object) -> None:
    """A motion made for the file that goes must not arrive in the one that comes."""
    jobs.reset()


def register() -> None:
    bpy.app.handlers.load_pre.append(_before_load)
    preferences.take_over()
    preferences.refresh()


def unregister() -> None:
    if _before_load in bpy.app.handlers.load_pre:
        bpy.app.handlers.load_pre.remove(_before_load)
    jobs.reset()
    remove_timer()
    jobs.stop_worker()
    upkeep.reset()
