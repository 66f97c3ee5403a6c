"""A character's joints while it is posed: read off its bones, joints that it lacks put where they belong. NumPy only.

A "figure" is (T, 22, 3) joints of a character in the motion's axes (X left, Y up, Z forward), at the motion's size
(legs as long as the motion's), the character's floor at 0, over the ground where the motion is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from . import rotation as rot
from .chains import segments
from .character import Character
from .rest import Posed
from .skeleton22 import INDEX as J
from .skeleton22 import NEUTRAL, PARENTS, SPINE


@dataclass(frozen=True)
class Stage:
    """Between armature space and a figure.

    Attributes:
        axes: (3, 3) motion axes -> armature space.
        origin: (3,) the point of the character's floor where the motion starts, motion axes, armature units.
        scale: armature units for a metre of the motion.
    """

    axes: np.ndarray
    origin: np.ndarray
    scale: float

    def figure(self, joints: np.ndarray) -> np.ndarray:
        """Armature space -> figure. (..., 3)."""
        return (joints @ self.axes - self.origin) / self.scale

    def armature(self, figure: np.ndarray) -> np.ndarray:
        """Figure -> armature space. (..., 3)."""
        return (figure * self.scale + self.origin) @ self.axes.T


def stage(character: Character, scale: float, floor: float) -> Stage:
    """The motion starts under the middle of the hips as the rest has them.

    Args:
        floor: the character's floor, its height along `to_armature`'s Y, armature units.
    """
    hips = character.to_armature.T @ (0.5 * (character.heads[J["l_hip"]] + character.heads[J["r_hip"]]))
    return Stage(character.to_armature, np.array([hips[0], floor, hips[2]]), scale)


def joints_of(character: Character, posed: Posed, frames: int) -> np.ndarray:
    """Joints of a posed character in armature space, (T, 22, 3) without gaps.

    A joint lies where its bone's head is, or, on a control rig, where the bone that carries the mesh has it: at a fixed
    place of the control.
    """
    rig = character.rig
    out = np.empty((frames, 22, 3))
    present = set()
    for joint, i in rig.joint_bone.items():
        bone = character.bones[i]
        offset = bone.rotation.T @ (rig.joint_heads[joint] - bone.head)
        out[:, joint] = posed.heads[i]
        if np.abs(offset).max() > 1e-6 * character.size:
            out[:, joint] += rot.turn(posed.rotations[i], offset)
        present.add(joint)
    if rig.controls:  # the hips' control may turn about another point than the bone does; thighs hang on the bone
        hips = [J["l_hip"], J["r_hip"]]
        pelvis = rig.joint_bone[J["pelvis"]]
        up = character.bones[pelvis].rotation.T @ (rig.joint_heads[J["pelvis"]] - rig.joint_heads[hips].mean(0))
        out[:, J["pelvis"]] = out[:, hips].mean(1) + rot.turn(posed.rotations[pelvis], up)
    for side in "lr":
        ankle, ball = J[f"{side}_ankle"], J[f"{side}_foot"]
        if ball not in present:
            shoe = rig.joint_bone[ankle]
            foot = character.bones[shoe].rotation.T @ (
                character.carried.T @ character.to_motion.T @ character.foot_vector(ankle)
            )
            out[:, ball] = out[:, ankle] + rot.turn(posed.rotations[shoe], foot)
            present.add(ball)
    bridge(out, present)
    return out


def bridge(joints: np.ndarray, present: set[int]) -> None:
    """Fill in joints without a bone, in place: on the way from the joint above to the next one below. (T, 22, 3)."""
    for j, parent in enumerate(PARENTS):
        if j in present:
            continue
        below = [k for k in range(j + 1, 22) if k in present and _above(k, j)]
        if not below:
            joints[:, j] = joints[:, parent]
            continue
        k = below[0]
        whole = float(np.linalg.norm(NEUTRAL[k] - NEUTRAL[parent]))
        part = float(np.linalg.norm(NEUTRAL[j] - NEUTRAL[parent])) / max(whole, 1e-9)
        joints[:, j] = joints[:, parent] + min(part, 0.9) * (joints[:, k] - joints[:, parent])


def _above(joint: int, ancestor: int) -> bool:
    while joint > ancestor:
        joint = PARENTS[joint]
    return joint == ancestor


_TORSO = tuple(J[name] for name in ("pelvis", *SPINE, "neck"))


def loose_joints(character: Character) -> list[int]:
    """Joints whose bone does not hang on the bone of the joint above, so that turning that one does not carry it.

    Flat rigs are like that, and 3ds Max Biped, whose thighs hang on the spine and whose collarbones on the neck.
    """
    rig = character.rig
    spine, neck = segments(character)
    chains = {J["pelvis"] if part.joint is None else part.joint: part.bones for part in (*spine, *neck)}
    out = []
    for joint, bone in sorted(rig.joint_bone.items()):
        above = upper(character, joint)
        if above < 0 or character.bones[bone].connected or (rig.controls and joint in _TORSO):
            continue
        holder = rig.joint_bone[above]
        if rig.controls:  # over helper bones and constraints, none of which is driven
            if not character.hangs_on(bone, {holder}):
                out.append(joint)
            continue
        up = character.bones[bone].parent
        while up >= 0 and up not in character.driven:
            up = character.bones[up].parent
        same = chains.get(above, ())  # further bones of a spine up to the next joint
        if up != holder and up not in same and rig.keyed.get(up) != above:
            out.append(joint)
    return out


def upper(character: Character, joint: int) -> int:
    """The next joint above that the character has, -1 over the pelvis."""
    above = PARENTS[joint]
    while above >= 0 and above not in character.rig.joint_bone:
        above = PARENTS[above]
    return above


def hold_together(character: Character, joints: np.ndarray, turns: dict[int, np.ndarray], loose: list[int]) -> None:
    """Put loose joints, and what hangs on them, where the bones above would carry them; in place.

    Args:
        joints: (T, 22, 3) armature space, as posed without the loose ones being held.
        turns: joint -> (T, 3, 3) its turn from the rest, armature space.
    """
    before = joints.copy()
    for joint in sorted(character.rig.joint_bone):
        above = upper(character, joint)
        if above < 0:
            continue
        if joint in loose:
            joints[:, joint] = joints[:, above] + rot.turn(turns[above], character.vector(above, joint))
        else:
            joints[:, joint] = joints[:, above] + before[:, joint] - before[:, above]
