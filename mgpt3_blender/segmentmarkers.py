"""The described segments of a motion as markers: on the timeline, or in the action itself."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import bpy

from . import drafts, markers
from .errors import UserError

_WHO = re.compile(r"^(?:a|an|the) (?:person|man|woman|figure|character|human) (?:is )?(?=\w)", re.IGNORECASE)
"""Who does it: the same at every marker, and what stands at its beginning is all that a marker shows."""


def add(armature: bpy.types.Object, scene: bpy.types.Scene, *, pose: bool) -> list[str]:
    """Set a marker where each described segment begins, in place of those set before. Returns their names.

    Args:
        pose: pose markers of the action; otherwise markers of the scene's timeline.

    Raises UserError: not_described, linked_action, pose_markers_unclear.
    """
    action, draft = drafts.need(armature)
    parts = list(draft.segments)
    texts = [draft.sentence] if len(parts) == 1 else [part.sentence for part in parts]
    wanted = [(part.first, name(text)) for part, text in zip(parts, texts, strict=True)]
    if not pose:
        return markers.replace(scene, _owner(armature), wanted)
    _check_own(action)
    to_action = _action_time(armature, action)
    return markers.replace_pose(action, str(draft.slot), [(round(to_action(frame)), text) for frame, text in wanted])


def remove(armature: bpy.types.Object, scene: bpy.types.Scene, *, pose: bool) -> None:
    """Take away the markers that `add` set; those that were moved or renamed by hand stay. Errors as `add`."""
    action, draft = drafts.need(armature)
    if pose:
        _check_own(action)
        markers.replace_pose(action, str(draft.slot), ())
    else:
        markers.replace(scene, _owner(armature), ())


def there(
    armature: bpy.types.Object, scene: bpy.types.Scene, action: bpy.types.Action, draft: Any, *, pose: bool
) -> bool:
    """Whether markers were set. Cheap: panels draw by it."""
    if pose:
        return markers.has(action.mgpt3_describe.markers, str(draft.slot))
    return bool(armature.mgpt3.uid) and markers.has(scene.mgpt3_sequence.markers, _owner(armature))


def name(sentence: str) -> str:
    """A sentence as a marker shows it: without who does it."""
    return markers.short(_WHO.sub("", " ".join(sentence.split())))


def _owner(armature: bpy.types.Object) -> str:
    """The character's id, apart from that of the markers of its sequences."""
    if not armature.mgpt3.uid:
        armature.mgpt3.uid = uuid.uuid4().hex[:12]
    return f"described {armature.mgpt3.uid}"


def _check_own(action: bpy.types.Action) -> None:
    if action.library is not None:
        raise UserError(
            "linked_action",
            f'"{action.name}" is linked from another file and cannot be written to.',
            "Add the markers to the timeline instead.",
        )


def _action_time(armature: bpy.types.Object, action: bpy.types.Action) -> Callable[[float], float]:
    """Scene frame -> frame of the action: they differ where the NLA plays it. Raises UserError."""
    data = armature.animation_data
    if data is not None and data.action == action:
        if data.use_tweak_mode:
            return lambda frame: data.nla_tweak_strip_time_to_scene(frame, invert=True)
        return lambda frame: frame
    tracks = data.nla_tracks if data is not None else ()
    strips = [strip for track in tracks for strip in track.strips if strip.action == action]
    if len(strips) == 1 and strips[0].repeat == 1.0 and not strips[0].use_reverse:
        strip = strips[0]
        return lambda frame: strip.action_frame_start + (frame - strip.frame_start) / strip.scale
    raise UserError(
        "pose_markers_unclear",
        f'The NLA plays "{action.name}" several times, or backward: a frame of the scene is none of the action.',
        "Add the markers to the timeline instead.",
    )
