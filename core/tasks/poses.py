"""Poses as turns: joint positions <-> root, local rotations and offsets, what in-betweening interpolates and corrects.

Rotations are solved from positions alone: the pelvis and the chest by least squares over the bones that leave them,
every other joint by the least turn that brings its bone where it is. Offsets are kept for each pose, in the parent's
axes, so that positions come back exactly whatever the body.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from core.body import rotation as rot
from core.restpose import rest_joints
from core.skeleton import PARENTS

_REST = rest_joints().astype(np.float64)
_CHILDREN = [[k for k, p in enumerate(PARENTS) if p == j] for j in range(22)]
_BONES = np.stack([_REST[j] - _REST[max(p, 0)] for j, p in enumerate(PARENTS)])


@dataclass
class Poses:
    """A motion as turns.

    Attributes:
        root: (T, 3) the pelvis, metres.
        local: (T, 22, 3, 3) rotation of each joint in its parent's axes, the pelvis' in the world's; those of end
            joints (hands, head, toes) are the identity.
        offsets: (T, 22, 3) from the parent to the joint in the parent's axes, metres; 0 for the pelvis.
    """

    root: np.ndarray
    local: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.root)

    def __getitem__(self, frames: slice | np.ndarray) -> Poses:
        return Poses(self.root[frames], self.local[frames], self.offsets[frames])


def world_rotations(joints: np.ndarray) -> np.ndarray:
    """Positions (T, 22, 3) -> each joint's turn in the world (T, 22, 3, 3); end joints turn with their parent."""
    joints = np.asarray(joints, np.float64)
    out = np.empty((len(joints), 22, 3, 3))
    for j, parent in enumerate(PARENTS):
        children = _CHILDREN[j]
        above = out[:, parent] if parent >= 0 else None
        if len(children) > 1:
            bones = rot.unit(joints[:, children] - joints[:, j : j + 1])
            out[:, j] = rot.best_fit(rot.unit(_BONES[children]), bones)
        elif children and above is not None:
            bone = joints[:, children[0]] - joints[:, j]
            out[:, j] = rot.between(above @ _BONES[children[0]], bone) @ above
        else:
            assert above is not None
            out[:, j] = above
    return out


def from_joints(joints: np.ndarray) -> Poses:
    """Positions (T, 22, 3), metres -> turns, exactly: `to_joints` gives the positions back."""
    joints = np.asarray(joints, np.float64)
    world = world_rotations(joints)
    local, offsets = world.copy(), np.zeros_like(joints)
    for j, parent in enumerate(PARENTS):
        if parent >= 0:
            back = np.swapaxes(world[:, parent], -1, -2)
            local[:, j] = back @ world[:, j]
            offsets[:, j] = np.einsum("tij,tj->ti", back, joints[:, j] - joints[:, parent])
    return Poses(joints[:, 0].copy(), local, offsets)


def to_joints(poses: Poses) -> np.ndarray:
    """Turns -> positions (T, 22, 3), metres, float64."""
    out = np.empty((len(poses), 22, 3))
    world = np.empty((len(poses), 22, 3, 3))
    for j, parent in enumerate(PARENTS):
        if parent < 0:
            out[:, j], world[:, j] = poses.root, poses.local[:, j]
        else:
            out[:, j] = out[:, parent] + np.einsum("tij,tj->ti", world[:, parent], poses.offsets[:, j])
            world[:, j] = world[:, parent] @ poses.local[:, j]
    return out


def interpolate(start: np.ndarray, end: np.ndarray, frames: int, ease: bool = False) -> np.ndarray:
    """Linear root, spherical rotations: what an animator gets without in-betweens.

    Args:
        start, end: (22, 3) poses. frames: strictly between them.
        ease: slow at both ends, as two keys with Blender's automatic Bezier handles are.
    Returns:
        (frames + 2, 22, 3) float64, both poses included.
    """
    ends = from_joints(np.stack([start, end]))
    part = np.linspace(0.0, 1.0, frames + 2)
    part = part * part * (3.0 - 2.0 * part) if ease else part
    local = np.stack([Slerp([0, 1], Rotation.from_matrix(ends.local[:, j]))(part).as_matrix() for j in range(22)], 1)
    mixed = part[:, None] * (ends.root[1] - ends.root[0]) + ends.root[0]
    offsets = part[:, None, None] * (ends.offsets[1] - ends.offsets[0]) + ends.offsets[0]
    out = to_joints(Poses(mixed, local, offsets))
    out[0], out[-1] = start, end
    return out


@dataclass
class Difference:
    """What brings one motion onto another, frame by frame: root (T, 3), turns (T, 22, 3) axis-angle in each joint's own
    axes without jumps over time, offsets (T, 22, 3)."""

    root: np.ndarray
    turns: np.ndarray
    offsets: np.ndarray


def difference(motion: Poses, wanted: Poses) -> Difference:
    """What is missing from `motion` to `wanted`, both of T frames."""
    turns = rot.without_jumps(rot.log(np.swapaxes(motion.local, -1, -2) @ wanted.local))
    return Difference(wanted.root - motion.root, turns, wanted.offsets - motion.offsets)


def add(motion: Poses, change: Difference) -> Poses:
    """The motion with a difference put on it."""
    return Poses(motion.root + change.root, motion.local @ rot.exp(change.turns), motion.offsets + change.offsets)
