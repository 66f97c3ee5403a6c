"""What an action's curves say of bones at scene frames, and how the bones are posed there.

An animator's gap of two seconds has a hundred frames around it. To set the scene to each takes Blender a hundredth of
a second on a large rig, with the window waiting; where nothing but the action moves the bones, its curves tell all.
"""

from __future__ import annotations

from collections.abc import Sequence

import bpy
import numpy as np

from .bridge import matrices
from .keys import _escaped as escaped
from .poses import TRANSFORMS, visited

CHANNELS = tuple(name for name, _ in TRANSFORMS)
_ROTATIONS = {"QUATERNION": ("rotation_quaternion", 4), "AXIS_ANGLE": ("rotation_axis_angle", 4)}

Curves = dict[tuple[str, int], bpy.types.FCurve]
"""By data path and index."""

Keyed = tuple[dict[str, np.ndarray], dict[str, np.ndarray]]
"""Rotations, bone -> (T, 3, 3), and locations, bone -> (T, 3)."""


def posed(
    armature: bpy.types.Object,
    scene: bpy.types.Scene,
    action: bpy.types.Action,
    curves: Curves,
    keyed: Keyed,
    times: np.ndarray,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """How bones are posed at scene frames (T,): bone -> (T, 4, 4) as Blender's matrix_basis, and the armature's
    (T, 4, 4) in the world. To be used within `held`: where other things than the action count, frames are set.

    Args:
        curves: of the action. keyed: what they say of the bones at these frames.
    """
    rotations, locations = keyed
    names = list(rotations)
    if moved_by_curves_alone(armature, action, curves, names):
        basis = {}
        for name in names:
            size = evaluated(armature.pose.bones[name], "scale", 3, curves, times)
            basis[name] = np.tile(np.eye(4), (len(times), 1, 1))
            basis[name][:, :3, :3] = rotations[name] * size[:, None, :]
            basis[name][:, :3, 3] = locations[name]
        return basis, np.tile(np.array(armature.matrix_world), (len(times), 1, 1))
    basis = {name: np.zeros((len(times), 4, 4)) for name in names}
    world = np.zeros((len(times), 4, 4))
    for n in visited(scene, times):
        for name in names:
            basis[name][n] = armature.pose.bones[name].matrix_basis
        world[n] = np.array(armature.matrix_world)
    return basis, world


def moved_by_curves_alone(
    armature: bpy.types.Object, action: bpy.types.Action, curves: Curves, names: Sequence[str]
) -> bool:
    """Whether an action's curves are all that poses some bones, and nothing moves the object as a whole.

    Constraints of bones do not count: they act on what is shown, not on what is posed.
    """
    data = armature.animation_data
    if data is None or data.action != action or data.use_tweak_mode:
        return False
    if data.action_influence != 1.0 or data.action_blend_type != "REPLACE":
        return False
    if data.use_nla and any(not track.mute for track in data.nla_tracks):
        return False
    if len(armature.constraints) or not _carried_by_nothing(armature):
        return False
    posing = {bone_path(name, channel) for name in names for channel in (*CHANNELS, "rotation_mode")}

    def moves(path: str) -> bool:
        return path in posing or not path.startswith(("pose.bones[", '["'))

    for (path, _), curve in curves.items():
        group = curve.group
        muted = curve.mute or (group is not None and getattr(group, "mute", False))
        if moves(path) and (muted or path not in posing or path.endswith(".rotation_mode")):
            return False
    return not any(moves(driver.data_path) for driver in data.drivers)


def _carried_by_nothing(child: bpy.types.Object) -> bool:
    """Whether an object has no parent, or one that is not animated, as a character has that stands in a set."""
    parent = child.parent
    if parent is None:
        return True
    data = parent.animation_data
    if child.parent_type != "OBJECT" or len(parent.constraints) or parent.rigid_body is not None:
        return False
    if data is not None and (data.action is not None or len(data.drivers) or len(data.nla_tracks)):
        return False
    return _carried_by_nothing(parent)


def read_keyed(armature: bpy.types.Object, curves: Curves, names: Sequence[str], times: np.ndarray) -> Keyed:
    """The user's channels at scene frames (T,)."""
    rotations, locations = {}, {}
    for name in names:
        bone = armature.pose.bones[name]
        channel, size = rotation_channel(bone)
        rotations[name] = matrices(evaluated(bone, channel, size, curves, times), bone.rotation_mode)
        locations[name] = evaluated(bone, "location", 3, curves, times)
    return rotations, locations


def rotation_channel(bone: bpy.types.PoseBone) -> tuple[str, int]:
    """The property that a bone's rotation mode uses, and how many numbers it has."""
    return _ROTATIONS.get(bone.rotation_mode, ("rotation_euler", 3))


def bone_path(bone: str, channel: str) -> str:
    """The data path of a bone's property."""
    return f'pose.bones["{escaped(bone)}"].{channel}'


def evaluated(bone: bpy.types.PoseBone, channel: str, size: int, curves: Curves, times: np.ndarray) -> np.ndarray:
    """A bone's property at scene frames (T,) by its curves; what has none stays as it is now. -> (T, size)."""
    path, held_now = bone_path(bone.name, channel), getattr(bone, channel)
    out = np.empty((len(times), size))
    for i in range(size):
        curve = curves.get((path, i))
        if curve is None or not (len(curve.keyframe_points) or len(curve.sampled_points)):
            out[:, i] = held_now[i]
        else:
            out[:, i] = [curve.evaluate(time) for time in times]
    return out
