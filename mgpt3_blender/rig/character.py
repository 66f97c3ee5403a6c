"""A character as the solve sees it: where it stands and faces in rest, and where its bones point, in the motion's axes.

NumPy only. The motion's axes: X to the character's left, Y up, Z forward.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from . import rotation as rot
from .rest import Rig, base_frame, pose
from .skeleton22 import ANKLE_HEIGHT, BALL_HEIGHT, FOOT_SLOPE, NEUTRAL, NEXT, SPINE
from .skeleton22 import INDEX as J

_LEFT = np.array([1.0, 0.0, 0.0])
_NOISE = np.radians(3.0)
"""How far a symmetric body may be off being symmetric."""
_LEAN = np.radians(15.0)
"""How far the back of a body that stands straight may lean forward or backward, as it is built."""


def _tilt(v: np.ndarray, pitch: tuple[float, float]) -> np.ndarray:
    """The turn of a direction from where it may be on a symmetric body. (3,) -> (3, 3).

    Args:
        v: motion axes.
        pitch: degrees forward of straight up that it may lean by.
    """
    v = rot.unit(v)
    flat = v * [0.0, 1.0, 1.0] if abs(v[0]) > np.sin(_NOISE) else v
    lean = np.arctan2(flat[2], flat[1])
    kept = np.clip(lean, *np.radians(pitch))
    return rot.swing(rot.turn(rot.about(_LEFT, kept - lean), flat), v)


class Character:
    """A rig as the solve sees it: where it stands, faces and points in rest, in the motion's axes.

    Attributes:
        bones: the rig's bones, with the root bone at rest where it is to be keyed.
        still: those bones as they are posed before anything is keyed.
        driven: indices of the bones that get a turn: the mapped ones and all of the spine's and neck's chains.
        carried: (3, 3) how the bones above the hips turn the whole character, armature space.
        heads: (22, 3) joints in rest, armature space; NaN where the character has none, as `present` (22,) says.
        is_pose: the rest is a body pose. upright: it stands.
        to_motion: (3, 3) armature space -> motion axes, for the rest: the body's own up and left.
        to_armature: (3, 3) motion axes -> armature space, for the motion: Y is the world's up.
        chest, neck, head: (3, 3) how far those are turned in rest from a body that stands straight and looks ahead.
    """

    def __init__(self, rig: Rig, root_keyed: bool = False) -> None:
        self.rig = rig
        self.bones = list(rig.bones)
        if root_keyed and rig.root_bone is not None:
            self.bones[rig.root_bone] = replace(
                rig.bones[rig.root_bone], pose_rotation=np.eye(3), pose_location=np.zeros(3)
            )
        self.driven = {*rig.keyed, *rig.spine, *rig.neck}
        # What the keyed bones hang from stays as the animator posed it (a root bone moved across the set), and so do
        # helpers in between: both count as part of the rest pose.
        self.still = pose(self.bones, {})
        root = self.bones[rig.root]
        base, _, head = base_frame(self.bones, rig.root, self.still.rotations, self.still.heads)
        self.carried = base[0] @ root.rotation.T
        self.carried_to = head[0] - self.carried @ root.head
        self._between = self._held_offsets()
        self.heads = self.carried_to + rig.joint_heads @ self.carried.T
        self.origin = self.carried_to  # where the armature's own origin went with the bones above the root
        self.present = np.isfinite(rig.joint_heads).all(-1)
        self.size = float(np.nanmax(np.ptp(self.heads[self.present], axis=0)))
        self._stand()
        self._straight()

    def _held_offsets(self) -> dict[tuple[int, int], np.ndarray]:
        """Offsets between joints with the held pose of the bones in between, in rest axes of the first joint."""
        rig = self.rig
        if rig.controls:
            return {}
        bones = self.bones
        if not any(
            np.abs(bone.pose_location).max() > 1e-7
            or (i not in self.driven and np.abs(bone.pose_rotation - np.eye(3)).max() > 1e-6)
            for i, bone in enumerate(bones)
        ):
            return {}
        at_rest = [
            replace(bone, pose_rotation=np.eye(3)) if i in self.driven else bone for i, bone in enumerate(bones)
        ]  # rotations are keyed, locations other than the root's are not and stay as they are
        still = pose(at_rest, {})
        rotations, heads = still.rotations, still.heads
        out = {}
        for joint, i in rig.joint_bone.items():
            for other, k in rig.joint_bone.items():
                up = bones[k].parent
                while up >= 0 and up != i and up not in self.driven:
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
        hips, knees, ankles = (
            0.5 * (heads[J[f"l_{name}"]] + heads[J[f"r_{name}"]]) for name in ("hip", "knee", "ankle")
        )
        top = heads[J["neck"]] if self.present[J["neck"]] else heads[J["head"]]
        lowest = next(J[n] for n in SPINE if self.present[J[n]])
        first = heads[J["pelvis"]] + self.vector(J["pelvis"], lowest)
        left = rot.unit(heads[J["l_hip"]] - heads[J["r_hip"]])
        shoulders = rot.unit(heads[J["l_shoulder"]] - heads[J["r_shoulder"]])
        torso, legs = rot.unit(top - hips), rot.unit(hips - ankles)
        self.is_pose = (
            self.rig.rest_is_pose and float(torso @ rot.unit(hips - knees)) > -0.1 and float(left @ shoulders) > 0.5
        )
        straight = rot.unit(torso + legs) if torso @ legs > 0.7 else torso
        up = straight if self.is_pose else rot.unit(first - hips)
        self.upright = float(up @ world_up) > np.cos(np.radians(35.0))
        if self.upright:
            # Torso and legs that lean the same way: the whole body leans, say by its object's rotation.
            leans = [v - (v @ world_up) * world_up for v in (torso, legs)]
            same = float(rot.unit(leans[0]) @ rot.unit(leans[1])) > 0.8
            if not (self.is_pose and same and min(np.linalg.norm(lean) for lean in leans) > np.sin(np.radians(12.0))):
                up = world_up
        elif self.is_pose:
            # A body that lies does so along an axis of its own data or of the world, whatever its build.
            axes = [*np.eye(3), *-np.eye(3), *self.rig.to_world, *-self.rig.to_world]
            nearest = max(axes, key=lambda axis: float(axis @ up))
            if float(nearest @ up) > np.cos(np.radians(15.0)):
                up = nearest
        self.to_motion = self._axes(left, up).T
        self.to_armature = self._axes(left, world_up) if abs(left @ world_up) < 0.9 else self._axes(torso, world_up)

    def _straight(self) -> None:
        """Find how chest, neck and head are turned in rest: shoulders across the hips, a bent back, a tilted head.

        Every skeleton's spine and neck lie differently, so only what no build explains counts: what is not symmetric,
        and what leans too far.
        """
        self.chest = self.neck = self.head = np.eye(3)
        if not self.is_pose:
            return
        left = rot.unit(self.to_motion @ (self.heads[J["l_shoulder"]] - self.heads[J["r_shoulder"]]))
        off = float(rot.angle_between(_LEFT, left))
        if off > _NOISE:
            self.chest = rot.about(rot.unit(np.cross(_LEFT, left)), np.array(off))
        top = J["neck"] if self.present[J["neck"]] else J["head"]
        lowest = next(J[n] for n in SPINE if self.present[J[n]])
        back = self.chest.T @ self.rest_vector(lowest, top)
        lean = np.arctan2(back[2], back[1])
        if abs(lean) > _LEAN:  # all of it, or more exactly what the topmost part says
            highest = next(J[n] for n in reversed(SPINE) if self.present[J[n]])
            ribs = self.chest.T @ self.rest_vector(highest, top)
            if np.linalg.norm(ribs) > 0.2 * np.linalg.norm(back):
                lean = np.clip(np.arctan2(ribs[2], ribs[1]), lean - 0.5, lean + 0.5)
            self.chest = self.chest @ rot.about(_LEFT, np.array(lean))
        self.neck = self.chest
        if self.present[J["neck"]] and self.next(J["neck"]) is not None:
            self.neck = self.chest @ _tilt(self.chest.T @ self.rest_vector(J["neck"], J["head"]), (-15.0, 55.0))
        self.head = self.neck
        bone = self.bones[self.rig.joint_bone[J["head"]]]
        if np.linalg.norm(bone.tail - bone.head) > 1e-6:
            tip = self.neck.T @ self.to_motion @ self.carried @ rot.unit(bone.tail - bone.head)
            if abs(tip[0]) < np.sin(np.radians(40.0)):  # a bone that lies across the head shows no tilt
                self.head = self.neck @ _tilt(tip, (-180.0, 180.0))

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

    def rest_joints(self) -> np.ndarray:
        """(22, 3) the rest in the motion's axes, armature units, from the armature's origin; NaN for missing joints."""
        return (self.heads - self.origin) @ self.to_motion.T

    def hangs_on(self, bone: int, others: set[int]) -> bool:
        """Whether a bone hangs, over any number of parents and followed bones, on one of the others."""
        todo = [bone]
        seen: set[int] = set()
        while todo:
            i = todo.pop()
            above = {self.bones[i].parent, *(f.target for f in self.bones[i].follows)} - {-1} - seen
            if above & others:
                return True
            seen |= above
            todo += above
        return False

    def floor(self, scale: float, level: float | None = None) -> tuple[float, list[tuple[float, float]]]:
        """Height of the character's floor, and for each foot how high ankle and ball are over it while it stands flat.
        Both in armature units, the height along the world's up from the armature's zero.

        The floor is the armature's own origin where the feet can stand on it, as on almost every character; a
        character whose feet are elsewhere in rest (a pedestal, a scan) stands where its feet are. Skeletons from BVH
        files have the hips at the world's origin in rest and hang below it: their floor is the world's.

        Args:
            scale: armature units for a metre of the motion.
            level: the floor's height in the world instead, the world's units.
        """
        floor, heights = self._own_floor(scale)
        if level is not None:
            floor = level / self.rig.size_in_world - self.rig.height_in_world
        return floor, heights

    def _own_floor(self, scale: float) -> tuple[float, list[tuple[float, float]]]:
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
