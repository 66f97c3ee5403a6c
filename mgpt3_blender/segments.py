"""The scene's list of segments: adding, removing, reordering, and taking over the list of a motion that is there."""

from __future__ import annotations

import bpy

from .compose import Segment, stored
from .errors import UserError


def add_segment(scene: bpy.types.Scene) -> None:
    """A segment after the active one of the scene's list, with the prompt and duration of the panel above."""
    settings = scene.mgpt3_sequence
    _put(settings, Segment(scene.mgpt3.prompt, scene.mgpt3.seconds))


def duplicate_segment(scene: bpy.types.Scene) -> None:
    """A copy of the active segment after it."""
    settings = scene.mgpt3_sequence
    chosen = settings.segments[settings.active]
    _put(settings, Segment(chosen.prompt, chosen.seconds))


def remove_segment(scene: bpy.types.Scene) -> None:
    """Remove the active segment; the one after it, or the last one, is active then."""
    settings = scene.mgpt3_sequence
    settings.segments.remove(settings.active)
    settings.active = max(0, min(settings.active, len(settings.segments) - 1))


def move_segment(scene: bpy.types.Scene, by: int) -> bool:
    """Move the active segment by one place; False where it is at the end already."""
    settings = scene.mgpt3_sequence
    to = settings.active + by
    if not 0 <= to < len(settings.segments):
        return False
    settings.segments.move(settings.active, to)
    settings.active = to
    return True


def reuse(scene: bpy.types.Scene, action: bpy.types.Action | None) -> None:
    """Take an action's segments over into the scene's list. Raises UserError("no_sequence")."""
    made = stored(action)
    if made is None:
        raise UserError("no_sequence", "This motion was not made from a list of prompts.", "Choose another one.")
    settings = scene.mgpt3_sequence
    settings.segments.clear()
    for segment in made["segments"]:
        item = settings.segments.add()
        item.prompt, item.seconds = segment.prompt, segment.seconds
    settings.active = 0
    settings.transition, settings.seed, settings.timed = made["transition"], made["seed"], bool(made.get("timed"))
    path = scene.objects.get(str(made.get("path", "")))
    settings.path = path if path is not None and path.type == "CURVE" else None


def _put(settings: bpy.types.PropertyGroup, segment: Segment) -> None:
    item = settings.segments.add()
    item.prompt, item.seconds = segment.prompt, segment.seconds
    last = len(settings.segments) - 1
    to = min(settings.active + 1, last)
    settings.segments.move(last, to)
    settings.active = to
