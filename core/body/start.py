"""A first pose for the fit, from the directions of bones alone: rotations (T, 22, 3, 3) in the world.

Positions say nothing about how a bone turns about itself. The spine takes the least turn between hips and chest, each
in equal parts; an upper arm or thigh turns so that elbow and knee bend as hinges do, where they bend enough to show
it; where they are straight, it keeps the turn of the frames around, and then the least one.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter1d

from core.body import rotation as rot
from core.skeleton import JOINTS

J = {name: index for index, name in enumerate(JOINTS)}

HINGES: dict[int, tuple[int, float]] = {
    J["l_knee"]: (0, 1.0), J["r_knee"]: (0, 1.0), J["l_elbow"]: (1, -1.0), J["r_elbow"]: (1, 1.0),
}  # fmt: skip
"""Joint -> (axis of its own frame that it bends about, sign of the bend), in SMPL's T pose: x left, y up, z front."""

_STRAIGHT = 0.02  # how much the least turn counts against a bend: the square of the sine of some 8 degrees
_SECONDS = 0.15  # over which the turn of a bone about itself is smoothed


def first_pose(joints: np.ndarray, rest: np.ndarray, fps: float) -> np.ndarray:
    """Rotations that point every bone of the body where the motion's points.

    Args:
        joints: (T, 22, 3) metres, Y up.
        rest: (22, 3) the body's joints at rest.
    Returns:
        (T, 22, 3, 3): each joint's rotation in the world; joints without a next one keep their parent's.
    """
    turns = np.tile(np.eye(3), (len(joints), 22, 1, 1))

    def bones(joint: int, *ends: int) -> np.ndarray:
        return joints[:, ends] - joints[:, [joint]]

    def swing(joint: int, end: int, before: np.ndarray) -> np.ndarray:
        """The least turn after `before` that points the bone from joint to end as the motion has it."""
        return rot.between(before @ (rest[end] - rest[joint]), joints[:, end] - joints[:, joint]) @ before

    for joint, *ends in (
        (J["pelvis"], J["l_hip"], J["r_hip"], J["spine1"]),
        (J["spine3"], J["neck"], J["l_collar"], J["r_collar"]),
    ):
        turns[:, joint] = rot.best_fit(rest[ends] - rest[joint], bones(joint, *ends))
    hips, chest = turns[:, J["pelvis"]], turns[:, J["spine3"]]
    for name, next_name, part in (("spine1", "spine2", 1 / 3), ("spine2", "spine3", 2 / 3)):
        turns[:, J[name]] = swing(J[name], J[next_name], rot.midway(hips, chest, part))

    turns[:, J["neck"]] = swing(J["neck"], J["head"], chest)
    turns[:, J["head"]] = turns[:, J["neck"]]
    for side in "lr":
        hip, knee, ankle, foot = (J[f"{side}_{name}"] for name in ("hip", "knee", "ankle", "foot"))
        collar, shoulder, elbow, wrist = (J[f"{side}_{name}"] for name in ("collar", "shoulder", "elbow", "wrist"))
        turns[:, collar] = swing(collar, shoulder, chest)
        for upper, middle, end, before in ((hip, knee, ankle, hips), (shoulder, elbow, wrist, turns[:, collar])):
            turns[:, upper] = _upper(swing(upper, middle, before), joints, rest, upper, middle, end, fps)
            turns[:, middle] = swing(middle, end, turns[:, upper])
            turns[:, end] = turns[:, middle]
        turns[:, ankle] = swing(ankle, foot, turns[:, knee])
        turns[:, foot] = turns[:, ankle]
    return turns


def _upper(
    swung: np.ndarray, joints: np.ndarray, rest: np.ndarray, upper: int, middle: int, end: int, fps: float
) -> np.ndarray:
    """A thigh's or upper arm's rotation (T, 3, 3): `swung`, turned about the bone so that the next joint is a hinge."""
    axis, sign = HINGES[middle]
    bone = rot.unit(rest[middle] - rest[upper])
    ahead = np.cross(sign * np.eye(3)[axis], bone)  # where the next bone goes when the hinge bends
    ahead = rot.unit(ahead - (ahead @ bone) * bone)
    side = np.cross(bone, ahead)
    lower = np.einsum("tij,ti->tj", swung, rot.unit(joints[:, end] - joints[:, middle]))
    # Turn and evidence in one: a complex number of the angle's direction, as long as the bend is clear. Sums of such
    # numbers have no jumps at half a turn.
    seen = lower @ ahead + 1j * (lower @ side)
    seen = seen * np.abs(seen) + _STRAIGHT
    sigma = _SECONDS * fps
    seen = gaussian_filter1d(seen.real, sigma) + 1j * gaussian_filter1d(seen.imag, sigma)
    return swung @ rot.exp(bone * np.angle(seen)[:, None])
