"""A closed gap as Blender shows it, in figures: keys, pops, feet, floor. What gapsheet.py puts beside its pictures."""

from __future__ import annotations

from dataclasses import dataclass

import bpy
import numpy as np

from .gaps import Gap
from .rig.mapping import map_armature
from .rig.poses import read_poses
from .rig.skeleton22 import INDEX as J
from .rig.skeleton22 import JOINTS
from .rigwatch import SCENE_FPS

LOW = 0.05
"""Metres at the model's size: a foot this near its lowest place is on the floor, or should be lifted more."""


@dataclass(frozen=True)
class Figures:
    """A closed gap as Blender shows it. Of worst values the second member is the scene's frame.

    Attributes:
        keys_mm: how far any joint is off the recording at the two keys, and just outside where motion is keyed there.
        same: whether all keys that stayed are equal to the bit to what they were before the gap was filled.
        pop: the largest change of a joint's velocity from one frame to the next, m/s; the third member is the joint.
        glide_mm: the longest way of a foot that is down (ball within LOW of its lowest) from frame to frame.
        skate_mm: mean way a frame of the slower one of the feet that are down.
        below_mm, above_mm: the mesh's lowest point, at most under and over the floor.
        legs_cm: the least distance of the middle lines of the lower legs and feet.
        rise_cm: how high the hips get over the higher key. turn: degrees of heading from key to key.
    """

    keys_mm: float
    same: bool
    pop: tuple[float, int, str]
    glide_mm: tuple[float, int]
    skate_mm: float
    below_mm: tuple[float, int]
    above_mm: tuple[float, int]
    legs_cm: tuple[float, int]
    rise_cm: float
    turn: float


@dataclass
class Seen:
    """A closed gap, frame by frame from a frame before the first key to one after the last.

    Attributes:
        joints: (T, 22, 3) in the space of `read_poses`.
        points: (T, n, 3) heads and tails of all bones, world space.
        lowest: (T,) world height of the mesh's lowest point.
    """

    frames: list[int]
    joints: np.ndarray
    points: np.ndarray
    lowest: np.ndarray


def look(armature: bpy.types.Object, gap: Gap) -> Seen:
    """Play the gap and note where everything is."""
    scene = bpy.context.scene
    frames = list(range(round(gap.first) - 1, round(gap.last) + 2))
    joints = read_poses(armature, scene, map_armature(armature), frames).joints
    mesh = next(child for child in armature.children if child.type == "MESH")
    points, lowest = [], []
    for frame in frames:
        scene.frame_set(frame)
        world = armature.matrix_world
        points.append([world @ point for bone in armature.pose.bones for point in (bone.head, bone.tail)])
        shown = mesh.evaluated_get(bpy.context.evaluated_depsgraph_get())
        held = shown.to_mesh()
        places = np.empty(3 * len(held.vertices))
        held.vertices.foreach_get("co", places)
        shown.to_mesh_clear()
        matrix = np.array(shown.matrix_world)
        lowest.append(float((places.reshape(-1, 3) @ matrix[2, :3]).min() + matrix[2, 3]))
    return Seen(frames, joints, np.array(points), np.array(lowest))


def measure(seen: Seen, recorded: Seen, context: bool, same: bool) -> Figures:
    """Figures of a closed gap; the frames beyond the keys count only where there is motion around it."""
    frames, inside = np.array(seen.frames[1:-1]), seen.joints[1:-1]
    span = slice(None) if context else slice(1, -1)
    keys = np.linalg.norm((seen.joints - recorded.joints)[span][[0, -1]], axis=-1).max()
    inner = np.linalg.norm((inside - recorded.joints[1:-1])[[0, -1]], axis=-1).max()
    change = np.linalg.norm(np.diff(seen.joints[span], 2, axis=0), axis=-1) * SCENE_FPS
    t, j = np.unravel_index(change.argmax(), change.shape)
    balls = inside[:, [J["l_foot"], J["r_foot"]]]
    ways = 1000.0 * np.linalg.norm(np.diff(balls[..., [0, 2]], axis=0), axis=-1)
    low = balls[..., 1] < balls[..., 1].min(axis=0) + LOW
    down = low[1:] & low[:-1]
    glides = np.where(down, ways, 0.0).max(axis=1)
    slower = np.where(down, ways, np.inf).min(axis=1)[down.any(axis=1)]
    lowest, legs = 1000.0 * seen.lowest[1:-1], 100.0 * leg_distance(inside)
    heading, hips = np.unwrap(_heading(inside)), 100.0 * inside[:, 0, 1]

    def at(values: np.ndarray, n: np.intp, first: int = 0) -> tuple[float, int]:
        return float(values[n]), int(frames[n + first])

    return Figures(
        keys_mm=1000.0 * float(max(keys, inner)),
        same=same,
        pop=(float(change[t, j]), seen.frames[span][t + 1], JOINTS[j]),
        glide_mm=at(glides, glides.argmax(), 1),
        skate_mm=float(slower.mean()) if len(slower) else 0.0,
        below_mm=at(np.maximum(-lowest, 0.0), lowest.argmin()),
        above_mm=at(np.maximum(lowest, 0.0), lowest.argmax()),
        legs_cm=at(legs, legs.argmin()),
        rise_cm=float(hips.max() - max(hips[0], hips[-1])),
        turn=float(np.degrees(heading[-1] - heading[0])),
    )


def leg_distance(joints: np.ndarray) -> np.ndarray:
    """The least distance of the lines knee - ankle - ball of the two legs. (T, 22, 3) -> (T,)."""
    lines = []
    for side in "lr":
        knee, ankle, ball = (joints[:, J[f"{side}_{name}"]] for name in ("knee", "ankle", "foot"))
        along = np.linspace(0.0, 1.0, 9)[:, None, None]
        lines.append(np.concatenate([knee + along * (ankle - knee), ankle + along * (ball - ankle)]))
    return np.linalg.norm(lines[0][:, None] - lines[1][None], axis=-1).min(axis=(0, 1))


def _heading(joints: np.ndarray) -> np.ndarray:
    across = joints[:, J["l_hip"]] - joints[:, J["r_hip"]] + joints[:, J["l_shoulder"]] - joints[:, J["r_shoulder"]]
    return np.arctan2(-across[:, 2], across[:, 0])
