"""Feet and floor: when a foot stands, how much it slides, and a light foot lock. NumPy only.

Works on the motion before it goes onto a character: joints (T, 22, 3), metres, Y up, floor at 0.
"""

from __future__ import annotations

import numpy as np

from . import rotation as rot
from .body import smoothstep
from .skeleton22 import ANKLE_HEIGHT, BALL_HEIGHT, FPS
from .skeleton22 import INDEX as J

FEET = (J["l_ankle"], J["l_foot"], J["r_ankle"], J["r_foot"])
_REST_HEIGHT = np.array([ANKLE_HEIGHT, BALL_HEIGHT] * 2)


def contacts(feet: np.ndarray, fps: float = FPS) -> np.ndarray:
    """Which foot joints stand on the floor. (T, 4, 3) as in FEET -> (T, 4) bool.

    A joint stands when it is low and slow; the faster the body travels, the more slide passes as standing.
    """
    velocity = np.gradient(feet, axis=0) * fps
    speed = np.linalg.norm(velocity, axis=-1)
    travel = np.linalg.norm(velocity.mean(1)[:, [0, 2]], axis=-1)
    low = feet[..., 1] < _REST_HEIGHT + 0.045
    return low & (speed < 0.3 + 0.25 * travel[:, None])


def slide(feet: np.ndarray, fps: float = FPS) -> float:
    """How far standing feet travel across the floor, mean over contacts, millimetres a frame of 1/20 s.

    Args:
        feet: (T, 4, 3) as in FEET, metres.
        fps: frames a second of `feet`.
    """
    standing = contacts(feet, fps)
    both = standing[1:] & standing[:-1]
    steps = np.linalg.norm(np.diff(feet[..., [0, 2]], axis=0), axis=-1) * (fps / FPS)
    return float(steps[both].mean() * 1000.0) if both.any() else 0.0


def _segments(standing: np.ndarray, least: int) -> list[tuple[int, int]]:
    """Runs of true values of at least `least` frames, as [start, end). Gaps of one frame are closed."""
    standing = standing.copy()
    standing[1:-1] |= standing[:-2] & standing[2:]
    edges = np.flatnonzero(np.diff(np.concatenate([[0], standing.astype(int), [0]])))
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if b - a >= least]


def clean_feet(joints: np.ndarray, fps: float = FPS) -> np.ndarray:
    """Pin each foot where it stands, and let it go softly. (T, 22, 3) -> the same shape, float32.

    Within a contact the ball of the foot stays at one place on the floor; the correction fades over the frames
    before and after. The foot keeps its angle (so nobody is pulled onto their toes) and the leg follows by bending the
    knee; where the leg would have to be longer than it is, the foot gives way.
    """
    out = np.asarray(joints, np.float64).copy()
    standing = contacts(out[:, FEET], fps)
    fade = max(2, round(0.2 * fps))
    wanted = []
    for n, side in enumerate("lr"):
        ankle, ball = J[f"{side}_ankle"], J[f"{side}_foot"]
        shift = np.zeros((len(out), 3))
        weight = np.zeros(len(out))
        for a, b in _segments(standing[:, 2 * n + 1], max(2, round(0.1 * fps))):
            there = np.median(out[a:b, ball], axis=0)
            there[1] = max(there[1], 0.0)
            fix = np.zeros((len(out), 3))
            fix[a:b] = there - out[a:b, ball]
            fix[:a], fix[b:] = fix[a], fix[b - 1]
            t = np.arange(len(out))
            away = np.maximum(np.maximum(a - t, t - (b - 1)), 0)
            near = 1.0 - smoothstep(away, 0.0, float(fade))
            shift += near[:, None] * fix
            weight += near
        shift /= np.maximum(weight, 1.0)[:, None]
        wanted.append(out[:, ankle] + shift)
    _sink(out, wanted, standing, fade)
    for side, target in zip("lr", wanted, strict=True):
        _reach(out, side, target)
    return out.astype(np.float32)


def _sink(joints: np.ndarray, wanted: list[np.ndarray], standing: np.ndarray, fade: int) -> None:
    """Lower the body, in place, softly and by 4 cm at most, where a standing foot is out of the leg's reach."""
    short = np.zeros(len(joints))
    for n, side in enumerate("lr"):
        hip, knee, ankle = (J[f"{side}_{name}"] for name in ("hip", "knee", "ankle"))
        leg = sum(np.linalg.norm(joints[:, b] - joints[:, a], axis=-1) for a, b in ((hip, knee), (knee, ankle)))
        leg = np.maximum(0.998 * leg, np.linalg.norm(joints[:, ankle] - joints[:, hip], axis=-1))
        line = joints[:, hip] - wanted[n]
        height = np.sqrt(np.maximum(leg**2 - line[:, 0] ** 2 - line[:, 2] ** 2, 0.0))
        stands = standing[:, 2 * n : 2 * n + 2].any(1)
        short = np.maximum(short, np.where(stands, np.clip(line[:, 1] - height, 0.0, 0.04), 0.0))
    widest = np.max([np.roll(np.pad(short, fade), k)[fade:-fade] for k in range(-fade, fade + 1)], axis=0)
    window = np.hanning(2 * fade + 3)[1:-1]
    drop = np.convolve(np.pad(widest, fade, mode="edge"), window / window.sum(), mode="valid")
    joints[..., 1] -= drop[:, None]  # the feet come back to their places when the legs reach for them


def _reach(joints: np.ndarray, side: str, wanted: np.ndarray) -> None:
    """Move one ankle to `wanted` (T, 3), in place: the leg keeps its lengths, the knee its side, the foot its angle."""
    hip, knee, ankle, ball = (J[f"{side}_{name}"] for name in ("hip", "knee", "ankle", "foot"))
    foot = joints[:, ball] - joints[:, ankle]
    thigh = np.linalg.norm(joints[:, knee] - joints[:, hip], axis=-1)
    shin = np.linalg.norm(joints[:, ankle] - joints[:, knee], axis=-1)
    before = np.linalg.norm(joints[:, ankle] - joints[:, hip], axis=-1)
    line = wanted - joints[:, hip]
    most = np.maximum(before, 0.999 * (thigh + shin))
    distance = np.clip(np.linalg.norm(line, axis=-1), np.abs(thigh - shin) + 1e-4, most)
    line = rot.unit(line)
    turn = rot.swing(joints[:, ankle] - joints[:, hip], line)
    side_of = rot.turn(turn, joints[:, knee] - joints[:, hip])
    side_of = rot.unit(side_of - (side_of * line).sum(-1, keepdims=True) * line)
    along = (thigh**2 - shin**2 + distance**2) / (2 * distance)
    out = np.sqrt(np.maximum(thigh**2 - along**2, 0.0))
    joints[:, knee] = joints[:, hip] + along[:, None] * line + out[:, None] * side_of
    joints[:, ankle] = joints[:, hip] + distance[:, None] * line
    joints[:, ball] = joints[:, ankle] + foot
