"""Putting one motion where another one is: a turn about the vertical and a shift on the floor (SE(2))."""

from __future__ import annotations

import numpy as np

from core.features import facing


def turn_and_shift(joints: np.ndarray, angle: float, shift: np.ndarray) -> np.ndarray:
    """Rotate (..., 22, 3) about +y by `angle` radians (z towards x) and move it by shift (2,): x and z, metres."""
    c, s = np.cos(angle), np.sin(angle)
    out = joints.copy()
    out[..., 0] = c * joints[..., 0] + s * joints[..., 2] + shift[0]
    out[..., 2] = c * joints[..., 2] - s * joints[..., 0] + shift[1]
    return out


def heading(pose: np.ndarray) -> float:
    """Where a pose (22, 3) faces: radians from +z towards +x."""
    forward = facing(pose[None])[0]
    return float(np.arctan2(forward[0], forward[2]))


def fit(moving: np.ndarray, fixed: np.ndarray) -> tuple[float, np.ndarray]:
    """The turn and shift that bring `moving` (T, 22, 3) nearest to `fixed` (T, 22, 3) in the horizontal plane, least
    squares over all joints: (angle, shift) for `turn_and_shift`."""
    a, b = moving[..., [0, 2]].reshape(-1, 2), fixed[..., [0, 2]].reshape(-1, 2)
    ca, cb = a.mean(0), b.mean(0)
    a0, b0 = a - ca, b - cb
    # b = R a with R = [[c, s], [-s, c]] on (x, z)
    angle = float(np.arctan2((a0[:, 1] * b0[:, 0] - a0[:, 0] * b0[:, 1]).sum(), (a0 * b0).sum()))
    c, s = np.cos(angle), np.sin(angle)
    return angle, cb - np.array([c * ca[0] + s * ca[1], c * ca[1] - s * ca[0]])
