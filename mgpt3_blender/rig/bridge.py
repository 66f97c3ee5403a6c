"""From a solved motion to one that passes through keyed channels exactly, and smoothly. NumPy only.

The difference between the user's channels and the solved ones is known at the keys (rotations: as the turn from one to
the other, a rotation vector). In between it goes over from the one key's to the other's without a slope of its own at
either key, so that the motion keeps its velocity there; where there is motion around the keys, the difference in
velocity is taken up as well, and dies away within WINDOW.
"""

from __future__ import annotations

import numpy as np

from . import rotation as rot

WINDOW = 0.4
"""Seconds within which a difference in velocity at a key dies away."""
MOST_TURN = np.radians(120.0)
"""Difference in velocity that is taken up at most, radians a second: beyond it the key is a hard stop and stays one."""


def log(R: np.ndarray) -> np.ndarray:
    """Rotation vectors, 0 to pi long. (..., 3, 3) -> (..., 3)."""
    q = rot.to_quaternion(R)
    q = q * np.where(q[..., :1] < 0.0, -1.0, 1.0)
    half = np.arctan2(np.linalg.norm(q[..., 1:], axis=-1), q[..., 0])
    return rot.unit(q[..., 1:]) * (2.0 * half)[..., None]


def exp(v: np.ndarray) -> np.ndarray:
    """Rotation vectors -> rotations. (..., 3) -> (..., 3, 3)."""
    return rot.about(rot.unit(v), np.linalg.norm(v, axis=-1))


def turns(solved: np.ndarray, wanted: np.ndarray, first: int, last: int | None) -> np.ndarray:
    """Rotation vectors from solved to wanted channels, (T, 3, 3) x 2 -> (T, 3), for `correction`.

    Of the two ways round, the one nearest to the neighbour's is taken, and at `last` the one nearest to `first`'s.
    """
    out = log(rot.transposed(solved) @ wanted)

    def choose(t: int, like: int) -> None:
        size = np.linalg.norm(out[t])
        other = out[t] * (1.0 - 2.0 * np.pi / size) if size > 1e-6 else out[t]
        if np.linalg.norm(other - out[like]) < np.linalg.norm(out[t] - out[like]) - 1e-9:
            out[t] = other

    for t in range(first - 1, -1, -1):
        choose(t, t + 1)
    if last is not None:
        choose(last, first)
        for t in range(last + 1, len(out)):
            choose(t, t - 1)
    return out


def correction(
    error: np.ndarray,
    times: np.ndarray,
    first: int,
    last: int | None,
    fps: float,
    before: bool,
    after: bool,
    most: float = np.inf,
) -> np.ndarray:
    """What to add to the solved channels. -> (T, k).

    Args:
        error: (T, k) wanted minus solved; between the keys it does not count.
        times: (T,) scene frames.
        first, last: indices of the keys; `last` None: an open end.
        fps: of the scene.
        before, after: there is motion before the first and after the last key whose velocity counts.
        most: limit on a difference in velocity, units of `error` a second.
    """
    t0 = times[first]
    t1 = times[last] if last is not None else times[-1]
    span = max(t1 - t0, 1e-9)
    u = np.clip((times - t0) / span, 0.0, 1.0)[:, None]
    weight = u**3 * (10.0 + u * (6.0 * u - 15.0))
    ends = error[first], error[last] if last is not None else error[first]
    out = ends[0] + weight * (ends[1] - ends[0])
    window = min(WINDOW * fps, span)

    def limited(slope: np.ndarray) -> np.ndarray:
        size = float(np.linalg.norm(slope)) * fps
        return slope * min(1.0, most / size) if size > 1e-12 else slope

    def fading(away: np.ndarray) -> np.ndarray:
        part = np.clip(away / window, 0.0, 1.0)
        return (away * (1.0 - part) ** 2)[:, None]

    if before and first > 0:
        near = max(first - 2, 0)
        slope = limited((error[first] - error[near]) / (t0 - times[near]))
        out = out + slope * fading(np.maximum(times - t0, 0.0))
    if last is not None and after and last + 1 < len(times):
        near = min(last + 2, len(times) - 1)
        slope = limited((error[near] - error[last]) / (times[near] - t1))
        out = out - slope * fading(np.maximum(t1 - times, 0.0))
    outside = times < t0 - 1e-9
    if last is not None:
        outside |= times > t1 + 1e-9
    return np.where(outside[:, None], error, out)


def matrices(values: np.ndarray, mode: str) -> np.ndarray:
    """Rotation channels in one of Blender's modes -> rotations. (T, 3 or 4) -> (T, 3, 3)."""
    values = np.asarray(values, np.float64)
    if mode == "QUATERNION":
        size = np.linalg.norm(values, axis=-1, keepdims=True)
        safe = np.where(size > 1e-12, values, [1.0, 0.0, 0.0, 0.0])
        return rot.to_matrix(safe / np.where(size > 1e-12, size, 1.0))
    if mode == "AXIS_ANGLE":
        return rot.about(rot.unit(values[..., 1:]), values[..., 0])
    out = np.broadcast_to(np.eye(3), (len(values), 3, 3))
    for axis in mode:  # "XYZ" turns about X first
        n = "XYZ".index(axis)
        out = rot.about(np.eye(3)[n], values[:, n]) @ out
    return out


def values(R: np.ndarray, mode: str, start: np.ndarray) -> np.ndarray:
    """Rotations -> channels in one of Blender's modes, going on from a value. (T, 3, 3) -> (T, 3 or 4).

    Args:
        start: (3 or 4,) the channels before R[0]: of all ways to write R the nearest follows, frame by frame.
    """
    start = np.asarray(start, np.float64)
    if mode not in ("QUATERNION", "AXIS_ANGLE"):
        readings = rot.to_euler(R, mode)
        out = np.empty((len(R), 3))
        last = start
        for t in range(len(R)):
            both = readings[:, t] + 2.0 * np.pi * np.round((last - readings[:, t]) / (2.0 * np.pi))
            last = both[np.abs(both - last).sum(-1).argmin()]
            out[t] = last
        return out
    q = rot.to_quaternion(R)
    if mode == "QUATERNION":
        return rot.continuous(np.concatenate([start[None], q]))[1:]
    out = np.empty((len(R), 4))
    last = start
    for t in range(len(R)):
        size = np.linalg.norm(q[t, 1:])
        axis = q[t, 1:] / size if size > 1e-7 else rot.unit(last[1:])
        angle = 2.0 * np.arctan2(size, q[t, 0])
        if axis @ last[1:] < 0.0:
            axis, angle = -axis, -angle
        angle += 2.0 * np.pi * np.round((last[0] - angle) / (2.0 * np.pi))
        last = out[t] = np.array([angle, *axis])
    return out
