"""Feet and floor: when a foot stands, how much it slides, and the foot lock. NumPy only.

Works on plain joints (T, 22, 3): a motion, or a character posed like one (a "figure"), in the motion's axes (X left,
Y up, Z forward), metres of the motion's size, the floor at 0. Heel and toe are the ankle and ball joints.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import rotation as rot
from .footlock import averaged, closed_gaps, lock_feet, lying_shins, rates, spans
from .place import FEET, HEIGHTS, floor_of
from .skeleton22 import FOOT_SLOPE, FPS

FIRM_HEIGHT = np.array([0.028, 0.03, 0.028, 0.03])
LOOSE_HEIGHT = np.array([0.036, 0.045, 0.036, 0.045])
"""Metres over its rest height below which a heel or toe comes to stand, and above which it stands no more."""

__all__ = ["FEET", "HEIGHTS", "Ground", "contacts", "lock_feet", "measure_ground", "slide", "stance"]


KNOWN = np.array([0.65, 1.0, 0.65, 1.0])
"""The same as a share of these where a body's own heights are known: its heels are then seen to leave sooner."""


def contacts(feet: np.ndarray, fps: float = FPS, heights: np.ndarray | None = None) -> np.ndarray:
    """Which foot joints stand on the floor. (T, 4, 3) as in FEET -> (T, 4) bool.

    A joint stands when it is low and slow; the faster the body travels, the more slide passes as standing. A contact
    begins where both are clear and ends where either is clearly gone; it lasts a tenth of a second or more.

    Args:
        feet: (T, 4, 3) metres, Y up, of the motion itself: on it contacts are as they were meant.
        fps: frames a second; speeds are taken over a tenth of a second at any frame rate.
        heights: (4,) of FEET over the floor while this body stands flat; by default the model's body.
    """
    feet = np.asarray(feet, np.float64)
    near = np.ones(4) if heights is None else KNOWN
    heights = HEIGHTS if heights is None else np.asarray(heights, np.float64)
    over = feet[..., 1] - heights
    over = over - floor_of(over.min(1))
    if len(feet) < 3:
        return over < 0.03
    velocity = rates(feet, fps)
    speed = np.linalg.norm(velocity, axis=-1)
    travel = np.linalg.norm(averaged(velocity.mean(1)[:, [0, 2]], 0.25 * fps), axis=-1)[:, None]
    firm = (over < near * FIRM_HEIGHT) & (speed < 0.25 + 0.2 * travel)
    loose = (over < near * LOOSE_HEIGHT) & (speed < 0.35 + 0.3 * travel)
    out = np.zeros_like(firm)
    for n in range(4):
        for a, b in spans(closed_gaps(loose[:, n], round(0.06 * fps))):
            if b - a >= 0.09 * fps and firm[a:b, n].any():
                out[a + int(firm[a:b, n].argmax()) : b, n] = True
    return out


def slide(
    feet: np.ndarray, fps: float = FPS, standing: np.ndarray | None = None, heights: np.ndarray | None = None
) -> float:
    """How far standing feet travel across the floor, mean over contacts, millimetres a frame of 1/20 s.

    Args:
        feet: (T, 4, 3) as in FEET, metres.
        fps: frames a second of `feet`.
        standing: (T, 4) when they stand; found on `feet` themselves if not given.
        heights: as in `contacts`.
    """
    standing = contacts(feet, fps, heights) if standing is None else standing
    lag = min(max(1, round(fps / FPS)), len(feet) - 1)
    if lag < 1:
        return 0.0
    both = standing[lag:] & standing[:-lag]
    steps = np.linalg.norm(feet[lag:, :, [0, 2]] - feet[:-lag, :, [0, 2]], axis=-1) * (fps / FPS / lag)
    return float(steps[both].mean() * 1000.0) if both.any() else 0.0


@dataclass(frozen=True)
class Ground:
    """How feet meet the floor.

    Attributes:
        slide_mm: mean travel across the floor of a joint in contact, millimetres a frame of 1/20 s.
        floating_mm: mean height of a standing foot over where it stands flat, millimetres.
        floating_share: share of all frames in which neither foot is within 3 cm of the floor though one should stand.
        penetration_mm: mean depth of the lowest foot joint under its rest height, over all frames, millimetres.
        contact_share: share of frames in which a foot stands.
        penetration_p95_mm: the same depth, 95th percentile.
    """

    slide_mm: float
    floating_mm: float
    floating_share: float
    penetration_mm: float
    contact_share: float
    penetration_p95_mm: float = 0.0


def measure_ground(figure: np.ndarray, standing: np.ndarray, heights: np.ndarray, fps: float) -> Ground:
    """Slide, floating and penetration of a character's feet.

    Args:
        figure: (T, 22, 3) as above.
        standing: (T, 4) bool when its feet are meant to stand: `contacts` of the motion.
        heights: (4,) rest heights of FEET over the floor on this character.
        fps: frames a second.
    """
    feet = np.asarray(figure, np.float64)[:, FEET]
    over = feet[..., 1] - np.asarray(heights, np.float64)
    stands = standing.any(1)
    lowest = np.where(standing, over, np.inf).reshape(-1, 2, 2).min(-1)  # of each foot that stands
    high = np.maximum(lowest[np.isfinite(lowest)], 0.0)
    away = stands & (over.min(1) > 0.03)
    # A foot that points down, or lies on its side, may have its ankle lower than in a stand: no more than halfway in.
    lying = lying_shins(figure)[:, [0, 0, 1, 1]] * [1.0, 0.0, 1.0, 0.0]
    depth = np.maximum(-(over + 0.5 * lying * heights), 0.0).max(1) * 1000.0
    return Ground(
        slide_mm=slide(feet, fps, standing),
        floating_mm=float(high.mean() * 1000.0) if len(high) else 0.0,
        floating_share=float(away.mean()),
        penetration_mm=float(depth.mean()),
        contact_share=float(stands.mean()),
        penetration_p95_mm=float(np.percentile(depth, 95)),
    )


def standing_slopes(joints: np.ndarray, standing: np.ndarray) -> np.ndarray:
    """How steeply a motion's feet fall from ankle to ball while they stand flat, left and right. (2,) radians.

    Bodies differ by 20 degrees in that, and it has to be known for a flat foot to become a flat foot elsewhere. Taken
    from the flatter half of the frames in which heel and toe stand; a foot that never stands is taken to be like the
    other, and where neither does, like the model's.

    Args:
        joints: (T, 22, 3).
        standing: (T, 4) as `contacts` gives it.
    """
    slopes = np.full(2, np.nan)
    for n, (ankle, ball) in enumerate((FEET[:2], FEET[2:])):
        flat = standing[:, 2 * n] & standing[:, 2 * n + 1]
        if flat.sum() >= 3:
            foot = rot.unit(joints[flat, ball] - joints[flat, ankle])
            slopes[n] = np.percentile(np.arcsin(np.clip(-foot[:, 1], -1.0, 1.0)), 35)
    usual = float(np.nanmean(slopes)) if np.isfinite(slopes).any() else FOOT_SLOPE
    return np.clip(np.where(np.isfinite(slopes), slopes, usual), 0.0, np.radians(50.0))


def stance(motion: np.ndarray, fps: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """When and how a motion's feet stand: (T, 4) contacts, (2,) slopes of flat feet, (4,) heights of FEET while flat.

    Found in two rounds: the first, with the model's feet, shows how high this body's own ankles are over the sole, and
    the second, knowing that, sees a heel leave the floor sooner.
    """
    standing = contacts(motion[:, FEET], fps)
    slopes = standing_slopes(motion, standing)
    heights = HEIGHTS.copy()
    for n, (ankle, ball) in enumerate((FEET[:2], FEET[2:])):
        length = float(np.median(np.linalg.norm(motion[:, ball] - motion[:, ankle], axis=-1)))
        heights[2 * n] = heights[2 * n + 1] + length * np.sin(slopes[n])
    return contacts(motion[:, FEET], fps, heights), slopes, heights
