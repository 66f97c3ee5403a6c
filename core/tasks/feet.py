"""Feet that stand stay where they stand: found on a motion, pinned by turning the legs. Keys are left as they are."""

from __future__ import annotations

import itertools

import numpy as np

from core.tasks.limbs import two_bones

LEGS = ((1, 4, 7, 10), (2, 5, 8, 11))
"""Hip, knee, ankle and ball of the left and the right foot."""
STILL = 0.028
"""Metres a frame (1/20 s) below which a foot that is down is standing, and"""
SLOW = 0.1
"""below which the slower foot is, if it is down: somebody who does not fly stands on something."""
DOWN = 0.055
"""Metres above its lowest up to which a foot is down."""
SOFT = 3
"""Frames in which a foot comes into its place and leaves it."""
LEAST, HOLE = 3, 2
"""Frames of the shortest stance, and of the longest moment without one that does not end it."""
STRIDE, NUDGE = 0.6, 0.04
"""Metres: the longest slide that becomes one stance or one step, and the shortest that becomes a step."""
CLEAR = 0.05
"""Metres that a swinging foot is lifted where interpolation lets it glide over the floor."""
SWING, SWING_FRAMES, LIFT = 0.4, 6, 0.04
"""How much of the time of a step the foot is in the air, how many frames at least, and how high, metres."""
FASTEST = 0.09
"""Metres a frame (1.8 m/s) by which a foot is moved at most."""


def _steps(joints: np.ndarray, leg: tuple[int, int, int, int]) -> np.ndarray:
    """(T - 1, 3) how the foot moves from frame to frame: as the one of ankle and ball that moves less (it rolls)."""
    steps = np.diff(joints[:, leg[2:]], axis=0)  # (T - 1, 2, 3)
    slower = np.linalg.norm(steps[..., [0, 2]], axis=-1).argmin(1)
    return steps[np.arange(len(steps)), slower]


def floor_of(joints: np.ndarray, known: np.ndarray) -> tuple[float, float]:
    """Heights of an ankle and a ball of the foot that stand, as known frames (T,) bool of a motion (T, 22, 3) tell."""
    ankle, ball = (float(joints[known][:, [leg[n] for leg in LEGS], 1].min()) for n in (2, 3))
    return min(ankle, 0.1), min(ball, 0.03)  # someone in the air at every key does not tell


def standing(joints: np.ndarray, floor: tuple[float, float] | None = None) -> np.ndarray:
    """(T, 2) whether the left and the right foot stand: down, and still, or the slower of both and slow.

    Args:
        joints: (T, 22, 3).
        floor: heights of an ankle and a ball that stand; the motion's own lowest ones where not given.
    """
    speed, down = np.zeros((len(joints), 2)), np.zeros((len(joints), 2), bool)
    everything = np.ones(len(joints), bool)
    low = floor if floor is not None else floor_of(joints, everything)
    for side, leg in enumerate(LEGS):
        step = np.linalg.norm(_steps(joints, leg), axis=-1)
        speed[:, side] = np.minimum(np.append(step, step[-1:]), np.append(step[:1], step))
        for j, height in zip(leg[2:], low, strict=True):
            down[:, side] |= joints[:, j, 1] < height + DOWN
    slower = speed <= np.where(down, speed, np.inf).min(1)[:, None]
    out = down & ((speed < STILL) | (slower & (speed < SLOW)))
    for side in range(2):
        for a, b in _runs(~out[:, side]):
            if b - a <= HOLE and a > 0 and b < len(out) and down[a:b, side].all():
                out[a:b, side] = True
        for a, b in _runs(out[:, side]):
            if b - a < LEAST and a > 0 and b < len(out):
                out[a:b, side] = False
    return out


def _runs(flags: np.ndarray) -> np.ndarray:
    """(N, 2) where each run of True in (T,) begins and ends, the end excluded."""
    return np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]]))).reshape(-1, 2)


def above_floor(joints: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Lift feet that went under the floor, and swinging feet that glide just over it.

    Args:
        joints: (T, 22, 3). known: (T,) bool, frames that must stay; how low feet are in them is where the floor is.
    """
    out = np.array(joints, np.float64)
    low = floor_of(out, known)
    for leg in LEGS:
        under = np.maximum(low[0] - out[:, leg[2], 1], low[1] - out[:, leg[3], 1])
        shift = np.zeros((len(out), 3))
        shift[:, 1] = np.where(known, 0.0, np.maximum(under, 0.0))
        step = _steps(out, leg)
        speed = np.linalg.norm(step[:, [0, 2]], axis=-1)
        swings = np.append(speed, speed[-1:]) > SLOW
        for a, b in _runs(swings & ~known):
            way = float(np.linalg.norm((out[b - 1, leg[2]] - out[a, leg[2]])[[0, 2]]))
            over = min(out[a:b, leg[2], 1].min() - low[0], out[a:b, leg[3], 1].min() - low[1])
            lift = min(CLEAR, 0.12 * way) - max(over, 0.0)
            if b - a >= 3 and lift > 0.0:
                shift[a:b, 1] += lift * np.square(np.sin(np.pi * (np.arange(b - a) + 1) / (b - a + 1)))
        if shift.any():
            _reach(out, leg, shift)
    return out


def pin(joints: np.ndarray, stands: np.ndarray, fixed: np.ndarray, gentle: bool = True) -> np.ndarray:
    """Pin standing feet.

    Args:
        joints: (T, 22, 3). stands: (T, 2). fixed: (T,) bool, frames that must stay as they are (keys, context): a foot
            that stands through one is pinned where it is there.
        gentle: a foot that moves in such a frame is not stopped dead beside it; where there is nothing but keys it may.
    Returns:
        (T, 22, 3): legs turned, bone lengths kept, everything else as it was.
    """
    out = np.array(joints, np.float64)
    for side, leg in enumerate(LEGS):
        shift = _shifts(_steps(out, leg), stands[:, side], fixed, 0.3 if side == 0 else 0.8, gentle)
        if np.abs(shift).max() > 1e-6:
            _reach(out, leg, shift)
    return out


def _shifts(steps: np.ndarray, stands: np.ndarray, fixed: np.ndarray, phase: float, gentle: bool) -> np.ndarray:
    """(T, 3) where the foot is to go from where it is: at once in a stance, softly around it."""
    way = np.concatenate([np.zeros((1, 3)), np.cumsum(steps, axis=0)]) * [1.0, 0.0, 1.0]
    count = len(way)
    shift, weight = np.zeros((count, 3)), np.zeros(count)
    distance = np.full(count, np.inf)  # to the nearest frame that must stay: nothing moves there, and little beside it
    for t in np.flatnonzero(fixed):
        distance = np.minimum(distance, np.abs(np.arange(count) - t))
    ease = np.minimum(distance / 2.0, 1.0)
    edges = _runs(stands)
    for a, b in edges:  # frames a .. b - 1
        held = np.flatnonzero(fixed[a:b]) + a
        weight[a:b] = 1.0
        if not len(held) and np.linalg.norm(way[b - 1] - way[a]) < STRIDE:
            shift[a:b] = (np.median(way[a:b], 0) - way[a:b]) * ease[a:b, None]
            continue
        marks = np.unique(np.concatenate([[a], held, [b - 1]]))
        for first, last in itertools.pairwise(marks):
            open_ended = [not fixed[first], not fixed[last]]
            off = _stepping(way[first : last + 1], phase, open_ended) - way[first : last + 1]
            shift[first : last + 1] = off * _brake(way[first : last + 1], open_ended)[:, None] if gentle else off
    for a, b in edges:
        for step in range(1, SOFT + 1):
            part = 0.5 + 0.5 * np.cos(np.pi * step / (SOFT + 1))
            for t, edge in ((a - step, a), (b - 1 + step, b - 1)):
                if 0 <= t < count and part > weight[t]:
                    shift[t], weight[t] = part * ease[t] * shift[edge], part
    return _unhurried(shift, fixed, 0.35 if gentle else 1.0)


def _unhurried(shift: np.ndarray, fixed: np.ndarray, first: float) -> np.ndarray:
    """A foot's shift (T, 3) in which it never moves faster than FASTEST, lifted where it moves fast.

    Forth, each frame is held back from the one before; then back, for what leads up to a frame that must stay.
    """
    out = shift.copy()
    out[fixed] = 0.0
    near = (
        np.abs(np.arange(len(out))[:, None] - np.flatnonzero(fixed)[None]).min(1)
        if fixed.any()
        else np.full(len(out), 9)
    )
    most = FASTEST * np.clip(near / 4.0, first, 1.0)  # it sets off gently from where it must stay
    for order, before in ((range(1, len(out)), -1), (range(len(out) - 2, -1, -1), 1)):
        for t in order:
            step = out[t] - out[t + before]
            size = float(np.linalg.norm(step))
            limit = max(most[t], most[t + before])
            if size > limit and not fixed[t]:
                out[t] = out[t + before] + step * (limit / size)
    speed = np.linalg.norm(np.diff(out[:, [0, 2]], axis=0), axis=-1)
    lift = np.minimum(np.maximum(np.append(speed, 0.0), np.append(0.0, speed)) - NUDGE / 2, LIFT).clip(0.0)
    lift = np.convolve(np.pad(lift, 1, mode="edge"), [0.25, 0.5, 0.25], "valid")
    out[:, 1] = np.maximum(out[:, 1], np.where(fixed, 0.0, lift))
    return out


def _brake(way: np.ndarray, open_ended: list[bool]) -> np.ndarray:
    """(n,) how far a stance counts near frames that must stay: a foot that still moves there is not stopped dead."""
    out = np.ones(len(way))
    for way_in, free, part in ((way, open_ended[0], out), (way[::-1], open_ended[1], out[::-1])):
        if not free and len(way) > 1 and np.linalg.norm(way_in[1] - way_in[0]) > STILL / 2:
            part *= np.minimum(np.arange(len(way)) / (SOFT + 1), 1.0)
    return out


def _stepping(way: np.ndarray, phase: float, open_ended: list[bool]) -> np.ndarray:
    """A foot's slide over the floor (n, 3) as standing and stepping; what is held at an end stays there.

    A slide that is short and not held at both ends becomes a stance. Otherwise the foot stands, lifts, and stands
    again, in steps of at most STRIDE; `phase`, 0..1, is when in each of them, so that the feet take turns.
    """
    apart = way[-1] - way[0]
    size = float(np.linalg.norm(apart))
    if size < STRIDE and any(open_ended):
        held = way[-1] if open_ended[0] and not open_ended[1] else way[0]
        return np.broadcast_to(held, way.shape) if not all(open_ended) else np.broadcast_to(way.mean(0), way.shape)
    count = max(1, int(np.ceil(size / STRIDE)))
    u = np.linspace(0.0, 1.0, len(way))
    if size < NUDGE or len(way) < 5 * count:
        return way[0] + u[:, None] * apart
    swing = max(SWING, min(SWING_FRAMES * count / len(way), 0.9))
    phase = float(np.clip(phase, swing / 2, 1.0 - swing / 2))
    inside = np.clip(((u * count) % 1.0 - phase) / swing + 0.5, 0.0, 1.0)  # 0 before the step, 1 after it
    done = np.minimum(np.floor(u * count), count - 1) + inside * inside * (3.0 - 2.0 * inside)
    done[-1] = count
    lift = np.minimum(LIFT, 0.4 * size / count) * np.square(np.sin(np.pi * inside))
    return way[0] + (done / count)[:, None] * apart + lift[:, None] * [0.0, 1.0, 0.0]


def _reach(joints: np.ndarray, leg: tuple[int, int, int, int], shift: np.ndarray) -> None:
    """Move the ankle by `shift` (T, 3), the knee in its own plane; the foot keeps its direction."""
    hip, knee, ankle, ball = (joints[:, j].copy() for j in leg)
    moved = (np.abs(shift).max(-1) > 1e-9)[:, None]
    new_knee, new_ankle = two_bones(hip, knee, ankle, ankle + shift)
    joints[:, leg[1]] = np.where(moved, new_knee, knee)
    joints[:, leg[2]] = np.where(moved, new_ankle, ankle)
    joints[:, leg[3]] = np.where(moved, new_ankle + ball - ankle, ball)
