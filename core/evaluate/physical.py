"""Is a motion physically plausible? Slide and jerk. NumPy; joints are (T, 22, 3) metres, Y up, 20 fps."""

from __future__ import annotations

import numpy as np

from core.skeleton import FEET, FPS

STANDING = 0.02
"""A foot joint that really moves less than this a frame is standing, metres."""


def foot_slide(joints: np.ndarray, real: np.ndarray | None = None) -> float:
    """Mean horizontal speed of standing foot joints, millimetres a frame; nan if no foot is ever down.

    Standing is judged on `real` where given. Else, in each frame, the slowest of the foot joints within 5 cm of their
    lowest is the one that should stand: someone with a foot on the floor has one that is still.
    """
    feet = joints[:, list(FEET)]
    speed = np.linalg.norm(np.diff(feet[..., [0, 2]], axis=0), axis=-1)
    if real is not None:
        stands = np.linalg.norm(np.diff(real[:, list(FEET)], axis=0), axis=-1) < STANDING
        return float(1000 * speed[stands].mean()) if stands.any() else float("nan")
    low = feet[..., 1] < feet[..., 1].min(0) + 0.05
    down = low[1:] & low[:-1]
    slowest = np.where(down, speed, np.inf).min(1)[down.any(1)]
    return float(1000 * slowest.mean()) if len(slowest) else float("nan")


def jerk(joints: np.ndarray) -> float:
    """Mean size of the third derivative of all joints, metres a second cubed."""
    return float(np.linalg.norm(np.diff(joints, 3, axis=0) * FPS**3, axis=-1).mean()) if len(joints) > 3 else 0.0
