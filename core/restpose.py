"""The canonical rest pose: a T pose of the 22 joints, X to the character's left, Y up, facing +Z, metres."""

from __future__ import annotations

import numpy as np

from core.skeleton import PARENTS

LENGTHS = np.array(
    [0, 0.1031, 0.1099, 0.1316, 0.3936, 0.3902, 0.1432, 0.4324, 0.4256, 0.0574, 0.1434, 0.1494, 0.2194, 0.1375, 0.1434,
     0.1030, 0.1316, 0.1230, 0.2568, 0.2631, 0.2660, 0.2699]
)  # fmt: skip
"""(22,) metres: length of the bone that ends in each joint, HumanML3D's reference skeleton (left and right differ)."""

# Directions of the bones: the hips and the chest as in SMPL, the limbs straight.
_DIRECTIONS = np.array(
    [[0, 0, 0], [0.565, -0.815, -0.125], [-0.565, -0.815, -0.125], [0, 0.99, -0.14], [0, -1, 0], [0, -1, 0],
     [0, 1, 0.05], [0, -1, 0], [0, -1, 0], [0, 1, 0.05], [0.2, -0.42, 0.885], [-0.2, -0.42, 0.885], [0, 0.987, -0.16],
     [0.512, 0.846, -0.15], [-0.512, 0.846, -0.15], [0, 0.87, 0.49], [0.95, 0.27, -0.15], [-0.95, 0.27, -0.15],
     [1, 0, 0], [-1, 0, 0], [1, 0, 0], [-1, 0, 0]]
)  # fmt: skip

REST_OFFSETS = _DIRECTIONS / np.maximum(np.linalg.norm(_DIRECTIONS, axis=1, keepdims=True), 1e-9) * LENGTHS[:, None]
"""(22, 3) metres: vector from each joint's parent to the joint in the T pose; 0 for the root."""


def rest_joints() -> np.ndarray:
    """The T pose standing on the floor: (22, 3) float32, metres, the root at x = z = 0."""
    joints = np.zeros((22, 3))
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            joints[joint] = joints[parent] + REST_OFFSETS[joint]
    joints[:, 1] -= joints[:, 1].min()
    return joints.astype(np.float32)
