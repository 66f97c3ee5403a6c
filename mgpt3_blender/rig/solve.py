"""From joint positions to what is keyed: rotation channels and root motion. NumPy only.

For every joint `turns` finds D, the turn that takes the character's rest to the wanted pose. A bone that plays the
joint gets D times its own rest orientation: bone roll, bone axes and controls that lie elsewhere never matter. The
root is placed by the feet: legs of other proportions still stand on the floor, where the motion's stand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import body
from . import rotation as rot
from .character import Character
from .rest import Rig, base_frame, pose
from .skeleton22 import ANKLE_HEIGHT, BALL_HEIGHT, NEUTRAL
from .skeleton22 import INDEX as J
from .turns import body_turns

COMPARED = tuple(J[name] for name in ("l_hip", "r_hip", "l_knee", "r_knee", "l_ankle", "r_ankle", "l_shoulder",
                 "r_shoulder", "l_elbow", "r_elbow", "spine1", "spine2", "spine3", "neck"))  # fmt: skip
"""Joints whose bone has a direction that can be compared: limbs, feet, spine, neck. Left out: the pelvis and the
chest-to-collar and collar-to-shoulder offsets, which point elsewhere in every rig by construction."""

RETURN_SECONDS = 3.0
"""How long the root takes to come back to the motion's path after it stepped aside for the feet."""

_FLAT_FOOT = (NEUTRAL[J["l_foot"]] - NEUTRAL[J["l_ankle"]])[[0, 2]]


@dataclass
class Solution:
    """What to key.

    Attributes:
        rotations: bone name -> (T, 3, 3) its rotation channel.
        root: name of the bone that carries the root motion.
        location: (T, 3) its location channel, armature units.
        errors: (T, n) degrees between where a bone points and where it should, one column for each of `compared`.
        compared: the (joint, next joint) pairs of `errors`.
        scale: armature units for a metre of the motion (leg length against leg length).
        to_armature: (3, 3) rotation from the motion's axes to armature space.
        feet: (T, 4, 3) left ankle, left ball, right ankle, right ball as solved, in the motion's axes and metres, with
            heights as if the character's feet were as high as the model's.
    """

    rotations: dict[str, np.ndarray]
    root: str
    location: np.ndarray
    errors: np.ndarray
    compared: list[tuple[int, int]]
    scale: float
    to_armature: np.ndarray
    feet: np.ndarray


def resample(joints: np.ndarray, fps: float, to_fps: float) -> np.ndarray:
    """Motion at another frame rate by cubic (Catmull-Rom) curves. (T, 22, 3) -> (T', 22, 3) float64.

    The first frame stays the first; T' is as many frames as fit between the first and the last.
    """
    joints = np.asarray(joints, np.float64)
    count = int(np.floor((len(joints) - 1) * to_fps / fps + 1e-6)) + 1
    time = np.arange(count) * (fps / to_fps)
    i = np.minimum(time.astype(int), len(joints) - 2)
    u = (time - i)[:, None, None]
    padded = np.concatenate([2 * joints[:1] - joints[1:2], joints, 2 * joints[-1:] - joints[-2:-1]])
    p0, p1, p2, p3 = (padded[i + k] for k in range(4))
    return p1 + 0.5 * u * (p2 - p0 + u * (2 * p0 - 5 * p1 + 4 * p2 - p3 + u * (3 * (p1 - p2) + p3 - p0)))


def leg_length(joints: np.ndarray) -> float:
    """Thigh plus shin, mean of both legs, median over frames. (..., 22, 3) -> length."""
    joints = joints.reshape(-1, 22, 3)
    legs = [
        np.linalg.norm(joints[:, J[f"{s}_{b}"]] - joints[:, J[f"{s}_{a}"]], axis=-1)
        for s in "lr"
        for a, b in (("hip", "knee"), ("knee", "ankle"))
    ]
    return float(np.median(np.sum(legs, axis=0)) / 2)


def solve(rig: Rig, joints: np.ndarray, fps: float) -> Solution:
    """Pose a character for each frame of a motion.

    Args:
        rig: the character.
        joints: (T, 22, 3) metres, Y up, facing +Z, floor at 0, at the frame rate the keys will have.
        fps: that frame rate.
    """
    joints = np.asarray(joints, np.float64)
    character = Character(rig)
    scale = character.leg_length() / leg_length(joints)
    out, into = character.to_armature, character.to_motion
    turns = {joint: out @ turn @ into for joint, turn in body_turns(joints, fps, character).items()}
    targets = {i: turns[j] @ (character.carried @ rig.bones[i].rotation) for i, j in rig.keyed.items() if j in turns}

    carrier = rig.root
    while rig.bones[carrier].connected:  # a connected bone has no location of its own; what it is connected to has
        carrier = rig.bones[carrier].parent
    posed = pose(rig.bones, targets, {carrier: np.zeros(3)})
    rotations, heads, channels = posed.rotations, posed.heads, posed.channels
    offset, feet = _root_offset(character, joints, scale, turns, heads, fps)
    _, axes, _ = base_frame(rig.bones, carrier, rotations, heads)
    location = np.broadcast_to(rot.turn(rot.transposed(axes), offset), offset.shape)

    pairs = [(j, k) for j in COMPARED if character.present[j] and (k := character.next(j)) is not None and j in turns]
    errors = np.empty((len(joints), len(pairs)))
    for n, (j, k) in enumerate(pairs):
        points = rot.turn(turns[j], character.vector(j, k))
        errors[:, n] = np.degrees(rot.angle_between(points, rot.turn(out, joints[:, k] - joints[:, j])))
    return Solution(
        rotations={rig.bones[i].name: np.broadcast_to(c, (len(joints), 3, 3)) for i, c in channels.items()},
        root=rig.bones[carrier].name,
        location=location,
        errors=errors,
        compared=pairs,
        scale=scale,
        to_armature=out,
        feet=feet,
    )


def _root_offset(
    character: Character,
    joints: np.ndarray,
    scale: float,
    turns: dict[int, np.ndarray],
    heads: list[np.ndarray],
    fps: float,
) -> tuple[np.ndarray, np.ndarray]:
    """How far the whole character must move at each frame, armature space (T, 3), and its feet then (T, 4, 3).

    The middle of the hips travels as the motion's does, at the character's scale. On top of that come the feet: legs
    with other proportions, turned just like the motion's, end elsewhere, and the root makes up for it so that standing
    feet keep their height and slide no more than the motion's. While both feet are far off the floor (a handstand, a
    fall) the hips alone count.
    """
    rig, into = character.rig, character.to_armature.T

    def head(joint: int) -> np.ndarray:
        return np.broadcast_to(heads[rig.joint_bone[joint]] @ into.T, (len(joints), 3))

    hips = 0.5 * (head(J["l_hip"]) + head(J["r_hip"]))
    wanted = 0.5 * (joints[:, J["l_hip"]] + joints[:, J["r_hip"]]) * scale
    rest = into @ (0.5 * (character.heads[J["l_hip"]] + character.heads[J["r_hip"]]))
    floor, heights = character.floor(scale)
    move = wanted + np.array([rest[0], floor, rest[2]]) - hips

    clear, rise, reach, feet = [], [], [], []
    for n, side in enumerate("lr"):
        hip, ankle, ball = (J[f"{side}_{name}"] for name in ("hip", "ankle", "foot"))
        foot = rot.turn(into @ turns[ankle] @ character.to_motion.T, character.foot_vector(ankle))
        for k, own, height, theirs in (
            (ankle, head(ankle), heights[n][0], ANKLE_HEIGHT),
            (ball, head(ankle) + foot, heights[n][1], BALL_HEIGHT),
        ):
            feet.append(own)
            clear.append(joints[:, k, 1] - theirs)
            rise.append(own[:, 1] - height)
            reach.append((own - head(hip)) - (joints[:, k] - joints[:, hip]) * scale)
        # A longer or shorter foot sets its ball down elsewhere; that is no reason to move when the weight goes there.
        flat = np.hypot(*character.foot_vector(J[f"{side}_ankle"])[[0, 2]]) - scale * np.hypot(*_FLAT_FOOT)
        reach[-1] = reach[-1] - flat * rot.unit(foot * [1.0, 0.0, 1.0])
    clearance = np.min(clear, axis=0)
    sunk = float(np.percentile(clearance, 5))
    clearance = clearance - (sunk if abs(sunk) < 0.04 else 0.0)  # where this motion has its floor, to the millimetre
    near = 1.0 - body.smoothstep(clearance, 0.15, 0.5)
    stands = np.exp(-(np.array(clear) - np.min(clear, axis=0)) / 0.015) * near  # (4, T) how much each point stands
    move += _held_feet(np.array(reach), stands, fps)
    move[:, 1] += near * (floor + clearance * scale - np.min(rise, axis=0) - move[:, 1])
    placed = (np.stack(feet, 1) + move[:, None]) / scale
    over = (np.stack(rise, 1) + move[:, None, 1] - floor) / scale  # heights as this model's feet would have them
    placed[..., 1] = over + [ANKLE_HEIGHT, BALL_HEIGHT] * 2
    return move @ into, placed


def _held_feet(reach: np.ndarray, stands: np.ndarray, fps: float) -> np.ndarray:
    """Shift across the floor that keeps standing feet where they stand. -> (T, 3), Y zero.

    A thigh and a shin of other proportions carry a foot on where the motion's stood. The shift undoes that, as the
    least-squares answer over the whole motion: its steps cancel those of the standing feet, and it is drawn back to
    zero over some seconds, so that the way travelled stays the motion's at the character's scale.

    Args:
        reach: (n, T, 3) how much further each foot point is from its hip than the scaled motion's.
        stands: (n, T) how much each point carries, 0..1.
    """
    weight = np.minimum(stands[:, 1:], stands[:, :-1])  # (n, T-1)
    step = np.diff(reach[..., [0, 2]], axis=1)
    pull = (weight[..., None] * step).sum(0)
    hold = weight.sum(0) + 0.01  # in the air the shift merely goes on smoothly
    back = 1.0 / (RETURN_SECONDS * fps) ** 2
    count = stands.shape[1]
    middle = np.full(count, back)
    middle[:-1] += hold
    middle[1:] += hold
    right = np.zeros((count, 2))
    right[:-1] += pull
    right[1:] -= pull
    for t in range(1, count):  # a tridiagonal system: eliminate downwards, substitute upwards
        part = hold[t - 1] / middle[t - 1]
        middle[t] -= part * hold[t - 1]
        right[t] += part * right[t - 1]
    right[-1] /= middle[-1]
    for t in range(count - 2, -1, -1):
        right[t] = (right[t] + hold[t] * right[t + 1]) / middle[t]
    return np.stack([right[:, 0], np.zeros(count), right[:, 1]], -1)
