"""A character as it is animated -> the same motion on the model's own body: the retargeter, backwards. NumPy only.

Joint positions read off a character say how it is built as much as how it moves: its shoulders lie elsewhere, its
spine curves otherwise, its feet point down more steeply. A caption of them describes the build ("walks like an old
person"). So what is read is how far each bone is turned from a stance that the model's own body could stand in: the
stance the retargeter (turns.py) gives this character for skeleton22.NEUTRAL. Limbs, which it points exactly where the
motion's point, are read by direction. The body is put together again from those, with the bone lengths of the data
the models were trained on, and placed by its feet as the character's stand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import ground, place
from . import rotation as rot
from .character import Character
from .figure import bridge
from .skeleton22 import FPS, JOINTS, NEUTRAL, PARENTS, SPINE
from .skeleton22 import INDEX as J
from .solve import leg_length
from .turns import TOLERANCE, body_turns
from .turns import _leg as turn_leg

LENGTHS = np.array(
    [0, 0.1031, 0.1099, 0.1316, 0.3936, 0.3902, 0.1432, 0.4324, 0.4256, 0.0574, 0.1434, 0.1494, 0.2194, 0.1375, 0.1434,
     0.1030, 0.1316, 0.1230, 0.2568, 0.2631, 0.2660, 0.2699]
)  # fmt: skip
"""(22,) metres: length of the bone that ends in each joint, HumanML3D's reference skeleton (left and right differ)."""

_OTHER_SIDE = [J[{"l_": "r_", "r_": "l_"}.get(name[:2], name[:2]) + name[2:]] for name in JOINTS]
ROUNDS = 4
"""Times that the place is looked for anew: the retargeter's own answer to where a body stands is asked each time."""

OFF_FLOOR = 0.12
"""Metres that a motion may be off the character's floor; farther than that it has a floor of its own."""
_DIRECTIONS = {
    "l_hip": (0.5606, -0.8281, -0.0032), "r_hip": (-0.5704, -0.8213, -0.0094), "spine1": (-0.0124, 0.9605, -0.2780),
    "neck": (0.0030, 0.9993, 0.0369), "l_collar": (0.5104, 0.8566, -0.0760), "r_collar": (-0.5129, 0.8550, -0.0766),
}  # fmt: skip
"""From the parent, as hips and chest (body.pelvis_rotation, chest_rotation) are turned: rigid in motion of that
skeleton, to 0.02 degrees in every collection looked at. NEUTRAL is its symmetric form."""
FLAT = np.radians(26.8)
"""How steeply ankle -> ball falls while a foot stands flat: the median of those collections."""

SLOPE_CHANGED, PLACE_CHANGED = np.radians(0.2), 0.0005
"""Radians and metres that count as a change from one round to the next."""


def _offsets() -> np.ndarray:
    """(22, 3) metres: from each joint's parent to the joint, in the axes that the parent's turn is told in."""
    ways = rot.unit(np.array([NEUTRAL[j] - NEUTRAL[max(p, 0)] for j, p in enumerate(PARENTS)]))
    for name, way in _DIRECTIONS.items():
        ways[J[name]] = rot.unit(np.array(way))
    return ways * LENGTHS[:, None]


_OFFSETS = _offsets()
_LIMBS = [(J[f"{s}_{a}"], J[f"{s}_{b}"]) for s in "lr" for a, b in
          (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist"))]  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """What Blender shows of a character.

    Attributes:
        heads: (T, 22, 3) joints in the space of the armature as it stands in rest; zero where there is none.
        turned: joint -> (T, 3, 3) orientation of its bone there.
        rest: joint -> (3, 3) orientation of its bone in rest.
    """

    heads: np.ndarray
    turned: dict[int, np.ndarray]
    rest: dict[int, np.ndarray]


def canonical(character: Character, seen: Seen, fps: float = FPS, *, retargeted: bool = False) -> np.ndarray:
    """The motion on the model's body, (T, 22, 3) metres, Y up, the character's floor at 0, where the character is.

    Args:
        fps: frames a second of what was seen.
        retargeted: the retargeter made this motion. It gives every back the curve of the model's body, to a few
            degrees, which is undone exactly. Whoever else animated a character left its back the curve it has in rest,
            and that is then what the model's body has while it stands straight.
    """
    figure = _figure(character, seen)
    shown = _shown(character, seen)
    slopes = np.full(2, FLAT)
    turns = _turns(character, shown, _stance(character, slopes, retargeted))
    body = _body(turns, figure)
    if retargeted and not character.present[J["neck"]]:
        # Without a neck the retargeter bends the chest until the head is where it belongs: how far, its answer shows.
        for _ in range(ROUNDS):
            answer = body_turns(body, fps, character, slopes)
            for joint in (J[name] for name in SPINE):
                if joint in shown:
                    turns[joint] = shown[joint] @ rot.transposed(answer[joint]) @ turns[joint]
            _complete(character, turns, shown)
            body = _body(turns, figure)
    heights = _floor(character)[1]
    move = place.root_offset(body, figure, place.HEIGHTS, fps, motion_heights=heights)
    for _ in range(ROUNDS):  # the place and the feet from which the retargeter comes to where the character is
        motion = body + move[:, None]
        _, found, theirs = ground.stance(motion, fps)
        off = place.root_offset(figure, motion, heights, fps, motion_heights=theirs)
        off[:, 1] -= np.median(off[:, 1])  # how high its floor is the retargeter does not ask
        move = move - off
        if np.abs(found - slopes).max() > SLOPE_CHANGED:
            slopes = found
            _put_feet(body, shown, _feet_stance(character, slopes))
        elif np.abs(off).max() < PLACE_CHANGED:
            break
    return body + move[:, None]


def mirrored(joints: np.ndarray) -> np.ndarray:
    """The motion as seen in a mirror: left and right change places. (T, 22, 3)."""
    return joints[:, _OTHER_SIDE] * np.array([-1.0, 1.0, 1.0])


def placed(joints: np.ndarray) -> np.ndarray:
    """The motion with its first frame facing +Z, its root over the origin. (T, 22, 3)."""
    left = joints[0, J["l_hip"]] - joints[0, J["r_hip"]]
    left = left + joints[0, J["l_shoulder"]] - joints[0, J["r_shoulder"]]
    angle = np.arctan2(left[2], left[0])
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
    return (joints - joints[0, 0] * [1.0, 0.0, 1.0]) @ turn.T


def _shown(character: Character, seen: Seen) -> dict[int, np.ndarray]:
    """How far each bone is turned from its rest, in the motion's axes. joint -> (T, 3, 3)."""
    into = character.to_motion @ character.carried
    return {j: character.to_armature.T @ turned @ (into @ seen.rest[j]).T for j, turned in seen.turned.items()}


def _stance(character: Character, slopes: np.ndarray, retargeted: bool) -> dict[int, np.ndarray]:
    """How far each joint turns from its rest for the character to stand as the model's body does. joint -> (3, 3).

    Args:
        slopes: (2,) radians by which the left and right foot of the motion's body fall while they stand flat.
    """
    still = np.repeat(NEUTRAL[None], 2, 0)
    out = {j: turn[0] for j, turn in body_turns(still, FPS, character, slopes).items()}
    if character.is_pose and not retargeted:  # it stands straight as its own spine does, whatever curve that has
        spine = [J[name] for name in SPINE if character.present[J[name]]]
        for n, joint in enumerate(spine):
            out[joint] = rot.between(np.eye(3)[None], character.chest.T[None], (n + 1) / len(spine))[0]
    return out


def _feet_stance(character: Character, slopes: np.ndarray) -> dict[int, np.ndarray]:
    """The feet's part of `_stance`, which takes a quarter of the time."""
    still, upright = np.repeat(NEUTRAL[None], 2, 0), np.repeat(np.eye(3)[None], 2, 0)
    bent: dict[int, np.ndarray] = {}
    for side, slope in zip("lr", slopes, strict=True):
        turn_leg(still, FPS, side, upright, character, float(slope), np.radians(TOLERANCE["l_ankle"]), bent)
    return {j: turn[0] for j, turn in bent.items()}


def _turns(character: Character, shown: dict[int, np.ndarray], stance: dict[int, np.ndarray]) -> dict[int, np.ndarray]:
    """How far each joint is turned from the stance, in the motion's axes. joint -> (T, 3, 3)."""
    turns = {j: turn @ stance[j].T for j, turn in shown.items() if j in stance}
    _complete(character, turns, shown)
    return turns


def _put_feet(body: np.ndarray, shown: dict[int, np.ndarray], stance: dict[int, np.ndarray]) -> None:
    """Turn the body's feet, in place, as they are turned from another stance."""
    for side in "lr":
        ankle, ball = J[f"{side}_ankle"], J[f"{side}_foot"]
        body[:, ball] = body[:, ankle] + shown[ankle] @ stance[ankle].T @ _OFFSETS[ball]


def _complete(character: Character, turns: dict[int, np.ndarray], shown: dict[int, np.ndarray]) -> None:
    """Give joints without a bone a turn, in place: up the spine that of the one below, a collarbone the chest's."""
    # The retargeter turns neck and head alike, but bends a neck that stands upright in rest forward like the model's
    # body's: the head tells how the neck is meant, whoever made the action.
    if character.is_pose or J["neck"] not in shown:
        turns[J["neck"]] = turns[J["head"]]
    for joint, below in zip((J[n] for n in SPINE), (J[n] for n in ("pelvis", *SPINE)), strict=False):
        if joint not in shown:
            turns[joint] = turns[below]
    for side in "lr":
        if J[f"{side}_collar"] not in shown:
            turns[J[f"{side}_collar"]] = turns[J["spine3"]]


def _floor(character: Character) -> tuple[float, np.ndarray]:
    """Height of the floor, armature units, and of FEET over it while the character stands flat, model's metres."""
    scale = character.leg_length() / leg_length(NEUTRAL)
    floor, heights = character.floor(scale)
    return floor, np.array(heights).ravel() / scale


def _figure(character: Character, seen: Seen) -> np.ndarray:
    """The character's own joints in the motion's axes, as large as the model's body, its floor at 0. (T, 22, 3)."""
    joints = np.array(seen.heads)
    present = set(seen.turned)
    for side in "lr":
        ankle, ball = J[f"{side}_ankle"], J[f"{side}_foot"]
        if ball not in present:
            foot = seen.rest[ankle].T @ (character.to_motion @ character.carried).T @ character.foot_vector(ankle)
            joints[:, ball] = joints[:, ankle] + rot.turn(seen.turned[ankle], foot)
            present.add(ball)
    bridge(joints, present)
    joints = joints @ character.to_armature - [0.0, _floor(character)[0], 0.0]
    joints = joints * (leg_length(NEUTRAL) / leg_length(joints))
    low = float(np.percentile(joints[..., 1].min(1), 5.0))
    if abs(low) > OFF_FLOOR:  # recorded over another floor, as BVH files are whose hips start from the world's origin
        joints[..., 1] -= low
    return joints


def _body(turns: dict[int, np.ndarray], figure: np.ndarray) -> np.ndarray:
    """The model's body turned like that, its pelvis at the origin. (T, 22, 3)."""
    ways = dict(_LIMBS)
    out = np.zeros_like(figure)
    for j, parent in enumerate(PARENTS):
        if parent < 0:
            continue
        if ways.get(parent) == j:
            out[:, j] = out[:, parent] + LENGTHS[j] * rot.unit(figure[:, j] - figure[:, parent])
        else:
            out[:, j] = out[:, parent] + turns[parent] @ _OFFSETS[j]
    return out
