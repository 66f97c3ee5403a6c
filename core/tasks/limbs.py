"""A hand or a foot to a place: two bones, an old formula."""

from __future__ import annotations

import numpy as np

from core.body import rotation as rot

LIMBS: dict[int, tuple[int, int, int, tuple[int, ...]]] = {
    20: (16, 18, 20, ()), 21: (17, 19, 21, ()), 7: (1, 4, 7, (10,)), 8: (2, 5, 8, (11,)),
}  # fmt: skip
"""End joint -> shoulder or hip, elbow or knee, the end itself, and what it carries."""


def two_bones(
    root: np.ndarray, middle: np.ndarray, end: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Middle and end joint for an end at `target`, or as near as the limb is long; it bends in the plane it bent in.

    Args:
        root, middle, end, target: (T, 3) each.
    """
    upper, lower = np.linalg.norm(middle - root, axis=-1), np.linalg.norm(end - middle, axis=-1)
    now = np.linalg.norm(end - root, axis=-1)
    to = target - root
    length = np.linalg.norm(to, axis=-1)
    most = np.maximum(0.9995 * (upper + lower), now)
    length = np.clip(length, np.abs(upper - lower) + 1e-4, most)
    along = rot.unit(to)
    bend = np.einsum("tij,tj->ti", rot.between(end - root, along), middle - root)
    bend = bend - (bend * along).sum(-1, keepdims=True) * along
    straight = np.linalg.norm(bend, axis=-1) < 1e-6
    bend[straight] = np.cross(along[straight], np.array([1.0, 0.0, 0.0]))
    cosine = np.clip((upper**2 + length**2 - lower**2) / np.maximum(2 * upper * length, 1e-9), -1.0, 1.0)
    sine = np.sqrt(1.0 - cosine**2)
    elbow = root + upper[:, None] * (cosine[:, None] * along + sine[:, None] * rot.unit(bend))
    return elbow, root + length[:, None] * along


def reach(pose: np.ndarray, joint: int, target: np.ndarray) -> np.ndarray:
    """A pose (22, 3) with a hand or an ankle at `target` (3,), or as near as the limb is long."""
    a, b, c, carried = LIMBS[joint]
    out = pose.copy()
    middle, end = two_bones(pose[a][None], pose[b][None], pose[c][None], target[None])
    out[b], out[c] = middle[0], end[0]
    for k in carried:
        out[k] = pose[k] + end[0] - pose[c]
    return out
