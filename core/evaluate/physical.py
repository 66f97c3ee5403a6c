"""Is a motion physically plausible? Slide, jerk, floor. NumPy; joints are (T, 22, 3) metres, Y up, 20 fps.

The floor is y = 0, where the data has it: the lowest point of a clip lies on it."""

from __future__ import annotations

import numpy as np

from core.skeleton import FEET, FPS, bone_lengths

STANDING = 0.02
"""A foot joint that really moves less than this a frame is standing, metres."""


def foot_slide(joints: np.ndarray, real: np.ndarray | None = None) -> float:
    """Mean horizontal speed of standing foot joints, millimetres a frame; nan if no foot is ever down.

    Standing is judged on `real` where given. Else, in each frame, the slowest of the foot joints within 5 cm of their
    lowest is the one that should stand: someone with a foot on the floor has one that is still.
    """
    feet = joints[:, list(FEET)]
    if real is not None:
        speed = np.linalg.norm(np.diff(feet[..., [0, 2]], axis=0), axis=-1)
        stands = np.linalg.norm(np.diff(real[:, list(FEET)], axis=0), axis=-1) < STANDING
        return float(1000 * speed[stands].mean()) if stands.any() else float("nan")
    return slowest_slide(feet, feet[..., 1] < feet[..., 1].min(0) + 0.05)


def slowest_slide(feet: np.ndarray, low: np.ndarray) -> float:
    """Mean horizontal speed, millimetres a frame, of the slowest joint that is low from one frame to the next; nan if
    none ever is. feet: (T, N, 3); low: (T, N) bool."""
    speed = np.linalg.norm(np.diff(feet[..., [0, 2]], axis=0), axis=-1)
    down = low[1:] & low[:-1]
    slowest = np.where(down, speed, np.inf).min(1)[down.any(1)]
    return float(1000 * slowest.mean()) if len(slowest) else float("nan")


def jerk(joints: np.ndarray) -> float:
    """Mean size of the third derivative of all joints, metres a second cubed."""
    return float(np.linalg.norm(np.diff(joints, 3, axis=0) * FPS**3, axis=-1).mean()) if len(joints) > 3 else 0.0


FLIGHT = 4.9
"""Half of gravity, metres a second squared: a root that falls faster is in the air."""


def airborne(joints: np.ndarray) -> np.ndarray:
    """(T,) bool: frames in which the body flies, as its root's downward acceleration tells, and those beside them."""
    if len(joints) < 5:
        return np.zeros(len(joints), bool)
    y = joints[:, 0, 1]
    over = np.zeros(len(y))
    over[2:-2] = (y[4:] - 2 * y[2:-2] + y[:-4]) * (FPS / 2) ** 2  # over four frames: one alone is mostly noise
    flies = over < -FLIGHT
    return flies | np.roll(flies, 1) | np.roll(flies, -1)


def floating(joints: np.ndarray) -> float:
    """Mean height of the lowest joint above the floor while the body does not fly, millimetres; nan if it always does.

    A joint of the foot lies some millimetres to two centimetres over the floor when the foot stands on it, so real
    motion has such a height too: compare with it."""
    down = ~airborne(joints)
    return float(1000 * joints[down][..., 1].min(1).clip(0).mean()) if down.any() else float("nan")


def penetration(joints: np.ndarray) -> tuple[float, float]:
    """Depth of the lowest joint below the floor, millimetres: mean over frames, and the deepest."""
    depth = 1000 * (-joints[..., 1].min(1)).clip(0)
    return float(depth.mean()), float(depth.max())


def bone_error(joints: np.ndarray, bones: np.ndarray) -> float:
    """Mean absolute difference of bone lengths from `bones` (22,) metres, over bones and frames, millimetres."""
    return float(1000 * np.abs(bone_lengths(joints) - bones)[:, 1:].mean())
