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
# a leg.
ARM_REFERENCE = {"l": np.array([0.66, -0.66, 0.36]), "r": np.array([-0.66, -0.66, 0.36])}
LEG_REFERENCE = np.array([0.0, -0.94, 0.34])


@dataclass
class Limb:
    """An arm or a leg: three joints, and the axis that the middle one bends about.

    Attributes:
        joints: upper, middle and lower joint.
        reference: direction at which `axis` is the bending axis.
        axis: bending axis there.
        rest_weight: how bent (as the squared sine) the limb must be to trust the seen axis over the carried one.
    """

    joints: tuple[int, int, int]
    reference: np.ndarray
    axis: np.ndarray
    rest_weight: float


def _limb(side: str, names: tuple[str, str, str]) -> Limb:
    a, b, c = (INDEX[f"{side}_{name}"] for name in names)
    if names[0] == "hip":
        return Limb((a, b, c), rot.unit(LEG_REFERENCE), LEFT, 0.06)
    reference = rot.unit(ARM_REFERENCE[side])
    # An elbow folds the forearm forward of a hanging arm.
    return Limb((a, b, c), reference, rot.unit(np.cross(reference, [0.0, 0.0, 1.0])), 0.02)


ARMS = {side: _limb(side, ("shoulder", "elbow", "wrist")) for side in "lr"}
LEGS = {side: _limb(side, ("hip", "knee", "ankle")) for side in "lr"}


def carried_axis(limb: Limb, direction: np.ndarray) -> np.ndarray:
    """Bending axis of a limb that points along `direction`, carried from the reference. (..., 3) -> (..., 3)."""
    return rot.turn(rot.swing(limb.reference, direction), limb.axis)


def _smooth(z: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian average over time of (T,) complex values, edges repeated."""
    reach = max(1, int(3 * sigma + 0.5))
    window = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.convolve(np.pad(z, reach, mode="edge"), window / window.sum(), mode="valid")


def bending_axis(limb: Limb, base: np.ndarray, upper: np.ndarray, lower: np.ndarray, fps: float) -> np.ndarray:
    """The axis an elbow or knee bends about at each frame, without flips. -> (T, 3) unit vectors.

    The angle between the seen axis and the carried one is averaged over time with the bend as weight, as complex
    numbers: where the limb is bent the seen axis counts, where it is straight the neighbours in time and, weakly, the
    reference decide. A last pass bounds how fast the axis may roll.

    Args:
        base: (T, 3, 3) rotation of chest or pelvis.
        upper, lower: (T, 3) directions of the two bones.
        fps: frames a second of the motion.
    """
    a = rot.turn(rot.transposed(base), rot.unit(upper))
    b = rot.turn(rot.transposed(base), rot.unit(lower))
    carried = carried_axis(limb, a)
    seen = np.cross(a, b)
    weight = (seen * seen).sum(-1)  # squared sine of the bend
    angle = np.arctan2((np.cross(carried, seen) * a).sum(-1), (carried * seen).sum(-1))
    z = weight * np.exp(1j * angle)
    step = fps / FPS
    z = _smooth(z, 1.2 * step) + 0.05 * _smooth(z, 8.0 * step) + limb.rest_weight
    angle = np.angle(z)
    limit = np.radians(40.0) / max(step, 1.0)
    for t in range(1, len(angle)):
        change = (angle[t] - angle[t - 1] + np.pi) % (2 * np.pi) - np.pi
        angle[t] = angle[t - 1] + min(max(change, -limit), limit)
    return rot.turn(base, rot.turn(rot.about(a, angle), carried))


def pelvis_rotation(joints: np.ndarray) -> np.ndarray:
    """(T, 22, 3) -> (T, 3, 3), by best fit of hips and lowest spine joint."""
    return rot.kabsch(NEUTRAL[PELVIS_LANDMARKS] - NEUTRAL[PELVIS], joints[:, PELVIS_LANDMARKS] - joints[:, [PELVIS]])


def chest_rotation(joints: np.ndarray) -> np.ndarray:
    """(T, 22, 3) -> (T, 3, 3), by best fit of neck and collarbones."""
    return rot.kabsch(NEUTRAL[CHEST_LANDMARKS] - NEUTRAL[CHEST], joints[:, CHEST_LANDMARKS] - joints[:, [CHEST]])


def smoothstep(x: np.ndarray | float, low: float, high: float) -> np.ndarray:
    """0 below `low`, 1 above `high`, smooth in between."""
    t = np.clip((x - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def foot_sideways(foot: np.ndarray, knee_axis: np.ndarray, height: np.ndarray) -> np.ndarray:
    """The axis a foot rolls up and down about: the knee's, and level while the foot lies on the floor. -> (T, 3).

    Args:
        foot: (T, 3) direction ankle -> ball.
        knee_axis: (T, 3) unit.
        height: (T,) metres of the ball over the floor.
    """
    foot = rot.unit(foot)
    base = rot.unit(knee_axis - (knee_axis * foot).sum(-1, keepdims=True) * foot)
    level = np.cross(UP, foot)  # as long as the foot is flat, and gone where it points straight down
    flat = (level * level).sum(-1)
    level = rot.unit(level) * np.where((level * base).sum(-1, keepdims=True) < 0.0, -1.0, 1.0)
    weight = (1.0 - smoothstep(height, 0.05, 0.18)) * smoothstep(flat, 0.25, 0.7)
    return rot.unit((1.0 - weight[:, None]) * base + weight[:, None] * level)
