"""Rotations as the body fit needs them, in NumPy: matrices (..., 3, 3) and axis-angle vectors (..., 3), radians.

Exponential, logarithm and their derivatives follow Sola, Deray & Atchuthan, "A micro Lie theory" (2018).
"""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation


def skew(v: np.ndarray) -> np.ndarray:
    """(..., 3) -> (..., 3, 3): the matrix that takes w to v x w."""
    out = np.zeros((*v.shape, 3))
    out[..., 0, 1], out[..., 0, 2], out[..., 1, 2] = -v[..., 2], v[..., 1], -v[..., 0]
    out[..., 1, 0], out[..., 2, 0], out[..., 2, 1] = v[..., 2], -v[..., 1], v[..., 0]
    return out


def exp(v: np.ndarray) -> np.ndarray:
    """Axis-angle (..., 3) -> matrices (..., 3, 3)."""
    return Rotation.from_rotvec(v.reshape(-1, 3)).as_matrix().reshape(*v.shape, 3)


def log(turn: np.ndarray) -> np.ndarray:
    """Matrices (..., 3, 3) -> axis-angle (..., 3) of at most half a turn."""
    return Rotation.from_matrix(turn.reshape(-1, 3, 3)).as_rotvec().reshape(turn.shape[:-1])


def inverse_left_jacobian(v: np.ndarray) -> np.ndarray:
    """How axis-angle v (..., 3) of at most half a turn changes with a small d: log(exp(d) exp(v)) = v + result @ d."""
    angle = np.linalg.norm(v, axis=-1)[..., None, None]
    small = angle < 1e-4
    safe = np.where(small, 1.0, angle)
    factor = np.where(small, 1 / 12, 1 / safe**2 - np.cos(safe / 2) / (2 * safe * np.sin(safe / 2)))
    x = skew(v)
    return np.eye(3) - x / 2 + factor * (x @ x)


def unit(v: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) of length 1; one of no length stays 0."""
    return v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)


def between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The least turn from a to b, both (..., 3): (..., 3, 3). Opposite ones get half a turn about some normal."""
    a, b = np.broadcast_arrays(unit(a), unit(b))
    normal = np.cross(a, b)
    sine, cosine = np.linalg.norm(normal, axis=-1, keepdims=True), (a * b).sum(-1, keepdims=True)
    other = unit(np.cross(a, np.eye(3)[np.abs(a).argmin(-1)]))
    axis = np.where(sine > 1e-9, normal / np.maximum(sine, 1e-12), other)
    return exp(axis * np.arctan2(sine, cosine))


def best_fit(rest: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """The turns (T, 3, 3) that best bring vectors rest (K, 3) onto bones (T, K, 3), by least squares (Kabsch, 1976)."""
    u, _, vt = np.linalg.svd(np.einsum("tki,kj->tij", bones, rest))
    u[:, :, 2] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return u @ vt


def midway(a: np.ndarray, b: np.ndarray, part: float) -> np.ndarray:
    """`part` of the least turn from a to b, both (..., 3, 3)."""
    return exp(part * log(b @ np.swapaxes(a, -1, -2))) @ a


def without_jumps(v: np.ndarray) -> np.ndarray:
    """Axis-angle over time (T, ..., 3): the same turns, each written as near to the one before it as can be.

    The vectors may get longer than half a turn; whoever interpolates them then meets no flip.
    """
    out = v.copy()
    for t in range(1, len(out)):
        angle = np.linalg.norm(v[t], axis=-1, keepdims=True)
        axis = np.where(angle > 1e-6, v[t] / np.maximum(angle, 1e-12), unit(out[t - 1]))
        along = (axis * out[t - 1]).sum(-1, keepdims=True)
        turns = np.round((along - angle) / (2 * np.pi))
        out[t] = np.where(turns == 0, v[t], axis * (angle + 2 * np.pi * turns))  # to the bit where it can be
    return out


def at_times(turns: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Turns (T, J, 3, 3) at fractional frames (N,): (N, J, 3, 3), by cubic splines through the quaternions."""
    from scipy.interpolate import make_interp_spline

    count, joints = turns.shape[:2]
    q = Rotation.from_matrix(turns.reshape(-1, 3, 3)).as_quat().reshape(count, joints, 4)
    same = np.where((q[1:] * q[:-1]).sum(-1, keepdims=True) < 0, -1.0, 1.0)  # q and -q are the same turn
    q[1:] *= np.cumprod(same, axis=0)
    q = make_interp_spline(np.arange(count), q, k=min(3, count - 1))(frames)
    return Rotation.from_quat(q.reshape(-1, 4)).as_matrix().reshape(len(frames), joints, 3, 3)
