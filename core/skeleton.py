"""The canonical skeleton: the 22 SMPL body joints that every motion in this project is made of.

Motion is an array of joint positions (frames, 22, 3), float32, metres, Y up, facing +Z at frame 0, 20 frames a
second: the joints of HumanML3D (Guo et al., CVPR 2022) in the order of SMPL (Loper et al., 2015).
"""

from __future__ import annotations

import numpy as np

FPS = 20.0
"""Frames a second of the model's motion (HumanML3D)."""

JOINTS: tuple[str, ...] = (
    "pelvis", "l_hip", "r_hip", "spine1", "l_knee", "r_knee", "spine2", "l_ankle", "r_ankle", "spine3", "l_foot",
    "r_foot", "neck", "l_collar", "r_collar", "head", "l_shoulder", "r_shoulder", "l_elbow", "r_elbow", "l_wrist",
    "r_wrist",
)  # fmt: skip
"""Joint names; l_foot and r_foot are the balls of the feet."""

PARENTS: tuple[int, ...] = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
"""Parent of each joint, -1 for the root; a parent always comes before its children."""

CHAINS: tuple[tuple[int, ...], ...] = (
    (0, 2, 5, 8, 11), (0, 1, 4, 7, 10), (0, 3, 6, 9, 12, 15), (9, 14, 17, 19, 21), (9, 13, 16, 18, 20),
)  # fmt: skip
"""The five kinematic chains in HumanML3D's order: right leg, left leg, spine, right arm, left arm."""

MIRROR: tuple[int, ...] = (0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20)
"""Index of each joint's partner on the other side of the body."""

FEET: tuple[int, int, int, int] = (7, 10, 8, 11)
"""Left ankle, left foot, right ankle, right foot: the order of HumanML3D's contact channels."""


def mirror(joints: np.ndarray) -> np.ndarray:
    """The motion as seen in a mirror: left and right swapped.

    Args:
        joints: (..., 22, 3) positions, metres, X to the character's left.
    Returns:
        A new array of the same shape and type.
    """
    out = joints[..., list(MIRROR), :].copy()
    out[..., 0] *= -1
    return out


def bone_lengths(joints: np.ndarray) -> np.ndarray:
    """Length of the bone that ends in each joint. (..., 22, 3) metres -> (..., 22) metres, 0 for the root."""
    parents = np.maximum(np.asarray(PARENTS), 0)
    return np.linalg.norm(joints - joints[..., parents, :], axis=-1)
