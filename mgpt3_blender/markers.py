"""Markers that this add-on sets, on the timeline or in an action: a new run replaces those of the last one, and touches
no others."""

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
    noted = _noted(scene.mgpt3_sequence.markers)
    names = _exchange(scene.timeline_markers, noted, owner, wanted)
    scene.mgpt3_sequence.markers = json.dumps(noted)
    return names


def replace_pose(action: bpy.types.Action, owner: str, wanted: Iterable[tuple[int, str]]) -> list[str]:
    """As `replace`, with the pose markers of an action. Frames are the action's own."""
    noted = _noted(action.mgpt3_describe.markers)
    names = _exchange(action.pose_markers, noted, owner, wanted)
    action.mgpt3_describe.markers = json.dumps(noted)
    return names


def has(stored: str, owner: str) -> bool:
    """Whether there are markers of an owner, as far as is noted.

    Args:
        stored: the note: of a scene `mgpt3_sequence.markers`, of an action `mgpt3_describe.markers`.
    """
    return owner in _noted(stored)


def short(name: str) -> str:
    """A marker's name, cut at a whole character."""
    text = " ".join(name.split()).rstrip(".")
    if len(text.encode()) > NAME_BYTES:
        text = text.encode()[: NAME_BYTES - 3].decode("utf-8", "ignore").rstrip() + "…"
    return text


def _exchange(
    there: bpy.types.TimelineMarkers | bpy.types.ActionPoseMarkers,
    noted: dict[str, list[list]],
    owner: str,
    wanted: Iterable[tuple[int, str]],
) -> list[str]:
    """Take away the markers that are noted for an owner, set those that are wanted, and note them."""
    old = {(frame, name) for frame, name in noted.pop(owner, [])}
    for marker in list(there):
        if (marker.frame, marker.name) in old:
            there.remove(marker)
    made = []
    for frame, name in wanted:
        marker = there.new(short(name))
        marker.frame = int(frame)
        made.append([marker.frame, marker.name])
    if made:
        noted[owner] = made
    return [name for _, name in made]


def _noted(stored: str) -> dict[str, list[list]]:
    """Which markers are ours. Markers themselves cannot carry a mark in Blender 5."""
    try:
        noted = json.loads(stored or "{}")
        return {str(owner): [[int(frame), str(name)] for frame, name in rows] for owner, rows in noted.items()}
    except (ValueError, TypeError, AttributeError):
        return {}
