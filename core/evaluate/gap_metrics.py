"""Figures of in-betweening, in NumPy: L2P, L2Q and NPSS as Harvey et al., "Robust Motion In-betweening" (2020), define
them for LAFAN1, here on 22 joints and on rotations solved from positions; and how a gap joins its keys."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from core.evaluate.physical import slowest_slide
from core.skeleton import FEET, FPS
from core.tasks.poses import world_rotations


def quaternions(joints: np.ndarray) -> np.ndarray:
    """Positions (T, 22, 3) -> world rotations solved from them, unit quaternions (T, 22, 4) without sign flips."""
    turns = world_rotations(joints)
    q = Rotation.from_matrix(turns.reshape(-1, 3, 3)).as_quat().reshape(len(joints), 22, 4)
    q[0] *= np.where(q[0, :, 3:] < 0, -1.0, 1.0)
    same = np.where((q[1:] * q[:-1]).sum(-1, keepdims=True) < 0, -1.0, 1.0)  # q and -q are the same turn
    q[1:] *= np.cumprod(same, axis=0)
    return q


def l2p(made: np.ndarray, real: np.ndarray, mean: np.ndarray, std: np.ndarray) -> float:
    """Mean over frames of the distance of all joint positions, each coordinate standardised.

    Args:
        made, real: (T, 22, 3). mean, std: (22, 3) of real positions.
    """
    off = (made - mean) / std - (real - mean) / std
    return float(np.sqrt(np.square(off).sum((-1, -2))).mean())


def l2q(made: np.ndarray, real: np.ndarray) -> float:
    """Mean over frames of the distance of all world quaternions (T, 22, 4); of q and -q the nearer one counts."""
    sign = np.where((made * real).sum(-1, keepdims=True) < 0, -1.0, 1.0)
    return float(np.sqrt(np.square(sign * made - real).sum((-1, -2))).mean())


def npss(made: np.ndarray, real: np.ndarray) -> float:
    """Normalised power spectrum similarity (Gopalakrishnan et al., 2019) of world quaternions (N, T, 22, 4): the earth
    mover's distance of normalised power spectra, weighted by the real one's power. 0 is best."""
    a = np.square(np.abs(np.fft.fft(real.reshape(*real.shape[:2], -1), axis=1)))  # (N, T, F)
    b = np.square(np.abs(np.fft.fft(made.reshape(*made.shape[:2], -1), axis=1)))
    power, other = a.sum(1), b.sum(1)
    pa = a / np.maximum(power, 1e-12)[:, None]
    pb = b / np.maximum(other, 1e-12)[:, None]
    moved = np.abs(np.cumsum(pa, 1) - np.cumsum(pb, 1)).sum(1)  # (N, F)
    return float((moved * power).sum() / power.sum())


def key_jumps(joints: np.ndarray, first: int, last: int) -> float:
    """The larger of both keys' jumps in velocity, metres a second, the mean over joints.

    A jump is how much the step out of a key differs from the step into it. first, last: the keys' frames; a key at an
    end of the motion has no step on its other side and does not count.
    """
    steps = np.diff(np.asarray(joints, np.float64), axis=0) * FPS
    jumps = [np.linalg.norm(steps[k] - steps[k - 1], axis=-1).mean() for k in (first, last) if 0 < k < len(joints) - 1]
    return float(max(jumps)) if jumps else 0.0


TOUCHING = np.array([0.11, 0.05, 0.11, 0.05])
"""Metres over the floor below which an ankle and a ball of a foot (in the order of FEET) may stand on it."""


def contact_slide(joints: np.ndarray) -> float:
    """Mean horizontal speed of the slowest foot joint that is low enough to stand, millimetres a frame; nan if none is.

    A body with a foot on the floor has a joint there that is still. Unlike `physical.foot_slide`, which looks for each
    joint's own lowest place, this counts nothing of a gap spent in the air. joints: (T, 22, 3), floor at 0.
    """
    feet = np.asarray(joints)[:, list(FEET)]
    return slowest_slide(feet, feet[..., 1] < TOUCHING)


def velocity_changes(joints: np.ndarray) -> np.ndarray:
    """(T - 2,) how much velocity changes from frame to frame, metres a second, the mean over joints."""
    return np.linalg.norm(np.diff(np.asarray(joints, np.float64), 2, axis=0) * FPS, axis=-1).mean(-1)
