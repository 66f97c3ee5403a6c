"""Steps of a body that stays in place: how fast the floor slides under it, and the way it would have gone.

Game animation often keeps the hips in place while the feet walk. The model has only seen bodies that travel, so it is
shown the way that the feet tell: what stands does not slide. Of 64 walks and runs whose hips were put in place 97 % are
found, the way is 11 % off (median), and 86 % get the sentence that they get travelling, against 56 % without; of 3,895
captured clips, which all travel as they step, one is taken for such a walk.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d, maximum_filter1d

from core.captions.heading import ahead
from core.features import facing
from core.skeleton import FPS

_FEET = [7, 10, 8, 11]
LOW = 0.05
"""Metres over its own lowest height under which a foot joint may stand."""
SIGMA = 3.0
"""Standard deviation of the smoothing of the floor's speed over time, frames."""
STRAYS = 0.35
"""Metres that the hips of a body in place may stray from where they were."""
LEAST = 0.35
"""Metres a second: the floor's speed from which the feet walk, and do not just slide a little."""
STRIDE = 7
"""Frames: within so many to either side a foot stands firmly."""
FIRM = 0.7
"""Share of the firmly standing foot's speed from which a foot stands."""
STILL, RESTS = 0.12, 0.5
"""Metres a second under which a low foot rests, and the share of the time that a foot may rest: then it does stand."""
STEPS = 0.25
"""Metres that each ankle must swing past the other, both ways: else someone stands on one foot and swings the other."""


def floor_speed(joints: np.ndarray) -> np.ndarray | None:
    """How the floor slides under a body that walks in place.

    Args:
        joints: (T, 22, 3) metres, Y up, on the floor, 20 fps.
    Returns:
        (T, 2) metres a second along x and z, smoothed; None where the body travels or its feet do not walk.
    """
    root = joints[:, 0][:, [0, 2]]
    if len(joints) < 12 or np.linalg.norm(root - root[0], axis=-1).max() > STRAYS:
        return None
    apart = joints[:, 7][:, [0, 2]] - joints[:, 8][:, [0, 2]]
    axis = np.linalg.svd(apart - apart.mean(0), full_matrices=False)[2][0]
    swing = (apart - apart.mean(0)) @ axis
    if min(swing.max(), -swing.min()) < STEPS / 2:
        return None
    feet = joints[:, _FEET]
    forward = facing(joints)
    yaw = gaussian_filter1d(np.unwrap(np.arctan2(forward[:, 0], forward[:, 2])), SIGMA, mode="nearest")
    # (T, 4, 2) in the frame of the heading: who walks and turns in place goes backward there all along.
    velocity = ahead(np.gradient(feet[..., [0, 2]], axis=0) * FPS, yaw[:, None])
    over = feet[..., 1] - feet[..., 1].min(0)
    low, rows = over < LOW, np.arange(len(joints))
    stands = low.any(1)
    rests = (low & (np.linalg.norm(velocity, axis=-1) < STILL)).any(1)
    if stands.mean() < 0.4 or rests.mean() > RESTS or joints[:, 0, 1].min() < 0.6 * joints[:, 0, 1].max():
        return None
    at = np.flatnonzero(stands)
    back = velocity[rows, over.argmin(1)][at].mean(0)  # roughly: the lowest foot joint mostly stands
    # What stands goes back with the floor, what swings goes forward past it, at times as low.
    backward = np.where(low, velocity @ back, -np.inf)
    speed, backward = velocity[rows, backward.argmax(1)], backward.max(1)
    # Between stances nothing stands, and a foot that lands or lifts is slower than the floor.
    at = np.flatnonzero(stands & (backward >= FIRM * maximum_filter1d(backward, 2 * STRIDE + 1, mode="nearest")))
    if not len(at):
        return None
    speed = np.stack([np.interp(rows, at, speed[at, k]) for k in range(2)], -1)
    speed = ahead(gaussian_filter1d(speed, SIGMA, axis=0, mode="nearest"), -yaw)
    return speed if np.percentile(np.linalg.norm(speed, axis=-1), 75) > LEAST else None


def travelling(joints: np.ndarray) -> tuple[np.ndarray, float]:
    """A body that walks in place put on its way, and its speed in metres a second; others as they are, and 0."""
    speed = floor_speed(joints)
    if speed is None:
        return joints, 0.0
    out = joints.copy()
    way = -np.cumsum(speed[:-1], axis=0) / FPS
    out[1:, :, 0] += way[:, None, 0]
    out[1:, :, 2] += way[:, None, 1]
    return out, float(np.linalg.norm(speed, axis=-1).mean())
