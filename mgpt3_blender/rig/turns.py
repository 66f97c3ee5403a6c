"""How far each joint turns from the character's rest to the motion: rest-pose compensation. NumPy only.

A limb's turn takes the direction *and* the bending axis that the limb has in rest to those of the motion, so that an
A pose, a T pose or bent elbows come out the same. Limbs point exactly where the motion's do. Spine, neck and feet
are built differently in every skeleton (the motion's neck leans 40 degrees forward on a person who stands straight),
so they keep the character's own posture as far as TOLERANCE allows. Collarbones turn from their own rest by as much
as the motion's turn from theirs.
"""

from __future__ import annotations

import numpy as np

from . import body
from . import rotation as rot
from .character import Character
from .skeleton22 import FOOT_SLOPE, JOINTS, NEUTRAL, NEXT
from .skeleton22 import INDEX as J

TOLERANCE = {"spine1": 6.0, "spine2": 6.0, "spine3": 6.0, "neck": 6.0, "l_ankle": 5.0, "r_ankle": 5.0}
"""Degrees by which a bone may point elsewhere than the motion's, so that a character keeps its own posture."""


def body_turns(joints: np.ndarray, fps: float, character: Character) -> dict[int, np.ndarray]:
    """The turn of each joint from the character's rest to the motion, in the motion's axes. joint -> (T, 3, 3)."""
    bent: dict[int, np.ndarray] = {}
    pelvis, chest = body.pelvis_rotation(joints), body.chest_rotation(joints)
    bent[J["pelvis"]] = pelvis
    _torso(joints, character, pelvis, chest, bent)
    for side in "lr":
        _arm(joints, fps, side, chest, character, bent)
        _leg(joints, fps, side, pelvis, character, bent)
    return bent


def _toward(turn: np.ndarray, rest: np.ndarray, wanted: np.ndarray, tolerance: float) -> np.ndarray:
    """Turn further until the rest direction points to within `tolerance` degrees of where it should."""
    now = rot.turn(turn, rot.unit(rest))
    off = rot.angle_between(now, wanted)
    part = np.where(off > 1e-9, np.maximum(off - np.radians(tolerance), 0.0), 0.0)
    return rot.about(rot.unit(np.cross(now, rot.unit(wanted))), part) @ turn


def _posture(character: Character, joint: int, before: np.ndarray, neutral: np.ndarray) -> np.ndarray:
    """For a rest that is no pose: the turn that brings a joint's bone where it is on a person standing straight."""
    other = character.next(joint)
    if character.is_pose or other is None:
        return before
    return rot.swing(before @ character.rest_vector(joint, other), neutral) @ before


def _fit(character: Character, joint: int, landmarks: list[int]) -> np.ndarray:
    """For a rest that is no pose: best fit of the pelvis's or chest's landmarks to those of a person standing."""
    seen = [k for k in landmarks if character.present[k]]
    if character.is_pose or len(seen) < 2:
        return np.eye(3)
    vectors = np.array([character.rest_vector(joint, k) for k in seen])
    return rot.kabsch(vectors, NEUTRAL[seen] - NEUTRAL[joint])


def _torso(
    joints: np.ndarray, character: Character, pelvis: np.ndarray, chest: np.ndarray, out: dict[int, np.ndarray]
) -> None:
    """Spine, neck, head and collarbones."""
    own = _fit(character, J["pelvis"], body.PELVIS_LANDMARKS)
    out[J["pelvis"]] = pelvis @ own
    chest_own = _fit(character, J["spine3"], body.CHEST_LANDMARKS)
    for n, name in enumerate(("spine1", "spine2", "spine3")):
        joint, other = J[name], character.next(J[name])
        if not character.present[joint]:
            continue
        base = rot.between(pelvis, chest, (n + 1) / 3)
        if other is None:
            out[joint] = base @ (chest_own if name == "spine3" else own)
            continue
        neutral, wanted = NEUTRAL[other] - NEUTRAL[joint], joints[:, other] - joints[:, joint]
        turn = base if name == "spine3" else rot.swing(rot.turn(base, neutral), wanted) @ base
        own = chest_own if name == "spine3" else _posture(character, joint, own, neutral)
        out[joint] = _toward(turn @ own, character.rest_vector(joint, other), wanted, TOLERANCE[name])
    neck = chest
    neutral, wanted = NEUTRAL[J["head"]] - NEUTRAL[J["neck"]], joints[:, J["head"]] - joints[:, J["neck"]]
    neck = rot.swing(rot.turn(chest, neutral), wanted) @ chest
    own = chest_own
    if character.present[J["neck"]]:
        own = _posture(character, J["neck"], chest_own, neutral)
        rest = character.rest_vector(J["neck"], J["head"])
        out[J["neck"]] = _toward(neck @ own, rest, wanted, TOLERANCE["neck"])
    out[J["head"]] = neck @ own
    for side in "lr":
        joint, other = J[f"{side}_collar"], J[f"{side}_shoulder"]
        neutral, wanted = NEUTRAL[other] - NEUTRAL[joint], joints[:, other] - joints[:, joint]
        if character.present[joint]:
            turn = rot.swing(rot.turn(chest, neutral), wanted) @ chest
            out[joint] = turn @ _posture(character, joint, chest_own, neutral)


def _rest_axis(limb: body.Limb, upper: np.ndarray, lower: np.ndarray, spare: np.ndarray | None) -> np.ndarray:
    """Bending axis of a limb in rest: as seen if it is clearly bent, else as carried from the reference.

    `spare` is what the foot says about a knee; it decides when it contradicts (a rest pose that is no pose).
    """
    carried = body.carried_axis(limb, upper)
    if spare is not None and np.linalg.norm(spare) > 0.3 and rot.unit(spare) @ carried < 0.7:
        return rot.unit(spare)
    seen = np.cross(rot.unit(upper), rot.unit(lower))
    trust = body.smoothstep(float(np.linalg.norm(seen)), 0.17, 0.35) if seen @ carried > 0.0 else 0.0
    return rot.unit((1.0 - trust) * carried + trust * rot.unit(seen))


def _arm(
    joints: np.ndarray, fps: float, side: str, chest: np.ndarray, character: Character, out: dict[int, np.ndarray]
) -> None:
    limb = body.ARMS[side]
    a, b, c = limb.joints
    upper, lower = joints[:, b] - joints[:, a], joints[:, c] - joints[:, b]
    axis = body.bending_axis(limb, chest, upper, lower, fps)
    rest_upper, rest_lower = character.rest_vector(a, b), character.rest_vector(b, c)
    rest_axis = _rest_axis(limb, rest_upper, rest_lower, None)
    out[a] = rot.frame(upper, axis) @ rot.frame(rest_upper, rest_axis).T
    out[b] = rot.frame(lower, axis) @ rot.frame(rest_lower, rest_axis).T
    out[c] = out[b]  # positions end at the wrist: the hand continues the forearm


def _leg(
    joints: np.ndarray, fps: float, side: str, pelvis: np.ndarray, character: Character, out: dict[int, np.ndarray]
) -> None:
    limb = body.LEGS[side]
    a, b, c = limb.joints
    d = NEXT[c]
    upper, lower = joints[:, b] - joints[:, a], joints[:, c] - joints[:, b]
    axis = body.bending_axis(limb, pelvis, upper, lower, fps)
    rest_upper, rest_lower = character.rest_vector(a, b), character.rest_vector(b, c)
    rest_foot = character.foot_vector(c)
    spare = None if character.is_pose else np.cross(rot.unit(rest_foot), rot.unit(rest_lower))
    rest_axis = _rest_axis(limb, rest_upper, rest_lower, spare)
    out[a] = rot.frame(upper, axis) @ rot.frame(rest_upper, rest_axis).T
    out[b] = rot.frame(lower, axis) @ rot.frame(rest_lower, rest_axis).T

    foot = joints[:, d] - joints[:, c]
    sideways = body.foot_sideways(foot, axis, joints[:, d, 1])
    slope = FOOT_SLOPE
    rest_sideways = rest_axis
    if character.is_pose:
        slope = np.arcsin(np.clip(-rot.unit(rest_foot)[1], -1.0, 1.0))
        rest_sideways = np.cross(body.UP, rest_foot) if abs(rot.unit(rest_foot)[1]) < 0.95 else rest_axis
    tolerance = np.radians(TOLERANCE[JOINTS[c]])
    sole = np.clip(slope - FOOT_SLOPE, -tolerance, tolerance)
    frame = rot.frame(foot, sideways)
    frame = rot.about(frame[..., 0], np.full(len(foot), sole)) @ frame
    out[c] = frame @ rot.frame(rest_foot, rest_sideways).T
    # Toes: with the heel up and the ball on the floor they stay flat.
    down = np.arcsin(np.clip(-rot.unit(foot)[:, 1], -1.0, 1.0)) - FOOT_SLOPE
    lift = np.clip(down, 0.0, np.radians(50.0)) * (1.0 - body.smoothstep(joints[:, d, 1], 0.03, 0.12))
    out[d] = rot.about(frame[..., 0], -lift) @ out[c]
