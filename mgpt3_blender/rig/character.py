"""A character as the solve sees it: where it stands and faces in rest, and where its bones point, in the motion's axes.

NumPy only. The motion's axes: X to the character's left, Y up, Z forward.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from . import rotation as rot
from .rest import Rig, base_frame, pose
from .skeleton22 import ANKLE_HEIGHT, BALL_HEIGHT, FOOT_SLOPE, NEUTRAL, NEXT
from .skeleton22 import INDEX as J


class Character:
    """A rig as the solve sees it: where it stands, faces and points in rest, in the motion's axes.

    Attributes:
        offset: (joint, other) -> (3,) rest vector from one joint to another, motion axes, armature units.
        to_armature: (3, 3) motion axes -> armature space, for the motion: Y is the world's up.
        posture: (22, 3, 3) turn that stands a rest pose that is no pose on its feet; identity for all others.
        scale, ground: armature units per metre; per foot the rest height of (ankle, ball) over the floor.
    """

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        # What the keyed bones hang from stays as the animator posed it (a root bone moved across the set), and so do
        # helpers in between: both count as part of the rest pose.
        still = pose(rig.bones, {})
        rotations, heads = still.rotations, still.heads
        root = rig.bones[rig.root]
        base, _, head = base_frame(rig.bones, rig.root, rotations, heads)
        self.carried = base[0] @ root.rotation.T
        self.carried_to = head[0] - self.carried @ root.head
        self._between = self._held_offsets()
        self.heads = self.carried_to + rig.joint_heads @ self.carried.T
        self.origin = self.carried_to  # where the armature's own origin went with the bones above the root
        self.present = np.isfinite(rig.joint_heads).all(-1)
        self.size = float(np.nanmax(np.ptp(self.heads[self.present], axis=0)))
        self._stand()

    def _held_offsets(self) -> dict[tuple[int, int], np.ndarray]:
        """Offsets between joints with the held pose of the bones in between, in rest axes of the first joint."""
        rig = self.rig
        if rig.controls:
            return {}
        bones = rig.bones
        at_rest = [
            replace(bone, pose_rotation=np.eye(3)) if i in rig.keyed else bone for i, bone in enumerate(bones)
        ]  # rotations are keyed, locations other than the root's are not and stay as they are
        still = pose(at_rest, {})
        rotations, heads = still.rotations, still.heads
        out = {}
        for joint, i in rig.joint_bone.items():
            for other, k in rig.joint_bone.items():
                up = bones[k].parent
                while up >= 0 and up != i and up not in rig.keyed:
                    up = bones[up].parent
                if up == i:
                    held = rot.turn(rot.transposed(rotations[i]), heads[k] - heads[i])[0]
                    out[joint, other] = bones[i].rotation @ held
        return out

    def vector(self, joint: int, other: int) -> np.ndarray:
        """Rest vector from one joint to another in armature space."""
        held = self._between.get((joint, other))
        return self.carried @ held if held is not None else self.heads[other] - self.heads[joint]

    def next(self, joint: int) -> int | None:
        """The joint at the far end of a joint's bone, over missing ones; None at the ends.

        None as well where both joints lie in one point (BVH skeletons have such bones): no direction to speak of.
        """
        other = NEXT.get(joint)
        while other is not None and not self.present[other]:
            other = NEXT.get(other)
        if other is None or not self.present[joint]:
            return other
        return other if np.linalg.norm(self.vector(joint, other)) > 1e-4 * self.size else None

    def _stand(self) -> None:
        """Find up, left and forward, and whether the rest is a pose at all."""
        world_up = self.rig.to_world.T @ np.array([0.0, 0.0, 1.0])
        heads = self.heads
        hips = 0.5 * (heads[J["l_hip"]] + heads[J["r_hip"]])
        knees = 0.5 * (heads[J["l_knee"]] + heads[J["r_knee"]])
        top = heads[J["neck"]] if self.present[J["neck"]] else heads[J["head"]]
        lowest = next(J[n] for n in ("spine1", "spine2", "spine3") if self.present[J[n]])
        first = heads[J["pelvis"]] + self.vector(J["pelvis"], lowest)
        left = rot.unit(heads[J["l_hip"]] - heads[J["r_hip"]])
        shoulders = rot.unit(heads[J["l_shoulder"]] - heads[J["r_shoulder"]])
        torso = rot.unit(top - hips)
        self.is_pose = (
            self.rig.rest_is_pose and float(torso @ rot.unit(hips - knees)) > 0.2 and float(left @ shoulders) > 0.5
        )
        up = torso if self.is_pose else rot.unit(first - hips)
        tilt = float(up @ world_up)
        self.upright = tilt > np.cos(np.radians(35.0))
        if self.upright:
            up = world_up
        self.to_motion = self._axes(left, up).T
        self.to_armature = self._axes(left, world_up) if abs(left @ world_up) < 0.9 else self._axes(torso, world_up)
        if not self.upright:
            self.rig.warnings.append("The rest pose does not stand upright; the motion stands on the world's floor.")

    @staticmethod
    def _axes(left: np.ndarray, up: np.ndarray) -> np.ndarray:
        """Columns left, up, forward."""
        left = rot.unit(left - (left @ up) * up)
        return np.stack([left, up, np.cross(left, up)], -1)

    def rest_vector(self, joint: int, other: int) -> np.ndarray:
        """Rest vector in the motion's axes."""
        return self.to_motion @ self.vector(joint, other)

    def foot_vector(self, ankle: int) -> np.ndarray:
        """Rest vector of the foot in the motion's axes; characters without toes use the end of the foot bone."""
        ball = self.next(ankle)
        if ball is not None:
            return self.rest_vector(ankle, ball)
        side = int(ankle == J["r_ankle"])
        tip = self.to_motion @ self.carried @ (self.rig.foot_tips[side] - self.rig.joint_heads[ankle])
        length = 0.34 * np.linalg.norm(self.rest_vector(ankle - 3, ankle))
        flat = rot.unit(NEUTRAL[J["l_foot"]] - NEUTRAL[J["l_ankle"]])
        seen = rot.unit(tip)
        return length * (seen if seen[2] > 0.5 else flat)

    def leg_length(self) -> float:
        """Thigh plus shin in rest, mean of both legs, armature units."""
        legs = [
            np.linalg.norm(self.vector(J[f"{s}_{a}"], J[f"{s}_{b}"]))
            for s in "lr"
            for a, b in (("hip", "knee"), ("knee", "ankle"))
        ]
        return float(sum(legs) / 2)

    def floor(self, scale: float) -> tuple[float, list[tuple[float, float]]]:
        """Height of the character's floor, and for each foot how high ankle and ball are over it while it stands flat.

        The floor is the armature's own origin where the feet can stand on it, as on almost every character; a
        character whose feet are elsewhere in rest (a pedestal, a scan) stands where its feet are. Skeletons from BVH
        files have the hips at the world's origin in rest and hang below it: their floor is the world's.
        """
        to_motion = self.to_armature.T
        ground = float((to_motion @ self.origin)[1])
        sole = BALL_HEIGHT * scale
        ankles = [float((to_motion @ self.heads[J[f"{side}_ankle"]])[1]) for side in "lr"]
        feet = [self.foot_vector(J[f"{side}_ankle"]) for side in "lr"]
        if not (self.is_pose and self.upright):
            rises = [float(np.linalg.norm(foot)) * np.sin(FOOT_SLOPE) for foot in feet]
            return ground, [(sole + rise, sole) for rise in rises]
        lows = [min(ankle, ankle + float(foot[1])) for ankle, foot in zip(ankles, feet, strict=True)]
        under = min(lows) - ground  # how high the lower foot joint is over the origin
        leg = self.leg_length()
        hips = float((to_motion @ (0.5 * (self.heads[J["l_hip"]] + self.heads[J["r_hip"]])))[1])
        hangs = abs(hips - ground) < 0.25 * leg and abs(self.rig.height_in_world) < 0.1 * leg
        if -0.02 * leg < under < ANKLE_HEIGHT * scale:
            sole = under
        own = [  # each foot by itself: mocap skeletons have legs of different length
            (ankle - low + sole, ankle + float(foot[1]) - low + sole)
            for ankle, foot, low in zip(ankles, feet, lows, strict=True)
        ]
        return (ground if hangs else min(lows) - sole), own
