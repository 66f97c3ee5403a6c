"""Finding actions by what they show: the content key of an action, and the search over this file and libraries."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import bpy
import numpy as np

from . import action as actions
from . import bonemap
from .framerate import frame_rate
from .motionindex import Index, key_of
from .playedby import curves_of

READING = "1"
"""Part of every content key. Another number where actions are read differently: then all are read anew."""
ROUND = 5
"""Decimals of rest matrices in the key: Blender may work them out anew when a file is loaded."""

_index: Index | None = None


def index() -> Index:
    """The user's index, in the add-on's own folder."""
    global _index
    from . import preferences
    from .motionindex import SCHEMA

    path = preferences.user_folder() / f"motions-{SCHEMA}.sqlite"
    if _index is None or _index.path != path:
        if _index is not None:
            _index.close()
        _index = Index(path)
    return _index


def content_key(action: bpy.types.Action, slot: Any, armature: bpy.types.Object, fps: float | None = None) -> str:
    """A hash of what an action's motion depends on: its curves, the armature's rest, constraints and bone map, the
    frame rate. Names of action, slot and file do not count. Milliseconds; some tenths of a second where thousands of
    curves have a key a frame.

    Args:
        slot: the action's slot, None where there are none (4.3 and earlier).
        fps: of the scene; None: of the current one.
    """
    if fps is None:
        fps = frame_rate(bpy.context.scene)
    parts: list[bytes | str | np.ndarray] = [READING, f"{fps:.4f}"]
    if action.use_frame_range:
        parts.append(f"{action.frame_start} {action.frame_end} {action.use_cyclic}")
    curves = sorted(curves_of(action, slot), key=lambda c: (c.data_path, c.array_index))
    for curve in curves:
        parts += _curve_parts(curve)
    parts += _armature_parts(armature)
    return key_of(parts)


def _curve_parts(curve: bpy.types.FCurve) -> Iterator[bytes | str | np.ndarray]:
    points = curve.keyframe_points
    count = len(points)
    yield f"{curve.data_path}\0{curve.array_index}\0{count}\0{curve.extrapolation}\0{curve.mute}"
    kinds = np.empty(count, np.int32)
    points.foreach_get("interpolation", kinds)
    values = np.empty(count * 2, np.float32)
    points.foreach_get("co", values)
    yield kinds
    yield values.tobytes()  # the array is used again below
    if (kinds == actions.INTERPOLATION["BEZIER"]).any():  # elsewhere handles shape nothing
        for name in ("handle_left", "handle_right"):
            points.foreach_get(name, values)
            yield values.tobytes()
    if len(curve.sampled_points):  # a baked curve has these instead of keys
        samples = np.empty(len(curve.sampled_points) * 2, np.float32)
        curve.sampled_points.foreach_get("co", samples)
        yield samples
    for modifier in curve.modifiers:
        yield repr(_settings(modifier))


def _settings(modifier: bpy.types.FModifier) -> list[tuple[str, Any]]:
    out = []
    for prop in modifier.bl_rna.properties:
        if prop.type in ("FLOAT", "INT", "BOOLEAN", "ENUM") and prop.identifier != "show_expanded":
            value = getattr(modifier, prop.identifier)
            out.append((prop.identifier, list(value) if getattr(prop, "is_array", False) else value))
    return out


def _armature_parts(armature: bpy.types.Object) -> Iterator[bytes | str | np.ndarray]:
    bones = armature.data.bones
    rest = np.empty(len(bones) * 16, np.float32)
    bones.foreach_get("matrix_local", rest)
    yield np.round(rest, ROUND) + np.float32(0.0)  # no minus zero
    yield "\0".join(bone.name for bone in bones)
    yield "\0".join(bone.parent.name if bone.parent is not None else "" for bone in bones)
    by_hand = bonemap.overrides(armature), bonemap.left_out(armature), bonemap.root_override(armature)
    yield repr((sorted(by_hand[0].items()), sorted(by_hand[1]), by_hand[2]))
    if armature.pose is not None:
        yield repr(
            [
                (bone.name, c.type, c.mute, round(c.influence, 4))
                for bone in armature.pose.bones
                for c in bone.constraints
            ]
        )
