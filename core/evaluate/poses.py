"""How far one motion is from another: reconstruction, prediction and in-between errors. NumPy, metres in.

Joints are (T, 22, 3), metres, Y up, of equal length in both. Millimetres come out where the name says so.
"""

from __future__ import annotations

import numpy as np


def distance(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Mean distance of joints in every frame, metres: (T,)."""
    return np.linalg.norm(a - b, axis=-1).mean(-1)


def relative(joints: np.ndarray) -> np.ndarray:
    """The motion with its root at the origin in every frame."""
    return joints - joints[:, :1]


def procrustes(moving: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    """Every frame of `moving` turned, scaled and shifted to lie nearest to the same frame of `fixed`.

    Least squares a frame (Umeyama, 1991), as PA-MPJPE has it."""
    a, b = moving.astype(np.float64), fixed.astype(np.float64)
    ca, cb = a.mean(1, keepdims=True), b.mean(1, keepdims=True)
    a, b = a - ca, b - cb
    U, S, Vt = np.linalg.svd(np.swapaxes(a, 1, 2) @ b)
    flip = np.sign(np.linalg.det(U @ Vt))
    S[:, 2] *= flip
    Vt[:, 2] *= flip[:, None]
    scale = S.sum(1) / (a**2).sum((1, 2)).clip(1e-12)
    return scale[:, None, None] * (a @ (U @ Vt)) + cb


def pa_mpjpe(a: np.ndarray, b: np.ndarray) -> float:
    """Mean distance of joints after a Procrustes alignment of each frame, millimetres."""
    return float(1000 * distance(procrustes(a, b), b).mean())


def accel(a: np.ndarray, b: np.ndarray) -> float:
    """Mean size of the difference of the joints' accelerations, millimetres a frame squared (frames of 1/20 s)."""
    if len(a) < 3:
        return 0.0
    return float(1000 * np.linalg.norm(np.diff(a, 2, axis=0) - np.diff(b, 2, axis=0), axis=-1).mean())


def ade_fde(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Average and final displacement error, metres.

    Returns:
        ade, fde: mean distance of a joint, over all frames and in the last one; ade_root, fde_root: the same with both
        roots at the origin; ade_flat, fde_flat: the official form, the L2 norm of a frame's 66 numbers (4.7 times as
        large where all joints are equally far off).
    """
    joint, posed = distance(a, b), distance(relative(a), relative(b))
    flat = np.linalg.norm((a - b).reshape(len(a), -1), axis=-1)
    return {"ade": float(joint.mean()), "fde": float(joint[-1]),
            "ade_root": float(posed.mean()), "fde_root": float(posed[-1]),
            "ade_flat": float(flat.mean()), "fde_flat": float(flat[-1])}  # fmt: skip


def hold(last: np.ndarray, frames: int) -> np.ndarray:
    """The baseline of prediction: the pose (22, 3) stays as it is."""
    return np.repeat(last[None], frames, 0)


def blend(first: np.ndarray, last: np.ndarray, frames: int) -> np.ndarray:
    """The baseline of in-betweening: `frames` poses on straight lines between two poses (22, 3), neither included."""
    part = (np.arange(1, frames + 1) / (frames + 1))[:, None, None]
    return first * (1 - part) + last * part
