"""Timeline markers that this add-on sets: a new run replaces those of the last one, and touches no others."""

from __future__ import annotations

import json
from collections.abc import Iterable

import bpy

from .generate import NAME_BYTES


def replace(scene: bpy.types.Scene, owner: str, wanted: Iterable[tuple[int, str]]) -> list[str]:
    """Set markers (frame, name) for an owner in place of those it has; one that was moved or renamed by hand stays.

    Args:
        owner: id of the character that the markers are about.

    Returns the names as Blender has them.
    """
    noted = _noted(scene)
    old = {(frame, name) for frame, name in noted.pop(owner, [])}
    for marker in list(scene.timeline_markers):
        if (marker.frame, marker.name) in old:
            scene.timeline_markers.remove(marker)
    made = []
    for frame, name in wanted:
        marker = scene.timeline_markers.new(short(name), frame=int(frame))
        made.append([marker.frame, marker.name])
    if made:
        noted[owner] = made
    scene.mgpt3_sequence.markers = json.dumps(noted)
    return [name for _, name in made]


def short(name: str) -> str:
    """A marker's name, cut at a whole character."""
    text = " ".join(name.split()).rstrip(".")
    if len(text.encode()) > NAME_BYTES:
        text = text.encode()[: NAME_BYTES - 3].decode("utf-8", "ignore").rstrip() + "…"
    return text


def _noted(scene: bpy.types.Scene) -> dict[str, list[list]]:
    """Which markers are ours. Markers themselves cannot carry a mark in Blender 5."""
    try:
        noted = json.loads(scene.mgpt3_sequence.markers or "{}")
        return {str(owner): [[int(frame), str(name)] for frame, name in rows] for owner, rows in noted.items()}
    except (ValueError, TypeError, AttributeError):
        return {}
