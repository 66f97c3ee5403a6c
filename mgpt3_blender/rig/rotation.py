"""Rotations on NumPy arrays: many frames at once, last axes (3, 3) for matrices, (4,) for quaternions (w, x, y, z)."""

from __future__ import annotations

import numpy as np


def unit(v: np.ndarray) -> np.ndarray:
    """Vectors scaled to length 1; a zero vector stays zero. (..., 3) -> (..., 3)."""
    length = np.sqrt((v * v).sum(-1, keepdims=True))
    return v / np.where(length > 1e-12, length, 1.0)


def turn(R: np.ndarray, v: np.ndarray) -> np.ndarray:
    """R v for every frame. (..., 3, 3), (..., 3) -> (..., 3), broadcasting."""
    return (R @ v[..., None])[..., 0]


def transposed(R: np.ndarray) -> np.ndarray:
    """The inverse of rotations. (..., 3, 3) -> (..., 3, 3)."""
    return np.swapaxes(R, -1, -2)


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The cross product, several times faster than NumPy's on short arrays. (..., 3) x 2 -> (..., 3)."""
    out = np.empty(np.broadcast_shapes(a.shape, b.shape))
    x, y, z = a[..., 0], a[..., 1], a[..., 2]
    u, v, w = b[..., 0], b[..., 1], b[..., 2]
    out[..., 0], out[..., 1], out[..., 2] = y * w - z * v, z * u - x * w, x * v - y * u
    return out


def about(axis: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rotation by `angle` radians about unit `axis` (Rodrigues). (..., 3), (...) -> (..., 3, 3)."""
    x, y, z = axis[..., 0], axis[..., 1], axis[..., 2]
    c, s = np.cos(angle), np.sin(angle)
    t = 1.0 - c
    tx, ty, tz = t * x, t * y, t * z
    sx, sy, sz = s * x, s * y, s * z
    out = np.empty((*np.broadcast_shapes(x.shape, c.shape), 3, 3))
    out[..., 0, 0], out[..., 0, 1], out[..., 0, 2] = c + tx * x, tx * y - sz, tx * z + sy
    out[..., 1, 0], out[..., 1, 1], out[..., 1, 2] = tx * y + sz, c + ty * y, ty * z - sx
    out[..., 2, 0], out[..., 2, 1], out[..., 2, 2] = tx * z - sy, ty * z + sx, c + tz * z
    return out


def angle_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Angle between vectors in radians, exact for small and large angles alike. (..., 3) x 2 -> (...)."""
    a, b = unit(a), unit(b)
    return 2.0 * np.arctan2(np.linalg.norm(a - b, axis=-1), np.linalg.norm(a + b, axis=-1))


def swing(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The shortest rotation that turns direction a into direction b. (..., 3) x 2 -> (..., 3, 3).

    Opposite directions have no shortest rotation: they turn about any axis at right angles.
    """
    a, b = np.broadcast_arrays(unit(a), unit(b))
    axis = cross(a, b)
    sin = np.sqrt((axis * axis).sum(-1))
    if np.all(sin > 1e-9):
        axis = axis / sin[..., None]
    else:
        spare = cross(a, np.where(np.abs(a[..., :1]) < 0.8, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]))
        axis = unit(np.where(sin[..., None] > 1e-9, axis, spare))
    return about(axis, np.arctan2(sin, (a * b).sum(-1)))


def frame(y: np.ndarray, x_hint: np.ndarray) -> np.ndarray:
    """Axes (as columns) with Y along `y` and X as near to `x_hint` as that allows. (..., 3) x 2 -> (..., 3, 3)."""
    y, x_hint = np.broadcast_arrays(unit(y), x_hint)
    x = unit(x_hint - (x_hint * y).sum(-1, keepdims=True) * y)
    out = np.empty((*y.shape, 3))
    out[..., 0], out[..., 1], out[..., 2] = x, y, cross(x, y)
    return out


def kabsch(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The rotation that best turns one bundle of vectors into another (Kabsch, 1976).

    (n, 3), (..., n, 3) -> (..., 3, 3). Only directions count, so that other proportions do not tilt the fit.
    """
    H = np.swapaxes(unit(target), -1, -2) @ unit(source)
    U, _, Vt = np.linalg.svd(H)
    fix = np.ones((*H.shape[:-2], 3))
    fix[..., 2] = np.sign(np.linalg.det(U @ Vt))
    return (U * fix[..., None, :]) @ Vt


def to_quaternion(R: np.ndarray) -> np.ndarray:
    """(..., 3, 3) -> (..., 4) as w, x, y, z; from whichever of the four components is largest, so never unstable."""
    m = R.reshape(-1, 3, 3)
    d = np.stack([m[:, 0, 0], m[:, 1, 1], m[:, 2, 2]], -1)
    trace = d.sum(-1)
    squares = np.concatenate([(1.0 + trace)[:, None], 1.0 + 2.0 * d - trace[:, None]], -1)
    pick = squares.argmax(-1)
    s01, s02, s12 = m[:, 0, 1] + m[:, 1, 0], m[:, 0, 2] + m[:, 2, 0], m[:, 1, 2] + m[:, 2, 1]
    a0, a1, a2 = m[:, 2, 1] - m[:, 1, 2], m[:, 0, 2] - m[:, 2, 0], m[:, 1, 0] - m[:, 0, 1]
    rows = np.stack(
        [
            np.stack([squares[:, 0], a0, a1, a2], -1),
            np.stack([a0, squares[:, 1], s01, s02], -1),
            np.stack([a1, s01, squares[:, 2], s12], -1),
            np.stack([a2, s02, s12, squares[:, 3]], -1),
        ],
        1,
    )
    q = rows[np.arange(len(m)), pick]
    return (q / np.linalg.norm(q, axis=-1, keepdims=True)).reshape(*R.shape[:-2], 4)


def to_matrix(q: np.ndarray) -> np.ndarray:
    """Unit quaternions (..., 4) as w, x, y, z -> (..., 3, 3)."""
    w, x, y, z = np.moveaxis(q, -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def between(R0: np.ndarray, R1: np.ndarray, t: float) -> np.ndarray:
    """Part of the way (0..1) from R0 to R1 along the shortest turn. (..., 3, 3) x 2 -> (..., 3, 3)."""
    if t <= 0.0:
        return np.broadcast_arrays(R0, R1)[0]
    if t >= 1.0:
        return np.broadcast_arrays(R1, R0)[0]
    q = to_quaternion(transposed(R0) @ R1)
    q = q * np.where(q[..., :1] < 0.0, -1.0, 1.0)
    half = np.arctan2(np.linalg.norm(q[..., 1:], axis=-1), q[..., 0])
    return R0 @ about(unit(q[..., 1:]), 2.0 * t * half)


def continuous(q: np.ndarray) -> np.ndarray:
    """Quaternions with signs chosen so that neighbours in time lie on the same side. (T, ..., 4) -> (T, ..., 4)."""
    flips = np.sign((q[1:] * q[:-1]).sum(-1))
    sign = np.cumprod(np.where(flips < 0.0, -1.0, 1.0), axis=0)
    out = q.copy()
    out[1:] *= sign[..., None]
    return out


def to_euler(R: np.ndarray, order: str) -> np.ndarray:
    """Both Euler readings of rotations in one of Blender's orders. (T, 3, 3) -> (2, T, 3) radians as x, y, z.

    "XYZ" turns about X first: R = Rz Ry Rx. Every rotation has two readings; `smooth_euler` picks along time.
    """
    i, j, k = ("XYZ".index(axis) for axis in order)
    sign = 1.0 if (j - i) % 3 == 1 else -1.0
    cos = np.hypot(R[:, i, i], R[:, j, i])
    out = np.empty((2, len(R), 3))
    for n, s in enumerate((1.0, -1.0)):
        out[n, :, i] = np.arctan2(s * sign * R[:, k, j], s * R[:, k, k])
        out[n, :, j] = np.arctan2(-sign * R[:, k, i], s * cos)
        out[n, :, k] = np.arctan2(s * sign * R[:, j, i], s * R[:, i, i])
    locked = cos < 1e-6  # gimbal lock: only the sum of the outer angles counts, so the last one rests
    out[:, locked, i] = np.arctan2(-sign * R[locked, j, k], R[locked, j, j])
    out[:, locked, k] = 0.0
    return out


def smooth_euler(readings: np.ndarray) -> np.ndarray:
    """The Euler curves without jumps: at each frame the reading (and full turns) nearest to the frame before.

    (2, T, ..., 3) radians -> (T, ..., 3) radians. The first frame takes the reading with the smaller angles.
    """
    out = np.empty(readings.shape[1:])
    last = np.zeros(readings.shape[2:])
    full = 2.0 * np.pi
    for t in range(readings.shape[1]):
        both = readings[:, t] + full * np.round((last - readings[:, t]) / full)
        cost = np.abs(both - last).sum(-1)
        last = np.where((cost[0] <= cost[1])[..., None], both[0], both[1])
        out[t] = last
    return out
