"""How a body is turned, from the positions of its joints alone.

Positions say where bones point, not how they are rolled. The roll comes from what a body can do: hips and chest are
rigid and have three landmarks each; a knee and an elbow bend about one axis, which is seen whenever they are bent and
carried along while they are straight; the foot stands on the floor. All rotations here are relative to the upright
stand of skeleton22.NEUTRAL. Y up, Z forward; T frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import rotation as rot
from .skeleton22 import FPS, INDEX, NEUTRAL

UP = np.array([0.0, 1.0, 0.0])
LEFT = np.array([1.0, 0.0, 0.0])

PELVIS, CHEST = INDEX["pelvis"], INDEX["spine3"]
PELVIS_LANDMARKS = [INDEX["l_hip"], INDEX["r_hip"], INDEX["spine1"]]
CHEST_LANDMARKS = [INDEX["neck"], INDEX["l_collar"], INDEX["r_collar"]]

# Where a limb hangs when nothing is known: the reference from which its roll is carried along by the shortest turn.
# Its opposite, where that turn is undefined, is out of a body's reach: behind and across for an arm, up and back for
# a leg. Rest poses are made from one another by lifting and lowering the arms at the body's sides, so for them the
# arm's reference lies in that plane: the roll is exact from arms up over T and A to arms down.
ARM_REFERENCE = {"l": np.array([0.66, -0.66, 0.36]), "r": np.array([-0.66, -0.66, 0.36])}
ARM_REST_REFERENCE = {"l": np.array([1.0, -0.2, 0.0]), "r": np.array([-1.0, -0.2, 0.0])}
LEG_REFERENCE = np.array([0.0, -0.94, 0.34])

ROLL_LIMIT = 40.0
"""Degrees by which a limb may roll about itself in 1/20 s, on top of what its direction and the torso do."""


@dataclass
class Limb:
    """An arm or a leg: three joints, and the axis that the middle one bends about.

    Attributes:
        joints: upper, middle and lower joint.
        reference: direction at which `axis` is the bending axis.
        axis: bending axis there.
        rest_reference, rest_axis: the same for rest poses.
        rest_weight: how bent (as the squared sine) the limb must be to trust the seen axis over the carried one.
    """

    joints: tuple[int, int, int]
    reference: np.ndarray
    axis: np.ndarray
    rest_reference: np.ndarray
    rest_axis: np.ndarray
    rest_weight: float


def _limb(side: str, names: tuple[str, str, str]) -> Limb:
    a, b, c = (INDEX[f"{side}_{name}"] for name in names)
    if names[0] == "hip":
        reference = rot.unit(LEG_REFERENCE)
        return Limb((a, b, c), reference, LEFT, reference, LEFT, 0.06)
    # An elbow folds the forearm forward of a hanging arm.
    moving, resting = (rot.unit(where[side]) for where in (ARM_REFERENCE, ARM_REST_REFERENCE))
    forward = np.array([0.0, 0.0, 1.0])
    return Limb(
        (a, b, c), moving, rot.unit(rot.cross(moving, forward)), resting, rot.unit(rot.cross(resting, forward)), 0.02
    )


ARMS = {side: _limb(side, ("shoulder", "elbow", "wrist")) for side in "lr"}
LEGS = {side: _limb(side, ("hip", "knee", "ankle")) for side in "lr"}


def carried_axis(limb: Limb, direction: np.ndarray) -> np.ndarray:
    """Bending axis of a limb that points along `direction`, carried from the reference. (..., 3) -> (..., 3)."""
    return rot.turn(rot.swing(limb.reference, direction), limb.axis)


def rest_axis(limb: Limb, direction: np.ndarray) -> np.ndarray:
    """As `carried_axis`, for a limb in a rest pose."""
    return rot.turn(rot.swing(limb.rest_reference, direction), limb.rest_axis)


def smoothstep(x: np.ndarray | float, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth in between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def smoothed(z: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian average over time of (T,) complex values, edges repeated."""
    reach = max(1, int(3 * sigma + 0.5))
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(z, reach, mode="edge"), window / window.sum(), mode="valid")


def angle_about(axis: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Signed angle from `one` to `other` about `axis`, radians; all (..., 3), `one` at right angles to `axis`."""
    return np.arctan2((rot.cross(one, other) * axis).sum(-1), (one * other).sum(-1))


def _slowed(angle: np.ndarray, fps: float) -> np.ndarray:
    """Angles in radians (T,) that follow `angle`, full turns aside, by no more than ROLL_LIMIT a frame."""
    out = angle.tolist()
    limit = np.radians(ROLL_LIMIT) / max(fps / FPS, 1.0)
    for t in range(1, len(out)):
        change = (out[t] - out[t - 1] + np.pi) % (2.0 * np.pi) - np.pi
        out[t] = out[t - 1] + min(max(change, -limit), limit)
    return np.array(out)


def slow_roll(direction: np.ndarray, axis: np.ndarray, fps: float) -> np.ndarray:
    """An axis at right angles to a bone that rolls about it no faster than ROLL_LIMIT. (T, 3) unit x 2 -> (T, 3)."""
    along = rot.turn(rot.swing(direction[:-1], direction[1:]), axis[:-1])
    steps = angle_about(direction[1:], along, axis[1:])
    if np.abs(steps).max(initial=0.0) <= np.radians(ROLL_LIMIT) / max(fps / FPS, 1.0):
        return axis
    angle = np.concatenate([[0.0], np.cumsum(steps)])
    return rot.turn(rot.about(direction, _slowed(angle, fps) - angle), axis)


def bending_axis(limb: Limb, base: np.ndarray, upper: np.ndarray, lower: np.ndarray, fps: float) -> np.ndarray:
    """The axis an elbow or knee bends about at each frame, without flips. -> (T, 3) unit vectors.

    The axis is an angle about the upper bone, measured against a frame that goes along with the bone without rolling.
    The angle of the seen axis is averaged over time with the bend as weight, as complex numbers: where the limb is
    bent the seen axis counts, where it is straight the neighbours in time and, weakly, the carried axis decide. A
    last pass bounds how fast the axis may roll. An axis on the far side of the carried one, as an overstretched joint
    shows it, counts only when the limb is clearly bent.

    Args:
        base: (T, 3, 3) rotation of chest or pelvis.
        upper, lower: (T, 3) directions of the two bones.
        fps: frames a second of the motion.
    """
    inverse = rot.transposed(base)
    a, b = rot.turn(inverse, rot.unit(upper)), rot.turn(inverse, rot.unit(lower))
    carried = carried_axis(limb, a)
    along = rot.turn(rot.swing(a[:-1], a[1:]), carried[:-1])
    spin = np.concatenate([[0.0], np.cumsum(angle_about(a[1:], along, carried[1:]))])  # of the carried axis itself
    known = smoothstep(1.0 + a @ limb.reference, 0.03, 0.2)  # nothing is known where the carrying is undefined
    seen = rot.cross(a, b)
    weight = (seen * seen).sum(-1)  # squared sine of the bend
    angle = angle_about(a, carried, seen)
    weight *= np.maximum(smoothstep(np.cos(angle), -0.5, 0.3), smoothstep(weight, 0.1, 0.3))
    z = weight * np.exp(1j * (angle + spin))
    step = fps / FPS
    z = smoothed(z, 1.2 * step) + 0.05 * smoothed(z, 8.0 * step) + limb.rest_weight * known * np.exp(1j * spin)
    return rot.turn(base, rot.turn(rot.about(a, _slowed(np.angle(z), fps) - spin), carried))


def hinge_frames(upper: np.ndarray, lower: np.ndarray, axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames of the two bones of a limb: Y along the bone, X the bending axis. (..., 3) x 3 -> 2 of (..., 3, 3).

    Where the lower bone lies along the axis (the axis rolls no faster than it may), its frame is the upper one's,
    swung.
    """
    first = rot.frame(upper, axis)
    x = first[..., 0]
    skew = smoothstep(np.abs((rot.unit(lower) * x).sum(-1, keepdims=True)), 0.5, 0.9)
    if np.any(skew > 0.0):
        x = (1.0 - skew) * x + skew * rot.turn(rot.swing(upper, lower), x)
    return first, rot.frame(lower, x)


def pelvis_rotation(joints: np.ndarray) -> np.ndarray:
    """(T, 22, 3) -> (T, 3, 3), by best fit of hips and lowest spine joint."""
    return rot.kabsch(NEUTRAL[PELVIS_LANDMARKS] - NEUTRAL[PELVIS], joints[:, PELVIS_LANDMARKS] - joints[:, [PELVIS]])


def chest_rotation(joints: np.ndarray) -> np.ndarray:
    """(T, 22, 3) -> (T, 3, 3), by best fit of neck and collarbones."""
    return rot.kabsch(NEUTRAL[CHEST_LANDMARKS] - NEUTRAL[CHEST], joints[:, CHEST_LANDMARKS] - joints[:, [CHEST]])


def foot_sideways(foot: np.ndarray, knee_axis: np.ndarray, height: np.ndarray, fps: float) -> np.ndarray:
    """The axis a foot rolls up and down about: the knee's, and level while the foot lies on the floor. -> (T, 3).

    Args:
        foot: (T, 3) direction ankle -> ball.
        knee_axis: (T, 3) unit.
        height: (T,) metres of the ball over the floor.
        fps: frames a second of the motion.
    """
    foot = rot.unit(foot)
    base = rot.unit(knee_axis - (knee_axis * foot).sum(-1, keepdims=True) * foot)
    level = rot.cross(UP, foot)  # as long as the foot is flat, and gone where it points straight down
    flat = (level * level).sum(-1)
    level = rot.unit(level)
    same = (level * base).sum(-1)  # a foot on its side says nothing, nor one that is turned over
    weight = (1.0 - smoothstep(height, 0.05, 0.18)) * smoothstep(flat, 0.25, 0.7) * smoothstep(same, 0.2, 0.7)
    return slow_roll(foot, rot.unit((1.0 - weight[:, None]) * base + weight[:, None] * level), fps)
