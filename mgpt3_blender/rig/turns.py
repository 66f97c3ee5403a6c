"""How far each joint turns from the character's rest to the motion: rest-pose compensation. NumPy only.

Directions: limbs point exactly where the motion's do. Spine, neck and feet are built differently in every skeleton
(the motion's neck leans 40 degrees forward on a person who stands straight), so they keep the character's own posture
as far as TOLERANCE allows. Collarbones turn from their own rest by as much as the motion's turn from theirs.

Twist, which positions do not show:
- Pelvis and chest take the best fit of their landmarks; what the spine and neck turn between pelvis, chest and head
  is spread along them.
- Elbow and knee are hinges. Upper and lower bone share one bending axis, at right angles to the plane of the limb
  while it is bent (body.bending_axis); both in rest and in the motion. So an A pose, a T pose, arms down or bent
  elbows come out the same, and an upper arm is rolled against the chest only as far as its elbow shows.
- A straight limb keeps the axis it had and drifts to the one of a relaxed body; no limb rolls by more than
  body.ROLL_LIMIT in 1/20 s, so nothing flips.
- Positions end at the wrist: the hand continues the forearm, and the forearm's twist is the elbow's.
- The foot takes the knee's axis, and lies level where it lies on the floor.
"""

from __future__ import annotations

import numpy as np

from . import body
from . import rotation as rot
from .character import Character
from .skeleton22 import FOOT_SLOPE, JOINTS, NEUTRAL, NEXT, SPINE
from .skeleton22 import INDEX as J

TOLERANCE = {"spine1": 2.5, "spine2": 2.5, "spine3": 3.0, "neck": 4.0, "l_ankle": 3.0, "r_ankle": 3.0}
"""Degrees by which a bone may point elsewhere than the motion's, so that a character keeps its own posture."""
MOST_AWAY = 0.012
"""Metres, at the model's size, by which that may put the bone's end elsewhere."""
MODEL_LEG = float(
    np.linalg.norm(NEUTRAL[J["l_knee"]] - NEUTRAL[J["l_hip"]])
    + np.linalg.norm(NEUTRAL[J["l_ankle"]] - NEUTRAL[J["l_knee"]])
)
WIDE = 1.5
"""Hips this much wider for their legs than the motion's begin to swing less."""
MOST_SLOPE = np.radians(40.0)
"""A foot is not bent further than this to lie flat: a rest pose that hangs in the air shows no sole."""


def body_turns(
    joints: np.ndarray,
    fps: float,
    character: Character,
    slopes: np.ndarray | None = None,
    flat_feet: bool = False,
) -> dict[int, np.ndarray]:
    """The turn of each joint from the character's rest to the motion, in the motion's axes. joint -> (T, 3, 3).

    Args:
        slopes: (2,) radians by which the motion's left and right foot fall from ankle to ball while they stand flat;
            by default the model's body's.
        flat_feet: feet come first: flat stays flat, whatever the slopes, and wide hips do not carry feet about;
            otherwise feet point where the motion's do, to TOLERANCE.
    """
    most = MOST_SLOPE if flat_feet else np.radians(TOLERANCE["l_ankle"])
    slopes = np.full(2, FOOT_SLOPE) if slopes is None else slopes
    bent: dict[int, np.ndarray] = {}
    pelvis, chest = body.pelvis_rotation(joints), body.chest_rotation(joints)
    if flat_feet:
        pelvis = _calmer_hips(pelvis, joints, fps, character)
    bent[J["pelvis"]] = pelvis
    _torso(joints, character, pelvis, chest, bent)
    for side in "lr":
        _arm(joints, fps, side, chest, character, bent)
        _leg(joints, fps, side, pelvis, character, float(slopes["lr".index(side)]), most, bent)
    return bent


def _tolerance(character: Character, joint: int, other: int) -> float:
    """Degrees by which this character's bone may point elsewhere; long bones less, for they carry the rest away."""
    size = character.leg_length() / MODEL_LEG
    length = max(float(np.linalg.norm(character.vector(joint, other))) / size, 1e-3)
    return min(TOLERANCE[JOINTS[joint]], float(np.degrees(MOST_AWAY / length)))


def _calmer_hips(pelvis: np.ndarray, joints: np.ndarray, fps: float, character: Character) -> np.ndarray:
    """The turn of hips that are wide for their legs: they swing less, so that the legs stand where the motion's do.

    Each step turns and tilts the hips to and fro. On a body with hips as wide as its legs are long (a cartoon's) that
    would carry the feet about, or the legs would have to point elsewhere. The swing about the way the body faces, as
    it is over a second, is made as much smaller as the hips are wider; where the body goes and how far it bends stays.
    """
    left = joints[:, J["l_hip"]] - joints[:, J["r_hip"]]
    width = float(np.median(np.linalg.norm(left, axis=-1)))
    leg = sum(
        float(np.median(np.linalg.norm(joints[:, J[b]] - joints[:, J[a]], axis=-1)))
        for a, b in (("l_hip", "l_knee"), ("l_knee", "l_ankle"))
    )
    own = float(np.linalg.norm(character.rest_vector(J["r_hip"], J["l_hip"]))) / character.leg_length()
    share = min(1.0, WIDE * width / leg / max(own, 1e-9))
    if share >= 1.0:
        return pelvis
    left = rot.turn(pelvis, body.LEFT)
    ahead = body.smoothed(left[:, 0] + 1j * left[:, 2], 0.5 * fps)
    level = np.abs(ahead)[:, None]  # lying on the side there is no way it faces
    heading = rot.unit(np.stack([ahead.real, np.zeros(len(left)), ahead.imag], -1))
    along = (left * heading).sum(-1, keepdims=True)
    calm = along * heading + (1.0 - body.smoothstep(level, 0.3, 0.7) * (1.0 - share)) * (left - along * heading)
    return rot.swing(left, calm) @ pelvis


def _toward(turn: np.ndarray, rest: np.ndarray, wanted: np.ndarray, tolerance: float) -> np.ndarray:
    """Turn further until the rest direction points to within `tolerance` degrees of where it should."""
    now = rot.turn(turn, rot.unit(rest))
    off = rot.angle_between(now, wanted)
    part = np.where(off > 1e-9, np.maximum(off - np.radians(tolerance), 0.0), 0.0)
    return rot.about(rot.unit(rot.cross(now, rot.unit(wanted))), part) @ turn


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
    # From here on `own` undoes how a part stands in rest.
    chest_own = character.chest.T if character.is_pose else _fit(character, J["spine3"], body.CHEST_LANDMARKS)
    spine = [J[name] for name in SPINE if character.present[J[name]]]
    for n, joint in enumerate(spine):
        other, top = character.next(joint), joint == spine[-1]  # the topmost bone carries shoulders and neck
        part = (n + 1) / len(spine)
        base = chest if top else rot.between(pelvis, chest, part)
        if other is None:
            out[joint] = base @ (chest_own if top else own)
            continue
        neutral, wanted = NEUTRAL[other] - NEUTRAL[joint], joints[:, other] - joints[:, joint]
        turn = base if top else rot.swing(rot.turn(base, neutral), wanted) @ base
        if top:
            own = chest_own
        elif character.is_pose:
            own = rot.between(np.eye(3)[None], character.chest.T[None], part)[0]
        else:
            own = _posture(character, joint, own, neutral)
        out[joint] = _toward(
            turn @ own, character.rest_vector(joint, other), wanted, _tolerance(character, joint, other)
        )
    neutral, wanted = NEUTRAL[J["head"]] - NEUTRAL[J["neck"]], joints[:, J["head"]] - joints[:, J["neck"]]
    neck = rot.swing(rot.turn(chest, neutral), wanted) @ chest
    own = character.neck.T if character.is_pose else chest_own
    if character.present[J["neck"]]:
        rest = character.rest_vector(J["neck"], J["head"])
        own = _posture(character, J["neck"], own, neutral)
        out[J["neck"]] = neck @ own
        if np.linalg.norm(rest) > 1e-4 * character.size:
            out[J["neck"]] = _toward(neck @ own, rest, wanted, _tolerance(character, J["neck"], J["head"]))
    out[J["head"]] = neck @ (character.head.T if character.is_pose else own)
    for side in "lr":
        joint, other = J[f"{side}_collar"], J[f"{side}_shoulder"]
        neutral, wanted = NEUTRAL[other] - NEUTRAL[joint], joints[:, other] - joints[:, joint]
        if character.present[joint]:
            turn = rot.swing(rot.turn(chest, neutral), wanted) @ chest
            out[joint] = turn @ _posture(character, joint, chest_own, neutral)


def _rest_axis(
    limb: body.Limb, base: np.ndarray, upper: np.ndarray, lower: np.ndarray, spare: np.ndarray | None
) -> np.ndarray:
    """Bending axis of a limb in rest: as seen if it is clearly bent, else as carried from the reference. (3,).

    `base` is how chest or pelvis are turned in rest; `spare` is what the foot says about a knee, and decides when it
    contradicts (a rest pose that is no pose).
    """
    along = base.T @ rot.unit(upper)
    carried = base @ body.rest_axis(limb, along)
    if spare is not None and np.linalg.norm(spare) > 0.3 and rot.unit(spare) @ carried < 0.7:
        return rot.unit(spare)
    seen = rot.cross(rot.unit(upper), rot.unit(lower))
    # Arms that point ahead may have come there from the side or from below, with the palms down or facing each other:
    # there a slight bend counts as well.
    unsure = float(body.smoothstep(1.0 - along @ limb.rest_reference, 0.4, 0.8))
    bend = float(np.linalg.norm(seen))
    trust = body.smoothstep(bend, 0.17 - 0.13 * unsure, 0.35 - 0.25 * unsure)
    trust = trust * body.smoothstep(rot.unit(seen) @ carried, 0.2, 0.7)  # no elbow bends sideways
    return rot.unit((1.0 - trust) * carried + trust * rot.unit(seen))


def _limb(
    limb: body.Limb,
    joints: np.ndarray,
    fps: float,
    base: np.ndarray,
    rest_base: np.ndarray,
    character: Character,
    spare: np.ndarray | None,
    out: dict[int, np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """Turns of the upper and lower bone of an arm or leg. -> bending axis in the motion (T, 3) and in rest (3,)."""
    a, b, c = limb.joints
    upper, lower = joints[:, b] - joints[:, a], joints[:, c] - joints[:, b]
    axis = body.bending_axis(limb, base, upper, lower, fps)
    rest_upper, rest_lower = character.rest_vector(a, b), character.rest_vector(b, c)
    rest_axis = _rest_axis(limb, rest_base, rest_upper, rest_lower, spare)
    frames, rest = body.hinge_frames(upper, lower, axis), body.hinge_frames(rest_upper, rest_lower, rest_axis)
    out[a], out[b] = frames[0] @ rest[0].T, frames[1] @ rest[1].T
    return axis, rest_axis


def _arm(
    joints: np.ndarray, fps: float, side: str, chest: np.ndarray, character: Character, out: dict[int, np.ndarray]
) -> None:
    limb = body.ARMS[side]
    _limb(limb, joints, fps, chest, character.chest, character, None, out)
    out[limb.joints[2]] = out[limb.joints[1]]


def _leg(
    joints: np.ndarray,
    fps: float,
    side: str,
    pelvis: np.ndarray,
    character: Character,
    flat: float,
    most: float,
    out: dict[int, np.ndarray],
) -> None:
    limb = body.LEGS[side]
    c, d = limb.joints[2], NEXT[limb.joints[2]]
    rest_foot = character.foot_vector(c)
    rest_lower = character.rest_vector(limb.joints[1], c)
    spare = None if character.is_pose else rot.cross(rot.unit(rest_foot), rot.unit(rest_lower))
    axis, rest_axis = _limb(limb, joints, fps, pelvis, np.eye(3), character, spare, out)

    foot = joints[:, d] - joints[:, c]
    sideways = body.foot_sideways(foot, axis, joints[:, d, 1], fps)
    slope = flat
    rest_sideways = rest_axis
    if character.is_pose:
        slope = np.arcsin(np.clip(-rot.unit(rest_foot)[1], -1.0, 1.0))
        rest_sideways = rot.cross(body.UP, rest_foot) if abs(rot.unit(rest_foot)[1]) < 0.95 else rest_axis
    # Ankles lie higher over the sole in one body than in another: flat stays flat, whatever the bone's slope.
    sole = np.clip(slope - flat, -most, most)
    sole *= 1.0 - body.smoothstep(abs(slope - flat), 0.65 * MOST_SLOPE, 0.9 * MOST_SLOPE)
    frame = rot.frame(foot, sideways)
    frame = rot.about(frame[..., 0], np.full(len(foot), sole)) @ frame
    out[c] = frame @ rot.frame(rest_foot, rest_sideways).T
    # Toes: with the heel up and the ball on the floor they stay flat.
    down = np.arcsin(np.clip(-rot.unit(foot)[:, 1], -1.0, 1.0)) - flat
    lift = np.clip(down, 0.0, np.radians(50.0)) * (1.0 - body.smoothstep(joints[:, d, 1], 0.03, 0.12))
    out[d] = rot.about(frame[..., 0], -lift) @ out[c]


def follow(turns: dict[int, np.ndarray], before: np.ndarray, after: np.ndarray) -> None:
    """Turn limbs on, in place, from where a figure had them to where it has them now. Both (T, 22, 3), motion axes.

    Bones take the shortest turn to their new direction, and roll so that the bending axis stays the hinge it was.
    Hands keep on with the forearm. Feet turn with their soles; toes turn only across the floor, so that flat ones stay
    flat.
    """
    for side in "lr":
        for a, b, c in (body.ARMS[side].joints, body.LEGS[side].joints):
            if np.abs((after - before)[:, [b, c]] - (after - before)[:, [a, b]]).max() < 1e-9:
                continue
            bones = [(at[:, b] - at[:, a], at[:, c] - at[:, b]) for at in (before, after)]
            hinges = [rot.cross(rot.unit(upper), rot.unit(lower)) for upper, lower in bones]
            bent = np.minimum(*(np.linalg.norm(hinge, axis=-1) for hinge in hinges))
            seen = body.smoothstep(bent, 0.1, 0.35)  # a straight limb shows no hinge
            for n, joint in enumerate((a, b)):
                turn = rot.swing(bones[0][n], bones[1][n])
                along = rot.unit(bones[1][n])
                angle = body.angle_about(along, rot.turn(turn, rot.unit(hinges[0])), rot.unit(hinges[1]))
                turns[joint] = rot.about(along, np.where(np.abs(angle) < 1.6, seen * angle, 0.0)) @ turn @ turns[joint]
            if a in (J["l_shoulder"], J["r_shoulder"]):
                turns[c] = turns[b]
        ankle, ball = J[f"{side}_ankle"], J[f"{side}_foot"]
        feet = [at[:, ball] - at[:, ankle] for at in (before, after)]
        turns[ankle] = rot.swing(*feet) @ turns[ankle]
        if ball in turns:
            flat = [foot * [1.0, 0.0, 1.0] for foot in feet]
            lying = body.smoothstep(
                np.minimum(*(np.linalg.norm(rot.unit(f)[:, [0, 2]], axis=-1) for f in feet)), 0.2, 0.5
            )
            yaw = body.angle_about(body.UP, *flat)
            turns[ball] = rot.about(np.broadcast_to(body.UP, flat[0].shape), lying * yaw) @ turns[ball]
