"""F-curves in and out: the only file that knows slots, layers and channelbags.

Up to 4.3 an action holds its curves itself. From 4.4 on they live in a channelbag, one for each slot, and an object
plays an action only when the action *and* its slot are assigned; from 5.0 on the old access is gone.

Actions made here have a fake user: the list of results switches between them, and Blender drops an action that
nobody uses when the file is saved. The action that was there before is kept alive without touching it: the new one
holds a pointer to it (a custom property counts as a user), and `release` puts it back.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import bpy
import numpy as np

PREVIOUS = "mgpt3_previous_action"
PREVIOUS_SLOT = "mgpt3_previous_slot"
GENERATED = "mgpt3_version"
"""Custom property that every action made by this add-on has."""

INTERPOLATION = {"CONSTANT": 0, "LINEAR": 1, "BEZIER": 2}


@dataclass
class Curve:
    """One animated channel.

    Attributes:
        path: RNA path from the object, e.g. 'pose.bones["hips"].location'.
        index: array index, or 0 for a single value.
        frames, values: (N,) each.
        group: name of the channel group it is shown under.
        interpolation: CONSTANT, LINEAR or BEZIER.
    """

    path: str
    index: int
    frames: np.ndarray
    values: np.ndarray
    group: str = ""
    interpolation: str = "LINEAR"


def has_slots(action: bpy.types.Action) -> bool:
    """Whether this Blender keeps curves in slots (4.4 and later)."""
    return "slots" in action.bl_rna.properties


def is_generated(action: bpy.types.Action | None) -> bool:
    """Whether this add-on made the action."""
    return action is not None and GENERATED in action


def new_action(name: str) -> bpy.types.Action:
    """A new empty action with a fake user."""
    action = bpy.data.actions.new(name)
    action.use_fake_user = True
    return action


def _slot_for(action: bpy.types.Action, owner: bpy.types.Object, create: bool) -> Any:
    """The slot of an action that an object plays: the bound one, else the first for objects, else a new one."""
    data = owner.animation_data
    if data is not None and data.action == action and data.action_slot is not None:
        return data.action_slot
    for slot in action.slots:
        if slot.target_id_type in ("OBJECT", "UNSPECIFIED"):
            return slot
    return action.slots.new(id_type="OBJECT", name=owner.name) if create else None


def slot_of(action: bpy.types.Action, handle: int) -> Any:
    """The slot with this handle, which copies of an action share. None where there is none."""
    return next((slot for slot in action.slots if slot.handle == handle), None) if has_slots(action) else None


def container(action: bpy.types.Action, owner: bpy.types.Object, create: bool) -> Any:
    """What holds `fcurves` and `groups` for an object: the action itself or a channelbag. None if there is none."""
    if not has_slots(action):
        return action
    slot = _slot_for(action, owner, create)
    if slot is None:
        return None
    for layer in action.layers:
        for strip in layer.strips:
            bag = strip.channelbag(slot)
            if bag is not None:
                return bag
    if not create:
        return None
    layer = action.layers[0] if action.layers else action.layers.new("Layer")
    strip = layer.strips[0] if layer.strips else layer.strips.new(type="KEYFRAME")
    return strip.channelbag(slot, ensure=True)


def fcurves(action: bpy.types.Action, owner: bpy.types.Object) -> list[bpy.types.FCurve]:
    """The curves of an action that `owner` plays (or would play)."""
    held = container(action, owner, create=False)
    return list(held.fcurves) if held is not None else []


def write_fcurves(action: bpy.types.Action, owner: bpy.types.Object, curves: Iterable[Curve]) -> None:
    """Write whole channels, replacing what is on them. 200 frames of 24 bones take a few milliseconds."""
    held = container(action, owner, create=True)
    groups = {group.name: group for group in held.groups}
    there = {(curve.data_path, curve.array_index): curve for curve in held.fcurves}
    kinds: dict[tuple[int, str], np.ndarray] = {}
    for curve in curves:
        fcurve = there.get((curve.path, curve.index))
        if fcurve is None:
            fcurve = held.fcurves.new(curve.path, index=curve.index)
        if curve.group:
            if curve.group not in groups:
                groups[curve.group] = held.groups.new(curve.group)
            fcurve.group = groups[curve.group]
        points = fcurve.keyframe_points
        points.clear()
        count = len(curve.frames)
        points.add(count)
        co = np.empty((count, 2), np.float32)
        co[:, 0], co[:, 1] = curve.frames, curve.values
        points.foreach_set("co", co.ravel())
        key = (count, curve.interpolation)
        if key not in kinds:
            kinds[key] = np.full(count, INTERPOLATION[curve.interpolation], np.int32)
        points.foreach_set("interpolation", kinds[key])
        fcurve.update()


def write_keys(
    owner: bpy.types.Object, name: str, frames: np.ndarray, channels: dict[str, np.ndarray]
) -> bpy.types.Action:
    """A new action on an object from plain arrays, played at once.

    Args:
        name: of the action.
        frames: (N,) scene frames.
        channels: RNA path -> (N, k) or (N,) values.
    """
    action = new_action(name)
    curves = [
        Curve(path, i, np.asarray(frames), column)
        for path, values in channels.items()
        for i, column in enumerate(np.asarray(values).reshape(len(frames), -1).T)
    ]
    write_fcurves(action, owner, curves)
    bind_action(owner, action)
    return action


def read_fcurves(
    action: bpy.types.Action, owner: bpy.types.Object
) -> dict[tuple[str, int], tuple[np.ndarray, np.ndarray]]:
    """All keys of an action: (path, index) -> (frames, values), both (N,) float32."""
    out = {}
    for curve in fcurves(action, owner):
        co = np.empty(len(curve.keyframe_points) * 2, np.float32)
        curve.keyframe_points.foreach_get("co", co)
        out[curve.data_path, curve.array_index] = (co[::2], co[1::2])
    return out


def bind_action(owner: bpy.types.ID, action: bpy.types.Action) -> None:
    """Let an object play an action, with its slot where there are slots. The second generation's slot, too: an action
    whose slot was made for another object would otherwise be assigned without being played."""
    data = owner.animation_data or owner.animation_data_create()
    data.action = action
    if has_slots(action):
        data.action_slot = _slot_for(action, owner, create=True)


def remember(owner: bpy.types.Object, action: bpy.types.Action) -> None:
    """Note on `action` what the object played before it, and keep that alive. Call before `bind_action`.

    Of a row of generated actions each one remembers the last action that was the user's own.
    """
    data = owner.animation_data
    before = data.action if data else None
    if before is None or before == action:
        return
    if is_generated(before):
        if before.get(PREVIOUS) is not None:
            action[PREVIOUS] = before[PREVIOUS]
            action[PREVIOUS_SLOT] = before.get(PREVIOUS_SLOT, "")
        return
    action[PREVIOUS] = before
    if has_slots(before) and data.action_slot is not None:
        action[PREVIOUS_SLOT] = data.action_slot.identifier


def release(owner: bpy.types.Object, action: bpy.types.Action) -> None:
    """Take a generated action off an object; what the object played before it plays again."""
    data = owner.animation_data
    if data is None or data.action != action:
        return
    before = action.get(PREVIOUS)
    data.action = before
    if before is not None and has_slots(before):
        slot = next((s for s in before.slots if s.identifier == action.get(PREVIOUS_SLOT)), None)
        data.action_slot = slot or _slot_for(before, owner, create=False)
