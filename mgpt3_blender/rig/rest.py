"""An armature's rest pose, its bone tree and how the tree moves, as plain arrays.

Only `read_rig` looks at Blender objects; everything else is NumPy and works without Blender.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from . import rotation as rot
from .mapping import Mapping
from .skeleton22 import INDEX

if TYPE_CHECKING:
    import bpy


@dataclass(frozen=True)
class Follow:
    """A constraint through which a bone inside a control rig follows another one.

    Attributes:
        kind: "rotation" (Copy Rotation), "transform" (Copy Transforms) or "armature" (Armature constraint).
        target: index of the bone that is followed.
        influence: 0..1.
    """

    kind: str
    target: int
    influence: float


@dataclass
class Bone:
    """One bone: rest in armature space, its place in the tree, and the pose it holds while nobody keys it."""

    name: str
    parent: int
    rotation: np.ndarray  # (3, 3) rest orientation, armature space
    head: np.ndarray  # (3,) rest head, armature space
    tail: np.ndarray  # (3,)
    inherit_rotation: bool = True
    local_location: bool = True
    connected: bool = False
    rotation_mode: str = "QUATERNION"
    pose_rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    pose_location: np.ndarray = field(default_factory=lambda: np.zeros(3))
    follows: tuple[Follow, ...] = ()


@dataclass
class Rig:
    """A character ready to be solved for.

    Attributes:
        bones: every bone that matters (keyed ones, what they hang from, what those follow), parents and followed
            bones before their dependants.
        keyed: index into `bones` -> joint index whose orientation the bone takes.
        joint_bone: joint index -> index into `bones` of the bone that plays it.
        root: index of the bone that plays the pelvis.
        joint_heads: (22, 3) joints in rest, armature space; NaN where the character has none.
        foot_tips: (2, 3) tails of the left and right foot bones in rest, for characters without toes.
        controls: the keyed bones are controls; the joints are elsewhere (on the deform bones).
        to_world: (3, 3) rotation from armature space to world space; the scale is uniform and does not matter here.
        height_in_world: height of the armature's origin over the world's floor, armature units.
        rest_is_pose: False when the preset says that the rest is no body pose.
        warnings: what was found odd, one sentence each.
    """

    bones: list[Bone]
    keyed: dict[int, int]
    joint_bone: dict[int, int]
    root: int
    joint_heads: np.ndarray
    foot_tips: np.ndarray
    controls: bool
    to_world: np.ndarray
    height_in_world: float = 0.0
    rest_is_pose: bool = True
    warnings: list[str] = field(default_factory=list)


@dataclass
class Posed:
    """What forward kinematics gives: T frames, or 1 where nothing moves.

    Attributes:
        rotations: orientation of each bone, armature space, (T or 1, 3, 3).
        heads: head of each bone, armature space, (T or 1, 3).
        channels: for each bone in `targets` the rotation channel that brings it there, (T or 1, 3, 3).
        shifts: for each bone in `places` the location channel that brings it there, (T or 1, 3).
    """

    rotations: list[np.ndarray] = field(default_factory=list)
    heads: list[np.ndarray] = field(default_factory=list)
    channels: dict[int, np.ndarray] = field(default_factory=dict)
    shifts: dict[int, np.ndarray] = field(default_factory=dict)


def pose(
    bones: list[Bone],
    targets: dict[int, np.ndarray],
    locations: dict[int, np.ndarray] | None = None,
    places: dict[int, np.ndarray] | None = None,
) -> Posed:
    """Forward kinematics the way Blender does it: parents, inheritance switches, the constraints inside control rigs.

    Args:
        bones: in evaluation order.
        targets: bone index -> wanted orientation in armature space, (T, 3, 3) or (3, 3).
        locations: bone index -> its location channel, (T, 3) or (3,), instead of the pose it holds.
        places: bone index -> wanted head in armature space, (T, 3) or (3,); stronger than `locations`. A connected
            bone has no location of its own and stays where it is connected.
    """
    out = Posed()
    for i, bone in enumerate(bones):
        base, axes, head = base_frame(bones, i, out.rotations, out.heads)
        if places is not None and i in places and not bone.connected:
            place = places[i].reshape(-1, 3)
            out.shifts[i] = rot.turn(rot.transposed(axes), place - head)
            head = np.broadcast_to(place, np.broadcast_shapes(place.shape, head.shape))
        else:
            location = bone.pose_location if locations is None else locations.get(i, bone.pose_location)
            if not bone.connected and np.any(location):
                head = head + rot.turn(axes, location)
        if i in targets:
            target = targets[i].reshape(-1, 3, 3)
            out.channels[i] = rot.transposed(base) @ target
            turned = target
        else:
            turned = base @ bone.pose_rotation
        for follow in bone.follows:
            there, there_head = out.rotations[follow.target], out.heads[follow.target]
            if follow.kind == "armature":
                moved = there @ bones[follow.target].rotation.T
                there_head = there_head + rot.turn(moved, head - bones[follow.target].head)
                there = moved @ turned
            turned = rot.between(turned, there, follow.influence)
            if follow.kind != "rotation":
                head = head + follow.influence * (there_head - head)
        out.rotations.append(turned)
        out.heads.append(head)
    return out


def base_frame(
    bones: list[Bone], i: int, rotations: list[np.ndarray], heads: list[np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a bone is before its own channels: orientation, the axes its location channel is in, and its head."""
    bone = bones[i]
    if bone.parent < 0:
        base, head = bone.rotation[None], bone.head[None]
    else:
        parent = bones[bone.parent]
        to_local = parent.rotation.T
        base = rotations[bone.parent] @ (to_local @ bone.rotation) if bone.inherit_rotation else bone.rotation[None]
        head = heads[bone.parent] + rot.turn(rotations[bone.parent], to_local @ (bone.head - parent.head))
    return base, base if bone.local_location else np.eye(3)[None], head


def _wanted(armature: bpy.types.Object, names: list[str]) -> list[str]:
    """The named bones, all they hang from and all they follow, in an order that can be evaluated."""
    from .controls import followed  # bpy objects only; imported here so that this module stays importable alone

    order: list[str] = []
    state: dict[str, int] = {}

    def visit(name: str) -> None:
        if state.get(name):  # 1: under way (a circle, which Blender would not evaluate either), 2: done
            return
        state[name] = 1
        bone = armature.pose.bones[name]
        if bone.parent:
            visit(bone.parent.name)
        for other in followed(armature, bone):
            visit(other)
        state[name] = 2
        order.append(name)

    for name in names:
        visit(name)
    return order


def read_rig(armature: bpy.types.Object, mapping: Mapping) -> Rig:
    """Read what the solve needs from an armature. Changes nothing.

    Args:
        armature: an armature object, in Object or Pose Mode.
        mapping: which bone plays which joint.
    """
    from .controls import read_follows

    keyed_names = {**{bone: joint for joint, bone in mapping.bones.items()}, **mapping.also}
    order = _wanted(armature, list(keyed_names))
    index = {name: i for i, name in enumerate(order)}
    warnings: list[str] = []
    bones: list[Bone] = []
    for name in order:
        posed = armature.pose.bones[name]
        rest = posed.bone
        basis = np.array(posed.matrix_basis)
        held = basis[:3, :3]
        size = np.linalg.norm(held, axis=0)
        if np.abs(size - 1.0).max() > 1e-3 and name not in keyed_names:
            warnings.append(f'Bone "{name}" is scaled in its pose; lengths below it differ from the rest pose.')
        bones.append(
            Bone(
                name=name,
                parent=index[posed.parent.name] if posed.parent else -1,
                rotation=np.array(rest.matrix_local)[:3, :3],
                head=np.array(rest.head_local),
                tail=np.array(rest.tail_local),
                inherit_rotation=rest.use_inherit_rotation,
                local_location=rest.use_local_location,
                connected=bool(rest.use_connect and posed.parent),
                rotation_mode=posed.rotation_mode,
                pose_rotation=held / np.maximum(size, 1e-9),
                pose_location=basis[:3, 3],
                follows=read_follows(armature, posed, index, warnings, keyed=name in keyed_names),
            )
        )
    heads = np.full((22, 3), np.nan)
    tips = np.full((2, 3), np.nan)
    for joint, name in mapping.deform.items():
        heads[INDEX[joint]] = armature.data.bones[name].head_local
        if joint in ("l_ankle", "r_ankle"):
            tips[int(joint == "r_ankle")] = armature.data.bones[name].tail_local
    matrix = np.array(armature.matrix_world)
    size = np.cbrt(np.linalg.det(matrix[:3, :3]))
    return Rig(
        bones=bones,
        keyed={index[name]: INDEX[joint] for name, joint in keyed_names.items()},
        joint_bone={INDEX[joint]: index[name] for joint, name in mapping.bones.items()},
        root=index[mapping.bones["pelvis"]],
        joint_heads=heads,
        foot_tips=tips,
        controls=mapping.is_control_rig,
        to_world=matrix[:3, :3] / size,
        height_in_world=matrix[2, 3] / size,
        rest_is_pose=mapping.rest_is_pose,
        warnings=warnings,
    )
