"""An animated character -> joints: for captions, and to check what a motion became on a character.

Whatever animates it counts (keys, constraints, drivers, the NLA), because Blender itself evaluates each frame.
"""

from __future__ import annotations

import bpy
import numpy as np

from ..errors import RigError
from .character import Character
from .figure import bridge
from .mapping import map_armature
from .poses import JointReader, held, visited
from .rest import read_rig
from .skeleton22 import FPS, INDEX, NEUTRAL, PARENTS
from .solve import leg_length


def sample_joints(
    armature: bpy.types.Object, scene: bpy.types.Scene, frame_start: float, frame_end: float
) -> np.ndarray:
    """The character's joints at 20 frames a second, in the model's space. -> (T, 22, 3) float32.

    Metres at the size of the model's body (scaled by leg length, the character's own proportions kept), Y up, floor
    at the character's floor, the first frame facing +Z with the root over the origin. Joints that the character has no
    bone for are put where they belong between their neighbours.

    Args:
        armature: the character; it is recognised by its bone names.
        scene: its frame rate says how long a frame is.
        frame_start, frame_end: scene frames, both included.

    The scene is at the same frame afterwards, and poses not yet keyed are still there. Raises RigError (unknown_rig,
    missing_bones, motion_too_short).
    """
    mapping = map_armature(armature)
    step = scene.render.fps / scene.render.fps_base / FPS
    count = int(np.floor((frame_end - frame_start) / step + 1e-6)) + 1
    if count < 2:
        raise RigError("motion_too_short", "The range is shorter than two frames.", "Choose a longer frame range.")
    character = Character(read_rig(armature, mapping))
    reader = JointReader(armature, mapping, character)
    world = np.zeros((count, 22, 3))
    with held(armature, scene):
        for n in visited(scene, frame_start + step * np.arange(count)):
            world[n] = reader.world()
    floor = _floor_height(armature, character, leg_length(NEUTRAL))
    joints = world[..., [0, 2, 1]] * np.array([1.0, 1.0, -1.0])  # world Z up -> Y up
    joints[..., 1] -= floor
    bridge(joints, reader.present)
    joints *= leg_length(NEUTRAL) / leg_length(joints)
    return placed(joints).astype(np.float32)


def _floor_height(armature: bpy.types.Object, character: Character, leg: float) -> float:
    """World height of the character's floor."""
    level, _ = character.floor(character.leg_length() / leg)
    point = character.to_armature @ np.array([0.0, level, 0.0])
    return float((np.array(armature.matrix_world) @ np.append(point, 1.0))[2])


def placed(joints: np.ndarray) -> np.ndarray:
    """The motion with its first frame facing +Z, its root over the origin. (T, 22, 3)."""
    left = joints[0, INDEX["l_hip"]] - joints[0, INDEX["r_hip"]]
    left = left + joints[0, INDEX["l_shoulder"]] - joints[0, INDEX["r_shoulder"]]
    angle = np.arctan2(left[2], left[0])
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    return (joints - joints[0, 0] * [1.0, 0.0, 1.0]) @ turn.T


def canonical_proportions(joints: np.ndarray) -> np.ndarray:
    """The same motion on the model's own body: directions kept, its bone lengths, feet on the floor. (T, 22, 3)."""
    out = np.array(joints, np.float64)
    for j, parent in enumerate(PARENTS):
        if parent >= 0:
            bone = joints[:, j] - joints[:, parent]
            length = np.maximum(np.linalg.norm(bone, axis=-1, keepdims=True), 1e-9)
            out[:, j] = out[:, parent] + bone / length * np.linalg.norm(NEUTRAL[j] - NEUTRAL[parent])
    feet = [INDEX[name] for name in ("l_ankle", "l_foot", "r_ankle", "r_foot")]
    out[..., 1] += (joints[:, feet, 1].min(1) - out[:, feet, 1].min(1))[:, None]
    return out.astype(np.float32)
