"""Holding a motion to keyed poses: a correction that is whole at the keys and flows smoothly from one to the next."""

from __future__ import annotations

import itertools

import numpy as np

from core.body import rotation as rot
from core.tasks.poses import Difference, Poses, add, difference

REACH = 12
"""Frames over which a difference in velocity at a key is made good."""
SNAP, SPIN = np.pi / 4, np.pi / 2
"""Radians a frame (1/20 s) that no part of a body turns, and that no body spins."""


def flow(at: np.ndarray, values: np.ndarray, first: np.ndarray, last: np.ndarray, frames: int) -> np.ndarray:
    """A smooth course through values at some frames.

    Args:
        at: (K,) rising frames, the first 0 and the last `frames` - 1. values: (K, ...).
        first, last: slopes at the first and the last value, a frame; between, where it is still, the slope is 0.
    Returns:
        (frames, ...): cubic from value to value; a slope counts for REACH frames only, so that it carries nothing far.
    """
    shape = (-1,) + (1,) * (values.ndim - 1)
    out = np.empty((frames, *values.shape[1:]))
    for k, (a, b) in enumerate(itertools.pairwise(at)):
        t = np.arange(a, b + 1) - a
        u = (t / (b - a)).reshape(shape)
        out[a : b + 1] = values[k] + (values[k + 1] - values[k]) * (u * u * (3.0 - 2.0 * u))
    for slope, t, until in ((first, np.arange(frames), at[1]), (-last, np.arange(frames)[::-1], at[-1] - at[-2])):
        reach = min(REACH, int(until))
        out += slope * np.where(t < reach, t * np.square(1.0 - t / reach), 0.0).reshape(shape)
    return out


def hold(
    motion: Poses, at: np.ndarray, keys: Poses, before: tuple[Poses, Poses] | None, after: tuple[Poses, Poses] | None
) -> Poses:
    """The motion, passing through poses.

    Args:
        motion: T frames. at: (K,) frames of the keys, the first 0 and the last T - 1. keys: K poses.
        before, after: the frame before the first key and the one after the last, as they are and as the motion would
            have them, so that velocities meet; None where nothing is known.
    """
    off = difference(motion[at], keys)
    flat = [off.root, off.turns, off.offsets]
    slopes: list[list[np.ndarray]] = [[np.zeros_like(v[0]) for v in flat] for _ in range(2)]
    for side, pair in enumerate((before, after)):
        if pair is not None:
            there, would = pair
            beside = difference(would, there)
            k, sign = (0, 1.0) if side == 0 else (-1, -1.0)
            turns = _near(beside.turns[0], off.turns[k])
            values = (beside.root[0], turns, beside.offsets[0])
            slopes[side] = [sign * (v[k] - b) for v, b in zip(flat, values, strict=True)]
    changes = [flow(at, v, a, b, len(motion)) for v, a, b in zip(flat, *slopes, strict=True)]
    return add(motion, Difference(*changes))


def _near(turn: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Axis-angles (22, 3) as the same turns written as near to others as can be: half turns may come out either way."""
    return rot.without_jumps(np.stack([other, turn]))[1]


def mix(plain: Poses, fitted: Poses, share: np.ndarray, spinning: bool = False) -> Poses:
    """Between two motions of T frames that begin and end alike: share (23,) 0 takes the first, 1 the second; the root,
    then 22 rotations. Where the two turn round opposite ways there is no between: the second is taken. Where what is
    taken of the second would turn by more than SNAP in a frame the first is: so does a fit whose body has to face the
    other way soon, because its joints then pass through each other in straight lines. spinning: the pelvis may turn as
    fast as SPIN, because there is motion around the gap that shows it."""
    off = difference(plain, fitted)
    wound = np.linalg.norm(off.turns[-1] - off.turns[0], axis=-1) > np.pi
    steps = np.linalg.norm(rot.log(np.swapaxes(fitted.local[:-1], -1, -2) @ fitted.local[1:]), axis=-1)
    part = np.where(wound & (share[1:] > 0.0), 1.0, share[1:])
    most = np.where(np.arange(22) == 0, SPIN if spinning else SNAP, SNAP)
    part = np.where(part * steps.max(0) > most, 0.0, part)[:, None]
    return add(plain, Difference(share[0] * off.root, part * off.turns, np.zeros_like(off.offsets)))
