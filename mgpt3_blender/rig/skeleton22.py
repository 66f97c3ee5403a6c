"""The 22 joints that motion arrives in, and how a person stands in them.

The add-on's own copy of the names and parents: it never imports the core. Order and names are SMPL's (Loper et al.,
2015) as HumanML3D uses them (Guo et al., CVPR 2022). Axes: X to the character's left, Y up, Z forward; metres.
"""

from __future__ import annotations

import numpy as np

FPS = 20.0
"""Frames a second of the model's motion."""

JOINTS: tuple[str, ...] = (
    "pelvis", "l_hip", "r_hip", "spine1", "l_knee", "r_knee", "spine2", "l_ankle", "r_ankle", "spine3", "l_foot",
    "r_foot", "neck", "l_collar", "r_collar", "head", "l_shoulder", "r_shoulder", "l_elbow", "r_elbow", "l_wrist",
    "r_wrist",
)  # fmt: skip
PARENTS: tuple[int, ...] = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
INDEX: dict[str, int] = {name: i for i, name in enumerate(JOINTS)}

NEXT: dict[int, int] = {3: 6, 6: 9, 9: 12, 12: 15, 1: 4, 4: 7, 7: 10, 2: 5, 5: 8, 8: 11, 13: 16, 16: 18, 18: 20,
                        14: 17, 17: 19, 19: 21}  # fmt: skip
"""The joint at the far end of each joint's bone. The pelvis has three and is oriented by all of them."""

NEEDED: tuple[str, ...] = (
    "pelvis", "l_hip", "r_hip", "l_knee", "r_knee", "l_ankle", "r_ankle", "l_shoulder", "r_shoulder", "l_elbow",
    "r_elbow", "l_wrist", "r_wrist", "head",
)  # fmt: skip
"""Without these (and one spine bone) a character is not driven; the others are bridged when they are missing."""

SPINE: tuple[str, ...] = ("spine1", "spine2", "spine3")

FOOT_SLOPE = np.radians(28.0)
"""How steeply ankle -> ball of the foot falls while the foot stands flat, in this skeleton."""
BALL_HEIGHT = 0.01
"""Height of the ball joint over the floor while the foot stands flat, metres."""
ANKLE_HEIGHT = 0.077
"""Height of the ankle joint over the floor while the foot stands flat, metres."""

_SLOPE = (0.0, -float(np.sin(FOOT_SLOPE)), float(np.cos(FOOT_SLOPE)))
# Direction from the parent and bone length. The torso's directions are the medians over upright frames of mocap in
# this skeleton: its joints do not lie on a straight line when a person stands straight (the neck -> head bone leans
# 40 degrees forward), so "upright" has to be stated once. Limbs stand in a T.
_OFFSETS: dict[str, tuple[tuple[float, float, float], float]] = {
    "l_hip": ((0.566, -0.823, -0.005), 0.106), "r_hip": ((-0.566, -0.823, -0.005), 0.106),
    "spine1": ((0.0, 0.961, -0.276), 0.132), "spine2": ((0.0, 0.978, 0.208), 0.143),
    "spine3": ((0.0, 0.959, 0.284), 0.057), "neck": ((0.0, 0.999, 0.035), 0.219),
    "head": ((0.0, 0.766, 0.643), 0.103),
    "l_collar": ((0.508, 0.853, -0.075), 0.140), "r_collar": ((-0.508, 0.853, -0.075), 0.140),
    "l_shoulder": ((0.992, -0.07, 0.0), 0.128), "r_shoulder": ((-0.992, -0.07, 0.0), 0.128),
    "l_elbow": ((1.0, 0.0, 0.0), 0.260), "r_elbow": ((-1.0, 0.0, 0.0), 0.260),
    "l_wrist": ((1.0, 0.0, 0.0), 0.268), "r_wrist": ((-1.0, 0.0, 0.0), 0.268),
    "l_knee": ((0.0, -1.0, 0.0), 0.392), "r_knee": ((0.0, -1.0, 0.0), 0.392),
    "l_ankle": ((0.0, -1.0, 0.0), 0.429), "r_ankle": ((0.0, -1.0, 0.0), 0.429),
    "l_foot": (_SLOPE, 0.146), "r_foot": (_SLOPE, 0.146),
}  # fmt: skip


def neutral_pose() -> np.ndarray:
    """A person standing straight in a T with the feet on the floor. (22, 3) metres, Y up, facing +Z."""
    pose = np.zeros((22, 3))
    for j, parent in enumerate(PARENTS):
        if parent >= 0:
            direction, length = _OFFSETS[JOINTS[j]]
            pose[j] = pose[parent] + length * np.asarray(direction) / np.linalg.norm(direction)
    pose[:, 1] += BALL_HEIGHT - pose[INDEX["l_foot"], 1]
    return pose


NEUTRAL = neutral_pose()
