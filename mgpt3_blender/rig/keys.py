"""Channels and switches as F-curves: rotations in each bone's own rotation mode, and no more keys than are needed."""

from __future__ import annotations

import numpy as np

from ..action import Curve
from . import rotation as rot
from .mapping import Switch

STRETCH = ".ik_stretch"
"""As the property of a Switch: the bone's own IK Stretch, which is no custom property."""

_EULER = ("XYZ", "XZY", "YXZ", "YZX", "ZXY", "ZYX")


def rotation_curves(rotations: dict[str, np.ndarray], modes: dict[str, str], frames: np.ndarray) -> list[Curve]:
    """Curves for many bones: quaternions without sign flips, Euler angles without jumps, axis and angle.

    Args:
        rotations: bone name -> (T, 3, 3).
        modes: bone name -> Blender's rotation_mode; it is honoured, never changed.
        frames: (T,) scene frames.
    """
    curves: list[Curve] = []

    def add(bone: str, channel: str, values: np.ndarray) -> None:
        path = f'pose.bones["{_escaped(bone)}"].{channel}'
        at = frames[: len(values)]
        if len(values) > 1 and np.ptp(values, axis=0).max() < 1e-7:  # it never turns: one key says so
            values, at = values[:1], frames[:1]
        curves.extend(Curve(path, i, at, values[:, i], bone) for i in range(values.shape[1]))

    euler = [bone for bone in rotations if modes[bone] in _EULER]
    others = [bone for bone in rotations if modes[bone] not in _EULER]
    if others:
        quaternions = rot.to_quaternion(np.stack([rotations[bone] for bone in others], 1))  # (T, B, 4)
        first = np.where(quaternions[:1, :, :1] < 0.0, -1.0, 1.0)
        quaternions = rot.continuous(quaternions * first)
        for n, bone in enumerate(others):
            if modes[bone] == "AXIS_ANGLE":
                add(bone, "rotation_axis_angle", _axis_angle(quaternions[:, n]))
            else:
                add(bone, "rotation_quaternion", quaternions[:, n])
    if euler:
        readings = np.stack([rot.to_euler(rotations[bone], modes[bone]) for bone in euler], 2)  # (2, T, B, 3)
        smooth = rot.smooth_euler(readings)
        for n, bone in enumerate(euler):
            add(bone, "rotation_euler", smooth[:, n])
    return curves


def location_curves(bone: str, location: np.ndarray, frames: np.ndarray) -> list[Curve]:
    """Curves for one bone's location. (T, 3) armature units. A bone that stays in one place gets one key."""
    path = f'pose.bones["{_escaped(bone)}"].location'
    if len(location) > 1 and np.ptp(location, axis=0).max() <= 1e-6 * max(float(np.abs(location).max()), 1e-3):
        location, frames = location[:1], frames[:1]
    return [Curve(path, i, frames, location[:, i], bone) for i in range(3)]


def all_location_curves(locations: dict[str, np.ndarray], frames: np.ndarray) -> list[Curve]:
    """Curves for the locations of several bones, bone name -> (T, 3) armature units."""
    return [curve for bone, location in locations.items() for curve in location_curves(bone, location, frames)]


def switch_curve(switch: Switch, frame: float) -> Curve:
    """One constant key that keeps a switch where the motion needs it: a custom property or a constraint's influence."""
    if not switch.constraint and switch.property != STRETCH:
        return property_curve(switch.bone, switch.property, switch.value, frame)
    path = f'pose.bones["{_escaped(switch.bone)}"].constraints["{_escaped(switch.constraint)}"].influence'
    if switch.property == STRETCH:
        path = f'pose.bones["{_escaped(switch.bone)}"]{STRETCH}'
    return Curve(path, 0, np.array([frame]), np.array([switch.value]), switch.bone, "CONSTANT")


def property_curve(bone: str, name: str, value: float, frame: float) -> Curve:
    """One constant key on a bone's custom property."""
    path = f'pose.bones["{_escaped(bone)}"]["{_escaped(name)}"]'
    return Curve(path, 0, np.array([frame]), np.array([value]), bone, "CONSTANT")


def _axis_angle(q: np.ndarray) -> np.ndarray:
    """(T, 4) quaternions -> (T, 4) angle, x, y, z; around the identity the axis of the frame before is kept."""
    length = np.linalg.norm(q[:, 1:], axis=-1)
    out = np.concatenate([2.0 * np.arctan2(length, q[:, 0])[:, None], rot.unit(q[:, 1:])], -1)
    last = np.array([0.0, 1.0, 0.0])
    for t in np.flatnonzero(length < 1e-6):
        out[t, 1:] = out[t - 1, 1:] if t else last
    return out


def _escaped(name: str) -> str:
    """A name as it stands inside an RNA path."""
    return name.replace("\\", "\\\\").replace('"', '\\"')
